//! Whether two rules lead to a common destination, by what is written in them.

use crate::address::DomainName;
use cloister_api::EgressRule;
use ipnet::IpNet;

/// Whether two rules name a destination in common, whatever their ports and pods.
pub fn overlap(one: &EgressRule, other: &EgressRule) -> bool {
    let same_service = one.service.is_some() && one.service == other.service;
    let (names, others) = (names(one), names(other));
    let common_name = names.iter().any(|name| others.iter().any(|other| name.intersection(other).is_some()));
    let (networks, others) = (networks(one), networks(other));
    let common_network = networks.iter().any(|network| {
        others.iter().any(|other| network.contains(&other.network()) || other.contains(&network.network()))
    });
    same_service || common_name || common_network
}

fn names(rule: &EgressRule) -> Vec<DomainName> {
    let private = rule.private_endpoint.iter().map(|endpoint| &endpoint.domain_name);
    rule.domain_names.iter().flatten().chain(private).filter_map(|name| name.parse().ok()).collect()
}

fn networks(rule: &EgressRule) -> Vec<IpNet> {
    rule.networks.iter().flatten().filter_map(|network| network.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_overlap_where_they_name_something_in_common() {
        let rule = |more: serde_json::Value| -> EgressRule {
            let mut rule = json!({"name": "a", "ports": [{"port": 443}]});
            rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(rule).unwrap()
        };
        let names = |all: &[&str]| rule(json!({"domainNames": all}));
        let networks = |all: &[&str]| rule(json!({"networks": all}));
        let service = |name: &str| rule(json!({"service": {"namespace": "infra", "name": name}}));
        let private =
            rule(json!({"privateEndpoint": {"domainName": "a.example.com", "expectedNetworks": ["10.0.0.0/8"]}}));
        for (one, other, expected) in [
            (names(&["a.example.com"]), names(&["b.example.com", "a.example.com"]), true),
            (names(&["*.example.com"]), names(&["a.example.com"]), true),
            (names(&["a.example.com"]), names(&["b.example.com"]), false),
            (names(&["a.example.com"]), private, true),
            (networks(&["192.0.2.0/24"]), networks(&["192.0.2.128/25"]), true),
            (networks(&["192.0.2.128/25"]), networks(&["192.0.2.0/24"]), true),
            (networks(&["192.0.2.0/25"]), networks(&["192.0.2.128/25"]), false),
            (service("cache"), service("cache"), true),
            (service("cache"), service("other"), false),
            (service("cache"), networks(&["192.0.2.0/24"]), false),
        ] {
            assert_eq!(overlap(&one, &other), expected, "{one:?} {other:?}");
            assert_eq!(overlap(&other, &one), expected, "{other:?} {one:?}");
        }
    }
}
