//! What a Node says of its networks, and how much of it is believed.
//!
//! Its kubelet writes it, and nobody checks it: so the credential of one kubelet must neither close what others need nor keep
//! the operator busy. What is not believed is said; whoever knows that it is right writes it into `clusterNetworks`.

use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

/// The widest podCIDR of a Node that is believed: the prefixes for IPv4 and IPv6. The API server's own controller gives out a
/// /24 and a /64, and a /16 or a /48 where a cluster of one Node keeps all of its network.
const WIDEST: (u8, u8) = (16, 48);

/// How many podCIDRs a Node may have: one of each family, as the API server has it.
const POD_CIDRS: usize = 2;

/// How many addresses of a Node are believed at a time: two of each family, inside and outside, and as many again.
const ADDRESSES: usize = 8;

/// How long an address of a Node is believed after the Node has ceased to say it. So nothing is opened and closed again by one
/// that says something else each second.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// What a Node says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSays {
    /// Its `podCIDRs`.
    pub pod_cidrs: Vec<String>,
    /// Its addresses, each with its type.
    pub addresses: Vec<(String, String)>,
}

/// What of it is believed.
#[derive(Clone, Debug, Default)]
pub struct NodeNetworks {
    /// The networks of its pods.
    pub pods: BTreeSet<IpNet>,
    addresses: Vec<(IpAddr, Instant)>,
    /// What is not believed.
    pub refused: Vec<Refused>,
}

/// Something that a Node says and that is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The network, or the address as one.
    pub network: IpNet,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Wide,
    Many,
    Addresses,
    All,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = self.network;
        match self.why {
            Why::Wide => write!(f, "podCIDR {network} is wider than /{} (IPv6: /{})", WIDEST.0, WIDEST.1),
            Why::Many => write!(f, "podCIDR {network} is one of more than {POD_CIDRS}"),
            Why::Addresses => {
                let minutes = REMEMBERED.as_secs() / 60;
                write!(f, "address {} is one of more than {ADDRESSES} in {minutes} minutes", network.addr())
            }
            Why::All => {
                write!(f, "{network} is beyond the {} networks that are kept of all Nodes", crate::node_networks::MOST)
            }
        }
    }
}

impl Refused {
    /// What is left out because there are too many in all.
    pub(crate) fn beyond_all(network: IpNet) -> Self {
        Refused { network, why: Why::All }
    }
}

impl NodeNetworks {
    /// What is believed of what a Node says at a time, and of what it said before.
    ///
    /// Of its addresses only those count by which it is reached (InternalIP, ExternalIP): others are names, or of no known
    /// meaning.
    pub fn believed(says: &NodeSays, before: Option<&Self>, now: Instant) -> Self {
        let mut believed = NodeNetworks::default();
        let declared: BTreeSet<IpNet> = says.pod_cidrs.iter().filter_map(|text| text.parse().ok()).collect();
        for network in declared.into_iter().map(|network: IpNet| network.trunc()) {
            let widest = if network.addr().is_ipv4() { WIDEST.0 } else { WIDEST.1 };
            if network.prefix_len() < widest {
                believed.refused.push(Refused { network, why: Why::Wide });
            } else if believed.pods.len() >= POD_CIDRS {
                believed.refused.push(Refused { network, why: Why::Many });
            } else {
                believed.pods.insert(network);
            }
        }
        let reaches = |of: &str| matches!(of, "InternalIP" | "ExternalIP");
        let said = says.addresses.iter().filter(|(of, _)| reaches(of));
        let said: Vec<IpAddr> =
            said.filter_map(|(_, text)| text.parse().ok()).map(|one: IpAddr| one.to_canonical()).collect();
        let told: BTreeSet<IpAddr> = said.iter().copied().collect();
        for (address, at) in before.iter().flat_map(|before| &before.addresses) {
            if told.contains(address) {
                believed.addresses.push((*address, now));
            } else if now.saturating_duration_since(*at) < REMEMBERED {
                believed.addresses.push((*address, *at));
            }
        }
        let mut known: BTreeSet<IpAddr> = believed.addresses().collect();
        for address in said {
            if !known.insert(address) {
                continue;
            }
            if believed.addresses.len() < ADDRESSES {
                believed.addresses.push((address, now));
            } else {
                believed.refused.push(Refused { network: address.into(), why: Why::Addresses });
            }
        }
        believed
    }

