//! Laws of how wide an opening is, on random rules in clusters with random networks of their own.

use cloister_api::{EgressConfig, EgressRule};
use cloister_core::{
    address::NeverOpened,
    egress::{Peers, Surroundings, narrowed, open_rule_in_part},
};
use ipnet::IpNet;
use proptest::prelude::*;

/// What is open by these networks in a cluster that has such networks of its own, and why the rest stays closed.
fn open_around(networks: &[String], own: &[IpNet]) -> (Vec<IpNet>, Vec<String>) {
    let never = NeverOpened::new(own);
    let rule = EgressRule { networks: Some(networks.to_vec()), ..any_rule() };
    let opened = open_rule_in_part(&rule, &Surroundings { never: &never, services: &|_| None, wildcards: false });
    let mut why: Vec<String> = opened.closed.iter().map(|refusal| refusal.reason().to_owned()).collect();
    let Some(opening) = opened.opening else { return (Vec::new(), why) };
    let narrowed = narrowed(vec![opening.clone()], &EgressConfig::default()).remove(0);
    why.extend(narrowed.too_broad.iter().map(ToString::to_string));
    match narrowed.opening.map(|opening| opening.peers) {
        Some(Peers::Networks(networks)) => (networks, why),
        _ => (Vec::new(), why),
    }
}

fn any_rule() -> EgressRule {
    serde_json::from_value(serde_json::json!({"name": "r", "ports": [{"port": 443}]})).unwrap()
}

/// Networks that lie close to one another, on the Internet and beside it, of all widths.
fn close_networks(prefixes: std::ops::RangeInclusive<u8>, count: usize) -> impl Strategy<Value = Vec<IpNet>> {
    let first = prop_oneof![Just([20, 0]), Just([20, 1]), Just([20, 2]), Just([21, 0]), Just([10, 0])];
    let one = (first, any::<[u8; 2]>(), prefixes)
        .prop_map(|([a, b], [c, d], prefix)| IpNet::new([a, b, c, d].into(), prefix).unwrap().trunc());
    prop::collection::vec(one, 0..count)
}

proptest! {
    /// Whoever has something cut out of a rule closes that, and opens nothing by it: what is too wide stays so.
    #[test]
    fn what_is_cut_out_opens_nothing(declared in close_networks(6..=26, 6), own in close_networks(8..=32, 40), twice in any::<bool>()) {
        let declared: Vec<String> = declared.iter().map(ToString::to_string).collect();
        let (whole, why) = open_around(&declared, if twice { &own[..own.len() / 2] } else { &[] });
        let (cut, why_cut) = open_around(&declared, &own);
        prop_assert!(cut.len() <= 500);
        for network in &cut {
            prop_assert!(whole.iter().any(|wide| wide.contains(network)), "{network} opens by what is cut out: {whole:?}");
            prop_assert!(!own.iter().any(|own| own.contains(network) || network.contains(own)), "{network} is cut out");
        }
        // And closes no more than the blocks of that, unless it says so.
        if why == why_cut {
            let blocks: Vec<IpNet> = own.iter().map(|own| IpNet::new(own.addr(), own.prefix_len().min(16)).unwrap().trunc()).collect();
            let far = whole.iter().flat_map(|wide| wide.subnets(wide.prefix_len().max(16)).into_iter().flatten());
            for far in far.filter(|far| !blocks.iter().any(|block| block.contains(far))) {
                prop_assert!(cut.iter().any(|open| open.contains(&far)), "{far} is near nothing that is cut out");
            }
        }
    }
}
