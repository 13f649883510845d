//! The cluster's own networks: what ServiceCIDRs, Services and Nodes say of them. No rule opens them by address.

use super::{Dirty, Index, Indexed, roots};
use crate::key::{Key, ObjectName};
use cloister_core::cluster_facts::{ClusterNetworks, shown_by};
use ipnet::IpNet;
use k8s_openapi::{api::networking::v1::ServiceCIDR, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::Deserialize;
use std::{borrow::Cow, collections::BTreeSet, net::IpAddr, sync::Arc};

/// The namespace of the API server's Service.
pub const API_SERVER_NAMESPACE: &str = "default";

/// The API server's Service.
pub const API_SERVER: &str = "kubernetes";

/// A Node as far as it is read: its networks. All else in it changes often, and says nothing here.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeNetworks {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeState {
    addresses: Option<Vec<NodeAddress>>,
}

#[derive(Clone, Debug, Deserialize)]
struct NodeAddress {
    #[serde(default)]
    address: String,
}

/// What is known of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeEntry {
    pods: BTreeSet<IpNet>,
    addresses: BTreeSet<IpAddr>,
}

impl Resource for NodeNetworks {
    type DynamicType = ();
    type Scope = kube::core::ClusterResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        "".into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Indexed for NodeNetworks {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name: Arc<str> = self.metadata.name.as_deref().unwrap_or_default().into();
        let networks = self.spec.pod_cidrs.iter().flatten().chain(&self.spec.pod_cidr);
        let addresses = self.status.addresses.iter().flatten();
        let entry = NodeEntry {
            pods: networks.filter_map(|network| network.parse().ok()).collect(),
            // Names of a Node are among them, too.
            addresses: addresses.filter_map(|address| address.address.parse().ok()).collect(),
        };
        if index.nodes.get(&name) != Some(&entry) {
            index.nodes.insert(name, entry);
            take_networks(index, dirty);
        }
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if index.nodes.remove(&name.name).is_some() {
            take_networks(index, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        roots::cluster_names(index.nodes.keys())
    }
}

impl Indexed for ServiceCIDR {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name: Arc<str> = self.metadata.name.as_deref().unwrap_or_default().into();
        let networks = self.spec.and_then(|spec| spec.cidrs).unwrap_or_default();
        let networks: BTreeSet<IpNet> = networks.iter().filter_map(|network| network.parse().ok()).collect();
        if index.service_cidrs.get(&name) != Some(&networks) {
            index.service_cidrs.insert(name, networks);
            take_networks(index, dirty);
        }
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if index.service_cidrs.remove(&name.name).is_some() {
            take_networks(index, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        roots::cluster_names(index.service_cidrs.keys())
    }
}

/// A Service has come, changed or gone, or an endpoint of the API server: its addresses may be of a network that nothing
/// else shows.
pub(super) fn of_service(index: &mut Index, at: &ObjectName, addresses: &[IpAddr], dirty: &mut Dirty) {
    let is_shown = |address: &IpAddr| {
        let mut all = index.service_cidrs.values().flatten().chain(&index.cluster.services);
        all.any(|network| network.contains(address))
    };
    if is_api_server(at) || !addresses.iter().all(is_shown) {
        take_networks(index, dirty);
    }
}

/// Whether this is the API server's Service.
pub(super) fn is_api_server(at: &ObjectName) -> bool {
    *at.namespace == *API_SERVER_NAMESPACE && *at.name == *API_SERVER
}

/// Puts together what is known of the cluster's networks. Where it is another than before, whatever the settings forbid is
/// decided about again.
fn take_networks(index: &mut Index, dirty: &mut Dirty) {
    let networks = networks(index);
    if networks == index.cluster {
        return;
    }
    index.cluster = networks;
    dirty.insert(Key::Config);
    let settings = index.settings.as_ref().clone().around(&index.cluster);
    if settings.never != index.settings.never {
        roots::take_settings(index, dirty);
    }
}

fn networks(index: &Index) -> ClusterNetworks {
    let mut services: BTreeSet<IpNet> = index.service_cidrs.values().flatten().copied().collect();
    let shown = index.services.values().flat_map(|service| &service.addresses);
    let shown: BTreeSet<IpNet> = shown
        .filter(|address| !services.iter().any(|network| network.contains(*address)))
        .copied()
        .map(shown_by)
        .collect();
    services.extend(shown);
    let at = ObjectName { namespace: API_SERVER_NAMESPACE.into(), name: API_SERVER.into() };
    let own = index.services.get(&at).into_iter().flat_map(|service| service.addresses.iter().copied());
    let endpoints = index.endpoints_of(API_SERVER_NAMESPACE, API_SERVER).into_iter().map(|endpoint| endpoint.ip());
    ClusterNetworks {
        services,
        pods: index.nodes.values().flat_map(|node| &node.pods).copied().collect(),
        nodes: index.nodes.values().flat_map(|node| &node.addresses).copied().collect(),
        api_server: own.chain(endpoints).collect(),
        node_count: index.nodes.len(),
    }
}

/// Takes note that the endpoints of the API server may be others.
pub(super) fn of_api_server(index: &mut Index, dirty: &mut Dirty) {
    take_networks(index, dirty);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::GatedPod;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::{Value, json};

    fn node(name: &str, more: Value) -> NodeNetworks {
        let mut node = json!({"metadata": {"name": name}, "spec": {"podCIDRs": ["10.244.1.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.5"}, {"type": "Hostname", "address": "a"}]}});
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(node).unwrap()
    }

    fn service(name: &str, address: &str) -> Service {
        let metadata = json!({"name": name, "namespace": "default"});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"clusterIPs": [address]}})).unwrap()
    }

    fn never(index: &Index, address: &str) -> bool {
        index.settings().never.contains(address.parse().unwrap())
    }

    #[test]
    fn what_the_api_says_of_the_clusters_networks_is_never_opened() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        assert!(!never(&index, "10.244.1.7") && !never(&index, "10.96.0.1"));
        node("a", json!({})).upsert(&mut index, &mut dirty);
        assert!(never(&index, "10.244.1.7") && never(&index, "192.0.2.5") && dirty.contains(&Key::Config));
        let cidr: ServiceCIDR =
            serde_json::from_value(json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.96.0.0/16"]}}))
                .unwrap();
        cidr.upsert(&mut index, &mut dirty);
        assert!(never(&index, "10.96.7.1"));
        // What ClusterIPs show, where there is no ServiceCIDR for them.
        service("other", "10.97.3.1").upsert(&mut index, &mut dirty);
        assert!(never(&index, "10.97.3.200") && !never(&index, "10.97.4.1"));
        let at = ObjectName { namespace: "".into(), name: "a".into() };
        NodeNetworks::remove(&mut index, &at, &mut dirty);
        assert!(!never(&index, "10.244.1.7"));
    }

    #[test]
    fn what_says_nothing_new_wakes_nobody() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        node("a", json!({})).upsert(&mut index, &mut dirty);
        service("kubernetes", "10.96.0.1").upsert(&mut index, &mut dirty);
        dirty.clear();
        let heartbeat = json!({"metadata": {"name": "a", "resourceVersion": "9", "labels": {"a": "b"}}});
        node("a", heartbeat).upsert(&mut index, &mut dirty);
        service("near", "10.96.0.9").upsert(&mut index, &mut dirty);
        assert!(!dirty.contains(&Key::Config), "{dirty:?}");
    }

    #[test]
    fn a_service_of_pods_on_the_network_of_their_nodes_is_known_as_such() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        let pod = |name: &str, on_node: bool| -> GatedPod {
            let metadata = json!({"name": name, "namespace": "infra", "labels": {"app": "exporter"}});
            serde_json::from_value(json!({"metadata": metadata, "spec": {"hostNetwork": on_node}})).unwrap()
        };
        let at = ObjectName { namespace: "infra".into(), name: "exporter".into() };
        let selector = [("app".to_owned(), "exporter".to_owned())].into();
        pod("a", false).upsert(&mut index, &mut dirty);
        assert!(!index.leads_to_nodes(&at, &selector) && index.on_nodes.is_empty());
        pod("b", true).upsert(&mut index, &mut dirty);
        assert!(index.leads_to_nodes(&at, &selector) && !index.leads_to_nodes(&at, &Default::default()));
        let elsewhere = ObjectName { namespace: "other".into(), name: "exporter".into() };
        assert!(!index.leads_to_nodes(&elsewhere, &selector));
        let gone = ObjectName { namespace: "infra".into(), name: "b".into() };
        <GatedPod as Indexed>::remove(&mut index, &gone, &mut dirty);
        assert!(!index.leads_to_nodes(&at, &selector));
    }
}
