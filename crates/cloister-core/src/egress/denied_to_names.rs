//! Openings that are held by what the network plugin sees of DNS.
//!
//! A pod asks for a name, and whatever address it is answered is opened to it. So that nobody leads a name to where no
//! public name leads (DNS rebinding), everything but the Internet is denied to the same pods on the same ports. What
//! denies wins over what opens; where other rules open some of that to the same pods, it must be left out.

use super::{AllowRule, Peers};
use crate::address::{
    PolicyPort, PolicyPortNumber,
    networks::NetworkSet,
    never::NeverOpened,
    public::{NOT_PUBLIC, not_public_part},
    special::MAPPED,
};
use cloister_api::Protocol;
use ipnet::IpNet;
use std::ops::RangeInclusive;

/// Why an opening cannot be held by names exactly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inexact {
    /// The plugin may not know the protocol.
    #[error("network plugins enforce SCTP only if that is enabled")]
    Sctp,
    /// What is denied beside it would deny DNS.
    #[error("port 53 is among its ports, and pods query the DNS of the cluster on that port")]
    Dns,
    /// Others of the same pods, or on some of the same ports, may reach a private network.
    #[error(
        "other rules open {0} to some of the same pods or on some of the same ports, so it can neither be denied nor opened by \
         name"
    )]
    Private(IpNet),
}

/// Everything but the Internet, and what is never opened of it.
pub fn not_the_internet(never: &NeverOpened) -> Vec<IpNet> {
    not_internet(never).to_networks()
}

fn not_internet(never: &NeverOpened) -> NetworkSet {
    // IPv4 under another name is IPv4 on the wire, and no CIDR that the API server takes.
    NOT_PUBLIC.union(never.set()).difference(&NetworkSet::of([IpNet::V6(MAPPED)]))
}

/// The networks that must be denied to the pods of an opening by name, on its ports: everything but the Internet, without
/// what `others` open by address to all of these pods on all of these ports.
///
/// # Errors
///
/// There is no such set: what one of `others` opens would be denied, or opened by a name.
pub fn not_to_be_reached(
    opening: &AllowRule,
    others: &[AllowRule],
    never: &NeverOpened,
) -> Result<Vec<IpNet>, Inexact> {
    for (protocol, range) in opening.ports.iter().filter_map(numbers) {
        if protocol == Protocol::Sctp {
            return Err(Inexact::Sctp);
        }
        if range.contains(&53) {
            return Err(Inexact::Dns);
        }
    }
    let mut denied = not_internet(never);
    let mut in_part = Vec::new();
    for other in others {
        let Peers::Networks(networks) = &other.peers else { continue };
        let private = not_public_part(networks);
        if private.is_empty() || !shares_a_port(opening, other) {
            continue;
        }
        if opening.pods.implies(&other.pods) && has_all_ports(opening, other) {
            denied = denied.difference(&private);
        } else if opening.pods.conjunction(&other.pods).is_satisfiable() {
            in_part.push(private);
        }
    }
    for private in in_part {
        if let Some(network) = private.intersection(&denied).to_networks().first() {
            return Err(Inexact::Private(*network));
        }
    }
    Ok(denied.to_networks())
}

fn numbers(port: &PolicyPort) -> Option<(Protocol, RangeInclusive<u16>)> {
    match port.port {
        PolicyPortNumber::Number(first) => Some((port.protocol, first..=port.end_port.unwrap_or(first))),
        PolicyPortNumber::Name(_) => None,
    }
}

fn shares_a_port(one: &AllowRule, other: &AllowRule) -> bool {
    one.ports.iter().filter_map(numbers).any(|(protocol, own)| {
        let meets = |(its, range): (Protocol, RangeInclusive<u16>)| {
            its == protocol && own.start() <= range.end() && range.start() <= own.end()
        };
        other.ports.iter().filter_map(numbers).any(meets)
    })
}

