//! Whether two rules lead to a common destination, by what is written in them.

use crate::address::DomainName;
use cloister_api::{EgressRule, ServiceReference, StorageEndpoint};
use ipnet::IpNet;
use std::str::FromStr;

/// Whether two rules name a destination in common, whatever their ports and pods.
pub fn overlap(one: &EgressRule, other: &EgressRule) -> bool {
    Destinations::of_rule(one).overlap(&Destinations::of_rule(other))
}

/// Whether a rule names a destination that the endpoint of a StorageResource has.
pub fn endpoint_overlaps(rule: &EgressRule, endpoint: &StorageEndpoint) -> bool {
    Destinations::of_rule(rule).overlap(&Destinations::of_endpoint(endpoint))
}

/// Those of the networks that a rule names an address of.
pub fn overlapping_networks<'a>(rule: &EgressRule, networks: &'a [String]) -> Vec<&'a str> {
    let own = Destinations::of_rule(rule).networks;
    let named = |network: &&String| network.parse().is_ok_and(|other| own.iter().any(|own| intersect(own, &other)));
    networks.iter().filter(named).map(String::as_str).collect()
}

/// What something leads to.
struct Destinations<'a> {
    service: Option<&'a ServiceReference>,
    names: Vec<DomainName>,
    networks: Vec<IpNet>,
}

impl<'a> Destinations<'a> {
    fn of_rule(rule: &'a EgressRule) -> Self {
        let private = rule.private_endpoint.iter().map(|endpoint| &endpoint.domain_name);
        Destinations {
            service: rule.service.as_ref(),
            names: parsed(rule.domain_names.iter().flatten().chain(private)),
            networks: parsed(rule.networks.iter().flatten()),
        }
    }

    fn of_endpoint(endpoint: &'a StorageEndpoint) -> Self {
        let private = endpoint.private_endpoint.as_ref();
        let within = private.into_iter().flat_map(|private| &private.expected_networks);
        Destinations {
            service: endpoint.service.as_ref(),
            names: parsed(endpoint.domain_names.iter().flatten().chain(private.map(|private| &private.domain_name))),
            networks: parsed(endpoint.networks.iter().flatten().chain(within)),
        }
    }

    fn overlap(&self, other: &Self) -> bool {
        let same_service = self.service.is_some() && self.service == other.service;
        let common_name =
            self.names.iter().any(|name| other.names.iter().any(|other| name.intersection(other).is_some()));
        let common_network = self.networks.iter().any(|own| other.networks.iter().any(|other| intersect(own, other)));
        same_service || common_name || common_network
    }
}

fn intersect(one: &IpNet, other: &IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn parsed<'a, T: FromStr>(texts: impl Iterator<Item = &'a String>) -> Vec<T> {
    texts.filter_map(|text| text.parse().ok()).collect()
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
