//! The endpoints of the cluster's own DNS.

use super::{Dirty, Index, Indexed};
use crate::key::ObjectName;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::{IpAddr, SocketAddr};

/// The label of an EndpointSlice with the name of its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The port of DNS.
const PORT: u16 = 53;

/// The endpoints in one EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsEndpoints {
    service: Box<str>,
    sockets: Vec<SocketAddr>,
}

impl Indexed for EndpointSlice {
    fn upsert(self, index: &mut Index, _: &mut Dirty) {
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
        index.dns_endpoints.insert(at, DnsEndpoints { service: service.into(), sockets: sockets.collect() });
    }

    fn remove(index: &mut Index, at: &ObjectName, _: &mut Dirty) {
        index.dns_endpoints.remove(at);
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.dns_endpoints.keys().cloned().collect()
    }
}

impl Index {
    /// The servers of the cluster's own DNS: its endpoints, or where none are known the addresses of its Service.
    pub fn dns_servers(&self) -> Vec<SocketAddr> {
        let dns = &self.settings.spec.dns;
        let slices = self
            .dns_endpoints
            .iter()
            .filter(|(at, slice)| *at.namespace == *dns.namespace && *slice.service == *dns.service);
        let mut servers: Vec<SocketAddr> = slices.flat_map(|(_, slice)| slice.sockets.iter().copied()).collect();
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
