//! What the API says of the cluster's own DNS.

use crate::address::{PolicyPort, Selector};
use cloister_api::DnsConfig;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// How many labels of a selector are named.
const NAMED: usize = 8;

/// The label of the pods of NodeLocal DNSCache, as its manifest and those of the clouds have it.
pub const NODE_CACHE_LABEL: &str = "k8s-app";

/// The value of that label.
pub const NODE_CACHE: &str = "node-local-dns";

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
    /// Whether pods of NodeLocal DNSCache are in its namespace.
    pub is_cached_on_nodes: bool,
}

/// Why pods do not reach the DNS that CloisterConfig names, as far as can be seen: the reason in one word, whether that is
/// certain, and a message. `by_cilium` says that Cilium enforces policies, whose rules by address match no Node.
pub fn dns_fault(
    dns: &DnsConfig,
    facts: &DnsFacts,
    nodes: &BTreeMap<IpAddr, Arc<str>>,
    by_cilium: bool,
) -> Option<(&'static str, bool, String)> {
    let service = format!("Service {}/{}", dns.namespace, dns.service);
    let correct = "correct dns of CloisterConfig";
    if facts.addresses.is_none() {
        let message = format!(
            "{service} does not exist; {correct}: pods resolve names only through that Service, its pods and dns.nodeLocalAddresses"
        );
        return Some(("DNSServiceNotFound", true, message));
    }
    let of_service = Selector::of_labels(&facts.selector);
    let meets = |pods: &Selector| !of_service.is_everything() && pods.conjunction(&of_service).is_satisfiable();
    // What cannot be parsed selects nothing.
    let Some(pods) = Selector::parse(Some(&dns.pod_selector)).ok().filter(meets) else {
        let message = format!(
            "dns.podSelector selects none of the pods of {service}; {correct}, with the selector of the Service"
        );
        return Some(("DNSSelectorMismatch", true, message));
    };
    if facts.endpoints.is_empty() {
        let message = format!("{service} has no endpoint that is ready; look at its pods, or {correct}");
        return Some(("DNSWithoutEndpoints", true, message));
    }
    if facts.endpoints.iter().all(|address| nodes.contains_key(address)) {
        let message = format!(
            "the pods of {service} are on the network of their nodes, where a NetworkPolicy cannot select them by labels; name \
             the addresses that pods query in dns.nodeLocalAddresses"
        );
        return Some(("DNSOnNodes", true, message));
    }
    if !of_service.implies(&pods) {
        let message = format!(
            "dns.podSelector is {}, and the selector of {service} is {}: it cannot be seen whether the first selects the pods \
             of the second, and if it does not, no name resolves in any research namespace; write the selector of the Service, \
             with kubectl apply --server-side, so that no earlier label remains",
            in_words(&dns.pod_selector),
            labels_in_words(&facts.selector)
        );
        return Some(("DNSPodsUnknown", false, message));
    }
    if facts.is_cached_on_nodes && by_cilium {
        let message = format!(
            "pods of NodeLocal DNSCache in namespace {} ({NODE_CACHE_LABEL}={NODE_CACHE}) are on the network of their Nodes, \
             and under Cilium no rule by address matches a Node: if pods query that cache, no name resolves in any research \
             namespace; run it in pods of their own behind a CiliumLocalRedirectPolicy, and have dns.podSelector select those \
             as well as the pods of {service}",
            dns.namespace
        );
        return Some(("DNSCacheOnNodes", false, message));
    }
    if facts.is_cached_on_nodes && dns.node_local_addresses.is_empty() {
        let message = format!(
            "pods of NodeLocal DNSCache are in namespace {} ({NODE_CACHE_LABEL}={NODE_CACHE}), and dns.nodeLocalAddresses \
             names no address: if pods query that cache, no name resolves in any research namespace; see the nameserver in \
             /etc/resolv.conf of a pod, and if it is not the address of {service}, write it in dns.nodeLocalAddresses",
            dns.namespace
        );
        return Some(("DNSCacheNotListed", false, message));
    }
    None
}

/// That research namespaces reach more pods on the port of DNS than those of the DNS Service.
pub fn dns_is_wide(dns: &DnsConfig, facts: &DnsFacts) -> Option<String> {
    let pods = Selector::parse(Some(&dns.pod_selector));
    let is_narrow = pods.is_ok_and(|pods| pods.requires_all(&facts.selector));
    (!facts.selector.is_empty() && !is_narrow).then(|| {
        format!(
            "dns.podSelector is {}, which opens port 53 of pods of namespace {} that do not belong to Service {} to all \
             research namespaces; write the selector of the Service, {}",
            in_words(&dns.pod_selector),
            dns.namespace,
            dns.service,
            labels_in_words(&facts.selector)
        )
    })
}

