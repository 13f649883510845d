//! What is opened, and its NetworkPolicy.

use crate::{
    address::{NeverOpened, NeverWhy, PolicyPort, Refusal, Selector, networks::NetworkSet},
    dns::{Held, Host, Names},
    model::text::first_of,
};
use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap};

/// The label that the API server puts on every Namespace, with its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// How many networks are named that are cut out.
const NAMED: usize = 3;

/// One NetworkPolicy's worth: these pods may reach these peers on these ports.
///
/// Openings are never merged: the peers of one on the ports of another would be open too.
#[derive(Clone, Debug, PartialEq)]
pub struct AllowRule {
    /// The pods that may, in the namespace of the policy.
    pub pods: Selector,
    /// What they may reach.
    pub peers: Peers,
    /// On which ports. No ports open nothing.
    pub ports: Vec<PolicyPort>,
    /// Where it opens networks: what was declared, with what is never opened of it. By this its breadth is measured.
    pub(crate) declared: Vec<IpNet>,
}

/// What may be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peers {
    /// Disjoint networks. No networks open nothing.
    Networks(Vec<IpNet>),
    /// Names. As such they open nothing: see [`AllowRule::at_addresses`].
    Hosts(Vec<Host>),
    /// Pods of one namespace, by their labels.
    Pods {
        /// The namespace.
        namespace: String,
        /// The labels that the pods must have. No labels open nothing: that would be all pods of the namespace.
        selector: BTreeMap<String, String>,
    },
}

impl AllowRule {
    /// The networks by which its breadth is measured.
    pub(crate) fn measured(&self) -> &[IpNet] {
        match &self.peers {
            Peers::Networks(networks) if self.declared.is_empty() => networks,
            Peers::Networks(_) => &self.declared,
            Peers::Hosts(_) | Peers::Pods { .. } => &[],
        }
    }

    /// The networks that are never opened, where they are a part of those that were declared, by why they are not.
    pub(crate) fn cut_out(&self, never: &NeverOpened) -> Vec<Refusal> {
        let Peers::Networks(open) = &self.peers else { return Vec::new() };
        // Mostly nothing is cut out.
        if self.declared == *open {
            return Vec::new();
        }
        let of = |networks: &[IpNet]| NetworkSet::of(networks.iter().copied());
        let mut by_why: BTreeMap<NeverWhy, Vec<IpNet>> = BTreeMap::new();
        for network in of(&self.declared).difference(&of(open)).to_networks() {
            by_why.entry(never.why(network)).or_default().push(network);
        }
        let refusal = |(why, networks): (NeverWhy, Vec<IpNet>)| Refusal::NetworksNeverOpened {
            networks: first_of(&networks, NAMED, ", "),
            why,
        };
        by_why.into_iter().map(refusal).collect()
    }

    /// The spec of its NetworkPolicy, in the form in which the API server gives it back: defaults written out, sorted.
    ///
    /// Without peers or without ports it is a policy that opens nothing: in a NetworkPolicy, an empty list of either
    /// would mean all of them.
    pub fn to_network_policy_spec(&self) -> NetworkPolicySpec {
        let to: Vec<NetworkPolicyPeer> = match &self.peers {
            Peers::Networks(networks) => networks.iter().map(network_peer).collect(),
            Peers::Hosts(_) => Vec::new(),
            Peers::Pods { selector, .. } if selector.is_empty() => Vec::new(),
            Peers::Pods { namespace, selector } => vec![pod_peer(namespace, selector)],
        };
        let mut ports = Cow::Borrowed(&self.ports);
        if !ports.is_sorted_by(|one, next| one < next) {
            let ports = ports.to_mut();
            ports.sort_unstable();
            ports.dedup();
        }
        let closed = to.is_empty() || ports.is_empty();
        let rule = || NetworkPolicyEgressRule {
            to: Some(to),
            ports: Some(ports.iter().map(PolicyPort::to_network_policy_port).collect()),
        };
        NetworkPolicySpec {
            pod_selector: Some(LabelSelector::from(&self.pods)),
            policy_types: Some(vec!["Egress".to_owned()]),
            egress: (!closed).then(|| vec![rule()]),
            ingress: None,
        }
    }

    /// The same opening with the addresses that its names have now, and what is known of each of them. A name that stands for
    /// others has none.
    pub fn at_addresses(self, names: &Names<'_>) -> (Self, Vec<Held>) {
        let Peers::Hosts(hosts) = &self.peers else { return (self, Vec::new()) };
        let held: Vec<Held> =
            hosts.iter().filter(|host| !host.name.is_wildcard()).map(|host| names.held(host)).collect();
        let addresses = held.iter().flat_map(|held| held.addresses.iter().copied().map(IpNet::from));
        let peers = Peers::Networks(NetworkSet::of(addresses).to_networks());
        (Self { peers, ..self }, held)
    }

