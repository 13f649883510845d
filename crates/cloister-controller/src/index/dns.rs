//! The endpoints of the cluster's own DNS.

use super::{Dirty, Index, Indexed};
use crate::key::ObjectName;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::net::{IpAddr, SocketAddr};

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
        let service = labels.get("kubernetes.io/service-name").map(String::as_str).unwrap_or_default();
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
