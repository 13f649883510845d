//! How much of the Internet is open in a namespace, all in all.
//!
//! Each allowlist was agreed to by itself; what they open together nobody looked at. So their union is measured, for the
//! whole namespace whatever the ports and the pods, and the widest of what goes too far needs an agreement of its own.
//!
//! It is measured as it was declared. What is never opened is cut out of what was declared, and whoever has a network cut out
//! of a wide range must not make many narrow ones of it.

use super::{
    AllowRule, Peers, Surroundings, TooBroad,
    measure::{most, offending, size},
    open_rule::open_rule_in_part,
    shared::without_shared,
    too_broad::Narrowed,
};
use crate::{
    address::{
        networks::NetworkSet,
        public::public_part,
        special::{NAT64, SIX_TO_FOUR, meant},
    },
    model::text::first_few,
};
use cloister_api::{EgressConfig, EgressRule, MaxPublicPrefix};
use ipnet::{IpNet, Ipv6Net};
use std::net::IpAddr;

/// Takes out of these openings, which are in one namespace, what needs an agreement of its own: names under which anybody
/// can have storage, public ranges that are wider than allowlists may open, and of those that are so together the widest.
/// The rest stays. The answer is at the place of each.
pub fn narrowed(openings: Vec<AllowRule>, config: &EgressConfig) -> Vec<Narrowed> {
    let mut left: Vec<Piece> = openings.iter().enumerate().flat_map(|(at, opening)| Piece::of(at, opening)).collect();
    let mut found: Vec<Narrowed> = openings.into_iter().map(|opening| without_shared(opening, config)).collect();
    let mut out: Vec<(Piece, Option<String>)> = Vec::new();
    out.extend(
        left.extract_if(.., |piece| piece.count() > most(piece.first, config.max_public_prefix)).map(|p| (p, None)),
    );
    loop {
        let union = NetworkSet::of_ranges(left.iter().map(|piece| (piece.first, piece.last)));
        let Some((offending, size, excess)) = offending(&union, config.max_public_prefix) else { break };
        // The widest go first, so that what is narrow stays. No fewer will do than are as wide as the excess.
        let mut widest: Vec<usize> = (0..left.len()).filter(|&at| left[at].is_within(&offending)).collect();
        widest.sort_by_key(|&at| (std::cmp::Reverse(left[at].count()), at));
        let mut gone = 0_u128;
        let enough = widest.iter().take_while(|&&at| {
            let goes = gone == 0 || gone < excess;
            gone = gone.saturating_add(left[at].count());
            goes
        });
        let mut goes: Vec<usize> = enough.copied().collect();
        if goes.is_empty() {
            break;
        }
        goes.sort_unstable();
        out.extend(goes.into_iter().rev().map(|at| (left.remove(at), Some(size.clone()))));
    }
    out.sort_by_key(|(piece, _)| (piece.opening, piece.own.0));
    for (piece, together) in out {
        piece.take_out(&mut found[piece.opening], together, config.max_public_prefix);
    }
    found
}

/// A public range of an opening without a gap.
struct Piece {
    /// The place of the opening.
    opening: usize,
    /// The range as the opening has it.
    own: (IpAddr, IpAddr),
    /// The range that is meant: what a translator makes IPv4 of is measured as that.
    first: IpAddr,
    last: IpAddr,
}

impl Piece {
    fn of(opening: usize, of: &AllowRule) -> Vec<Piece> {
        let measured = of.measured();
        let stands_for = |network: &IpNet| match network {
            other if meant(*other) == *other => None,
            network if IpNet::V6(NAT64).contains(network) => Some(NAT64),
            _ => Some(SIX_TO_FOUR),
        };
        let mut pieces = Vec::new();
        for written in [None, Some(NAT64), Some(SIX_TO_FOUR)] {
            let networks: Vec<IpNet> =
                measured.iter().filter(|network| stands_for(network) == written).copied().map(meant).collect();
            if networks.is_empty() {
                continue;
            }
            let public = public_part(&networks);
            let piece = |(first, last)| Piece { opening, own: as_written(first, last, written), first, last };
            pieces.extend(public.ranges().map(piece));
        }
        pieces
    }

    fn count(&self) -> u128 {
        size(self.first, self.last)
    }

    fn is_within(&self, offending: &NetworkSet) -> bool {
        offending.contains(self.first)
    }

