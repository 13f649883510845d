//! Random pods, policies and flows. Everything comes from a few values, so that they meet often.

use cloister_api::Protocol;
use cloister_core::proof::{Labels, NamedPort, Pod};
use cloister_tests::cyclonus::{Asked, Case, Side};
use fastrand::Rng;
use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta},
        util::intstr::IntOrString,
    },
};

const NAMESPACES: [&str; 3] = ["interp", "data-prep", "infra"];
const KEYS: [&str; 3] = ["app", "tier", "team"];
const VALUES: [&str; 3] = ["a", "b", ""];
const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
const PORTS: [u16; 6] = [1, 53, 80, 443, 8080, 65535];
const PORT_NAMES: [&str; 3] = ["web", "dns", "alt"];
const ADDRESSES: [&str; 10] = [
    "10.0.0.1",
    "10.0.0.130",
    "10.0.1.1",
    "192.168.0.7",
    "203.0.113.9",
    "255.255.255.255",
    "2001:db8::1",
    "2001:db8:0:1::1",
    "fd00::7",
    "::1",
];
const NETWORKS: [&str; 12] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.128/25",
    "10.0.0.1/32",
    "203.0.113.0/24",
    "128.0.0.0/1",
    "::/0",
    "2001:db8::/32",
    "2001:db8::/64",
    "2001:db8::1/128",
    "fd00::/8",
];

/// A random case.
pub fn case(random: &mut Rng) -> Case {
    let namespaces = NAMESPACES.map(|name| (name.to_owned(), labels(random))).into();
    let pods: Vec<Pod> = (0..random.usize(1..6)).map(|_| pod(random)).collect();
    let policies = (0..random.usize(1..6)).map(|at| policy(random, at)).collect();
    let flows = (0..16).map(|_| asked(random, pods.len())).collect();
    Case { namespaces, pods, policies, flows }
}

fn one<T: Clone>(random: &mut Rng, all: &[T]) -> T {
    all[random.usize(..all.len())].clone()
}

fn text(random: &mut Rng, all: &[&str]) -> String {
    one(random, all).to_owned()
}

fn labels(random: &mut Rng) -> Labels {
    (0..random.usize(0..4)).map(|_| (text(random, &KEYS), text(random, &VALUES))).collect()
}

fn pod(random: &mut Rng) -> Pod {
    let named = PORT_NAMES.iter().zip([80, 53, 8080]);
    let ports = named.filter(|_| random.bool()).map(|(name, port)| NamedPort {
        name: (*name).to_owned(),
        protocol: if *name == "dns" { Protocol::Udp } else { Protocol::Tcp },
        port,
    });
    let ports = ports.collect();
    Pod { namespace: text(random, &NAMESPACES), labels: labels(random), ports }
}

fn asked(random: &mut Rng, pods: usize) -> Asked {
    let mut side = || Side {
        address: one(random, &ADDRESSES).parse().expect("an address"),
        pod: (random.u8(..4) > 0).then(|| random.usize(..pods)),
    };
    let (from, to) = (side(), side());
    Asked { from, to, protocol: one(random, &PROTOCOLS), port: one(random, &PORTS) }
}

fn policy(random: &mut Rng, at: usize) -> NetworkPolicy {
    let types = one(random, &[vec!["Ingress"], vec!["Egress"], vec!["Ingress", "Egress"]]);
    let ingress = few(random, 3, |random| NetworkPolicyIngressRule { from: peers(random), ports: ports(random) });
    let egress = few(random, 3, |random| NetworkPolicyEgressRule { to: peers(random), ports: ports(random) });
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(format!("policy-{at}")),
            namespace: Some(text(random, &NAMESPACES)),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(random)),
            policy_types: Some(types.into_iter().map(str::to_owned).collect()),
            ingress,
            egress,
        }),
    }
}

/// A list of fewer than so many; sometimes none, and sometimes an empty one.
fn few<T>(random: &mut Rng, end: usize, each: impl Fn(&mut Rng) -> T) -> Option<Vec<T>> {
    (random.u8(..5) > 0).then(|| (0..random.usize(..end)).map(|_| each(random)).collect())
}

fn peers(random: &mut Rng) -> Option<Vec<NetworkPolicyPeer>> {
    few(random, 4, |random| match random.u8(..4) {
        0 | 1 => {
            let except = few(random, 3, |random| text(random, &NETWORKS));
            let block = IPBlock { cidr: text(random, &NETWORKS), except };
            NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
        }
        2 => NetworkPolicyPeer { pod_selector: Some(selector(random)), ..NetworkPolicyPeer::default() },
        _ => NetworkPolicyPeer {
            namespace_selector: Some(selector(random)),
            pod_selector: random.bool().then(|| selector(random)),
            ip_block: None,
        },
    })
}

fn ports(random: &mut Rng) -> Option<Vec<NetworkPolicyPort>> {
    few(random, 4, |random| {
        let protocol = random.bool().then(|| one(random, &PROTOCOLS).as_str().to_owned());
        let first = one(random, &PORTS);
        let (port, end_port) = match random.u8(..4) {
            0 => (None, None),
            1 => (Some(IntOrString::String(text(random, &PORT_NAMES))), None),
            2 => (Some(IntOrString::Int(first.into())), None),
            _ => (Some(IntOrString::Int(first.into())), Some(random.u16(first..).into())),
        };
        NetworkPolicyPort { protocol, port, end_port }
    })
}

fn selector(random: &mut Rng) -> LabelSelector {
    let match_labels = (random.u8(..3) == 0).then(|| labels(random));
    let match_expressions = (random.u8(..3) == 0).then(|| {
        let expressions = (0..random.usize(1..3)).map(|_| {
            let operator = text(random, &["In", "NotIn", "Exists", "DoesNotExist"]);
            let values =
                operator.ends_with("In").then(|| (0..random.usize(1..3)).map(|_| text(random, &VALUES)).collect());
            LabelSelectorRequirement { key: text(random, &KEYS), operator, values }
        });
        expressions.collect()
    });
    LabelSelector { match_labels, match_expressions }
}