/// A selector, short enough for a message.
pub(crate) fn in_words(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.clone().unwrap_or_default();
    let expressions = selector.match_expressions.iter().flatten().map(|one| {
        let values = one.values.iter().flatten().take(NAMED).cloned().collect::<Vec<_>>().join("|");
        format!("{} {} {values}", one.key, one.operator).trim_end().to_owned()
    });
    first(labels.iter().map(|(key, value)| format!("{key}={value}")).chain(expressions).collect())
}

fn labels_in_words(labels: &BTreeMap<String, String>) -> String {
    first(labels.iter().map(|(key, value)| format!("{key}={value}")).collect())
}

fn first(all: Vec<String>) -> String {
    match all.len() {
        0 => "{} (all pods)".to_owned(),
        all_of if all_of > NAMED => format!("{} and {} more", all[..NAMED].join(","), all_of - NAMED),
        _ => all.join(","),
    }
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
            is_cached_on_nodes: false,
        }
    }

    fn fault(selector: serde_json::Value, facts: &DnsFacts) -> Option<(&'static str, bool)> {
        let dns: DnsConfig = serde_json::from_value(json!({"podSelector": {"matchLabels": selector}})).unwrap();
        let nodes = [("192.0.2.5".parse().unwrap(), "a".into())].into();
        dns_fault(&dns, facts, &nodes, false).map(|(reason, is_certain, _)| (reason, is_certain))
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
    fn a_cache_on_the_nodes_is_missed_where_no_address_of_it_is_listed() {
        let cached = DnsFacts { is_cached_on_nodes: true, ..facts() };
        let said =
            |dns: serde_json::Value| dns_fault(&serde_json::from_value(dns).unwrap(), &cached, &BTreeMap::new(), false);
        let (reason, is_certain, message) = said(json!({"nodeLocalAddresses": []})).unwrap();
        assert_eq!((reason, is_certain), ("DNSCacheNotListed", false));
        assert_eq!(
            message,
            "pods of NodeLocal DNSCache are in namespace kube-system (k8s-app=node-local-dns), and dns.nodeLocalAddresses \
             names no address: if pods query that cache, no name resolves in any research namespace; see the nameserver in \
             /etc/resolv.conf of a pod, and if it is not the address of Service kube-system/kube-dns, write it in \
             dns.nodeLocalAddresses"
        );
        // What most set-ups use is the default.
        assert_eq!(said(json!({})), None);
    }

    #[test]
    fn under_cilium_a_cache_on_the_nodes_is_missed_whatever_is_listed() {
        let cached = DnsFacts { is_cached_on_nodes: true, ..facts() };
        let said = |facts: &DnsFacts| dns_fault(&DnsConfig::default(), facts, &BTreeMap::new(), true);
        let (reason, is_certain, message) = said(&cached).unwrap();
        assert_eq!((reason, is_certain), ("DNSCacheOnNodes", false));
        assert_eq!(
            message,
            "pods of NodeLocal DNSCache in namespace kube-system (k8s-app=node-local-dns) are on the network of their Nodes, \
             and under Cilium no rule by address matches a Node: if pods query that cache, no name resolves in any research \
             namespace; run it in pods of their own behind a CiliumLocalRedirectPolicy, and have dns.podSelector select those \
             as well as the pods of Service kube-system/kube-dns"
        );
        assert_eq!(said(&facts()), None, "pods that are not on their nodes are no reason");
    }

    /// Client-side apply merges what was written before with what is written now.
    #[test]
    fn other_labels_than_the_services_are_told_with_both() {
        let dns = |selector| serde_json::from_value::<DnsConfig>(json!({"podSelector": selector})).unwrap();
        let merged = dns(json!({"matchLabels": {"k8s-app": "kube-dns", "dns": "default"}}));
        let (_, _, message) = dns_fault(&merged, &facts(), &BTreeMap::new(), false).unwrap();
        assert_eq!(
            message,
            "dns.podSelector is dns=default,k8s-app=kube-dns, and the selector of Service kube-system/kube-dns is \
             k8s-app=kube-dns: it cannot be seen whether the first selects the pods of the second, and if it does not, no name \
             resolves in any research namespace; write the selector of the Service, with kubectl apply --server-side, so that \
             no earlier label remains"
        );
        assert_eq!(dns_is_wide(&merged, &facts()), None);
        assert_eq!(dns_is_wide(&DnsConfig::default(), &facts()), None);
        let some =
            dns(json!({"matchExpressions": [{"key": "k8s-app", "operator": "In", "values": ["a", "kube-dns"]}]}));
        for (selector, words) in [(dns(json!({})), "{} (all pods)"), (some, "k8s-app In a|kube-dns")] {
            assert_eq!(dns_fault(&selector, &facts(), &BTreeMap::new(), false), None);
            assert_eq!(
                dns_is_wide(&selector, &facts()),
                Some(format!(
                    "dns.podSelector is {words}, which opens port 53 of pods of namespace kube-system that do not belong to \
                     Service kube-dns to all research namespaces; write the selector of the Service, k8s-app=kube-dns"
                ))
            );
        }
    }
}
