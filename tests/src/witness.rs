//! A second opinion about every NetworkPolicy that the operator writes while tests run: each is read back from the API
//! server and asked, at the edges of what it opens, what the policies of its namespace let through. Cloister's evaluator and
//! Cyclonus must say the same, and nobody may reach what is never opened.

use crate::{
    TestCluster,
    cyclonus::{Asked, Case, Cyclonus, Side},
};
use anyhow::{Context, Result, ensure};
use cloister_api::{Protocol, labels};
use cloister_core::proof::{Labels, NamedPort, Pod};
use futures::StreamExt;
use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::{
    Api, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{Config, Event, watcher},
    },
};
use std::{
    collections::BTreeMap,
    io::Write,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// How many flows are asked of one policy at most.
const FLOWS: usize = 400;

/// The address and port of the metadata service of most clouds.
const METADATA: (&str, u16) = ("169.254.169.254", 80);

/// How many flows were let through and held back, by namespace and policy.
static ASKED: Mutex<BTreeMap<(String, String), (usize, usize)>> = Mutex::new(BTreeMap::new());

/// How many flows about a policy were let through and held back, if it was asked yet.
pub fn asked(namespace: &str, policy: &str) -> Option<(usize, usize)> {
    let asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    asked.get(&(namespace.to_owned(), policy.to_owned())).copied()
}

/// Watches until the process ends. What it finds ends the process, whatever test it was.
pub fn start(cluster: &'static TestCluster) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = runtime.context("no runtime").and_then(|runtime| runtime.block_on(watch(cluster)));
        if let Err(error) = result {
            // Past the capture of the test that happens to run.
            let _ = writeln!(std::io::stderr(), "the NetworkPolicies that the operator wrote: {error:#}");
            std::process::exit(101);
        }
    });
}

async fn watch(cluster: &TestCluster) -> Result<()> {
    let mut cyclonus = Cyclonus::start()?;
    let api: Api<NetworkPolicy> = Api::all(cluster.admin().await?);
    let ours = Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER));
    let mut events = watcher(api, ours).default_backoff().boxed();
    let mut known: BTreeMap<String, BTreeMap<String, NetworkPolicy>> = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(policy) | Event::InitApply(policy)) => {
                let (namespace, name) = (policy.namespace().unwrap_or_default(), policy.name_any());
                let here = known.entry(namespace.clone()).or_default();
                here.insert(name.clone(), policy);
                let found = ask(&mut cyclonus, &namespace, here, &name);
                let counts = found.with_context(|| format!("{namespace}/{name}"))?;
                ASKED.lock().unwrap_or_else(PoisonError::into_inner).insert((namespace, name), counts);
            }
            Ok(Event::Delete(policy)) => {
                if let Some(here) = known.get_mut(&policy.namespace().unwrap_or_default()) {
                    here.remove(&policy.name_any());
                }
            }
            // The watch begins again by itself, also when the test's cluster is slow or ends.
            Ok(Event::Init | Event::InitDone) | Err(_) => {}
        }
    }
    Ok(())
}

/// Asks about one policy of a namespace, among all of it.
fn ask(
    cyclonus: &mut Cyclonus,
    namespace: &str,
    here: &BTreeMap<String, NetworkPolicy>,
    name: &str,
) -> Result<(usize, usize)> {
    let mut case = Case { policies: here.values().cloned().collect(), ..Case::default() };
    let spec = here.get(name).and_then(|policy| policy.spec.clone()).unwrap_or_default();
    let mut sides = Sides { case: &mut case, home: namespace };
    let own = sides.pods(spec.pod_selector.as_ref(), None);
    let mut flows = Vec::new();
    for rule in spec.egress.iter().flatten() {
        let theirs: Vec<Side> = rule.to.iter().flatten().flat_map(|peer| sides.of(peer)).collect();
        flows.extend(pairs(&own, &theirs, &ports(rule.ports.as_deref())));
    }
    for rule in spec.ingress.iter().flatten() {
        let theirs: Vec<Side> = rule.from.iter().flatten().flat_map(|peer| sides.of(peer)).collect();
        flows.extend(pairs(&theirs, &own, &ports(rule.ports.as_deref())));
    }
    let each = flows.len().div_ceil(FLOWS).max(1);
    case.flows = flows.into_iter().step_by(each).collect();
    let (metadata, port) = (Side { address: METADATA.0.parse()?, pod: None }, METADATA.1);
    let first = case.flows.len();
    // The first of its pods is one that it selects, so that it is closed but for what is opened.
    let closes = spec.policy_types.iter().flatten().any(|direction| direction == "Egress");
    let selected = own.first().filter(|_| closes);
    case.flows.extend(selected.map(|own| Asked { from: *own, to: metadata, protocol: Protocol::Tcp, port }));
    let said = case.agreed(cyclonus)?;
    ensure!(said[first..].iter().all(|verdict| !verdict.is_allowed()), "a pod may reach {METADATA:?}: {case:?}");
    let allowed = said.iter().filter(|verdict| verdict.is_allowed()).count();
    Ok((allowed, said.len() - allowed))
}

