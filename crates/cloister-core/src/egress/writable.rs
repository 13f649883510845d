//! What one policy may open in all. Admission holds the operator to it (operator-networkpolicies.cloister.dev).

use super::special::{NAT64, meant};
use ipnet::IpNet;
use std::fmt;

/// How many networks a rule may come to. What is never opened is cut out of it, and each cut leaves more and smaller ones.
pub(crate) const MOST: usize = 500;

/// The widest networks that are ever opened: the prefixes for IPv4 and IPv6. Admission holds the operator to them.
const WIDEST: (u8, u8) = (8, 16);

/// How many networks one policy may open that are wider than these.
pub(super) const WIDE: (u8, u8) = (16, 32);

/// How many such wide networks one policy may open.
const MOST_WIDE: usize = 16;

/// What a rule comes to that no policy may hold, by the bound that it is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// So many networks.
    All(usize),
    /// So many that are wide.
    Wide(usize),
}

impl Pieces {
    /// What networks come to that do not fit.
    pub(super) fn of(networks: &[IpNet]) -> Self {
        match networks.len() {
            all if all > MOST => Pieces::All(all),
            _ => Pieces::Wide(wider_than(networks, WIDE)),
        }
    }
}

impl fmt::Display for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pieces::All(all) => write!(f, "{all} networks, of which it may open {MOST}"),
            Pieces::Wide(wide) => {
                write!(
                    f,
                    "{wide} networks wider than /{} (IPv6: /{}), of which it may open {MOST_WIDE}",
                    WIDE.0, WIDE.1
                )
            }
        }
    }
}

/// Whether one policy may hold these networks.
pub(crate) fn fits(networks: &[IpNet]) -> bool {
    networks.len() <= MOST && is_writable(networks)
}

/// Whether admission lets the operator write a policy that opens these networks.
pub(crate) fn is_writable(networks: &[IpNet]) -> bool {
    // One that holds all that a translator makes IPv4 of is as wide as that.
    let holds_ipv4 = |network: &IpNet| network.prefix_len() < NAT64.prefix_len() && network.contains(&IpNet::V6(NAT64));
    !networks.iter().any(holds_ipv4) && wider_than(networks, WIDEST) == 0 && wider_than(networks, WIDE) <= MOST_WIDE
}

fn wider_than(networks: &[IpNet], (ipv4, ipv6): (u8, u8)) -> usize {
    let is_wider = |network: &&IpNet| match meant(**network) {
        IpNet::V4(network) => network.prefix_len() < ipv4,
        IpNet::V6(network) => network.prefix_len() < ipv6,
    };
    networks.iter().filter(is_wider).count()
}
