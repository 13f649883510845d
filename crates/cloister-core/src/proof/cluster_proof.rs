//! The proof that a ClusterNetworkPolicy accepts no more than was approved.
//!
//! Only its Accept rules open something. Traffic that it passes on is decided by the NetworkPolicies, which have a proof of
//! their own.

use super::{
    names_allowed::{ByName, PortRange},
    objection::{Agreements, Excess, about},
};
use crate::address::{DomainName, NeverOpened, Selector};
use cloister_api::{Protocol, plugin::ClusterNetworkPolicy};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    tier: String,
    #[serde(rename = "priority")]
    _priority: u16,
    subject: Subject,
    egress: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Subject {
    Pods(Pods),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pods {
    namespace_selector: LabelSelector,
    pod_selector: LabelSelector,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    action: Action,
    to: Vec<Peer>,
    #[serde(default)]
    protocols: Vec<Value>,
}

#[derive(Deserialize, PartialEq)]
enum Action {
    Accept,
    Deny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Peer {
    Networks(Vec<IpNet>),
    DomainNames(Vec<String>),
}

/// What a ClusterNetworkPolicy for a namespace would open by domain name that nobody approved, as a message.
pub fn objection_to_cluster(
    policy: &ClusterNetworkPolicy,
    namespace: &str,
    agreed: &Agreements<'_>,
    never: &NeverOpened,
) -> Option<String> {
    let name = policy.metadata.name.clone().unwrap_or_default();
    let what = match policy.spec.clone().map(serde_json::from_value::<Spec>) {
        Some(Ok(spec)) => too_much(&spec, namespace, agreed, never),
        Some(Err(error)) => Some(format!("something that cannot be parsed ({error})")),
        None => Some("everything".to_owned()),
    };
    what.map(|what| Excess { kind: "ClusterNetworkPolicy", policy: name, what }.to_string())
}

fn too_much(spec: &Spec, namespace: &str, agreed: &Agreements<'_>, never: &NeverOpened) -> Option<String> {
    let Subject::Pods(subject) = &spec.subject;
    let labels = subject.namespace_selector.match_labels.as_ref();
    let is_here =
        labels.and_then(|labels| labels.get("kubernetes.io/metadata.name")).is_some_and(|name| name == namespace);
    if spec.tier != "Admin" || !is_here {
        return Some("something outside of the namespace".to_owned());
    }
    // Where the selector cannot be parsed, no agreement covers its pods.
    let pods = Selector::parse(Some(&subject.pod_selector));
    let about = pods.map(|pods| about(agreed, &pods)).unwrap_or_default();
    spec.egress.iter().enumerate().filter(|(_, rule)| rule.action == Action::Accept).find_map(|(at, rule)| {
        let mut names = Vec::new();
        for peer in &rule.to {
            let Peer::DomainNames(some) = peer else { return Some("something other than domain names".to_owned()) };
            for name in some {
                let Ok(name) = name.parse::<DomainName>() else { return Some("an invalid domain name".to_owned()) };
                names.push(name);
            }
        }
        let Some(ports) = all_ports(&rule.protocols) else { return Some("an invalid port".to_owned()) };
        let by_name = ByName { about: &about, names: &names, ports: &ports };
        // The first rule that matches decides.
        let before = spec.egress.iter().take(at).filter(|rule| rule.action == Action::Deny);
        by_name.too_much(never, |port| {
            let here = before.clone().filter(|rule| {
                rule.protocols.is_empty() || all_ports(&rule.protocols).is_some_and(|denied| port.is_within(&denied))
            });
            here.flat_map(|rule| &rule.to).filter_map(Peer::networks).flatten().copied().collect()
        })
    })
}

impl Peer {
    fn networks(&self) -> Option<&[IpNet]> {
        match self {
            Peer::Networks(networks) => Some(networks),
            Peer::DomainNames(_) => None,
        }
    }
}

fn all_ports(protocols: &[Value]) -> Option<Vec<PortRange>> {
    protocols.iter().map(port).collect()
}

/// The ports of one entry; `None` if it is written in a way that Cloister does not write.
fn port(entry: &Value) -> Option<PortRange> {
    let entry = entry.as_object().filter(|entry| entry.len() == 1)?;
    let (name, ports) = entry.iter().next()?;
    let protocol = match name.as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    let number = |pointer: &str| ports.pointer(pointer)?.as_u64()?.try_into().ok();
    let single: Option<u16> = number("/destinationPort/number");
    let range = match single {
        Some(port) => port..=port,
        None => number("/destinationPort/range/start")?..=number("/destinationPort/range/end")?,
    };
    Some(PortRange { protocol, range })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::objection::Declaration;
    use cloister_api::EgressRule;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    fn spec() -> Value {
        let denied: Vec<String> = NeverOpened::new(&[]).networks().iter().map(ToString::to_string).collect();
        let ports = json!([{"tcp": {"destinationPort": {"number": 443}}}]);
        json!({
            "tier": "Admin", "priority": 901,
            "subject": {"pods": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "interp"}},
                "podSelector": {"matchLabels": {"app": "a"}},
            }},
            "egress": [
                {"action": "Deny", "to": [{"networks": denied}], "protocols": ports},
                {"action": "Accept", "to": [{"domainNames": ["*.example.com"]}], "protocols": ports},
            ],
        })
    }

    fn objection(place: &str, value: Value) -> Option<String> {
        let rule: EgressRule = serde_json::from_value(json!({
            "name": "r", "domainNames": ["*.example.com"], "ports": [{"port": 443}],
            "podSelector": {"matchLabels": {"app": "a"}},
        }))
        .unwrap();
        let mut spec = spec();
        if let Some(found) = spec.pointer_mut(place).filter(|_| !place.is_empty()) {
            *found = value;
        }
        let policy = ClusterNetworkPolicy::new(ObjectMeta::default(), spec);
        objection_to_cluster(&policy, "interp", &vec![vec![Declaration::rule(&rule).unwrap()]], &NeverOpened::new(&[]))
    }

    #[test]
    fn what_was_agreed_to_is_no_excess() {
        assert_eq!(objection("", json!(null)), None);
        assert_eq!(objection("/egress/1/to/0/domainNames", json!(["a.example.com"])), None);
    }

    #[test]
    fn what_nobody_agreed_to_is_found() {
        let cases = [
            ("/egress/1/to/0/domainNames", "example.com on TCP/443", json!(["example.com"])),
            ("/egress/1/to/0", "something other than domain names", json!({"networks": ["198.51.100.0/24"]})),
            ("/egress/1/to/0", "cannot be parsed", json!({"namespaces": {}})),
            ("/egress/1/protocols", "all ports", json!([])),
            (
                "/egress/1/protocols/0",
                "TCP/443-444",
                json!({"tcp": {"destinationPort": {"range": {"start": 443, "end": 444}}}}),
            ),
            ("/egress/1/protocols/0", "an invalid port", json!({"destinationNamedPort": "web"})),
            ("/egress/0/action", "something other than domain names", json!("Accept")),
            ("/egress/0/to/0/networks", "which a domain name may resolve to", json!(["10.0.0.0/8"])),
            (
                "/egress/0/protocols/0",
                "which a domain name may resolve to",
                json!({"tcp": {"destinationPort": {"number": 444}}}),
            ),
            ("/subject/pods/podSelector", "example.com on TCP/443", json!({})),
            (
                "/subject/pods/podSelector",
                "example.com on TCP/443",
                json!({"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "app", "operator": "In"}]}),
            ),
            ("/subject/pods/namespaceSelector", "outside of the namespace", json!({})),
            ("/tier", "outside of the namespace", json!("Baseline")),
        ];
        for (place, found, value) in cases {
            let said = objection(place, value.clone()).unwrap_or_else(|| panic!("{place}: {value} was taken"));
            assert!(said.contains(found), "{place}: {said}");
        }
    }
}
