//! The networks that nobody opens.

use super::{
    networks::NetworkSet,
    source::{KnownNetwork, METADATA, NeverWhy, Source},
    special::{LOCAL_NAT64, MAPPED, is_link_local, meant, nat64, six_to_four, v4, v6},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Networks that no rule opens by address, whoever agreed to it: metadata services and link-local addresses (whoever
/// reaches those has the node's credentials), loopback, multicast, and the cluster's own networks (pods and Services
/// are opened by name, so that the rule follows them). Built once and reused.
#[derive(Clone, Debug, PartialEq)]
pub struct NeverOpened {
    set: NetworkSet,
    bounds: super::networks::Bounds,
    /// From where each of them is known, by the network as it is written there.
    sources: BTreeMap<IpNet, Source>,
}

const LOCAL: &str = "addresses that lead back to the pod or its node";

const LINK_LOCAL: &str = "link-local addresses";

const MULTICAST: &str = "multicast and broadcast addresses";

const MANY: &str = "several networks that no rule opens";

const ANY_IPV4: &str = "IPv6 that could stand for any IPv4 address";

/// What is never opened in IPv4.
const NEVER_V4: &[(Ipv4Net, &str)] = &[
    (v4([0, 0, 0, 0], 8), LOCAL), // "this network"; many systems connect 0.0.0.0 to themselves
    (v4([127, 0, 0, 0], 8), LOCAL),
    (v4([169, 254, 0, 0], 16), METADATA), // link-local: the metadata services of most clouds, node-local DNS
    (v4([168, 63, 129, 16], 32), METADATA), // Azure's WireServer
    (v4([100, 100, 100, 200], 32), METADATA), // Alibaba Cloud
    (v4([100, 96, 0, 96], 32), METADATA), // Volcano Engine
    (v4([192, 0, 0, 192], 32), METADATA), // Oracle Cloud Classic
    (v4([224, 0, 0, 0], 4), MULTICAST),
    (v4([255, 255, 255, 255], 32), MULTICAST),
];

/// What is never opened in IPv6.
const NEVER_V6: &[(Ipv6Net, &str)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), LOCAL), // unspecified, loopback, and the deprecated IPv4-compatible addresses
    (MAPPED, ANY_IPV4),                        // would be IPv4 under another name
    (LOCAL_NAT64, ANY_IPV4),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), ANY_IPV4), // Teredo (RFC 4380)
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), LINK_LOCAL),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), METADATA), // AWS: metadata (::254), pod identity (::23), DNS, time
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), METADATA), // Google Cloud
    (v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), METADATA), // Scaleway
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), MULTICAST),
];

/// The link-local addresses at which clouds hand out credentials.
const LINK_LOCAL_METADATA: [IpAddr; 7] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // most clouds
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 252)), // Google Kubernetes Engine, on the node
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // Amazon ECS
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),  // Amazon EKS: pod identity
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),    // Tencent Cloud
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),   // Scaleway
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // OpenStack
];

/// Whether a metadata service of a cloud is at an address, however that is written.
pub(crate) fn is_metadata(address: IpAddr) -> bool {
    let address = meant(address.to_canonical().into()).addr();
    let elsewhere = |network: IpNet, meaning: &str| meaning == METADATA && network.contains(&address);
    let mut v4 = NEVER_V4.iter().map(|(network, meaning)| (IpNet::V4(*network), *meaning));
    let mut v6 = NEVER_V6.iter().map(|(network, meaning)| (IpNet::V6(*network), *meaning));
    LINK_LOCAL_METADATA.contains(&address)
        || !is_link_local(address) && (v4.any(|(n, m)| elsewhere(n, m)) || v6.any(|(n, m)| elsewhere(n, m)))
}

impl NeverOpened {
    /// The fixed networks, and those that `clusterNetworks` names.
    pub fn new(cluster_networks: &[IpNet]) -> Self {
        Self::of(cluster_networks.iter().map(|network| (*network, Source::ClusterNetworks)))
    }

    /// The fixed networks, and these of the cluster. Of several sources of one network the first is told.
    pub fn of(cluster: impl IntoIterator<Item = (IpNet, Source)>) -> Self {
        let fixed_v4 = NEVER_V4.iter().map(|(network, meaning)| (IpNet::V4(*network), Source::Meaning(meaning)));
        let fixed_v6 = NEVER_V6.iter().map(|(network, meaning)| (IpNet::V6(*network), Source::Meaning(meaning)));
        let mut sources = BTreeMap::new();
        for (network, source) in fixed_v4.chain(fixed_v6).chain(cluster) {
            sources.entry(network.trunc()).or_insert(source);
        }
        // A translator on the way would make IPv4 of these again.
        let translated = sources.keys().filter_map(|network| match network {
            IpNet::V4(network) => Some([nat64(*network), six_to_four(*network)].map(IpNet::V6)),
            IpNet::V6(_) => None,
        });
        let set = NetworkSet::of(sources.keys().copied().chain(translated.flatten()));
        let bounds = set.bounds();
        Self { set, bounds, sources }
    }

    /// Whether this is an address of the API server and nothing else.
    pub(crate) fn is_api_server(&self, network: &IpNet) -> bool {
        network.prefix_len() == network.max_prefix_len() && self.sources.get(network) == Some(&Source::ApiServer)
    }

    /// From where it is known that a network is never opened, or an address of it: the narrowest network that holds all of it,
    /// else the first that is in it.
    pub fn known(&self, network: IpNet) -> Option<KnownNetwork> {
        let found = |network: IpNet| {
            let source = self.sources.get(&network)?.clone();
            Some(KnownNetwork { source, network })
        };
        let around = |network: IpNet| {
            let wider =
                (0..=network.prefix_len()).rev().filter_map(move |prefix| IpNet::new(network.addr(), prefix).ok());
            wider.map(|wider| wider.trunc()).find_map(found)
        };
        let inside = |network: IpNet| {
            let last = IpNet::from(network.broadcast());
            self.sources.range(network..=last).next().and_then(|(first, _)| found(*first))
        };
        let each = [network.trunc(), meant(network).trunc()];
        each.into_iter().find_map(around).or_else(|| each.into_iter().find_map(inside))
    }