    /// The addresses of the Node.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().map(|(address, _)| *address)
    }

    /// Whether both say the same of the cluster's networks.
    pub fn says_as(&self, other: &Self) -> bool {
        self.pods == other.pods && self.addresses().eq(other.addresses()) && self.refused == other.refused
    }
}

/// How many networks and addresses are kept of all Nodes: more than the largest clusters have.
pub const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn says(pod_cidrs: &[&str], addresses: &[&str]) -> NodeSays {
        let addresses = addresses.iter().map(|address| ("InternalIP".to_owned(), (*address).to_owned()));
        NodeSays { pod_cidrs: pod_cidrs.iter().map(ToString::to_string).collect(), addresses: addresses.collect() }
    }

    fn refused(believed: &NodeNetworks) -> Vec<String> {
        believed.refused.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_no_node_has_is_not_believed() {
        let now = Instant::now();
        let usual = NodeNetworks::believed(&says(&["10.244.1.0/24", "fd00:1::/64"], &["192.0.2.5"]), None, now);
        assert_eq!((usual.pods.len(), usual.addresses().count(), usual.refused.len()), (2, 1, 0));
        for wide in ["0.0.0.0/0", "10.0.0.0/15", "::/0", "fd00::/47"] {
            let believed = NodeNetworks::believed(&says(&[wide], &[]), None, now);
            assert_eq!(believed.pods.len(), 0, "{wide}");
            assert_eq!(refused(&believed), [format!("podCIDR {wide} is wider than /16 (IPv6: /48)")]);
        }
        let many = NodeNetworks::believed(&says(&["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"], &[]), None, now);
        assert_eq!(
            (many.pods.len(), refused(&many)),
            (2, vec!["podCIDR 10.3.0.0/24 is one of more than 2".to_owned()])
        );
    }

    #[test]
    fn addresses_count_by_their_type_and_no_more_than_a_node_has() {
        let mut many = says(&[], &[]);
        many.addresses = ["InternalDNS", "ExternalDNS", "Hostname", "", "Anything"]
            .map(|of| (of.to_owned(), "203.0.113.9".to_owned()))
            .into();
        many.addresses.extend((0..5000).map(|at| ("ExternalIP".to_owned(), format!("20.0.{}.{}", at / 250, at % 250))));
        let believed = NodeNetworks::believed(&many, None, Instant::now());
        assert_eq!((believed.addresses().count(), believed.refused.len()), (8, 4992));
        assert!(believed.addresses().all(|address| address.to_string().starts_with("20.0.0.")));
        assert_eq!(refused(&believed)[0], "address 20.0.0.8 is one of more than 8 in 10 minutes");
    }

    #[test]
    fn an_address_is_remembered_so_that_nobody_opens_and_closes_it_in_turn() {
        let start = Instant::now();
        let mut believed = NodeNetworks::believed(&says(&[], &["192.0.2.1"]), None, start);
        let mut changes = 0;
        for second in 1..600_u32 {
            let address = format!("192.0.2.{}", second % 200);
            let now = start + Duration::from_secs(u64::from(second));
            let next = NodeNetworks::believed(&says(&[], &[&address]), Some(&believed), now);
            changes += usize::from(!next.addresses().eq(believed.addresses()));
            assert!(next.addresses().count() <= ADDRESSES);
            believed = next;
        }
        assert!(changes <= ADDRESSES, "{changes}");
        let later = start + Duration::from_secs(600 + 600);
        let after = NodeNetworks::believed(&says(&[], &["192.0.2.250"]), Some(&believed), later);
        assert_eq!(after.addresses().collect::<Vec<_>>(), ["192.0.2.250".parse::<IpAddr>().unwrap()]);
    }
}
