//! What the API says of the cluster around: its own networks, its DNS, and the kinds of network policies that it has.

use crate::egress::{PolicyPort, selector_implies_labels, selectors_can_meet};
use cloister_api::DnsConfig;
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The cluster's own networks, as far as the API says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNetworks {
    /// The networks of Services: ServiceCIDRs, and what ClusterIPs outside of them show.
    pub services: BTreeSet<IpNet>,
    /// The networks of the Nodes' pods.
    pub pods: BTreeSet<IpNet>,
    /// The addresses of the Nodes.
    pub nodes: BTreeSet<IpAddr>,
    /// The addresses of the API server: its Service, and the endpoints of that.
    pub api_server: BTreeSet<IpAddr>,
    /// How many Nodes there are.
    pub node_count: usize,
}

impl ClusterNetworks {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = IpNet> {
        let networks = self.services.iter().chain(&self.pods).copied();
        networks.chain(self.nodes.iter().copied().map(IpNet::from))
    }
}

/// The network that a ClusterIP outside of all ServiceCIDRs shows: no more is known of it.
pub fn shown_by(address: IpAddr) -> IpNet {
    let prefix = if address.is_ipv4() { 24 } else { 112 };
    IpNet::new(address, prefix).map_or_else(|_| IpNet::from(address), |network| network.trunc())
}

/// What is known of the cluster's own DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsFacts {
    /// The addresses of its Service. Nothing where there is no such Service.
    pub addresses: Option<Vec<IpAddr>>,
    /// The labels that its Service selects pods by.
    pub selector: BTreeMap<String, String>,
    /// The ports of its pods that port 53 of the Service leads to.
    pub ports: Vec<PolicyPort>,
    /// The addresses of its endpoints that are ready.
    pub endpoints: Vec<IpAddr>,
}

/// Why pods do not reach the DNS that CloisterConfig names, as far as can be seen: the reason in one word, whether that is
/// certain, and a message.
pub fn dns_fault(dns: &DnsConfig, facts: &DnsFacts, nodes: &BTreeSet<IpAddr>) -> Option<(&'static str, bool, String)> {
    let service = format!("Service {}/{}", dns.namespace, dns.service);
    let correct = "correct dns of CloisterConfig";
    if facts.addresses.is_none() {
        let message =
            format!("{service} does not exist; {correct}: pods resolve names by that Service and its pods alone");
        return Some(("DNSServiceNotFound", true, message));
    }
    let pods = Some(&dns.pod_selector);
    if facts.selector.is_empty() || !selectors_can_meet(pods, &facts.selector) {
        let message = format!(
            "dns.podSelector selects none of the pods of {service}; {correct}, with the selector of the Service"
        );
        return Some(("DNSSelectorMismatch", true, message));
    }
    if facts.endpoints.is_empty() {
        let message = format!("{service} has no endpoint that is ready; look at its pods, or {correct}");
        return Some(("DNSWithoutEndpoints", true, message));
    }
    if facts.endpoints.iter().all(|address| nodes.contains(address)) {
        let message = format!(
            "the pods of {service} are on the network of their nodes, where a NetworkPolicy does not find them by their labels; name \
             the addresses that pods ask in dns.nodeLocalAddresses"
        );
        return Some(("DNSOnNodes", true, message));
    }
    if !selector_implies_labels(&facts.selector, pods) {
        let message = format!(
            "dns.podSelector names other labels than the selector of {service}, so that it cannot be seen whether it selects its pods; \
             use the selector of the Service"
        );
        return Some(("DNSPodsUnknown", false, message));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts() -> DnsFacts {
        DnsFacts {
            addresses: Some(vec!["10.96.0.10".parse().unwrap()]),
            selector: [("k8s-app".to_owned(), "kube-dns".to_owned())].into(),
            ports: Vec::new(),
            endpoints: vec!["10.244.0.2".parse().unwrap()],
        }
    }

    fn fault(selector: serde_json::Value, facts: &DnsFacts) -> Option<(&'static str, bool)> {
        let dns: DnsConfig = serde_json::from_value(json!({"podSelector": {"matchLabels": selector}})).unwrap();
        let nodes = ["192.0.2.5".parse().unwrap()].into();
        dns_fault(&dns, facts, &nodes).map(|(reason, is_certain, _)| (reason, is_certain))
    }

    #[test]
    fn what_keeps_pods_from_the_dns_is_named() {
        let usual = || json!({"k8s-app": "kube-dns"});
        assert_eq!(fault(usual(), &facts()), None);
        let gone = DnsFacts { addresses: None, ..facts() };
        assert_eq!(fault(usual(), &gone), Some(("DNSServiceNotFound", true)));
        assert_eq!(fault(json!({"k8s-app": "no-such-dns"}), &facts()), Some(("DNSSelectorMismatch", true)));
        assert_eq!(fault(json!({"app": "coredns"}), &facts()), Some(("DNSPodsUnknown", false)));
        let without = DnsFacts { endpoints: Vec::new(), ..facts() };
        assert_eq!(fault(usual(), &without), Some(("DNSWithoutEndpoints", true)));
        let on_nodes = DnsFacts { endpoints: vec!["192.0.2.5".parse().unwrap()], ..facts() };
        assert_eq!(fault(usual(), &on_nodes), Some(("DNSOnNodes", true)));
    }

    #[test]
    fn a_cluster_ip_shows_a_part_of_the_network_of_services() {
        assert_eq!(shown_by("10.96.3.7".parse().unwrap()).to_string(), "10.96.3.0/24");
        assert_eq!(shown_by("fd12::7".parse().unwrap()).to_string(), "fd12::/112");
    }
}
