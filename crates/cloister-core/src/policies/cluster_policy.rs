//! ClusterNetworkPolicies: a bound of the Admin tier around what NetworkPolicies may open, and names.
//!
//! Each tier decides before the next, and within the Admin tier the policy with the lowest priority. What was agreed to is
//! passed on to the NetworkPolicies, which decide about it pod by pod; names are accepted, but never where they lead to
//! anything but the Internet; and all the rest is denied, whatever other NetworkPolicies there are.
//!
//! Traffic that comes in from outside of the cluster is left to the NetworkPolicies: this kind knows no networks there.

use super::network_policies::namespace_named;
use crate::{
    egress::{AllowRule, Peers},
    model::child::{ChildKey, ChildKind, build::object_meta, names::BOUND_PREFIX},
};
use cloister_api::{labels, plugin::ClusterNetworkPolicy};
use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use serde_json::{Value, json};

/// How many entries each list of such a policy may have.
const ENTRIES: usize = 25;

/// What is agreed to is passed on first.
const PASS: u16 = 900;

/// Names are next.
const NAMES: u16 = 901;

/// The rest is denied.
const DENY: u16 = 902;

/// Passes on what these NetworkPolicies open, in either direction.
pub fn pass<'a>(
    namespace: &str,
    policies: impl Iterator<Item = &'a NetworkPolicy> + Clone,
) -> Vec<ClusterNetworkPolicy> {
    let specs = policies.filter_map(|policy| policy.spec.as_ref());
    let egress = specs.clone().flat_map(|spec| spec.egress.iter().flatten());
    let egress = egress.flat_map(|rule| passed("to", namespace, rule.to.as_deref(), rule.ports.as_deref()));
    let ingress = specs.flat_map(|spec| spec.ingress.iter().flatten());
    let ingress = ingress.flat_map(|rule| passed("from", namespace, rule.from.as_deref(), rule.ports.as_deref()));
    let (egress, ingress) = (distinct(egress), distinct(ingress));
    let egress = egress.chunks(ENTRIES).map(|rules| ("egress", rules));
    let all = egress.chain(ingress.chunks(ENTRIES).map(|rules| ("ingress", rules))).enumerate();
    all.map(|(at, (direction, rules))| {
        let spec = json!({"tier": "Admin", "priority": PASS, "subject": subject(namespace), direction: rules});
        policy(namespace, &format!("pass.{at}"), spec)
    })
    .collect()
}

/// Accepts the names of an opening, and denies these networks to the same pods on the same ports before.
pub fn names(namespace: &str, name: &str, opening: &AllowRule, denied: &[IpNet]) -> ClusterNetworkPolicy {
    let hosts = match &opening.peers {
        Peers::Hosts(hosts) => hosts.as_slice(),
        Peers::Networks(_) | Peers::Pods { .. } => &[],
    };
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let networks: Vec<String> = denied.iter().map(ToString::to_string).collect();
    let protocols: Vec<Value> =
        opening.ports.iter().filter_map(|port| protocol(&port.to_network_policy_port())).collect();
    let mut rules = Vec::new();
    for (action, field, all) in [("Deny", "networks", networks), ("Accept", "domainNames", hosts)] {
        for peers in all.chunks(ENTRIES * ENTRIES) {
            let to: Vec<Value> = peers.chunks(ENTRIES).map(|some| json!({field: some})).collect();
            let of = |protocols: &[Value]| json!({"action": action, "to": to, "protocols": protocols});
            rules.extend(protocols.chunks(ENTRIES).map(of));
        }
    }
    let pods = LabelSelector::from(&opening.pods);
    let pods = json!({"pods": {"namespaceSelector": selector(namespace), "podSelector": pods}});
    let spec = json!({"tier": "Admin", "priority": NAMES, "subject": pods, "egress": rules});
    policy(namespace, name.strip_prefix("cloister-").unwrap_or(name), spec)
}