    /// Takes it out of its opening, and says why.
    fn take_out(&self, of: &mut Narrowed, together: Option<String>, limit: MaxPublicPrefix) {
        let range = NetworkSet::range(self.own.0, self.own.1);
        let (first, last) = self.own;
        if let Some(AllowRule { peers: Peers::Networks(networks), declared, .. }) = &mut of.opening {
            let without = |all: &[IpNet]| NetworkSet::of(all.iter().copied()).difference(&range).to_networks();
            (*networks, *declared) = (without(networks), without(declared));
            let networks = range.to_networks();
            let what = match networks.as_slice() {
                [one] => one.to_string(),
                _ => format!("{first} to {last}"),
            };
            of.too_broad.push(match together {
                None => TooBroad::Wide { what, networks, limit },
                Some(size) => TooBroad::Together { what, networks, size, limit },
            });
        }
        of.opening.take_if(|opening| opening.peers == Peers::Networks(Vec::new()));
    }
}

/// The range in IPv6 that stands for one in IPv4, where a prefix says that it does.
fn as_written(first: IpAddr, last: IpAddr, prefix: Option<Ipv6Net>) -> (IpAddr, IpAddr) {
    let (Some(prefix), IpAddr::V4(v4_first), IpAddr::V4(v4_last)) = (prefix, first, last) else { return (first, last) };
    let shift = if prefix == SIX_TO_FOUR { 80 } else { 0 };
    let base = u128::from(prefix.network());
    let at = |address: u32| base | (u128::from(address) << shift);
    let end = at(u32::from(v4_last)) | ((1_u128 << shift) - 1);
    (IpAddr::V6(at(u32::from(v4_first)).into()), IpAddr::V6(end.into()))
}

/// Why allowlists may not open a rule, or a part of it, if that is so whatever else is open, with what to do about it; and
/// whether that is all of it.
pub fn too_broad(rule: &EgressRule, config: &EgressConfig, s: &Surroundings<'_>) -> Option<(String, bool)> {
    let opening = open_rule_in_part(rule, s).opening?;
    let Narrowed { opening: left, too_broad } = narrowed(vec![opening], config).pop()?;
    let (together, alone): (Vec<_>, Vec<_>) =
        too_broad.into_iter().partition(|why| matches!(why, TooBroad::Together { .. }));
    let said: Vec<String> = TooBroad::folded(alone).iter().map(TooBroad::message).collect();
    (!said.is_empty()).then(|| (said.join("; "), left.is_none() && together.is_empty()))
}

/// Why one more opening makes what is open in a namespace too wide, if it does.
pub fn too_broad_with(one: &AllowRule, others: &[AllowRule], config: &EgressConfig) -> Option<TooBroad> {
    let others: Vec<NetworkSet> = others.iter().map(public).collect();
    let before = NetworkSet::union_of(&others);
    let own = public(one);
    let after = before.union(&own);
    // What is open already is opened no wider.
    let (_, size, _) = offending(&after, config.max_public_prefix).filter(|_| after != before)?;
    let networks = own.to_networks();
    Some(TooBroad::Together { what: first_few(networks.iter()), networks, size, limit: config.max_public_prefix })
}

impl AllowRule {
    /// Whether addresses of the Internet are among what it opens by address.
    pub fn is_public(&self) -> bool {
        !public(self).is_empty()
    }
}

