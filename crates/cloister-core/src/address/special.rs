//! Ranges of the address space that mean the same everywhere, and the IPv4 that some IPv6 stands for.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4-mapped IPv6: a dataplane may treat such a network as the IPv4 one, or as nothing.
pub(crate) const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

/// Local NAT64 (RFC 8215): any IPv4, and nobody knows where in it.
pub(super) const LOCAL_NAT64: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);

/// Whether an address stands for one in IPv4 that nobody can tell.
pub(crate) fn is_local_nat64(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if LOCAL_NAT64.contains(&address))
}

/// Whether an address is of its link alone.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// NAT64's well-known prefix (RFC 6052).
pub(crate) const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// 6to4 (RFC 3056).
pub(crate) const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

/// The IPv4 network that a network of NAT64 or 6to4 stands for; another network as it is.
pub(crate) fn meant(network: IpNet) -> IpNet {
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

/// The IPv4 address that a translator makes of an address of NAT64's well-known prefix. Not of 6to4: that names a router on the
/// way, and not the host.
pub(crate) fn translated(address: IpAddr) -> Option<IpAddr> {
    let is_nat64 = matches!(address, IpAddr::V6(address) if NAT64.contains(&address));
    is_nat64.then(|| meant(address.into()).addr())
}

/// The network as NAT64's well-known prefix has it.
pub(crate) fn nat64(net: Ipv4Net) -> Ipv6Net {
    let [a, b, c, d] = net.network().octets().map(u16::from);
    Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a << 8 | b, c << 8 | d), 96 + net.prefix_len())
}

/// The network as 6to4 has it.
pub(super) fn six_to_four(net: Ipv4Net) -> Ipv6Net {
    let [a, b, c, d] = net.network().octets().map(u16::from);
    Ipv6Net::new_assert(Ipv6Addr::new(0x2002, a << 8 | b, c << 8 | d, 0, 0, 0, 0, 0), 16 + net.prefix_len())
}

/// A network of IPv4, for constants.
pub(super) const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix)
}

/// A network of IPv6, for constants.
pub(super) const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}
