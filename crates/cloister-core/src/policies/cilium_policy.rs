//! CiliumNetworkPolicies: what opens by name where Cilium sees what pods ask DNS for.
//!
//! Keys of labels say that they are Kubernetes' (`k8s:`), because Cilium knows labels of other sources too. A rule by name
//! needs a rule for DNS beside it: only what goes through Cilium's DNS proxy is seen.

use crate::{
    address::{PolicyPort, PolicyPortNumber},
    egress::{AllowRule, Peers},
    model::child::build::object_meta,
};
use cloister_api::{CloisterConfigSpec, plugin::CiliumNetworkPolicy};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, net::IpAddr};

/// How many ports one entry may have.
const PORTS: usize = 40;

/// The label with a pod's namespace.
pub const NAMESPACE: &str = "k8s:io.kubernetes.pod.namespace";

/// The policy that opens the names of an opening, and denies these networks to the same pods on the same ports.
pub fn policy(
    namespace: &str,
    name: &str,
    opening: &AllowRule,
    denied: &[IpNet],
    config: &CloisterConfigSpec,
    dns_ports: &[PolicyPort],
) -> CiliumNetworkPolicy {
    let hosts = match &opening.peers {
        Peers::Hosts(hosts) => hosts.as_slice(),
        Peers::Networks(_) | Peers::Pods { .. } => &[],
    };
    let names: Vec<Value> = hosts
        .iter()
        .map(|host| match host.name.is_wildcard() {
            true => json!({"matchPattern": format!("**.{}", host.name.name())}),
            false => json!({"matchName": host.name.name()}),
        })
        .collect();
    let ports: Vec<Value> = opening.ports.chunks(PORTS).map(|ports| json!({"ports": written(ports)})).collect();
    let denied: Vec<Value> = denied.iter().map(|network| json!({"cidr": network.to_string()})).collect();
    let mut egress = dns(config, dns_ports);
    egress.push(json!({"toFQDNs": names, "toPorts": ports}));
    let spec = json!({
        "endpointSelector": selector(&LabelSelector::from(&opening.pods)),
        "egress": egress,
        "egressDeny": [{"toCIDRSet": denied, "toPorts": ports}],
    });
    CiliumNetworkPolicy::new(object_meta(namespace, name), spec)
}

/// What pods ask DNS for, by Cilium's proxy.
fn dns(config: &CloisterConfigSpec, pod_ports: &[PolicyPort]) -> Vec<Value> {
    let by_proxy = |ports: Vec<Value>| json!([{"ports": ports, "rules": {"dns": [{"matchPattern": "*"}]}}]);
    let usual = vec![json!({"port": "53", "protocol": "UDP"}), json!({"port": "53", "protocol": "TCP"})];
    // The proxy is told ports by their numbers.
    let is_number = |port: &&PolicyPort| matches!(port.port, PolicyPortNumber::Number(number) if number != 53);
    let further: BTreeSet<&PolicyPort> = pod_ports.iter().filter(is_number).collect();
    let further: Vec<PolicyPort> = further.into_iter().cloned().collect();
    let of_pods = by_proxy(usual.iter().cloned().chain(written(&further)).collect());
    let ports = by_proxy(usual);
    let mut pods = selector(&config.dns.pod_selector);
    if let Some(pods) = pods.as_object_mut() {
        let labels = pods.entry("matchLabels").or_insert_with(|| json!({}));
        labels[NAMESPACE] = json!(config.dns.namespace);
    }
    let caches = config.dns.node_local_addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
    let caches: Vec<String> = caches.map(|address| IpNet::from(address).to_string()).collect();
    let mut all = vec![json!({"toEndpoints": [pods], "toPorts": of_pods})];
    if !caches.is_empty() {
        all.push(json!({"toCIDR": caches, "toPorts": ports}));
    }
    all
}

fn selector(selector: &LabelSelector) -> Value {
    let mut all = Map::new();
    if let Some(labels) = selector.match_labels.as_ref().filter(|labels| !labels.is_empty()) {
        let labels: Map<_, _> = labels.iter().map(|(key, value)| (format!("k8s:{key}"), json!(value))).collect();
        all.insert("matchLabels".into(), Value::Object(labels));
    }
    if let Some(expressions) = selector.match_expressions.as_ref().filter(|expressions| !expressions.is_empty()) {
        let expressions = expressions.iter().map(|one| {
            let mut expression = json!({"key": format!("k8s:{}", one.key), "operator": one.operator});
            if let Some(values) = one.values.as_ref().filter(|values| !values.is_empty()) {
                expression["values"] = json!(values);
            }
            expression
        });
        all.insert("matchExpressions".into(), expressions.collect());
    }
    Value::Object(all)
}

fn written(ports: &[PolicyPort]) -> Vec<Value> {
    let port = |port: &PolicyPort| {
        let number = match &port.port {
            PolicyPortNumber::Number(number) => number.to_string(),
            PolicyPortNumber::Name(name) => name.clone(),
        };
        let mut written = json!({"port": number, "protocol": port.protocol.as_str()});
        if let Some(end) = port.end_port {
            written["endPort"] = json!(end);
        }
        written
    };
    ports.iter().map(port).collect()
}