fn public(opening: &AllowRule) -> NetworkSet {
    public_part(&opening.measured().iter().copied().map(meant).collect::<Vec<_>>())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        address::{NeverOpened, Pieces, Refusal},
        egress::open_rule,
    };
    use serde_json::{Value, json};

    /// Of which of these, opened in one namespace, something is too broad.
    pub(crate) fn broad(targets: &[Value]) -> Vec<bool> {
        let never = NeverOpened::new(&[]);
        let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: true };
        let openings: Vec<AllowRule> = targets
            .iter()
            .map(|target| {
                let mut rule = json!({"name": "r", "ports": [{"port": 443}]});
                rule.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
                open_rule(&serde_json::from_value(rule).unwrap(), &surroundings).unwrap()
            })
            .collect();
        let found = narrowed(openings, &EgressConfig::default());
        found.iter().map(|found| !found.too_broad.is_empty()).collect()
    }

    fn networks(networks: &[&str]) -> Value {
        json!({"networks": networks})
    }

    #[test]
    fn a_wide_public_range_needs_an_agreement_of_its_own() {
        for wide in ["12.0.0.0/8", "198.50.0.0/15", "2600::/16", "2001:db8::/31"] {
            assert_eq!(broad(&[networks(&[wide]), networks(&["203.0.113.0/24"])]), [true, false], "{wide}");
        }
        assert_eq!(broad(&[networks(&["12.0.0.0/8", "14.0.0.0/8"])]), [true]);
        assert_eq!(broad(&[networks(&["12.0.0.0/8"]), networks(&["14.0.0.0/8"])]), [true, true]);
        assert_eq!(broad(&[networks(&["198.51.0.0/16"]), networks(&["2001:db8::/32"])]), [false, false]);
        // What a translator makes IPv4 of is that.
        for wide in ["64:ff9b::c00:0/104", "64:ff9b::c632:0/111", "2002:c632::/31"] {
            assert_eq!(broad(&[networks(&[wide])]), [true], "{wide}");
        }
        assert_eq!(broad(&[networks(&["64:ff9b::c632:0/112"]), networks(&["198.51.0.0/16"])]), [true, false]);
        assert_eq!(broad(&[networks(&["64:ff9b::c632:0/112", "2002:c632::/32", "64:ff9b::a00:0/104"])]), [false]);
        assert_eq!(broad(&[networks(&["10.0.0.0/8"]), networks(&["fd01::/16"])]), [false, false], "nobody else's");
    }

    #[test]
    fn what_is_nearly_everything_is_opened_by_nobody() {
        let never = NeverOpened::new(&[]);
        let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: false };
        let many: Vec<String> = (0..17).map(|at| format!("{}.0.0.0/8", 20 + 2 * at)).collect();
        let open = |networks: &[String]| {
            let rule = json!({"name": "r", "ports": [{"port": 443}], "networks": networks});
            open_rule(&serde_json::from_value(rule).unwrap(), &surroundings).map(|_| ())
        };
        let all = |networks: &[&str]| open(&networks.iter().map(ToString::to_string).collect::<Vec<_>>());
        for wide in [
            &["0.0.0.0/0"][..],
            &["0.0.0.0/1", "128.0.0.0/1"],
            &["12.0.0.0/8", "13.0.0.0/8"],
            &["::/0"],
            &["2600::/15"],
            &["64:ff9b::/96"],
            &["64:ff9b::/32"],
            &["64:ff9b::c00:0/103"],
            &["2002::/16"],
            &["2002:ca00::/23"],
        ] {
            assert!(matches!(all(wide), Err(Refusal::NetworksTooWide { .. })), "{wide:?}");
        }
        assert!(matches!(open(&many), Err(Refusal::NetworksTooWide { .. })));
        // Without the metadata services in it, it is more than sixteen that are wide.
        assert!(matches!(all(&["fd00::/16"]), Err(Refusal::NetworksTooMany { .. })));
        assert!(open(&many[1..]).is_ok() && all(&["10.0.0.0/8"]).is_ok() && all(&["2600::/16"]).is_ok());
    }

    /// One kubelet, or an honest cluster with many networks, must not make many narrow ranges of a wide one.
    #[test]
    fn what_is_cut_out_of_a_wide_range_makes_it_no_narrower() {
        let narrowed_around = |networks: &[&str], own: &[IpNet]| {
            let never = NeverOpened::new(own);
            let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: true };
            let rule = json!({"name": "r", "ports": [{"port": 443}], "networks": networks});
            let opened = open_rule_in_part(&serde_json::from_value(rule).unwrap(), &surroundings);
            let narrowed = opened.opening.map(|opening| narrowed(vec![opening], &EgressConfig::default()).remove(0));
            (narrowed, opened.closed)
        };
        let holes = |of: u32, every: u32| -> Vec<IpNet> {
            (0..of).map(|at| IpNet::from(IpAddr::from((0x1400_0000_u32 + at * every).to_be_bytes()))).collect()
        };
        let (narrowed, _) = narrowed_around(&["20.0.0.0/8"], &holes(2, 0x0040_0001));
        let narrowed = narrowed.unwrap();
        assert_eq!(narrowed.opening, None);
        assert!(narrowed.too_broad[0].to_string().starts_with("20.0.0.0/8 is wider than the widest range"));
        // Half of a range that is too wide is not narrow because the other half is the cluster's.
        let (narrowed, _) = narrowed_around(&["20.0.0.0/15"], &["20.1.0.0/16".parse().unwrap()]);
        assert_eq!(narrowed.unwrap().opening, None);
        // Where it comes to more than a policy should hold, that is said, and no time is lost.
        let (narrowed, closed) = narrowed_around(&["20.0.0.0/8", "203.0.113.0/24"], &holes(21_000, 800));
        let Some(Peers::Networks(open)) = narrowed.and_then(|narrowed| narrowed.opening).map(|opening| opening.peers)
        else {
            panic!("all of it is closed")
        };
        assert_eq!(open, ["203.0.113.0/24".parse().unwrap()]);
        let [Refusal::NetworksTooMany { networks, pieces: Pieces::All(all), .. }] = closed.as_slice() else {
            panic!("{closed:?}")
        };
        assert!(networks == "20.0.0.0/8" && *all > 20_000, "{all}");
        let said = format!(
            "with 20.0.0.0/8 it comes to {all} networks, of which it may open 500, after the networks that are never \
             opened are left out: name narrower networks"
        );
        assert_eq!(closed[0].to_string(), said);
    }

    #[test]
    fn ranges_are_measured_together() {
        // Side by side they are a /15: the first stays.
        assert_eq!(broad(&[networks(&["198.50.0.0/16"]), networks(&["198.51.0.0/16"])]), [true, false]);
        // Every other one, so that none is wide: more than sixteen are too many.
        let many: Vec<Value> = (0..20).map(|at| networks(&[&format!("203.{}.0.0/16", at * 2)])).collect();
        assert_eq!(broad(&many).iter().filter(|broad| **broad).count(), 4);
        assert_eq!(broad(&many[..16]).iter().filter(|broad| **broad).count(), 0);
        // The widest goes, and what is narrow stays.
        let narrow = networks(&["198.51.0.0/24"]);
        assert_eq!(broad(&[narrow, networks(&["198.50.0.0/16", "198.51.1.0/24"])]), [false, true]);
    }

    #[test]
    fn what_is_too_wide_alone_closes_no_other() {
        let git = ["192.30.252.0/22", "185.199.108.0/22", "140.82.112.0/20", "2a0a:a440::/29", "2606:50c0::/32"];
        let rule = json!({"name": "git", "ports": [{"port": 443}], "networks": git});
        let rule = serde_json::from_value(rule).unwrap();
        let never = NeverOpened::new(&[]);
        let opening = open_rule(&rule, &Surroundings { never: &never, services: &|_| None, wildcards: true }).unwrap();
        let found = narrowed(vec![opening], &EgressConfig::default()).remove(0);
        let Some(Peers::Networks(left)) = found.opening.map(|opening| opening.peers) else {
            panic!("all of it is closed")
        };
        assert_eq!(left.len(), 4);
        let [why] = found.too_broad.as_slice() else { panic!("{:?}", found.too_broad) };
        assert!(why.to_string().starts_with("2a0a:a440::/29 is wider than"), "{why}");
        assert_eq!(why.part_of(&rule).networks, Some(vec!["2a0a:a440::/29".to_owned()]));
    }

    /// What is given one after the other is never more than what may be open together, in whatever order it is asked for.
    #[test]
    fn what_is_given_one_after_the_other_is_bounded_as_a_whole() {
        let never = NeverOpened::new(&[]);
        let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: false };
        let open = |network: String| {
            let rule = json!({"name": "r", "ports": [{"port": 443}], "networks": [network]});
            open_rule(&serde_json::from_value(rule).unwrap(), &surroundings).unwrap()
        };
        // Neighbours, networks in others, and such that are apart.
        let mut asked: Vec<AllowRule> = (0..48_u32).map(|at| open(format!("203.{}.0.0/16", at * 29 % 96))).collect();
        asked.extend((0..8).map(|at| open(format!("203.{at}.7.0/24"))));
        asked.extend((0..4).map(|at| open(format!("10.{at}.0.0/16"))));
        for turn in 0..asked.len() {
            asked.rotate_left(7 * turn % 60);
            let mut given: Vec<AllowRule> = Vec::new();
            for one in &asked {
                let refused = too_broad_with(one, &given, &EgressConfig::default()).is_some();
                assert!(!refused || one.is_public(), "what is not of the Internet takes no room");
                if !refused {
                    given.push(one.clone());
                }
                let found = narrowed(given.clone(), &EgressConfig::default());
                assert!(found.iter().all(|found| found.too_broad.is_empty()), "{given:?}");
            }
            assert!(given.len() > 16 && given.len() < asked.len(), "{}", given.len());
            // The same again takes no room either.
            assert!(given.iter().all(|one| too_broad_with(one, &given, &EgressConfig::default()).is_none()));
        }
    }
}
