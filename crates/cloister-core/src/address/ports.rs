//! Sets of ports: checking what a rule declares, set arithmetic, and the shortest list of ranges of a set.

use super::{
    policy_port::{PolicyPort, PolicyPortNumber},
    refusal::Refusal,
};
use crate::model::text::first_few;
use cloister_api::{Port, Protocol};
use range_set_blaze::RangeSetBlaze;
use std::{collections::BTreeMap, ops::RangeInclusive};

/// A set of ports of each protocol. A protocol without ports has no entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PortSet(BTreeMap<Protocol, RangeSetBlaze<u16>>);

impl PortSet {
    /// The set that a rule's `ports` names.
    ///
    /// # Errors
    ///
    /// [`Refusal::PortsInvalid`] where there are none (in a NetworkPolicy that would mean all), or where one is no port.
    pub(crate) fn parse(ports: &[Port]) -> Result<Self, Refusal> {
        if ports.is_empty() {
            return Err(Refusal::PortsInvalid { problem: "it names none".to_owned() });
        }
        let mut set = Self::default();
        for port in ports {
            let range = range(port);
            if port.port == 0 {
                return Err(Refusal::PortsInvalid { problem: "0 is not a port".to_owned() });
            }
            if range.is_empty() {
                let problem = format!("endPort {} is less than port {}", range.end(), range.start());
                return Err(Refusal::PortsInvalid { problem });
            }
            set.insert(port.protocol, range);
        }
        Ok(set)
    }

    pub(crate) fn insert(&mut self, protocol: Protocol, range: RangeInclusive<u16>) {
        self.0.entry(protocol).or_default().ranges_insert(range);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.0.get(&protocol).is_some_and(|ports| ports.contains(port))
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        if self == other {
            return self.clone();
        }
        let common = self.0.iter().filter_map(|(protocol, ports)| {
            let ports = ports & other.0.get(protocol)?;
            (!ports.is_empty()).then_some((*protocol, ports))
        });
        Self(common.collect())
    }

    /// The ranges, disjoint and not adjacent, in ascending order of protocol and port.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (Protocol, RangeInclusive<u16>)> {
        self.0.iter().flat_map(|(protocol, ports)| ports.ranges().map(|range| (*protocol, range)))
    }

    /// The ranges in words: `TCP/22, UDP/53`.
    pub(crate) fn in_words(&self) -> String {
        let all: Vec<String> = self.ranges().map(|(protocol, range)| written(protocol, &range)).collect();
        first_few(all.iter())
    }

    /// The ranges as a NetworkPolicy has them.
    pub(crate) fn to_policy_ports(&self) -> Vec<PolicyPort> {
        self.ranges()
            .map(|(protocol, range)| PolicyPort {
                protocol,
                port: PolicyPortNumber::Number(*range.start()),
                end_port: (range.start() != range.end()).then_some(*range.end()),
            })
            .collect()
    }

    /// Cuts the set where another of `others` begins or ends, so that each piece lies wholly inside or wholly outside
    /// of each of them.
    pub(crate) fn cut<'a>(&self, others: impl Iterator<Item = &'a PortSet>) -> Vec<(Protocol, RangeInclusive<u16>)> {
        let mut starts: BTreeMap<Protocol, Vec<u16>> = BTreeMap::new();
        for (protocol, range) in others.flat_map(PortSet::ranges) {
            let starts = starts.entry(protocol).or_default();
            starts.push(*range.start());
            starts.extend(range.end().checked_add(1));
        }
        for starts in starts.values_mut() {
            starts.sort_unstable();
            starts.dedup();
        }
        let mut pieces = Vec::new();
        for (protocol, range) in self.ranges() {
            let mut from = *range.start();
            for &start in starts.get(&protocol).into_iter().flatten() {
                if start > from && start <= *range.end() {
                    pieces.push((protocol, from..=start - 1));
                    from = start;
                }
            }
            pieces.push((protocol, from..=*range.end()));
        }
        pieces
    }
}

/// What one entry names; empty where its endPort is less than its port.
pub(crate) fn range(port: &Port) -> RangeInclusive<u16> {
    port.port..=port.end_port.unwrap_or(port.port)
}

/// A range as messages write it: `TCP/443`, `UDP/5000-5010`.
pub(crate) fn written(protocol: Protocol, range: &RangeInclusive<u16>) -> String {
    let (protocol, start, end) = (protocol.as_str(), range.start(), range.end());
    if start == end { format!("{protocol}/{start}") } else { format!("{protocol}/{start}-{end}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(protocol: Protocol, port: u16, end_port: Option<u16>) -> Port {
        Port { port, end_port, protocol }
    }

    #[test]
    fn ranges_of_one_protocol_join_and_protocols_do_not() {
        let set = PortSet::parse(&[
            port(Protocol::Udp, 53, None),
            port(Protocol::Tcp, 23, Some(30)),
            port(Protocol::Tcp, 22, None),
            port(Protocol::Tcp, 25, Some(65535)),
            port(Protocol::Tcp, 22, None),
        ])
        .unwrap();
        assert_eq!(
            set.to_policy_ports(),
            [
                PolicyPort { protocol: Protocol::Tcp, port: PolicyPortNumber::Number(22), end_port: Some(65535) },
                PolicyPort { protocol: Protocol::Udp, port: PolicyPortNumber::Number(53), end_port: None },
            ]
        );
    }

    #[test]
    fn pieces_lie_inside_or_outside() {
        let own = PortSet::parse(&[port(Protocol::Tcp, 10, Some(20))]).unwrap();
        let other = PortSet::parse(&[port(Protocol::Tcp, 5, Some(12)), port(Protocol::Tcp, 20, Some(65535))]).unwrap();
        let pieces: Vec<_> = own.cut([&other].into_iter()).into_iter().map(|(_, range)| range).collect();
        assert_eq!(pieces, [10..=12, 13..=19, 20..=20]);
    }

    #[test]
    fn no_port_zero_no_backward_range_and_not_none() {
        for ports in [vec![], vec![port(Protocol::Tcp, 0, None)], vec![port(Protocol::Tcp, 9, Some(8))]] {
            assert_eq!(PortSet::parse(&ports).unwrap_err().reason(), "PortsInvalid");
        }
    }
}
