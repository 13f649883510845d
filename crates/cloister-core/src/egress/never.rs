//! The networks that nobody opens.

use super::networks::{MAPPED, NetworkSet};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that no rule opens by address, whoever agreed to it: metadata services and link-local addresses (whoever
/// reaches those has the node's credentials), loopback, multicast, and the cluster's own networks (pods and Services
/// are opened by name, so that the rule follows them). Built once and reused.
#[derive(Clone, Debug, PartialEq)]
pub struct NeverOpened {
    set: NetworkSet,
    bounds: super::networks::Bounds,
    /// The addresses of the API server, which are among them.
    api_server: Vec<IpAddr>,
}

/// What is never opened in IPv4.
const NEVER_V4: &[Ipv4Net] = &[
    v4([0, 0, 0, 0], 8),          // "this network"; many systems connect 0.0.0.0 to themselves
    v4([127, 0, 0, 0], 8),        // loopback
    v4([169, 254, 0, 0], 16),     // link-local: the metadata services of most clouds, node-local DNS
    v4([168, 63, 129, 16], 32),   // Azure's WireServer
    v4([100, 100, 100, 200], 32), // Alibaba Cloud's metadata service
    v4([100, 96, 0, 96], 32),     // Volcano Engine's metadata service
    v4([192, 0, 0, 192], 32),     // Oracle Cloud Classic's metadata service
    v4([224, 0, 0, 0], 4),        // multicast
    v4([255, 255, 255, 255], 32), // broadcast
];

/// What is never opened in IPv6.
const NEVER_V6: &[Ipv6Net] = &[
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96), // unspecified, loopback, and the deprecated IPv4-compatible addresses
    MAPPED,                           // would be IPv4 under another name
    LOCAL_NAT64,
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),         // Teredo (RFC 4380): the same
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),         // link-local
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),     // AWS: metadata (::254), pod identity (::23), DNS, time
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), // Google Cloud's metadata service
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128),  // Scaleway's metadata service
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),          // multicast
];

/// Local NAT64 (RFC 8215): any IPv4, and nobody knows where in it.
const LOCAL_NAT64: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);

/// Whether an address stands for one in IPv4 that nobody can tell.
pub(crate) fn is_local_nat64(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if LOCAL_NAT64.contains(&address))
}

impl NeverOpened {
    /// The fixed networks, and those of the cluster.
    pub fn new(cluster_networks: &[IpNet]) -> Self {
        Self::with_api_server(cluster_networks, Vec::new())
    }

    /// The same, and the addresses of the API server.
    pub fn with_api_server(cluster_networks: &[IpNet], api_server: Vec<IpAddr>) -> Self {
        let mut v4: Vec<Ipv4Net> = NEVER_V4.to_vec();
        let mut v6: Vec<Ipv6Net> = NEVER_V6.to_vec();
        for network in cluster_networks.iter().copied().chain(api_server.iter().copied().map(IpNet::from)) {
            match network {
                IpNet::V4(net) => v4.push(net),
                IpNet::V6(net) => v6.push(net),
            }
        }
        // A translator on the way would make IPv4 of these again.
        v6.extend(v4.iter().flat_map(|net| [nat64(*net), six_to_four(*net)]));
        let set = NetworkSet::of(v4.into_iter().map(IpNet::V4).chain(v6.into_iter().map(IpNet::V6)));
        let bounds = set.bounds();
        Self { set, bounds, api_server }
    }

    /// Whether this is an address of the API server and nothing else.
    pub(super) fn is_api_server(&self, network: &IpNet) -> bool {
        network.prefix_len() == network.max_prefix_len() && self.api_server.contains(&network.addr())
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

    pub(super) fn set(&self) -> &NetworkSet {
        &self.set
    }

    pub(super) fn taken_from(&self, set: NetworkSet) -> NetworkSet {
        if self.bounds.touches(&set) { set.difference(&self.set) } else { set }
    }
}

/// NAT64's well-known prefix (RFC 6052).
pub(super) const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// 6to4 (RFC 3056).
pub(super) const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

/// The IPv4 network that a network of NAT64 or 6to4 stands for; another network as it is.
pub(super) fn meant(network: IpNet) -> IpNet {
    let IpNet::V6(net) = network else { return network };
    let bits = u128::from(net.network());
    let (shift, prefix) = if NAT64.contains(&net) {
        (0, net.prefix_len() - NAT64.prefix_len())
    } else if SIX_TO_FOUR.contains(&net) {
        (80, (net.prefix_len() - SIX_TO_FOUR.prefix_len()).min(32))
    } else {
        return network;
    };
    let address = u32::try_from((bits >> shift) & u128::from(u32::MAX)).unwrap_or_default();
    Ipv4Net::new(Ipv4Addr::from(address), prefix).map_or(network, |net| IpNet::V4(net.trunc()))
}

/// The network as NAT64's well-known prefix has it.
pub(super) fn nat64(net: Ipv4Net) -> Ipv6Net {
    let [a, b, c, d] = net.network().octets().map(u16::from);
    Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a << 8 | b, c << 8 | d), 96 + net.prefix_len())
}

/// The network as 6to4 has it.
fn six_to_four(net: Ipv4Net) -> Ipv6Net {
    let [a, b, c, d] = net.network().octets().map(u16::from);
    Ipv6Net::new_assert(Ipv6Addr::new(0x2002, a << 8 | b, c << 8 | d, 0, 0, 0, 0, 0), 16 + net.prefix_len())
}

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

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
