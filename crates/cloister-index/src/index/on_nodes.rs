//! Pods that are on the network of their nodes, where a NetworkPolicy does not find them by their labels.
//!
//! A mirror pod is none of them: a kubelet makes such pods in all namespaces, and would close what others need.

use super::{Dirty, Index, facts::OnNode, named::enqueue_users_of_gateways, relations};
use crate::key::{Key, ObjectName};
use cloister_core::{
    address::Selector,
    cluster::dns_service::{NODE_CACHE, NODE_CACHE_LABEL},
    egress::PodOnNode,
};
use std::collections::BTreeMap;

/// Takes note of a pod on the network of its node, or that it is none. Services and gateways that lead there, or no longer do,
/// are others to whoever names them.
pub(super) fn note(index: &mut Index, at: &ObjectName, pod: Option<OnNode>, dirty: &mut Dirty) {
    if index.on_nodes.get(at) == pod.as_ref() {
        return;
    }
    let led = |index: &Index| -> BTreeMap<ObjectName, PodOnNode> {
        let here = index.services.iter().filter(|(service, _)| service.namespace == at.namespace);
        here.filter_map(|(service, entry)| Some((service.clone(), index.pod_on_node(service, &entry.facts.selector)?)))
            .collect()
    };
    let of_gateways = |index: &Index| -> BTreeMap<String, PodOnNode> {
        let here = index.settings.spec.gateways.iter().filter(|gateway| *gateway.namespace == *at.namespace);
        here.filter_map(|gateway| {
            let pods = Selector::parse(Some(&gateway.pod_selector)).ok()?;
            Some((gateway.name.clone(), index.selected_on_node(&gateway.namespace, &pods)?))
        })
        .collect()
    };
    let (before, was_cached, gateways_before) = (led(index), index.is_dns_cached_on_nodes(), of_gateways(index));
    match pod {
        Some(pod) => drop(index.on_nodes.insert(at.clone(), pod)),
        None => drop(index.on_nodes.remove(at)),
    }
    let after = led(index);
    let all = before.keys().chain(after.keys().filter(|service| !before.contains_key(*service)));
    let others = all.filter(|service| before.get(*service) != after.get(*service));
    others.for_each(|service| relations::enqueue_dependents_of_service(index, service, dirty));
    let gateways = of_gateways(index);
    if gateways != gateways_before {
        enqueue_users_of_gateways(index, |name| gateways.get(name) != gateways_before.get(name), dirty);
    }
    if index.is_dns_cached_on_nodes() != was_cached {
        dirty.insert(Key::Config);
    }
}

impl Index {
    /// Whether pods of NodeLocal DNSCache are in the namespace of the cluster's DNS.
    pub fn is_dns_cached_on_nodes(&self) -> bool {
        let is_cache = |of: &OnNode| of.labels.get(NODE_CACHE_LABEL).is_some_and(|value| value == NODE_CACHE);
        let namespace = self.settings.spec.dns.namespace.as_str();
        self.on_nodes.iter().any(|(pod, of)| *pod.namespace == *namespace && is_cache(of))
    }

