//! The proof for what opens by domain name, for all kinds of policies.

use super::objection::Declaration;
use crate::{
    address::{DomainName, NeverOpened},
    egress::EgressTarget,
};
use cloister_api::{Port, Protocol};
use ipnet::IpNet;
use std::{fmt, net::IpAddr, ops::RangeInclusive};

/// Ports that a policy opens.
#[derive(Clone, Debug)]
pub(crate) struct PortRange {
    pub(crate) protocol: Protocol,
    pub(crate) range: RangeInclusive<u16>,
}

/// What a policy opens by domain name.
pub(crate) struct ByName<'a> {
    /// The agreements about its pods.
    pub(crate) about: &'a [&'a Vec<Declaration<'a>>],
    pub(crate) names: &'a [DomainName],
    pub(crate) ports: &'a [PortRange],
}

impl ByName<'_> {
    /// The part of it that nobody approved, or that may resolve to an address that is never opened. `denied` returns the
    /// networks that the policy denies on a port.
    pub(crate) fn too_much(&self, never: &NeverOpened, denied: impl Fn(&PortRange) -> Vec<IpNet>) -> Option<String> {
        if self.ports.is_empty() {
            return Some("all ports".to_owned());
        }
        self.ports.iter().find_map(|port| {
            let is_agreed = |name: &DomainName| {
                self.about.iter().any(|all| all.iter().all(|one| admits_name(one, name) && port.is_declared(one.ports)))
            };
            if let Some(name) = self.names.iter().find(|name| !is_agreed(name)) {
                return Some(format!("{name} on {port}"));
            }
            let denied = ranges(&denied(port));
            let mut on_the_wire = never.ranges().filter(|(first, _)| !is_mapped(first));
            let open = on_the_wire.find_map(|(first, last)| first_outside(first, last, &denied))?;
            Some(format!("{open} on {port}, which a domain name may resolve to"))
        })
    }
}

impl PortRange {
    /// Whether one of these contains all of it.
    pub(crate) fn is_within(&self, others: &[PortRange]) -> bool {
        let contains = |other: &PortRange| {
            other.protocol == self.protocol
                && other.range.contains(self.range.start())
                && other.range.contains(self.range.end())
        };
        others.iter().any(contains)
    }

    /// Whether all of it is declared, possibly by several ranges together.
    fn is_declared(&self, declared: &[Port]) -> bool {
        if self.range.is_empty() {
            return false;
        }
        let of_protocol = declared.iter().filter(|declared| declared.protocol == self.protocol);
        let mut ranges: Vec<_> = of_protocol.map(|one| (one.port, one.end_port.unwrap_or(one.port))).collect();
        ranges.sort_unstable();
        let mut next = u32::from(*self.range.start());
        for (first, last) in ranges {
            if u32::from(first) <= next {
                next = next.max(u32::from(last) + 1);
            }
        }
        next > u32::from(*self.range.end())
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol.as_str(), self.range.start())?;
        if self.range.start() == self.range.end() { Ok(()) } else { write!(f, "-{}", self.range.end()) }
    }
}

/// Whether an address is an IPv4-mapped IPv6 address, which no packet has.
fn is_mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn admits_name(declared: &Declaration<'_>, name: &DomainName) -> bool {
    let EgressTarget::DomainNames(names) = declared.target else { return false };
    names.iter().filter_map(|declared| declared.parse::<DomainName>().ok()).any(|declared| declared.covers(name))
}

/// The first and last addresses of these networks, in ascending order, without networks that are inside of others.
fn ranges(networks: &[IpNet]) -> Vec<(IpAddr, IpAddr)> {
    let mut sorted: Vec<(IpAddr, IpAddr)> = networks.iter().map(|one| (one.network(), one.broadcast())).collect();
    sorted.sort_unstable_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
    let mut ranges: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(sorted.len());
    for range in sorted {
        if ranges.last().is_none_or(|before| before.1 < range.1) {
            ranges.push(range);
        }
    }
    ranges
}

/// The first address of a range that is in none of these ranges, which are in ascending order.
fn first_outside(first: IpAddr, last: IpAddr, ranges: &[(IpAddr, IpAddr)]) -> Option<IpAddr> {
    let mut next = first;
    while next <= last {
        let at = ranges.partition_point(|(_, end)| *end < next);
        let Some((_, end)) = ranges.get(at).filter(|(begin, _)| *begin <= next) else { return Some(next) };
        next = match *end {
            IpAddr::V4(end) => IpAddr::V4(u32::from(end).checked_add(1)?.into()),
            IpAddr::V6(end) => IpAddr::V6(u128::from(end).checked_add(1)?.into()),
        };
    }
    None
}
