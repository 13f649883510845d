//! Whether what is opened is open already.

use super::{AllowRule, Peers};
use crate::{
    address::{PolicyPort, PolicyPortNumber, networks::NetworkSet},
    dns::Host,
};
use ipnet::IpNet;

/// Whether others open all that an opening opens. A false "no" is possible, a false "yes" is not: each of its ports is looked
/// for in one range of another, and where it names hosts or pods, they are looked for in one other.
pub fn is_within(opening: &AllowRule, others: &[AllowRule]) -> bool {
    let others: Vec<&AllowRule> = others.iter().filter(|other| opening.pods.implies(&other.pods)).collect();
    opening.ports.iter().all(|port| {
        let on_port = || others.iter().filter(|other| other.ports.iter().any(|other| includes(other, port)));
        match &opening.peers {
            Peers::Networks(networks) => {
                let open = on_port().filter_map(|other| match &other.peers {
                    Peers::Networks(networks) => Some(networks.iter().copied()),
                    _ => None,
                });
                let open = NetworkSet::of(open.flatten().collect::<Vec<IpNet>>());
                NetworkSet::of(networks.iter().copied()).difference(&open).is_empty()
            }
            Peers::Hosts(hosts) => hosts.iter().all(|host| {
                on_port().any(|other| match &other.peers {
                    Peers::Hosts(others) => others.iter().any(|other| covers(other, host)),
                    _ => false,
                })
            }),
            Peers::Pods { .. } => on_port().any(|other| other.peers == opening.peers),
        }
    })
}

fn covers(other: &Host, host: &Host) -> bool {
    other.expected == host.expected && other.name.covers(&host.name)
}

fn includes(other: &PolicyPort, port: &PolicyPort) -> bool {
    let range = |port: &PolicyPort| match port.port {
        PolicyPortNumber::Number(first) => Some((first, port.end_port.unwrap_or(first))),
        PolicyPortNumber::Name(_) => None,
    };
    let same = other.protocol == port.protocol;
    match (range(other), range(port)) {
        (Some((first, last)), Some((from, to))) => same && first <= from && to <= last,
        _ => other == port,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::never::NeverOpened,
        egress::{Surroundings, open_rule},
    };
    use serde_json::{Value, json};

    fn opening(target: Value, ports: Value, pods: Value) -> AllowRule {
        let mut rule = json!({"name": "a", "ports": ports, "podSelector": pods});
        rule.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
        let never = NeverOpened::new(&[]);
        let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: true };
        open_rule(&serde_json::from_value(rule).unwrap(), &surroundings).unwrap()
    }

    #[test]
    fn what_others_open_together_is_open() {
        let networks = |all: &[&str], ports: Value| opening(json!({"networks": all}), ports, json!(null));
        let https = || json!([{"port": 443}]);
        let halves =
            [networks(&["192.0.2.0/25"], https()), networks(&["192.0.2.128/25"], json!([{"port": 1, "endPort": 999}]))];
        assert!(is_within(&networks(&["192.0.2.0/24"], https()), &halves));
        assert!(!is_within(&networks(&["192.0.2.0/24"], https()), &halves[..1]));
        assert!(!is_within(&networks(&["192.0.2.128/25"], json!([{"port": 443}, {"port": 1022}])), &halves));
        assert!(!is_within(&networks(&["192.0.2.0/25"], json!([{"port": 443, "protocol": "UDP"}])), &halves));

        let hosts = |all: &[&str], pods: Value| opening(json!({"domainNames": all}), https(), pods);
        let all_pods = || json!(null);
        let some_pods = || json!({"matchLabels": {"app": "sync"}});
        let wide = [hosts(&["*.example.com"], all_pods())];
        assert!(is_within(&hosts(&["a.example.com"], some_pods()), &wide));
        assert!(!is_within(&hosts(&["a.example.com", "a.example.org"], all_pods()), &wide));
        assert!(!is_within(&hosts(&["a.example.com"], all_pods()), &[hosts(&["a.example.com"], some_pods())]));
        assert!(!is_within(&hosts(&["a.example.com"], all_pods()), &halves));
    }
}