/// Ranges of one opening are neither adjacent nor overlapping, so that one contains what it can.
fn has_all_ports(one: &AllowRule, other: &AllowRule) -> bool {
    one.ports.iter().filter_map(numbers).all(|(protocol, own)| {
        let contains = |(its, range): (Protocol, RangeInclusive<u16>)| {
            its == protocol && range.start() <= own.start() && own.end() <= range.end()
        };
        other.ports.iter().filter_map(numbers).any(contains)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{Surroundings, open_rule};
    use serde_json::{Value, json};

    fn opening(rule: Value) -> AllowRule {
        let never = NeverOpened::new(&[]);
        let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: true };
        let mut rule = rule;
        rule["name"] = json!("r");
        open_rule(&serde_json::from_value(rule).unwrap(), &surroundings).unwrap()
    }

    fn named(ports: Value, pods: Value) -> AllowRule {
        opening(json!({"domainNames": ["*.example.com"], "ports": ports, "podSelector": pods}))
    }

    fn private(network: &str, ports: Value, pods: Value) -> AllowRule {
        opening(json!({"networks": [network], "ports": ports, "podSelector": pods}))
    }

    fn denied(opening: &AllowRule, others: &[AllowRule]) -> Result<NetworkSet, Inexact> {
        not_to_be_reached(opening, others, &NeverOpened::new(&["203.0.113.0/28".parse().unwrap()])).map(NetworkSet::of)
    }

    fn has(denied: &NetworkSet, address: &str) -> bool {
        denied.contains(address.parse().unwrap())
    }

    #[test]
    fn a_name_leads_to_the_internet_alone() {
        let all = denied(&named(json!([{"port": 443}]), json!({})), &[]).unwrap();
        for address in ["169.254.169.254", "10.1.2.3", "192.168.0.1", "100.64.0.1", "203.0.113.1", "fd00::1", "::1"] {
            assert!(has(&all, address), "{address}");
        }
        for address in ["198.51.100.7", "203.0.113.77", "2001:db8::1"] {
            assert!(!has(&all, address), "{address}");
        }
    }

    #[test]
    fn what_the_same_pods_reach_anyway_is_not_denied() {
        let names = named(json!([{"port": 443}]), json!({"matchLabels": {"app": "a"}}));
        let wider = private("10.40.0.0/16", json!([{"port": 440, "endPort": 450}]), json!({}));
        let left = denied(&names, &[wider]).unwrap();
        assert!(!has(&left, "10.40.1.1") && has(&left, "10.41.1.1"));
        let elsewhere = private("10.40.0.0/16", json!([{"port": 22}]), json!({}));
        assert!(has(&denied(&names, &[elsewhere]).unwrap(), "10.40.1.1"), "another port");
        let others = private("10.40.0.0/16", json!([{"port": 443}]), json!({"matchLabels": {"app": "b"}}));
        assert!(has(&denied(&names, &[others]).unwrap(), "10.40.1.1"), "other pods");
    }

    #[test]
    fn what_cannot_be_held_exactly_is_not_held() {
        let names = named(json!([{"port": 443}, {"port": 8443}]), json!({}));
        let network = "10.40.0.0/16".parse().unwrap();
        let some_pods = private("10.40.0.0/16", json!([{"port": 443}]), json!({"matchLabels": {"app": "b"}}));
        assert_eq!(denied(&names, std::slice::from_ref(&some_pods)), Err(Inexact::Private(network)));
        let one_port = private("10.40.0.0/16", json!([{"port": 443}]), json!({}));
        assert_eq!(denied(&names, &[one_port]), Err(Inexact::Private(network)));
        // It is open to all of them by another rule.
        let all = private("10.0.0.0/8", json!([{"port": 443}, {"port": 8443}]), json!({}));
        assert!(denied(&names, &[some_pods, all]).is_ok());
        assert_eq!(denied(&named(json!([{"port": 40, "endPort": 60}]), json!({})), &[]), Err(Inexact::Dns));
        let sctp = json!([{"port": 443, "protocol": "SCTP"}]);
        assert_eq!(denied(&named(sctp, json!({})), &[]), Err(Inexact::Sctp));
    }
}
