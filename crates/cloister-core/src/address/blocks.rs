//! The networks of a policy, where what is never opened would cut them into more than one may hold.
//!
//! The addresses of a few Nodes cut a private /8 into hundreds of networks. What is around them then stays closed in whole
//! blocks, the smallest that make it fit, so that another Node closes its own neighbourhood and nothing else.

use super::{
    networks::NetworkSet,
    writable::{MOST, WIDE, fits},
};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The prefixes of the blocks, for IPv4 and IPv6, the smallest first.
const BLOCKS: [(u8, u8); 4] = [(28, 112), (24, 64), (20, 56), (16, 48)];

/// The networks to write for what is open of what was declared; nothing where no block makes it fit.
pub(crate) fn fitting(declared: &NetworkSet, open: &NetworkSet) -> Option<Vec<IpNet>> {
    let exact = open.to_networks();
    if fits(&exact) {
        return Some(exact);
    }
    let closed = declared.difference(open);
    let in_parts = || in_narrow_parts(exact);
    let around = BLOCKS.iter().map(|block| open.difference(&in_blocks(&closed, *block)).to_networks());
    let mut tried = std::iter::once_with(in_parts).chain(around.flat_map(|left| [left.clone(), in_narrow_parts(left)]));
    tried.find(|networks| !networks.is_empty() && fits(networks))
}

/// The same addresses in networks of which none of IPv4 is wide, unless those would be too many anyway.
fn in_narrow_parts(networks: Vec<IpNet>) -> Vec<IpNet> {
    if networks.len() > MOST {
        return networks;
    }
    let parts = |network: IpNet| match network {
        IpNet::V4(wide) if wide.prefix_len() < WIDE.0 => {
            wide.subnets(WIDE.0).into_iter().flatten().map(IpNet::V4).collect()
        }
        other => vec![other],
    };
    networks.into_iter().flat_map(parts).collect()
}

/// The blocks of these sizes that hold any of the addresses.
fn in_blocks(addresses: &NetworkSet, (ipv4, ipv6): (u8, u8)) -> NetworkSet {
    NetworkSet::of_ranges(addresses.ranges().map(|(first, last)| match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let hosts = u32::MAX.checked_shr(ipv4.into()).unwrap_or_default();
            let (first, last) = (u32::from(first) & !hosts, u32::from(last) | hosts);
            (Ipv4Addr::from(first).into(), Ipv4Addr::from(last).into())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let hosts = u128::MAX.checked_shr(ipv6.into()).unwrap_or_default();
            let (first, last) = (u128::from(first) & !hosts, u128::from(last) | hosts);
            (Ipv6Addr::from(first).into(), Ipv6Addr::from(last).into())
        }
        // A range is of one family.
        mixed => mixed,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> NetworkSet {
        NetworkSet::of(networks.iter().map(|network| network.parse().unwrap()))
    }

    fn around(declared: &str, holes: &[&str]) -> Option<NetworkSet> {
        let declared = set(&[declared]);
        let open = declared.difference(&set(holes));
        fitting(&declared, &open).map(|networks| {
            assert!(fits(&networks));
            NetworkSet::of(networks)
        })
    }

    #[test]
    fn what_fits_is_exact() {
        assert_eq!(
            fitting(&set(&["10.0.0.0/16"]), &set(&["10.0.0.0/16"]).difference(&set(&["10.0.0.1/32"]))).unwrap().len(),
            16
        );
        // As many addresses in other networks, where some are too wide.
        let nodes = ["10.40.0.1/32", "10.80.0.2/32", "10.96.0.0/12"];
        assert_eq!(around("10.0.0.0/8", &nodes).unwrap(), set(&["10.0.0.0/8"]).difference(&set(&nodes)));
    }

    #[test]
    fn a_node_more_closes_its_own_neighbourhood_alone() {
        // One node in each /24 of a /16, at a place of its own.
        let nodes: Vec<String> = (0..200).map(|at| format!("10.20.{at}.{}/32", at % 250 + 1)).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let open = around("10.20.0.0/16", &nodes).unwrap();
        assert!(open.contains("10.20.255.1".parse().unwrap()), "no node is near");
        assert!(!open.contains("10.20.7.8".parse().unwrap()), "it is a node");
        // Such a node in every other /16 of a /8.
        let nodes: Vec<String> = (0..128).map(|at| format!("10.{}.3.4/32", at * 2)).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let open = around("10.0.0.0/8", &nodes).unwrap();
        assert!(open.contains("10.1.3.4".parse().unwrap()) && open.contains("10.255.3.4".parse().unwrap()));
    }

    #[test]
    fn where_nothing_would_be_left_it_does_not_fit() {
        let many: Vec<String> =
            (0..21_000_u32).map(|at| format!("{}/32", Ipv4Addr::from(0x0a00_0000 + at * 800))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(around("10.0.0.0/8", &many), None);
    }
}
