//! Sets of addresses: parsing of CIDRs, set arithmetic, and the minimal list of CIDRs of a set.

use super::{refusal::Refusal, special::MAPPED};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use range_set_blaze::RangeSetBlaze;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

/// A set of addresses of both families.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NetworkSet {
    v4: RangeSetBlaze<Ipv4Addr>,
    v6: RangeSetBlaze<Ipv6Addr>,
}

impl NetworkSet {
    /// The set of all addresses in `networks`.
    pub(crate) fn of(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(net) => v4.push(net.network()..=net.broadcast()),
                IpNet::V6(net) => v6.push(net.network()..=net.broadcast()),
            }
        }
        Self { v4: set(v4), v6: set(v6) }
    }

    /// The set that a rule's `networks` names.
    ///
    /// # Errors
    ///
    /// [`Refusal::NetworkInvalid`] where one of them is not a network in CIDR notation.
    pub(crate) fn parse(networks: &[String]) -> Result<Self, Refusal> {
        networks.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>().map(Self::of)
    }

    /// Of two sets, the one with more of this is the wider: a measure by which the widest is found, in which one IPv4
    /// address weighs as much as an IPv6 /32, so that no family hides the other.
    pub(crate) fn breadth(&self) -> u128 {
        let v4 = self.v4.ranges().map(|range| u128::from(u32::from(*range.end()) - u32::from(*range.start())) + 1);
        let v6 = self.v6.ranges().map(|range| (u128::from(*range.end()) - u128::from(*range.start())) >> 96);
        v4.chain(v6).fold(0, u128::saturating_add)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.contains(address),
            IpAddr::V6(address) => self.v6.contains(address),
        }
    }

    /// All addresses from the first to the last, which are of one family.
    pub(crate) fn range(first: IpAddr, last: IpAddr) -> Self {
        Self::of_ranges([(first, last)])
    }

    /// The addresses of all of these ranges, each of one family.
    pub(crate) fn of_ranges(ranges: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match range {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push(first..=last),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push(first..=last),
                _ => {}
            }
        }
        Self { v4: set(v4), v6: set(v6) }
    }

    /// The ranges of addresses without a gap, in ascending order, IPv4 first: first and last of each.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let v4 = self.v4.ranges().map(|range| (IpAddr::V4(*range.start()), IpAddr::V4(*range.end())));
        v4.chain(self.v6.ranges().map(|range| (IpAddr::V6(*range.start()), IpAddr::V6(*range.end()))))
    }

    /// Whether they obviously have nothing in common.
    pub(crate) fn is_apart(&self, other: &Self) -> bool {
        apart(&self.v4, &other.v4) && apart(&self.v6, &other.v6)
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self { v4: common(&self.v4, &other.v4), v6: common(&self.v6, &other.v6) }
    }

    pub(crate) fn difference(&self, other: &Self) -> Self {
        Self { v4: without(&self.v4, &other.v4), v6: without(&self.v6, &other.v6) }
    }

    /// The first and last addresses of the ranges, in ascending order: for many quick questions about one set.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            v4: self.v4.ranges().map(RangeInclusive::into_inner).collect(),
            v6: self.v6.ranges().map(RangeInclusive::into_inner).collect(),
        }
    }

    /// The addresses of all of them.
    pub(crate) fn union_of<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for set in sets {
            v4.extend(set.v4.ranges());
            v6.extend(set.v6.ranges());
        }
        Self { v4: set(v4), v6: set(v6) }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        Self { v4: &self.v4 | &other.v4, v6: &self.v6 | &other.v6 }
    }

    /// The shortest list of disjoint CIDRs with exactly these addresses, in ascending order, IPv4 first.
    pub(crate) fn to_networks(&self) -> Vec<IpNet> {
        let v4 = self.v4.ranges().flat_map(|range| Ipv4Subnets::new(*range.start(), *range.end(), 0));
        let v6 = self.v6.ranges().flat_map(|range| Ipv6Subnets::new(*range.start(), *range.end(), 0));
        v4.map(IpNet::V4).chain(v6.map(IpNet::V6)).collect()
    }
}

/// The ranges of a set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bounds {
    v4: Vec<(Ipv4Addr, Ipv4Addr)>,
    v6: Vec<(Ipv6Addr, Ipv6Addr)>,
}

impl Bounds {
    /// The ranges that have an address between these two.
    pub(crate) fn within(&self, first: IpAddr, last: IpAddr) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        fn those<T: Ord + Copy>(bounds: &[(T, T)], first: T, last: T) -> &[(T, T)] {
            let begin = bounds.partition_point(|(_, end)| *end < first);
            let end = bounds.partition_point(|(start, _)| *start <= last);
            bounds.get(begin..end).unwrap_or_default()
        }
        let (v4, v6) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (those(&self.v4, first, last), &[][..]),
            (IpAddr::V6(first), IpAddr::V6(last)) => (&[][..], those(&self.v6, first, last)),
            _ => (&[][..], &[][..]),
        };
        let v4 = v4.iter().map(|(first, last)| (IpAddr::V4(*first), IpAddr::V4(*last)));
        v4.chain(v6.iter().map(|(first, last)| (IpAddr::V6(*first), IpAddr::V6(*last))))
    }
}

