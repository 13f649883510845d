//! What one policy may open in all. Admission holds the operator to it (operator-networkpolicies.cloister.dev).

use super::never::{NAT64, meant};
use ipnet::IpNet;

/// How many networks a rule may come to. What is never opened is cut out of it, and each cut leaves more and smaller ones.
pub(crate) const MOST: usize = 500;

/// The widest networks that are ever opened: the prefixes for IPv4 and IPv6. Admission holds the operator to them.
const WIDEST: (u8, u8) = (8, 16);

/// How many networks one policy may open that are wider than these.
pub(super) const WIDE: (u8, u8) = (16, 32);

/// How many such wide networks one policy may open.
const MOST_WIDE: usize = 16;

/// Whether one policy may hold these networks.
pub(crate) fn fits(networks: &[IpNet]) -> bool {
    networks.len() <= MOST && is_writable(networks)
}

/// Whether admission lets the operator write a policy that opens these networks.
pub(crate) fn is_writable(networks: &[IpNet]) -> bool {
    let wider_than = |(ipv4, ipv6): (u8, u8)| {
        let is_wider = move |network: &&IpNet| match meant(**network) {
            IpNet::V4(network) => network.prefix_len() < ipv4,
            IpNet::V6(network) => network.prefix_len() < ipv6,
        };
        networks.iter().filter(is_wider).count()
    };
    // One that holds all that a translator makes IPv4 of is as wide as that.
    let holds_ipv4 = |network: &IpNet| network.prefix_len() < NAT64.prefix_len() && network.contains(&IpNet::V6(NAT64));
    !networks.iter().any(holds_ipv4) && wider_than(WIDEST) == 0 && wider_than(WIDE) <= MOST_WIDE
}
