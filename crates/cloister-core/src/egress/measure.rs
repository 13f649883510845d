//! How wide a range of the Internet is, and how wide it may be.

use crate::address::{networks::NetworkSet, public::public_part};
use cloister_api::MaxPublicPrefix;
use ipnet::IpNet;
use std::net::IpAddr;

/// How many of the widest ranges a namespace may have in all.
pub(crate) const RANGES: u128 = 16;

/// The first public range of these networks that is wider than allowlists may open, in words.
pub(crate) fn too_wide(networks: &[IpNet], limit: MaxPublicPrefix) -> Option<String> {
    let public = public_part(networks);
    let wide = public.ranges().find(|(first, last)| size(*first, *last) > most(*first, limit));
    wide.map(|(first, last)| format!("{first} to {last}"))
}

/// How many addresses a public range without a gap may have.
pub(crate) fn most(first: IpAddr, most: MaxPublicPrefix) -> u128 {
    1_u128
        << match first {
            IpAddr::V4(_) => 32 - u32::from(most.ipv4.clamp(1, 32)),
            IpAddr::V6(_) => 128 - u32::from(most.ipv6.clamp(1, 128)),
        }
}

/// The part of a union that is too much, in words too, and by how many addresses.
pub(crate) fn offending(union: &NetworkSet, limit: MaxPublicPrefix) -> Option<(NetworkSet, String, u128)> {
    for (first, last) in union.ranges() {
        if size(first, last) > most(first, limit) {
            // The range falls apart where anything is taken out: one at a time.
            return Some((NetworkSet::range(first, last), format!("{first} to {last}"), 1));
        }
    }
    for v4 in [true, false] {
        let ranges: Vec<_> = union.ranges().filter(|(first, _)| first.is_ipv4() == v4).collect();
        let Some((first, _)) = ranges.first() else { continue };
        let total = ranges.iter().fold(0_u128, |total, (first, last)| total.saturating_add(size(*first, *last)));
        let limit = most(*first, limit).saturating_mul(RANGES);
        if total > limit {
            let all: Vec<NetworkSet> = ranges.iter().map(|(first, last)| NetworkSet::range(*first, *last)).collect();
            let all = NetworkSet::union_of(&all);
            return Some((all, format!("{} public ranges", ranges.len()), total - limit));
        }
    }
    None
}

/// How many addresses.
pub(crate) fn size(first: IpAddr, last: IpAddr) -> u128 {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u128::from(u32::from(last) - u32::from(first)) + 1,
        (IpAddr::V6(first), IpAddr::V6(last)) => (u128::from(last) - u128::from(first)).saturating_add(1),
        _ => 0,
    }
}
