//! The networks that nobody opens.

use super::networks::{MAPPED, NetworkSet};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that no rule opens by address, whoever agreed to it: metadata services and link-local addresses (whoever
/// reaches those has the node's credentials), loopback, multicast, and the cluster's own networks (pods and Services
/// are opened by name, so that the rule follows them). Built once and reused.
#[derive(Clone, Debug, PartialEq)]
pub struct NeverOpened(NetworkSet, super::networks::Bounds);

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
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), // link-local
    v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), // AWS: metadata (::254), pod identity (::23), DNS, time
    v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), // Google Cloud's metadata service
    v6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128), // Scaleway's metadata service
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), // multicast
];

impl NeverOpened {
    /// The fixed networks, and `cluster_networks` of CloisterConfig.
    pub fn new(cluster_networks: &[IpNet]) -> Self {
        let mut v4: Vec<Ipv4Net> = NEVER_V4.to_vec();
        let mut v6: Vec<Ipv6Net> = NEVER_V6.to_vec();
        for network in cluster_networks {
            match network {
                IpNet::V4(net) => v4.push(*net),
                IpNet::V6(net) => v6.push(*net),
            }
        }
        // A translator on the way would make IPv4 of these again.
        v6.extend(v4.iter().flat_map(|net| [nat64(*net), six_to_four(*net)]));
        let set = NetworkSet::of(v4.into_iter().map(IpNet::V4).chain(v6.into_iter().map(IpNet::V6)));
        let bounds = set.bounds();
        Self(set, bounds)
    }

    /// Whether no rule opens this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// The networks, as the shortest list of CIDRs, in ascending order.
    pub fn networks(&self) -> Vec<IpNet> {
        self.0.to_networks()
    }

    /// The same as ranges without a gap, first and last address of each.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        self.0.ranges()
    }

    pub(super) fn set(&self) -> &NetworkSet {
        &self.0
    }

    pub(super) fn taken_from(&self, set: NetworkSet) -> NetworkSet {
        if self.1.touches(&set) { set.difference(&self.0) } else { set }
    }
}

/// The network as NAT64's well-known prefix has it (RFC 6052).
fn nat64(net: Ipv4Net) -> Ipv6Net {
    let [a, b, c, d] = net.network().octets().map(u16::from);
    Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a << 8 | b, c << 8 | d), 96 + net.prefix_len())
}

/// The network as 6to4 has it (RFC 3056).
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
        ] {
            assert!(never.contains(address.parse().unwrap()), "{address}");
        }
        for address in ["203.0.113.1", "10.0.0.1", "2001:db8::1", "64:ff9b::203.0.113.1", "fd13::1"] {
            assert!(!never.contains(address.parse().unwrap()), "{address}");
        }
    }
}