    /// An order of openings, so that a list of them does not depend on the order of what they came from.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        (&self.peers, &self.ports)
            .cmp(&(&other.peers, &other.ports))
            .then_with(|| self.pods.cmp(&other.pods))
            .then_with(|| self.declared_breadth().cmp(&other.declared_breadth()))
            .then_with(|| self.declared.cmp(&other.declared))
    }

    /// Whether both open the same to the same pods, by whatever agreement.
    pub(crate) fn opens_what(&self, other: &Self) -> bool {
        (&self.pods, &self.peers, &self.ports) == (&other.pods, &other.peers, &other.ports)
    }

    fn declared_breadth(&self) -> u128 {
        NetworkSet::of(self.declared.iter().copied()).breadth()
    }
}

fn network_peer(network: &IpNet) -> NetworkPolicyPeer {
    // Never with `except`: some dataplanes enforce it wrongly.
    let block = IPBlock { cidr: network.to_string(), except: None };
    NetworkPolicyPeer { ip_block: Some(block), ..Default::default() }
}

fn pod_peer(namespace: &str, selector: &BTreeMap<String, String>) -> NetworkPolicyPeer {
    let labels = |labels| Some(LabelSelector { match_labels: Some(labels), match_expressions: None });
    NetworkPolicyPeer {
        namespace_selector: labels(BTreeMap::from([(NAMESPACE_NAME.to_owned(), namespace.to_owned())])),
        pod_selector: labels(selector.clone()),
        ip_block: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::PolicyPortNumber;
    use cloister_api::Protocol;
    use serde_json::json;

    fn tcp(port: u16, end_port: Option<u16>) -> PolicyPort {
        PolicyPort { protocol: Protocol::Tcp, port: PolicyPortNumber::Number(port), end_port }
    }

    fn spec(peers: Peers, ports: Vec<PolicyPort>) -> serde_json::Value {
        let opening = AllowRule { pods: Selector::everything(), peers, ports, declared: Vec::new() };
        serde_json::to_value(opening.to_network_policy_spec()).unwrap()
    }

    #[test]
    fn what_is_cut_out_is_told_by_where_each_network_is_known_from() {
        use crate::address::Source;
        let network = |text: &str| text.parse::<IpNet>().unwrap();
        let never = NeverOpened::of([
            (network("10.42.0.0/16"), Source::ClusterNetworks),
            (network("10.96.0.0/24"), Source::ClusterNetworks),
            (network("10.97.0.4/32"), Source::ApiServer),
        ]);
        let declared = vec![network("10.0.0.0/8")];
        let open = NetworkSet::of(declared.clone())
            .difference(&NetworkSet::of(["10.42.0.0/16", "10.96.0.0/24", "10.97.0.4/32"].map(network)));
        let peers = Peers::Networks(open.to_networks());
        let rule = AllowRule { pods: Selector::everything(), peers, ports: vec![tcp(443, None)], declared };
        let told: Vec<String> = rule.cut_out(&never).iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        for (network, within) in [("10.42.0.0/16", "in 10.42.0.0/16"), ("10.96.0.0/24", "in 10.96.0.0/24")] {
            let one = told.iter().find(|one| one.starts_with(network)).unwrap();
            assert!(one.contains(within) && !one.contains(", 10."), "{one}");
        }
    }

    #[test]
    fn networks_become_blocks() {
        let networks = Peers::Networks(vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        assert_eq!(
            spec(networks, vec![tcp(443, None), tcp(22, Some(23))]),
            json!({
                "podSelector": {},
                "policyTypes": ["Egress"],
                "egress": [{
                    "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}, {"ipBlock": {"cidr": "2001:db8::/32"}}],
                    "ports": [{"protocol": "TCP", "port": 22, "endPort": 23}, {"protocol": "TCP", "port": 443}],
                }],
            })
        );
    }

    #[test]
    fn pods_are_selected_in_their_namespace() {
        let pods = Peers::Pods {
            namespace: "infra".to_owned(),
            selector: BTreeMap::from([("app".to_owned(), "cache".to_owned())]),
        };
        let named =
            PolicyPort { protocol: Protocol::Udp, port: PolicyPortNumber::Name("dns".to_owned()), end_port: None };
        assert_eq!(
            spec(pods, vec![named])["egress"],
            json!([{
                "to": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "infra"}},
                    "podSelector": {"matchLabels": {"app": "cache"}},
                }],
                "ports": [{"protocol": "UDP", "port": "dns"}],
            }])
        );
    }

    #[test]
    fn nothing_is_never_everything() {
        let closed = json!({"podSelector": {}, "policyTypes": ["Egress"]});
        let network = || Peers::Networks(vec!["10.1.0.0/16".parse().unwrap()]);
        let all_pods = Peers::Pods { namespace: "infra".to_owned(), selector: BTreeMap::new() };
        assert_eq!(spec(Peers::Networks(vec![]), vec![tcp(443, None)]), closed);
        assert_eq!(spec(network(), vec![]), closed);
        assert_eq!(spec(all_pods, vec![tcp(443, None)]), closed);
    }
}
