//! Which addresses are the Internet's: those of no range that is somebody's own, or has a meaning of its own.

use super::{
    networks::{Bounds, NetworkSet},
    special::{MAPPED, nat64},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

/// Ranges that are no part of the Internet.
const NOT_PUBLIC_V4: [Ipv4Net; 11] = [
    v4([0, 0, 0, 0], 8),          // "this network"
    v4([127, 0, 0, 0], 8),        // loopback
    v4([169, 254, 0, 0], 16),     // link-local
    v4([224, 0, 0, 0], 4),        // multicast
    v4([255, 255, 255, 255], 32), // broadcast
    v4([10, 0, 0, 0], 8),         // private (RFC 1918)
    v4([172, 16, 0, 0], 12),      // private
    v4([192, 168, 0, 0], 16),     // private
    v4([100, 64, 0, 0], 10),      // shared by providers (RFC 6598)
    v4([192, 0, 0, 0], 24),       // protocol assignments (RFC 6890)
    v4([198, 18, 0, 0], 15),      // benchmarks (RFC 2544)
];

/// The same of IPv6. Those that carry an IPv4 address could carry any; an address of NAT64's well-known prefix (RFC 6052)
/// is what the IPv4 address in it is.
const NOT_PUBLIC_V6: [Ipv6Net; 8] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),         // unspecified, loopback, IPv4-compatible
    MAPPED,                                   // IPv4 under another name
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),    // link-local
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),     // multicast
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), // local NAT64 (RFC 8215)
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),    // Teredo (RFC 4380)
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),    // 6to4 (RFC 3056)
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),     // unique local (RFC 4193)
];

pub(crate) static NOT_PUBLIC: LazyLock<NetworkSet> = LazyLock::new(|| {
    let v4 = NOT_PUBLIC_V4.iter().copied();
    let translated = v4.clone().map(|network| IpNet::V6(nat64(network)));
    let v6 = NOT_PUBLIC_V6.iter().copied().map(IpNet::V6);
    NetworkSet::of(v4.map(IpNet::V4).chain(v6).chain(translated))
});

/// The same, for quick questions.
static NOT_PUBLIC_BOUNDS: LazyLock<Bounds> = LazyLock::new(|| NOT_PUBLIC.bounds());

/// Whether an address is the Internet's.
pub fn is_public(address: IpAddr) -> bool {
    !NOT_PUBLIC.contains(address)
}

/// The addresses among these that are the Internet's.
pub(crate) fn public_part(networks: &[IpNet]) -> NetworkSet {
    let all = NetworkSet::of(networks.iter().copied());
    // Most networks are public as a whole.
    let is_public = all.ranges().all(|(first, last)| NOT_PUBLIC_BOUNDS.within(first, last).next().is_none());
    if is_public { all } else { all.difference(&NOT_PUBLIC) }
}

/// The addresses among these that are not.
pub(crate) fn not_public_part(networks: &[IpNet]) -> NetworkSet {
    NetworkSet::of(networks.iter().copied()).intersection(&NOT_PUBLIC)
}

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix)
}

const fn v6(s: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]), prefix)
}
