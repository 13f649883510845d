//! How long it takes to say of one namespace with 50 policies what each of its 100 pods may reach, and to prove that the
//! policies open no more than was agreed to.

use cloister_api::{EgressRule, Protocol};
use cloister_core::{
    address::NeverOpened,
    proof::{Declaration, End, Facts, Flow, Labels, Pod, Policies, excess},
};
use divan::{Bencher, black_box};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::json;
use std::{collections::BTreeMap, net::IpAddr};

const POLICIES: u8 = 50;
const PODS: u8 = 100;

/// A policy for a third of the pods, and the rule that it is for.
fn policy(at: u8) -> (NetworkPolicy, EgressRule) {
    let pods = json!({"matchLabels": {"app": format!("app-{}", at % 3)}});
    let blocks: Vec<_> = (0..4).map(|net| json!({"ipBlock": {"cidr": format!("203.{at}.{net}.0/24")}})).collect();
    let networks: Vec<_> = (0..4).map(|net| format!("203.{at}.{net}.0/24")).collect();
    let ports = json!([{"port": 443, "protocol": "TCP"}, {"port": 8000, "endPort": 8010, "protocol": "TCP"}]);
    let policy = json!({
        "metadata": {"name": format!("p{at}"), "namespace": "interp"},
        "spec": {"podSelector": pods, "policyTypes": ["Egress"], "egress": [{"to": blocks, "ports": ports}]},
    });
    let rule = json!({"name": "r", "networks": networks, "ports": ports, "podSelector": pods});
    let read = |value| serde_json::from_value(value).expect("a policy");
    (read(policy), serde_json::from_value(rule).expect("a rule"))
}

fn pods() -> Vec<(IpAddr, Pod)> {
    let pod = |at: u8| Pod {
        namespace: "interp".to_owned(),
        labels: Labels::from([("app".to_owned(), format!("app-{}", at % 3))]),
        ports: Vec::new(),
    };
    (0..PODS).map(|at| (IpAddr::from([10, 0, 0, at]), pod(at))).collect()
}

/// Every pod to one address of every policy, on a port that is open and on one that is not.
#[divan::bench]
fn every_pod_to_every_destination(bencher: Bencher) {
    let (policies, _): (Vec<_>, Vec<_>) = (0..POLICIES).map(policy).unzip();
    let (pods, labels) = (pods(), BTreeMap::new());
    bencher.bench_local(|| {
        let read = Policies::read([("interp", &labels)], &policies).expect("policies");
        let mut allowed = 0_u32;
        for (address, pod) in &pods {
            let from = End { address: *address, pod: Some(pod) };
            let selected = read.of(from.pod);
            for at in 0..POLICIES {
                for port in [443, 444] {
                    let to = End { address: IpAddr::from([203, at, 2, 7]), pod: None };
                    let flow = Flow { from, to, protocol: Protocol::Tcp, port };
                    allowed += u32::from(selected.let_out(&flow));
                }
            }
        }
        black_box(allowed)
    });
}

#[divan::bench]
fn proof(bencher: Bencher) {
    let all: Vec<(NetworkPolicy, EgressRule)> = (0..POLICIES).map(policy).collect();
    let never = NeverOpened::new(&["10.0.0.0/16".parse().expect("a network")]);
    let facts = Facts { names: &[], services: &|_| None, never: &never };
    bencher.bench_local(|| {
        let found = all.iter().filter_map(|(policy, rule)| {
            let agreed = vec![Declaration::rule(rule).into_iter().collect()];
            excess(policy, &agreed, &facts).expect("a policy")
        });
        assert_eq!(black_box(found.count()), 0);
    });
}

fn main() {
    divan::main();
}