/// The addresses of all of these ranges. Most rules name one network, for which nothing need be sorted.
fn set<T: range_set_blaze::Integer>(ranges: Vec<RangeInclusive<T>>) -> RangeSetBlaze<T> {
    if ranges.len() > 1 {
        return RangeSetBlaze::from_iter(ranges);
    }
    let mut set = RangeSetBlaze::new();
    for range in ranges {
        set.ranges_insert(range);
    }
    set
}

/// Whether one set ends before the other begins: most pairs of rules have nothing in common, and this shows it at once.
fn apart<T: range_set_blaze::Integer>(a: &RangeSetBlaze<T>, b: &RangeSetBlaze<T>) -> bool {
    match (a.first().zip(a.last()), b.first().zip(b.last())) {
        (Some((a_first, a_last)), Some((b_first, b_last))) => a_last < b_first || b_last < a_first,
        _ => true,
    }
}

fn common<T: range_set_blaze::Integer>(a: &RangeSetBlaze<T>, b: &RangeSetBlaze<T>) -> RangeSetBlaze<T> {
    if apart(a, b) {
        RangeSetBlaze::new()
    } else if a.is_subset(b) {
        a.clone()
    } else {
        a & b
    }
}

fn without<T: range_set_blaze::Integer>(a: &RangeSetBlaze<T>, b: &RangeSetBlaze<T>) -> RangeSetBlaze<T> {
    if apart(a, b) { a.clone() } else { a - b }
}

/// A network in CIDR notation, as strict as the API server: no leading zeros (which some read as octal), no bits set
/// after the prefix, no IPv4-mapped IPv6.
pub(crate) fn parse(text: &str) -> Result<IpNet, Refusal> {
    let invalid = |problem| Refusal::NetworkInvalid { network: shortened(text), problem };
    let (address, prefix) = text.split_once('/').ok_or_else(|| invalid("it has no prefix length"))?;
    let address: IpAddr = address.parse().map_err(|_| invalid("its address is neither IPv4 nor IPv6"))?;
    if prefix.is_empty()
        || !prefix.bytes().all(|byte| byte.is_ascii_digit())
        || (prefix.len() > 1 && prefix.starts_with('0'))
    {
        return Err(invalid("its prefix length is not a number"));
    }
    let prefix: u8 = prefix.parse().map_err(|_| invalid("its prefix length is too large"))?;
    let network = IpNet::new(address, prefix).map_err(|_| invalid("its prefix length is too large"))?;
    if network != network.trunc() {
        return Err(invalid("it has bits set after the prefix"));
    }
    match network {
        IpNet::V6(net) if MAPPED.contains(&net) => Err(invalid("it is IPv4-mapped IPv6; write it as IPv4")),
        _ => Ok(network),
    }
}

/// Keeps a message readable whatever was written.
pub(crate) fn shortened(text: &str) -> String {
    const MAX: usize = 64;
    if text.chars().count() <= MAX { text.to_owned() } else { text.chars().take(MAX).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> NetworkSet {
        NetworkSet::parse(&networks.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    fn written(set: &NetworkSet) -> Vec<String> {
        set.to_networks().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn networks_are_written_in_the_shortest_form() {
        assert_eq!(written(&set(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25"])), ["10.0.0.0/23"]);
        assert_eq!(written(&set(&["2001:db8::/32", "0.0.0.0/0"])), ["0.0.0.0/0", "2001:db8::/32"]);
        assert_eq!(written(&set(&["0.0.0.0/1", "128.0.0.0/1", "::/0"])), ["0.0.0.0/0", "::/0"]);
        assert_eq!(written(&set(&["10.0.0.0/30"]).difference(&set(&["10.0.0.1/32"]))), ["10.0.0.0/32", "10.0.0.2/31"]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "010.0.0.0/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/33",
            "10.0.0.0/999",
            "10.0.0.1/8",
            "10.0/16",
            " 10.0.0.0/8",
            "10.0.0.0/8/8",
            "::ffff:10.0.0.0/104",
            "::ffff:0:0/96",
            "::1%lo/128",
            "2001:db8::1/32",
            "example.com/8",
        ] {
            let refusal = NetworkSet::parse(&[text.to_owned()]).unwrap_err();
            assert_eq!(refusal.reason(), "NetworkInvalid", "{text}");
        }
    }
}
