//! The cluster's own networks: what ServiceCIDRs, Services and Nodes say of them. No rule opens them by address.

use super::{Dirty, Index, Indexed, Listed, roots};
use crate::key::{Key, ObjectName};
use cloister_core::{
    address::Source,
    cluster::{
        known_networks::{ClusterNetworks, shown_by},
        node_networks::{NodeNetworks as Believed, NodeSays},
    },
};
use ipnet::IpNet;
use k8s_openapi::{api::networking::v1::ServiceCIDR, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

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
    #[serde(default, rename = "type")]
    type_: String,
    #[serde(default)]
    address: String,
}

impl NodeNetworks {
    /// Its name, and what it says.
    fn says(self) -> (Arc<str>, NodeSays) {
        let name = self.metadata.name.as_deref().unwrap_or_default().into();
        let pod_cidrs = self.spec.pod_cidrs.into_iter().flatten().chain(self.spec.pod_cidr).collect();
        let addresses = self.status.addresses.into_iter().flatten().map(|one| (one.type_, one.address)).collect();
        (name, NodeSays { pod_cidrs, addresses })
    }
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
        if note(self, index) {
            take_networks(index, dirty);
        }
    }

    fn upsert_listed(self, index: &mut Index, _: &mut Dirty) {
        // Of a thousand Nodes in a list all are taken at its end.
        note(self, index);
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if index.nodes.remove(&name.name).is_some() {
            take_networks(index, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        roots::cluster_names(index.nodes.keys())
    }

    fn forget_unlisted(index: &mut Index, _: Option<&str>, listed: &Listed, dirty: &mut Dirty) {
        let gone: Vec<ObjectName> = Self::known(index).into_iter().filter(|name| !listed.contains(name)).collect();
        gone.iter().for_each(|name| drop(index.nodes.remove(&name.name)));
        take_networks(index, dirty);
    }
}

/// Takes note of what a Node says; whether it is something else than before.
fn note(node: NodeNetworks, index: &mut Index) -> bool {
    let (name, says) = node.says();
    let before = index.nodes.get(&name);
    let believed = Believed::believed(&says, before, Instant::now());
    let is_other = !before.is_some_and(|before| before.says_as(&believed));
    index.nodes.insert(name, believed);
    is_other
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
pub(super) fn take_service(index: &mut Index, at: &ObjectName, addresses: &[IpAddr], dirty: &mut Dirty) {
    let is_shown = |address: &IpAddr| {
        let mut all = index.service_cidrs.values().flatten().chain(index.cluster.services.keys());
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
    let mut services: BTreeMap<IpNet, Source> = BTreeMap::new();
    for (name, networks) in &index.service_cidrs {
        services.extend(networks.iter().map(|network| (*network, Source::ServiceCidr(name.clone()))));
    }
    let shown = index.services.values().flat_map(|service| &service.addresses);
    let shown: BTreeSet<IpNet> = shown
        .filter(|address| !services.keys().any(|network| network.contains(*address)))
        .copied()
        .map(shown_by)
        .collect();
    services.extend(shown.into_iter().map(|network| (network, Source::ClusterIp)));
    let at = ObjectName { namespace: API_SERVER_NAMESPACE.into(), name: API_SERVER.into() };
    let own = index.services.get(&at).into_iter().flat_map(|service| service.addresses.iter().copied());
    let endpoints = index.endpoints_of(API_SERVER_NAMESPACE, API_SERVER).into_iter().map(|endpoint| endpoint.ip());
    let api_server = own.chain(endpoints).collect();
    ClusterNetworks { services, api_server, ..ClusterNetworks::default() }.with_nodes(index.nodes.iter())
}

/// Takes note that the endpoints of the API server may be others.
pub(super) fn take_api_server(index: &mut Index, dirty: &mut Dirty) {
    take_networks(index, dirty);
}

impl Index {
    /// The cluster's own networks, as far as the API says, and addresses that pods have.
    pub fn cluster_networks(&self) -> ClusterNetworks {
        ClusterNetworks { seen: self.pod_addresses.seen(), ..self.cluster.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn what_one_node_says_closes_neither_everything_nor_is_it_passed_over_in_silence() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        let wide = json!({"spec": {"podCIDR": "0.0.0.0/0", "podCIDRs": ["0.0.0.0/0"]}});
        node("evil", wide).upsert(&mut index, &mut dirty);
        assert!(!never(&index, "203.0.113.7") && never(&index, "192.0.2.5") && dirty.contains(&Key::Config));
        assert_eq!(index.cluster.refused.len(), 1);
        let many: Vec<Value> = (0..5000)
            .map(|at| json!({"type": "ExternalIP", "address": format!("20.{}.{}.9", at / 250, at % 250)}))
            .collect();
        node("evil", json!({"status": {"addresses": many}})).upsert(&mut index, &mut dirty);
        assert!(index.cluster.nodes.len() <= 8, "{:?}", index.cluster.nodes);
        // By its type alone an address counts, and not where it is but a name for something else.
        node("other", json!({"status": {"addresses": [{"type": "Hostname", "address": "203.0.113.9"}]}}))
            .upsert(&mut index, &mut dirty);
        assert!(!never(&index, "203.0.113.9"));
    }

    #[test]
    fn the_nodes_of_a_list_are_taken_at_its_end() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        node("gone", json!({"spec": {"podCIDRs": ["10.244.9.0/24"]}})).upsert(&mut index, &mut dirty);
        dirty.clear();
        let mut listed = Listed::default();
        for name in ["a", "b"] {
            listed.insert(&ObjectName { namespace: "".into(), name: name.into() });
            node(name, json!({})).upsert_listed(&mut index, &mut dirty);
        }
        assert!(dirty.is_empty() && never(&index, "10.244.9.7"), "what stands is believed until the list is complete");
        NodeNetworks::forget_unlisted(&mut index, None, &listed, &mut dirty);
        assert!(dirty.contains(&Key::Config) && never(&index, "10.244.1.7") && !never(&index, "10.244.9.7"));
        assert_eq!(index.cluster.node_count, 2);
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
}
