//! The cluster's own networks, as the API says, and whether all of them are known. No rule opens them by address.

use crate::{
    egress::Source,
    node_networks::{MOST, NodeNetworks, Refused},
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// The cluster's own networks, as far as the API says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNetworks {
    /// The networks of Services, and from where they are known: ServiceCIDRs, and what ClusterIPs outside of them show.
    pub services: BTreeMap<IpNet, Source>,
    /// The networks of the Nodes' pods, each with its Node.
    pub pods: BTreeMap<IpNet, Arc<str>>,
    /// The addresses of the Nodes, each with its Node.
    pub nodes: BTreeMap<IpAddr, Arc<str>>,
    /// The addresses of the API server: its Service, and the endpoints of that.
    pub api_server: BTreeSet<IpAddr>,
    /// How many Nodes there are.
    pub node_count: usize,
    /// What Nodes say and is not believed.
    pub refused: Vec<(Arc<str>, Refused)>,
    /// Addresses of pods, one for each part of a network in which there are any, and whose it is.
    pub seen: BTreeMap<IpAddr, String>,
}

impl ClusterNetworks {
    /// Takes up what is believed of the Nodes. Where two say the same, the first is told.
    pub fn with_nodes<'a>(mut self, nodes: impl Iterator<Item = (&'a Arc<str>, &'a NodeNetworks)> + Clone) -> Self {
        for (name, node) in nodes.clone() {
            self.node_count += 1;
            self.refused.extend(node.refused.iter().map(|refused| (name.clone(), refused.clone())));
            for network in &node.pods {
                if self.has_room(name, *network) {
                    self.pods.entry(*network).or_insert_with(|| name.clone());
                }
            }
        }
        // Where there are too many, pods matter more than their Nodes.
        for (name, node) in nodes {
            for address in node.addresses() {
                if self.has_room(name, address.into()) {
                    self.nodes.entry(address).or_insert_with(|| name.clone());
                }
            }
        }
        self
    }

    fn has_room(&mut self, name: &Arc<str>, network: IpNet) -> bool {
        let has_room = self.pods.len() + self.nodes.len() < MOST;
        if !has_room {
            self.refused.push((name.clone(), Refused::beyond_all(network)));
        }
        has_room
    }

    /// All of them, each with from where it is known; what is the API server's first.
    pub fn all(&self) -> impl Iterator<Item = (IpNet, Source)> + '_ {
        let api_server = self.api_server.iter().map(|address| (IpNet::from(*address), Source::ApiServer));
        let services = self.services.iter().map(|(network, source)| (*network, source.clone()));
        let pods = self.pods.iter().map(|(network, node)| (*network, Source::PodCidr(node.clone())));
        let nodes = self.nodes.iter().map(|(address, node)| (IpNet::from(*address), Source::NodeAddress(node.clone())));
        api_server.chain(services).chain(pods).chain(nodes)
    }
}

/// The network that a ClusterIP outside of all ServiceCIDRs shows: no more is known of it.
pub fn shown_by(address: IpAddr) -> IpNet {
    part_of(address, (24, 112))
}

/// The network of which one address stands for all where addresses of pods are noted.
pub fn seen_in(address: IpAddr) -> IpNet {
    part_of(address, (24, 64))
}

fn part_of(address: IpAddr, (ipv4, ipv6): (u8, u8)) -> IpNet {
    let prefix = if address.is_ipv4() { ipv4 } else { ipv6 };
    IpNet::new(address, prefix).map_or_else(|_| IpNet::from(address), |network| network.trunc())
}
