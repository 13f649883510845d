//! The proof that a CiliumNetworkPolicy opens no more than was approved.
//!
//! It parses the policy as Cilium does. Everything in it that Cloister does not write counts as an excess: nobody approved
//! what it would open.

use super::{
    names_allowed::{ByName, PortRange},
    objection::{Agreements, Excess, about},
};
use crate::address::{DomainName, NeverOpened, PolicyPort, PolicyPortNumber, Selector, SelectorFault};
use cloister_api::{CloisterConfigSpec, Protocol, plugin::CiliumNetworkPolicy};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use std::{net::IpAddr, ops::RangeInclusive};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    endpoint_selector: LabelSelector,
    egress: Vec<Egress>,
    egress_deny: Vec<Deny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Egress {
    #[serde(default)]
    to_endpoints: Vec<LabelSelector>,
    #[serde(default, rename = "toCIDR")]
    to_cidr: Vec<IpNet>,
    #[serde(default, rename = "toFQDNs")]
    to_fqdns: Vec<Name>,
    to_ports: Vec<Ports>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Deny {
    #[serde(rename = "toCIDRSet")]
    to_cidr_set: Vec<Block>,
    to_ports: Vec<Ports>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    cidr: IpNet,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Name {
    MatchName(String),
    MatchPattern(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ports {
    ports: Vec<CiliumPort>,
    #[serde(default)]
    rules: Option<Rules>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    dns: Vec<Name>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CiliumPort {
    port: String,
    end_port: Option<u16>,
    protocol: Protocol,
}

impl CiliumPort {
    fn range(&self) -> Option<RangeInclusive<u16>> {
        let first = self.port.parse().ok()?;
        Some(first..=self.end_port.unwrap_or(first))
    }
}

/// What a CiliumNetworkPolicy would open that nobody approved, as a message.
pub fn objection_to_cilium(
    policy: &CiliumNetworkPolicy,
    agreed: &Agreements<'_>,
    dns: (&CloisterConfigSpec, &[PolicyPort]),
    never: &NeverOpened,
) -> Option<String> {
    let name = policy.metadata.name.clone().unwrap_or_default();
    let what = match policy.spec.clone().map(serde_json::from_value::<Spec>) {
        _ if policy.specs.is_some() => Some("more than one spec".to_owned()),
        Some(Ok(spec)) => too_much(&spec, agreed, dns, never),
        Some(Err(error)) => Some(format!("something that cannot be parsed ({error})")),
        None => Some("everything".to_owned()),
    };
    what.map(|what| Excess { kind: "CiliumNetworkPolicy", policy: name, what }.to_string())
}

fn too_much(
    spec: &Spec,
    agreed: &Agreements<'_>,
    dns: (&CloisterConfigSpec, &[PolicyPort]),
    never: &NeverOpened,
) -> Option<String> {
    // Where the selector cannot be parsed, no agreement covers its pods.
    let about = without_source(&spec.endpoint_selector).map(|pods| about(agreed, &pods)).unwrap_or_default();
    spec.egress.iter().find_map(|entry| {
        if entry.to_fqdns.is_empty() {
            return (!is_dns(entry, dns)).then(|| "destinations other than DNS without domain names".to_owned());
        }
        if !entry.to_endpoints.is_empty() || !entry.to_cidr.is_empty() {
            return Some("endpoints or networks together with domain names".to_owned());
        }
        let Some(names) = entry.to_fqdns.iter().map(meant).collect::<Option<Vec<DomainName>>>() else {
            return Some("an invalid domain name".to_owned());
        };
        let Some(ports) = all_ports(&entry.to_ports) else { return Some("an invalid port".to_owned()) };
        ByName { about: &about, names: &names, ports: &ports }.too_much(never, |port| {
            let deny = spec.egress_deny.iter();
            let here = deny.filter(|deny| all_ports(&deny.to_ports).is_some_and(|denied| port.is_within(&denied)));
            here.flat_map(|deny| &deny.to_cidr_set).map(|block| block.cidr).collect()
        })
    })
}

fn all_ports(ports: &[Ports]) -> Option<Vec<PortRange>> {
    let range = |port: &CiliumPort| Some(PortRange { protocol: port.protocol, range: port.range()? });
    ports.iter().flat_map(|ports| &ports.ports).map(range).collect()
}

/// The domain name that a rule of Cilium names; `None` if it is not valid. For Cilium, `*` stands for a part of one label,
/// and `**` for one or more labels.
fn meant(name: &Name) -> Option<DomainName> {
    match name {
        Name::MatchName(name) => name.parse::<DomainName>().ok().filter(|name| !name.is_wildcard()),
        Name::MatchPattern(pattern) => pattern.strip_prefix("**.").and_then(|rest| format!("*.{rest}").parse().ok()),
    }
}

/// Whether an entry opens only the cluster's own DNS, through the DNS proxy.
fn is_dns(entry: &Egress, (config, pod_ports): (&CloisterConfigSpec, &[PolicyPort])) -> bool {
    let dns = &config.dns;
    // The target port of the Service may differ from its port.
    let leads_to = |port: &CiliumPort| {
        let led = |known: &PolicyPort| match known.port {
            PolicyPortNumber::Number(number) => {
                known.protocol == port.protocol && port.range() == Some(number..=number)
            }
            PolicyPortNumber::Name(_) => false,
        };
        !entry.to_endpoints.is_empty() && pod_ports.iter().any(led)
    };
    let servers = Selector::parse(Some(&dns.pod_selector));
    let is_server = |pods: &LabelSelector| match (without_source(pods), &servers) {
        (Ok(pods), Ok(servers)) => {
            pods.requires("io.kubernetes.pod.namespace", &dns.namespace) && pods.implies(servers)
        }
        _ => false,
    };
    let is_cache = |network: &IpNet| {
        let caches = dns.node_local_addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
        caches.map(IpNet::from).any(|cache| cache == *network)
    };
    let by_proxy = |ports: &Ports| {
        ports.rules.as_ref().is_some_and(|rules| !rules.dns.is_empty())
            && ports.ports.iter().all(|port| port.range() == Some(53..=53) || leads_to(port))
    };
    (entry.to_endpoints.is_empty() != entry.to_cidr.is_empty())
        && entry.to_endpoints.iter().all(is_server)
        && entry.to_cidr.iter().all(is_cache)
        && !entry.to_ports.is_empty()
        && entry.to_ports.iter().all(by_proxy)
}

/// A selector without the `k8s:` prefix of Cilium's keys. A key of another source stays as it is, and matches no pod.
fn without_source(selector: &LabelSelector) -> Result<Selector, SelectorFault> {
    let bare = |key: &String| key.strip_prefix("k8s:").unwrap_or(key).to_owned();
    let mut bared = selector.clone();
    if let Some(labels) = &mut bared.match_labels {
        *labels = labels.iter().map(|(key, value)| (bare(key), value.clone())).collect();
    }
    for expression in bared.match_expressions.iter_mut().flatten() {
        expression.key = bare(&expression.key);
    }
    Selector::parse(Some(&bared))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::objection::Declaration;
    use cloister_api::EgressRule;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, json};

    /// The spec of a policy that opens `*.example.com` and `a.example.org` on 443 to pods `app=a`, without excess.
    fn spec() -> Value {
        let ports = json!([{"ports": [{"port": "443", "protocol": "TCP"}]}]);
        let never = NeverOpened::new(&[]).networks();
        let denied: Vec<Value> = never.iter().map(|network| json!({"cidr": network.to_string()})).collect();
        json!({
            "endpointSelector": {"matchLabels": {"k8s:app": "a"}},
            "egress": [
                {
                    "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns"}}],
                    "toPorts": [{"ports": [{"port": "53", "protocol": "UDP"}], "rules": {"dns": [{"matchPattern": "*"}]}}],
                },
                {"toFQDNs": [{"matchPattern": "**.example.com"}, {"matchName": "a.example.org"}], "toPorts": ports},
            ],
            "egressDeny": [{"toCIDRSet": denied, "toPorts": ports}],
        })
    }

    /// These labels, and an expression that cannot be parsed.
    fn unparsable(labels: Value) -> Value {
        json!({"matchLabels": labels, "matchExpressions": [{"key": "k8s:app", "operator": "In"}]})
    }

    fn objection(change: impl FnOnce(&mut Value)) -> Option<String> {
        let rule: EgressRule = serde_json::from_value(json!({
            "name": "r", "domainNames": ["*.example.com", "a.example.org"], "ports": [{"port": 440, "endPort": 450}],
            "podSelector": {"matchLabels": {"app": "a"}},
        }))
        .unwrap();
        let mut spec = spec();
        change(&mut spec);
        let policy = CiliumNetworkPolicy::new(ObjectMeta { name: Some("p".into()), ..ObjectMeta::default() }, spec);
        let agreed = vec![vec![Declaration::rule(&rule).unwrap()]];
        let ports = [PolicyPort::number(Protocol::Udp, 5353)];
        objection_to_cilium(&policy, &agreed, (&CloisterConfigSpec::default(), &ports), &NeverOpened::new(&[]))
    }

    #[test]
    fn what_was_agreed_to_is_no_excess() {
        assert_eq!(objection(|_| {}), None);
        assert_eq!(
            objection(|spec| spec["egress"][1]["toFQDNs"] = json!([{"matchPattern": "**.b.example.com"}])),
            None
        );
    }

    #[test]
    fn the_port_that_the_dns_service_leads_to_is_dns_at_its_pods_alone() {
        let to = |port: &'static str, protocol: &'static str| {
            objection(|spec| spec["egress"][0]["toPorts"][0]["ports"] = json!([{"port": port, "protocol": protocol}]))
        };
        assert_eq!(to("5353", "UDP"), None);
        assert!(to("5353", "TCP").is_some() && to("5354", "UDP").is_some());
        let cache = json!({"toCIDR": ["169.254.20.10/32"], "toPorts": [{
            "ports": [{"port": "5353", "protocol": "UDP"}], "rules": {"dns": [{"matchPattern": "*"}]},
        }]});
        assert!(objection(|spec| spec["egress"][0] = cache).is_some());
    }

    #[test]
    fn what_nobody_agreed_to_is_found() {
        let dns = spec()["egress"][0]["toEndpoints"][0].clone();
        let cases: [(&str, &str, Value); 18] = [
            ("/endpointSelector", "example.com on TCP/443", unparsable(json!({"k8s:app": "a"}))),
            ("/egress/0/toEndpoints/0", "other than DNS", unparsable(dns["matchLabels"].clone())),
            ("/endpointSelector", "example.com on TCP/443", json!({})),
            ("/endpointSelector", "example.com on TCP/443", json!({"matchLabels": {"any:app": "a"}})),
            ("/egress/1/toFQDNs/0", "b.example.org on", json!({"matchName": "b.example.org"})),
            ("/egress/1/toFQDNs/0", "*.example.org on", json!({"matchPattern": "**.example.org"})),
            ("/egress/1/toFQDNs/0", "an invalid domain name", json!({"matchPattern": "*.example.com"})),
            ("/egress/1/toFQDNs/0", "an invalid domain name", json!({"matchPattern": "*"})),
            ("/egress/1/toPorts/0/ports/0/port", "TCP/451", json!("451")),
            ("/egress/1/toPorts/0/ports/0/endPort", "TCP/443", json!(451)),
            ("/egress/1/toPorts/0/ports/0/protocol", "UDP/443", json!("UDP")),
            ("/egress/1/toPorts", "all ports", json!([])),
            ("/egress/1/toCIDR", "together with domain names", json!(["198.51.100.0/24"])),
            ("/egress/1/toEntities", "cannot be parsed", json!(["world"])),
            ("/egress/0/toPorts/0/ports/0/port", "other than DNS", json!("443")),
            ("/egress/0/toEndpoints/0/matchLabels", "other than DNS", json!({"k8s:k8s-app": "kube-dns"})),
            ("/egress/0/toPorts/0/rules", "other than DNS", json!(null)),
            ("/egressDeny", "which a domain name may resolve to", json!([])),
        ];
        for (place, found, value) in cases {
            let said = objection(|spec| {
                let (parent, key) = place.rsplit_once('/').unwrap();
                match spec.pointer_mut(parent).unwrap() {
                    Value::Array(all) => all[key.parse::<usize>().unwrap()] = value.clone(),
                    object => object[key] = value.clone(),
                }
            });
            let said = said.unwrap_or_else(|| panic!("{place}: {value} was taken"));
            assert!(said.contains(found) && said.contains("CiliumNetworkPolicy p"), "{place}: {said}");
        }
    }

    #[test]
    fn one_metadata_service_that_is_not_denied_is_found() {
        let said = objection(|spec| {
            let denied = spec["egressDeny"][0]["toCIDRSet"].as_array_mut().unwrap();
            denied.retain(|block| block["cidr"] != "169.254.0.0/16");
        });
        assert!(said.unwrap().contains("169.254.0.0 on TCP/443"));
    }
}
