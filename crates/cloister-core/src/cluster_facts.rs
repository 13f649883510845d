//! What the API says of the cluster's own DNS.

use crate::egress::{PolicyPort, selector_implies_labels, selectors_can_meet};
use cloister_api::DnsConfig;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

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
pub fn dns_fault(
    dns: &DnsConfig,
    facts: &DnsFacts,
    nodes: &BTreeMap<IpAddr, Arc<str>>,
) -> Option<(&'static str, bool, String)> {
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
    if facts.endpoints.iter().all(|address| nodes.contains_key(address)) {
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
        let nodes = [("192.0.2.5".parse().unwrap(), "a".into())].into();
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
}