/// Makes the ends of flows: those that a policy is about, and those right beside them.
struct Sides<'a> {
    case: &'a mut Case,
    home: &'a str,
}

impl Sides<'_> {
    fn of(&mut self, peer: &NetworkPolicyPeer) -> Vec<Side> {
        match &peer.ip_block {
            None => self.pods(peer.pod_selector.as_ref(), peer.namespace_selector.as_ref()),
            Some(block) => {
                let Ok(network) = block.cidr.parse::<IpNet>() else { return Vec::new() };
                let beside = [before(network.network()), after(network.broadcast())];
                let edges = [Some(network.network()), Some(network.broadcast())].into_iter().chain(beside);
                edges.flatten().map(|address| Side { address, pod: None }).collect()
            }
        }
    }

    /// A pod that has the labels of a selector in a namespace that has them, the same elsewhere, and one without labels.
    fn pods(&mut self, pods: Option<&LabelSelector>, namespaces: Option<&LabelSelector>) -> Vec<Side> {
        let labels = |selector: &LabelSelector| {
            let mut labels: Labels = selector.match_labels.clone().unwrap_or_default();
            for one in selector.match_expressions.iter().flatten().filter(|one| one.operator != "DoesNotExist") {
                let first = one.values.iter().flatten().next().cloned();
                labels.entry(one.key.clone()).or_insert_with(|| first.unwrap_or_default());
            }
            labels
        };
        let asked = pods.map(labels).unwrap_or_default();
        let named = "kubernetes.io/metadata.name";
        let there = namespaces.map_or_else(|| Labels::from([(named.into(), self.home.to_owned())]), labels);
        let there_name = there.get(named).cloned().unwrap_or_else(|| "elsewhere".to_owned());
        self.case.namespaces.insert(there_name.clone(), there);
        self.case.namespaces.insert("another".to_owned(), Labels::from([(named.into(), "another".to_owned())]));
        [(there_name.clone(), asked.clone()), (there_name, Labels::new()), ("another".to_owned(), asked)]
            .map(|(namespace, labels)| self.pod(namespace, labels))
            .into()
    }

    fn pod(&mut self, namespace: String, labels: Labels) -> Side {
        let at = self.case.pods.len();
        let port = NamedPort { name: "web".to_owned(), protocol: Protocol::Tcp, port: 8080 };
        self.case.pods.push(Pod { namespace, labels, ports: vec![port] });
        let address =
            IpAddr::from([10, 255, u8::try_from(at / 250).unwrap_or(255), u8::try_from(at % 250).unwrap_or(0)]);
        Side { address, pod: Some(at) }
    }
}

/// The edges of ports, and the ports right beside them.
fn ports(ports: Option<&[NetworkPolicyPort]>) -> Vec<(Protocol, u16)> {
    let mut all = vec![(Protocol::Tcp, 1), (Protocol::Udp, 65535)];
    for port in ports.unwrap_or_default() {
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        let first = match &port.port {
            Some(IntOrString::Int(number)) => u16::try_from(*number).unwrap_or(1),
            Some(IntOrString::String(_)) => 8080,
            None => 1,
        };
        let last = port.end_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(first);
        let edges = [Some(first), Some(last), first.checked_sub(1).filter(|port| *port > 0), last.checked_add(1)];
        all.extend(edges.into_iter().flatten().map(|port| (protocol, port)));
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn pairs(from: &[Side], to: &[Side], ports: &[(Protocol, u16)]) -> Vec<Asked> {
    let mut all = Vec::new();
    for from in from {
        for to in to {
            all.extend(ports.iter().map(|(protocol, port)| Asked {
                from: *from,
                to: *to,
                protocol: *protocol,
                port: *port,
            }));
        }
    }
    all
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_sub(1).map(|before| IpAddr::V4(before.into())),
        IpAddr::V6(address) => u128::from(address).checked_sub(1).map(|before| IpAddr::V6(before.into())),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|after| IpAddr::V4(after.into())),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|after| IpAddr::V6(after.into())),
    }
}