    /// The first pod of a Service that is on the network of its node.
    pub fn pod_on_node(&self, at: &ObjectName, selector: &BTreeMap<String, String>) -> Option<PodOnNode> {
        if selector.is_empty() {
            return None;
        }
        self.first_on_node(&at.namespace, |labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
    }

    /// The first pod of a namespace that this selects and that is on the network of its node.
    pub fn selected_on_node(&self, namespace: &str, selector: &Selector) -> Option<PodOnNode> {
        self.first_on_node(namespace, |labels| selector.matches(labels))
    }

    fn first_on_node(&self, namespace: &str, selects: impl Fn(&BTreeMap<String, String>) -> bool) -> Option<PodOnNode> {
        let first = ObjectName { namespace: namespace.into(), name: "".into() };
        let mut here = self.on_nodes.range(first..).take_while(|(pod, _)| *pod.namespace == *namespace);
        let (pod, of) = here.find(|(_, of)| selects(&of.labels))?;
        Some(PodOnNode { pod: pod.name.clone(), node: of.node.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::Decoded,
        index::{GatedPod, Indexed},
    };
    use cloister_api::{CloisterConfig, EgressAllowlist, ResearchNamespace};
    use serde_json::{Value, json};

    fn pod(name: &str, spec: Value, annotations: Value) -> GatedPod {
        let metadata =
            json!({"name": name, "namespace": "infra", "labels": {"app": "exporter"}, "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn at(namespace: &str, name: &str) -> ObjectName {
        ObjectName { namespace: namespace.into(), name: name.into() }
    }

    fn said(index: &Index) -> Option<(String, String)> {
        let selector = [("app".to_owned(), "exporter".to_owned())].into();
        let found = index.pod_on_node(&at("infra", "exporter"), &selector)?;
        Some((found.pod.to_string(), found.node.to_string()))
    }

    #[test]
    fn a_service_of_pods_on_the_network_of_their_nodes_is_known_as_such() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        pod("a", json!({"hostNetwork": false}), Value::Null).upsert(&mut index, &mut dirty);
        assert!(said(&index).is_none() && index.on_nodes.is_empty());
        pod("b", json!({"hostNetwork": true, "nodeName": "w1"}), json!({"x": "y"})).upsert(&mut index, &mut dirty);
        assert_eq!(said(&index), Some(("b".to_owned(), "w1".to_owned())));
        assert!(index.pod_on_node(&at("infra", "exporter"), &BTreeMap::new()).is_none());
        let selector = [("app".to_owned(), "exporter".to_owned())].into();
        assert!(index.pod_on_node(&at("other", "exporter"), &selector).is_none());
        <GatedPod as Indexed>::remove(&mut index, &at("infra", "b"), &mut dirty);
        assert!(said(&index).is_none());
    }

    #[test]
    fn a_cache_of_the_dns_on_the_nodes_concerns_the_settings_when_it_comes_and_goes() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        let cache = |name: &str, namespace: &str| -> GatedPod {
            let metadata = json!({"name": name, "namespace": namespace, "labels": {"k8s-app": "node-local-dns"}});
            serde_json::from_value(json!({"metadata": metadata, "spec": {"hostNetwork": true, "nodeName": "w1"}}))
                .unwrap()
        };
        for (name, namespace, wakes) in [("a", "other", false), ("b", "kube-system", true), ("c", "kube-system", false)]
        {
            dirty.clear();
            cache(name, namespace).upsert(&mut index, &mut dirty);
            assert_eq!(dirty.contains(&Key::Config), wakes, "{name}");
        }
        assert!(index.dns_facts().is_cached_on_nodes);
        for (name, wakes) in [("b", false), ("c", true)] {
            dirty.clear();
            <GatedPod as Indexed>::remove(&mut index, &at("kube-system", name), &mut dirty);
            assert_eq!(dirty.contains(&Key::Config), wakes, "{name}");
        }
        assert!(!index.dns_facts().is_cached_on_nodes);
    }

    #[test]
    fn whoever_names_the_service_is_told_of_another_pod_that_is_named() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        let service =
            json!({"metadata": {"name": "exporter", "namespace": "infra"}, "spec": {"selector": {"app": "exporter"}}});
        let service: k8s_openapi::api::core::v1::Service = serde_json::from_value(service).unwrap();
        service.upsert(&mut index, &mut dirty);
        let rule = json!({"name": "r", "service": {"namespace": "infra", "name": "exporter"}, "ports": [{"port": 1, "protocol": "TCP"}]});
        let allowlist = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist", "metadata": {"name": "l"},
            "spec": {"description": "d", "rules": [rule]}});
        let allowlist: Decoded<EgressAllowlist> = serde_json::from_value(allowlist).unwrap();
        allowlist.upsert(&mut index, &mut dirty);
        let on_node = json!({"hostNetwork": true, "nodeName": "w1"});
        for (name, wakes) in [("c", true), ("b", true), ("d", false)] {
            dirty.clear();
            pod(name, on_node.clone(), Value::Null).upsert(&mut index, &mut dirty);
            assert_eq!(dirty.contains(&Key::Allowlist("l".into())), wakes, "{name}");
        }
        dirty.clear();
        <GatedPod as Indexed>::remove(&mut index, &at("infra", "b"), &mut dirty);
        assert!(dirty.contains(&Key::Allowlist("l".into())) && said(&index).unwrap().0 == "c");
    }

    #[test]
    fn whoever_names_a_gateway_is_told_of_a_pod_of_it_on_the_network_of_its_node() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        let gateway = |name: &str, selector: Value| json!({"name": name, "namespace": "infra", "podSelector": selector, "namespaceSelector": {}});
        let by_label = json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["exporter", "proxy"]}]});
        let gateways = json!([gateway("hub", by_label), gateway("other", json!({"matchLabels": {"app": "other"}}))]);
        let settings: Decoded<CloisterConfig> = serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "CloisterConfig", "metadata": {"name": "cloister"},
            "spec": {"gateways": gateways},
        }))
        .unwrap();
        settings.upsert(&mut index, &mut dirty);
        for name in ["hub", "other"] {
            let rule = json!({"gateway": name, "podSelector": {}, "ports": [{"port": 8888}]});
            let research: Decoded<ResearchNamespace> = serde_json::from_value(json!({
                "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": name},
                "spec": {"tier": "Standard", "ingress": {"fromGateways": [rule]}},
            }))
            .unwrap();
            research.upsert(&mut index, &mut dirty);
        }
        let told = |dirty: &Dirty| ["hub", "other"].map(|name| dirty.contains(&Key::Namespace(name.into())));
        let on_node = json!({"hostNetwork": true, "nodeName": "w1"});
        // The pod that is named changes with the second, and no more with the third.
        for (name, told_of) in [("c", true), ("b", true), ("d", false)] {
            dirty.clear();
            pod(name, on_node.clone(), Value::Null).upsert(&mut index, &mut dirty);
            assert_eq!(told(&dirty), [told_of, false], "{name}");
        }
        let selector = Selector::parse(Some(&index.settings().spec.gateways[0].pod_selector)).unwrap();
        assert_eq!(index.selected_on_node("infra", &selector).unwrap().pod.as_ref(), "b");
        assert!(index.selected_on_node("jhub", &selector).is_none());
        for (name, told_of) in [("d", false), ("c", false), ("b", true)] {
            dirty.clear();
            <GatedPod as Indexed>::remove(&mut index, &at("infra", name), &mut dirty);
            assert_eq!(told(&dirty), [told_of, false], "{name}");
        }
        assert!(index.selected_on_node("infra", &selector).is_none());
        // One without labels is among all pods of its namespace.
        let bare = json!({"metadata": {"name": "bare", "namespace": "infra"}, "spec": on_node});
        serde_json::from_value::<GatedPod>(bare).unwrap().upsert(&mut index, &mut dirty);
        assert!(index.selected_on_node("infra", &Selector::everything()).is_some());
    }

    #[test]
    fn what_a_kubelet_makes_in_the_namespaces_of_others_closes_nothing() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        let mirror = json!({"kubernetes.io/config.mirror": "0123", "other": "x"});
        pod("evil", json!({"hostNetwork": true, "nodeName": "evil"}), mirror).upsert(&mut index, &mut dirty);
        assert_eq!(said(&index), None);
    }
}