    /// From where the networks are known that are in a network.
    pub(crate) fn sources_in(&self, network: IpNet) -> impl Iterator<Item = &Source> {
        let last = IpNet::from(network.broadcast());
        let within = self.sources.range(network.trunc()..=last);
        within.filter(move |(one, _)| network.contains(*one)).map(|(_, source)| source)
    }

    /// Why nothing of a network is opened, for a refusal of it.
    pub(crate) fn why(&self, network: IpNet) -> NeverWhy {
        let known = self.known(network).unwrap_or(KnownNetwork { source: Source::Meaning(MANY), network });
        let is_inside = [network, meant(network)].iter().any(|network| known.network.contains(network));
        NeverWhy { known, is_inside }
    }

    /// Whether no rule opens any of this network.
    pub(crate) fn covers(&self, network: IpNet) -> bool {
        self.taken_from(NetworkSet::of([network])).is_empty()
    }

    /// What of a network may be opened, as the shortest list of CIDRs.
    pub(crate) fn open_part(&self, network: IpNet) -> Vec<IpNet> {
        self.taken_from(NetworkSet::of([network])).to_networks()
    }

    /// Whether no rule opens this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.set.contains(address)
    }

    /// The networks, as the shortest list of CIDRs, in ascending order.
    pub fn networks(&self) -> Vec<IpNet> {
        self.set.to_networks()
    }

    /// The same as ranges without a gap, first and last address of each.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        self.set.ranges()
    }

    /// Those of the ranges that have an address of this network.
    pub(crate) fn ranges_in(&self, network: &IpNet) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        self.bounds.within(network.network(), network.broadcast())
    }

    pub(crate) fn set(&self) -> &NetworkSet {
        &self.set
    }

    pub(crate) fn taken_from(&self, set: NetworkSet) -> NetworkSet {
        let touched: Vec<_> = set.ranges().flat_map(|(first, last)| self.bounds.within(first, last)).collect();
        if touched.is_empty() { set } else { set.difference(&NetworkSet::of_ranges(touched)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_from_where_a_network_is_known() {
        let network = |text: &str| text.parse::<IpNet>().unwrap();
        let never = NeverOpened::of([
            (network("10.0.0.0/8"), Source::ClusterNetworks),
            (network("10.244.1.0/24"), Source::PodCidr("a".into())),
            (network("192.0.2.4/32"), Source::NodeAddress("b".into())),
            (network("192.0.2.5/32"), Source::ApiServer),
            (network("192.0.2.5/32"), Source::NodeAddress("c".into())),
        ]);
        for (asked, told) in [
            ("10.20.5.0/24", Some("10.0.0.0/8 (clusterNetworks of CloisterConfig)")),
            ("10.244.1.7/32", Some("10.244.1.0/24 (the podCIDRs of a Node)")),
            ("10.244.0.0/16", Some("10.0.0.0/8 (clusterNetworks of CloisterConfig)")),
            ("192.0.2.4/31", Some("192.0.2.4/32 (the addresses of a Node)")),
            ("192.0.2.5/32", Some("192.0.2.5/32 (the API server)")),
            ("64:ff9b::10.244.1.7/128", Some("10.244.1.0/24 (the podCIDRs of a Node)")),
            ("169.254.169.254/32", Some("169.254.0.0/16 (the addresses of metadata services and agents of the node)")),
            ("192.0.2.6/32", None),
        ] {
            let known = never.known(network(asked)).map(|known| known.to_string());
            assert_eq!(known.as_deref(), told, "{asked}");
        }
        let in_it: Vec<_> = never.ranges_in(&network("192.0.0.0/8")).map(|(first, _)| first.to_string()).collect();
        assert_eq!(in_it, ["192.0.0.192", "192.0.2.4"]);
        assert_eq!(never.ranges_in(&network("11.0.0.0/8")).count(), 0);
    }

    #[test]
    fn metadata_is_never_opened_under_any_name() {
        let never = NeverOpened::new(&["10.96.0.0/12".parse().unwrap(), "fd12::/48".parse().unwrap()]);
        for address in [
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.251",
            "255.255.255.255",
            "10.96.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "ff02::fb",
            "fd12::1",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "64:ff9b::10.96.0.1",
            "::127.0.0.1",
            "64:ff9b:1::a9fe:a9fe",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        ] {
            assert!(never.contains(address.parse().unwrap()), "{address}");
        }
        for address in ["203.0.113.1", "10.0.0.1", "2001:db8::1", "64:ff9b::203.0.113.1", "fd13::1"] {
            assert!(!never.contains(address.parse().unwrap()), "{address}");
        }
    }
    #[test]
    fn a_network_that_stands_for_another_is_meant_as_that() {
        for (network, means) in [
            ("64:ff9b::/96", "0.0.0.0/0"),
            ("64:ff9b::c000:0/103", "192.0.0.0/7"),
            ("64:ff9b::cb00:7101/128", "203.0.113.1/32"),
            ("2002::/16", "0.0.0.0/0"),
            ("2002:cb00:7100::/40", "203.0.113.0/24"),
            ("2002:cb00:7101:7::/64", "203.0.113.1/32"),
            ("64:ff9b::/95", "64:ff9b::/95"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
        ] {
            assert_eq!(meant(network.parse().unwrap()), means.parse::<IpNet>().unwrap(), "{network}");
        }
    }
}
