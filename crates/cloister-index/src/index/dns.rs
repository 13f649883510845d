//! The endpoints of the cluster's own DNS.

use super::{API_SERVER_NAMESPACE, Dirty, Index, Indexed, facts::DnsEndpoints, networks};
use crate::key::{Key, ObjectName};
use cloister_api::Protocol;
use cloister_core::{
    address::{PolicyPort, PolicyPortNumber},
    cluster::dns_service::DnsFacts,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// The label of an EndpointSlice with the name of its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The port of DNS.
pub(super) const PORT: u16 = 53;

impl Indexed for EndpointSlice {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let at = ObjectName::of(&self.metadata);
        let labels = self.metadata.labels.unwrap_or_default();
        let service = labels.get(SERVICE_NAME).map(String::as_str).unwrap_or_default();
        let ports = self.ports.unwrap_or_default();
        let udp = ports.iter().find(|port| port.protocol.as_deref() == Some("UDP"));
        let port = udp.and_then(|port| u16::try_from(port.port?).ok()).unwrap_or(PORT);
        let ready =
            self.endpoints.unwrap_or_default().into_iter().filter(|endpoint| {
                endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
            });
        let addresses = ready.flat_map(|endpoint| endpoint.addresses);
        let sockets = addresses.filter_map(|address| Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port)));
        let numbered = ports.iter().filter_map(|port| {
            let protocol = match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                None | Some("TCP") => Protocol::Tcp,
                Some(_) => return None,
            };
            Some((port.name.as_deref().unwrap_or_default().into(), protocol, u16::try_from(port.port?).ok()?))
        });
        let entry = DnsEndpoints { service: service.into(), sockets: sockets.collect(), ports: numbered.collect() };
        if index.dns_endpoints.get(&at) != Some(&entry) {
            let ports = |index: &Index| index.dns_facts().ports;
            let before = ports(index);
            index.dns_endpoints.insert(at.clone(), entry);
            enqueue_dependents_of_endpoints(index, &at, ports(index) != before, dirty);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        let before = index.dns_facts().ports;
        if index.dns_endpoints.remove(at).is_some() {
            enqueue_dependents_of_endpoints(index, at, index.dns_facts().ports != before, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.dns_endpoints.keys().cloned().collect()
    }
}

/// Endpoints have changed: those of the DNS concern the settings and, by their ports, all namespaces; those of the API server
/// are never opened.
fn enqueue_dependents_of_endpoints(index: &mut Index, at: &ObjectName, other_ports: bool, dirty: &mut Dirty) {
    dirty.insert(Key::Config);
    if other_ports {
        dirty.extend(index.research.keys().cloned().map(Key::Namespace));
    }
    if *at.namespace == *API_SERVER_NAMESPACE {
        networks::take_api_server(index, dirty);
    }
}

impl Index {
    fn slices_of<'a>(&'a self, namespace: &'a str, service: &'a str) -> impl Iterator<Item = &'a DnsEndpoints> {
        let slices = self.dns_endpoints.iter();
        let of = slices.filter(move |(at, slice)| *at.namespace == *namespace && *slice.service == *service);
        of.map(|(_, slice)| slice)
    }

    /// The endpoints of a Service that are ready, of those that are watched.
    pub fn endpoints_of(&self, namespace: &str, service: &str) -> Vec<SocketAddr> {
        self.slices_of(namespace, service).flat_map(|slice| slice.sockets.iter().copied()).collect()
    }

    /// What is known of the cluster's own DNS.
    pub fn dns_facts(&self) -> DnsFacts {
        let dns = &self.settings.spec.dns;
        let at = ObjectName { namespace: dns.namespace.as_str().into(), name: dns.service.as_str().into() };
        let service = self.services.get(&at);
        let facts = service.map(|service| &service.facts);
        let to_53 = facts.into_iter().flat_map(|facts| &facts.ports).filter(|port| port.port == PORT);
        let mut ports: BTreeSet<PolicyPort> = to_53
            .map(|port| PolicyPort { protocol: port.protocol, port: port.target.clone(), end_port: None })
            .collect();
        // A port by name is one by number, where the endpoints tell it: not every network plugin knows the names.
        let named = |name: &str| service.is_some_and(|service| service.dns_ports.contains(name));
        let slices = self.slices_of(&dns.namespace, &dns.service).flat_map(|slice| &slice.ports);
        let told: Vec<PolicyPort> = slices
            .filter(|(name, ..)| named(name))
            .map(|(_, protocol, port)| PolicyPort::number(*protocol, *port))
            .collect();
        if !told.is_empty() {
            ports.retain(|port| matches!(port.port, PolicyPortNumber::Number(_)));
            ports.extend(told);
        }
        let mut endpoints: Vec<IpAddr> =
            self.endpoints_of(&dns.namespace, &dns.service).iter().map(SocketAddr::ip).collect();
        endpoints.sort_unstable();
        endpoints.dedup();
        DnsFacts {
            addresses: service.map(|service| service.addresses.clone()),
            selector: facts.map(|facts| facts.selector.clone()).unwrap_or_default(),
            ports: ports.into_iter().collect(),
            endpoints,
            is_cached_on_nodes: self.is_dns_cached_on_nodes(),
        }
    }

    /// The servers of the cluster's own DNS: its endpoints, or where none are known the addresses of its Service.
    pub fn dns_servers(&self) -> Vec<SocketAddr> {
        let dns = &self.settings.spec.dns;
        let mut servers = self.endpoints_of(&dns.namespace, &dns.service);
        if servers.is_empty() {
            let at = ObjectName { namespace: dns.namespace.as_str().into(), name: dns.service.as_str().into() };
            let addresses = self.services.get(&at).into_iter().flat_map(|service| service.addresses.iter());
            servers.extend(addresses.map(|address| SocketAddr::new(*address, PORT)));
        }
        servers.sort_unstable();
        servers.dedup();
        servers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    fn slice(name: &str, service: &str, addresses: &[&str], ready: bool) -> EndpointSlice {
        serde_json::from_value(json!({
            "addressType": "IPv4",
            "metadata": {"name": name, "namespace": "kube-system", "labels": {"kubernetes.io/service-name": service}},
            "endpoints": [{"addresses": addresses, "conditions": {"ready": ready}}],
            "ports": [{"name": "metrics", "port": 9153, "protocol": "TCP"}, {"name": "dns", "port": 5353, "protocol": "UDP"}],
        }))
        .unwrap()
    }

    #[test]
    fn the_ports_of_the_pods_are_those_that_port_53_leads_to() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        let service = |target: serde_json::Value| -> Service {
            serde_json::from_value(json!({
                "metadata": {"name": "kube-dns", "namespace": "kube-system"},
                "spec": {"clusterIPs": ["10.96.0.10"], "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": target}, {"name": "metrics", "port": 9153},
                ]},
            }))
            .unwrap()
        };
        service(json!(5300)).upsert(&mut index, &mut dirty);
        assert_eq!(index.dns_facts().ports, [PolicyPort::number(Protocol::Udp, 5300)]);
        service(json!("dns")).upsert(&mut index, &mut dirty);
        assert!(matches!(index.dns_facts().ports[0].port, PolicyPortNumber::Name(_)));
        slice("a", "kube-dns", &["10.244.0.2"], true).upsert(&mut index, &mut dirty);
        assert_eq!(index.dns_facts().ports, [PolicyPort::number(Protocol::Udp, 5353)], "and not that of the metrics");
    }

    #[test]
    fn every_ready_endpoint_of_the_service_is_asked() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": {"clusterIPs": ["10.96.0.10"]},
        }))
        .unwrap();
        service.upsert(&mut index, &mut dirty);
        assert_eq!(index.dns_servers(), ["10.96.0.10:53".parse().unwrap()]);
        slice("a", "kube-dns", &["10.244.0.2"], true).upsert(&mut index, &mut dirty);
        slice("b", "kube-dns", &["10.244.0.3"], true).upsert(&mut index, &mut dirty);
        slice("c", "kube-dns", &["10.244.0.4"], false).upsert(&mut index, &mut dirty);
        slice("d", "other", &["10.244.0.5"], true).upsert(&mut index, &mut dirty);
        let both = ["10.244.0.2:5353".parse().unwrap(), "10.244.0.3:5353".parse().unwrap()];
        assert_eq!(index.dns_servers(), both);
        let at = ObjectName { namespace: "kube-system".into(), name: "b".into() };
        EndpointSlice::remove(&mut index, &at, &mut dirty);
        assert_eq!(index.dns_servers(), both[..1]);
    }
}