/// Denies everything, in both directions.
pub fn deny(namespace: &str) -> ClusterNetworkPolicy {
    let pods = json!({"namespaces": {}});
    let spec = json!({
        "tier": "Admin",
        "priority": DENY,
        "subject": subject(namespace),
        "egress": [{"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}, pods]}],
        "ingress": [{"action": "Deny", "from": [pods]}],
    });
    policy(namespace, "deny", spec)
}

/// The key of the policy that denies everything.
pub fn deny_key(namespace: &str) -> ChildKey {
    ChildKey::new(ChildKind::ClusterNetworkPolicy, &name_of(namespace, "deny"))
}

fn name_of(namespace: &str, part: &str) -> String {
    format!("{BOUND_PREFIX}{namespace}.{part}")
}

fn policy(namespace: &str, part: &str, spec: Value) -> ClusterNetworkPolicy {
    let mut metadata = object_meta(namespace, &name_of(namespace, part));
    metadata.namespace = None;
    ClusterNetworkPolicy::new(metadata, spec)
}

/// The namespace, as long as it is a research namespace.
fn selector(namespace: &str) -> Value {
    json!({"matchLabels": {"kubernetes.io/metadata.name": namespace, labels::RESEARCH_NAMESPACE: namespace}})
}

fn subject(namespace: &str) -> Value {
    json!({"namespaces": selector(namespace)})
}

/// The rules that pass on one entry of a NetworkPolicy.
fn passed(
    direction: &str,
    namespace: &str,
    peers: Option<&[NetworkPolicyPeer]>,
    ports: Option<&[NetworkPolicyPort]>,
) -> Vec<Value> {
    let peers = peers.unwrap_or_default();
    let networks = peers.iter().filter_map(|peer| peer.ip_block.as_ref()).map(|block| block.cidr.as_str());
    let networks: Vec<&str> = networks.filter(|_| direction == "to").collect();
    let networks = networks.chunks(ENTRIES).map(|networks| json!({"networks": networks}));
    let pods = peers.iter().filter(|peer| peer.ip_block.is_none()).map(|peer| {
        let home = namespace_named(namespace);
        let namespaces = peer.namespace_selector.as_ref().unwrap_or(&home);
        json!({"pods": {"namespaceSelector": namespaces, "podSelector": peer.pod_selector.clone().unwrap_or_default()}})
    });
    let protocols: Vec<Value> = ports.unwrap_or_default().iter().filter_map(protocol).collect();
    let mut rules = Vec::new();
    for peers in [networks.collect::<Vec<_>>(), pods.collect()] {
        for peers in peers.chunks(ENTRIES) {
            if protocols.is_empty() {
                rules.push(json!({"action": "Pass", direction: peers}));
            }
            for protocols in protocols.chunks(ENTRIES) {
                rules.push(json!({"action": "Pass", direction: peers, "protocols": protocols}));
            }
        }
    }
    rules
}

/// A port as this kind has it; nothing where it means all ports.
fn protocol(port: &NetworkPolicyPort) -> Option<Value> {
    let first = match &port.port {
        Some(IntOrString::String(name)) => return Some(json!({"destinationNamedPort": name})),
        Some(IntOrString::Int(number)) => *number,
        None => return None,
    };
    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
    Some(json!({protocol: {"destinationPort": numbers(first, port.end_port)}}))
}

fn numbers(first: i32, last: Option<i32>) -> Value {
    match last.filter(|last| *last != first) {
        Some(last) => json!({"range": {"start": first, "end": last}}),
        None => json!({"number": first}),
    }
}

/// The rules in an order of their own, without doubles: that of the policies they come from means nothing.
fn distinct(rules: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut rules: Vec<(String, Value)> = rules.map(|rule| (rule.to_string(), rule)).collect();
    rules.sort_by(|(one, _), (other, _)| one.cmp(other));
    rules.dedup_by(|(one, _), (other, _)| one == other);
    rules.into_iter().map(|(_, rule)| rule).collect()
}
