//! How much of the Internet is open in a namespace, all in all.
//!
//! Each allowlist was agreed to by itself; what they open together nobody looked at. So their union is measured, for the
//! whole namespace whatever the ports and the pods, and the widest of what goes too far needs an agreement of its own.

use super::networks::NetworkSet;
use super::never::meant;
use super::public::public_part;
use super::reach::first_few;
use super::{DomainName, Opening, Peers, Refusal};
use cloister_api::{EgressConfig, MaxPublicPrefix};
use ipnet::IpNet;
use std::net::IpAddr;

/// How many of the widest ranges a namespace may have in all.
const RANGES: u128 = 16;

/// Domains under which anybody can have storage: whoever reaches one account by its addresses reaches them all.
const SHARED: [&str; 16] = [
    "core.windows.net",
    "azureedge.net",
    "storage.googleapis.com",
    "storage.cloud.google.com",
    "firebasestorage.googleapis.com",
    "r2.cloudflarestorage.com",
    "r2.dev",
    "digitaloceanspaces.com",
    "backblazeb2.com",
    "wasabisys.com",
    "aliyuncs.com",
    "myqcloud.com",
    "oraclecloud.com",
    "cloud-object-storage.appdomain.cloud",
    "scw.cloud",
    "cloudfront.net",
];

/// Why an opening needs an agreement of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooBroad {
    /// It is part of a public range that is wider than allowlists may open.
    #[error(
        "together with what else is open here it opens {size}, which is wider than allowlists may (egress.maxPublicPrefix of CloisterConfig)"
    )]
    Range {
        /// How much.
        size: String,
    },
    /// Anybody can have storage there.
    #[error("{name} is at or below {suffix}, where anybody can have storage; declare it as privateEndpoint")]
    SharedSuffix {
        /// The name.
        name: String,
        /// What anybody can have storage under.
        suffix: String,
    },
}

/// The widest networks that are ever opened: the prefixes for IPv4 and IPv6. Admission holds the operator to them.
const WIDEST: (u8, u8) = (8, 16);

/// How many networks one policy may open that are wider than these.
const WIDE: (u8, u8) = (16, 32);

/// How many such wide networks one policy may open.
const MOST_WIDE: usize = 16;

/// Whether admission lets the operator write a policy that opens these networks.
///
/// # Errors
///
/// A [`Refusal`] that names those that are too wide.
pub(super) fn is_writable(networks: &[IpNet]) -> Result<(), Refusal> {
    let wider_than = |(ipv4, ipv6): (u8, u8)| {
        let is_wider = move |network: &&IpNet| match meant(**network) {
            IpNet::V4(network) => network.prefix_len() < ipv4,
            IpNet::V6(network) => network.prefix_len() < ipv6,
        };
        networks.iter().filter(is_wider).collect::<Vec<_>>()
    };
    let (too_wide, wide) = (wider_than(WIDEST), wider_than(WIDE));
    let refused = |networks: Vec<&IpNet>| Err(Refusal::NetworksTooWide { networks: first_few(networks.into_iter()) });
    match (too_wide.is_empty(), wide.len() > MOST_WIDE) {
        (false, _) => refused(too_wide),
        (true, true) => refused(wide),
        (true, false) => Ok(()),
    }
}

/// Which of these openings need an agreement of their own, and why: the answer at the place of each.
pub fn too_broad(openings: &[&Opening], config: &EgressConfig) -> Vec<Option<TooBroad>> {
    let mut found: Vec<Option<TooBroad>> = openings.iter().map(|opening| shared(opening, config)).collect();
    let public: Vec<NetworkSet> = openings.iter().map(|opening| public(opening)).collect();
    loop {
        let left = || (0..openings.len()).filter(|&at| found[at].is_none() && !public[at].is_empty());
        let union = NetworkSet::union_of(left().map(|at| &public[at]));
        let Some((offending, size)) = offending(&union, config.max_public_prefix) else { return found };
        // The widest goes first, so that what is narrow stays.
        let widest =
            left().filter(|&at| !public[at].is_apart(&offending) && !public[at].intersection(&offending).is_empty());
        let Some(widest) = widest.max_by_key(|&at| (count(&public[at]), std::cmp::Reverse(at))) else { return found };
        found[widest] = Some(TooBroad::Range { size });
    }
}

/// Why one more opening makes what is open in a namespace too wide, if it does.
pub fn too_broad_with(one: &Opening, others: &[Opening], config: &EgressConfig) -> Option<TooBroad> {
    let others: Vec<NetworkSet> = others.iter().map(public).collect();
    let before = NetworkSet::union_of(&others);
    let after = before.union(&public(one));
    // What is open already is opened no wider.
    let (_, size) = offending(&after, config.max_public_prefix).filter(|_| after != before)?;
    Some(TooBroad::Range { size })
}

impl Opening {
    /// Whether addresses of the Internet are among what it opens by address.
    pub fn is_public(&self) -> bool {
        !public(self).is_empty()
    }
}

/// The part of a union that is too much, in words too.
fn offending(union: &NetworkSet, most: MaxPublicPrefix) -> Option<(NetworkSet, String)> {
    let widest = |network: &IpAddr| {
        1_u128
            << match network {
                IpAddr::V4(_) => 32 - u32::from(most.ipv4.clamp(1, 32)),
                IpAddr::V6(_) => 128 - u32::from(most.ipv6.clamp(1, 128)),
            }
    };
    for (first, last) in union.ranges() {
        if size(first, last) > widest(&first) {
            return Some((NetworkSet::range(first, last), format!("{first} to {last}")));
        }
    }
    for v4 in [true, false] {
        let ranges: Vec<_> = union.ranges().filter(|(first, _)| first.is_ipv4() == v4).collect();
        let Some((first, _)) = ranges.first() else { continue };
        let total = ranges.iter().fold(0_u128, |total, (first, last)| total.saturating_add(size(*first, *last)));
        if total > widest(first).saturating_mul(RANGES) {
            let all: Vec<NetworkSet> = ranges.iter().map(|(first, last)| NetworkSet::range(*first, *last)).collect();
            let all = NetworkSet::union_of(&all);
            return Some((all, format!("{} public ranges", ranges.len())));
        }
    }
    None
}

/// How many addresses, an IPv6 /64 counting as one: a network has no fewer.
fn count(set: &NetworkSet) -> u128 {
    set.ranges().fold(0, |sum, (first, last)| {
        let addresses = size(first, last);
        sum.saturating_add(if first.is_ipv4() { addresses } else { addresses.div_ceil(1 << 64) })
    })
}

/// How many addresses.
fn size(first: IpAddr, last: IpAddr) -> u128 {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u128::from(u32::from(last) - u32::from(first)) + 1,
        (IpAddr::V6(first), IpAddr::V6(last)) => (u128::from(last) - u128::from(first)).saturating_add(1),
        _ => 0,
    }
}

fn public(opening: &Opening) -> NetworkSet {
    match &opening.peers {
        Peers::Networks(networks) => public_part(&networks.iter().copied().map(meant).collect::<Vec<_>>()),
        Peers::Hosts(_) | Peers::Pods { .. } => NetworkSet::default(),
    }
}

/// Whether a name of it is one that anybody can have storage under.
fn shared(opening: &Opening, config: &EgressConfig) -> Option<TooBroad> {
    let Peers::Hosts(hosts) = &opening.peers else { return None };
    let known = SHARED.iter().copied().chain(config.shared_suffixes.iter().map(String::as_str));
    let suffixes: Vec<&str> = known.collect();
    hosts.iter().filter(|host| host.expected.is_none()).find_map(|host| {
        let suffix = suffixes.iter().find(|suffix| host.name.reaches(suffix)).copied();
        let suffix = suffix.or_else(|| reaches_s3(&host.name).then_some("amazonaws.com"))?;
        Some(TooBroad::SharedSuffix { name: host.to_string(), suffix: suffix.to_owned() })
    })
}

/// Below a region there is its S3.
fn reaches_s3(name: &DomainName) -> bool {
    let above = |aws: &str| {
        let region = name.name().strip_suffix(aws);
        region.is_some_and(|region| region.is_empty() || (region.ends_with('.') && region.matches('.').count() == 1))
    };
    is_s3(name.name()) || (name.is_wildcard() && ["amazonaws.com", "amazonaws.com.cn"].into_iter().any(above))
}

/// S3 has a name for each region and kind of access: s3.amazonaws.com, bucket.s3-accesspoint.eu-west-1.amazonaws.com.
fn is_s3(name: &str) -> bool {
    let aws = name.strip_suffix(".amazonaws.com").or_else(|| name.strip_suffix(".amazonaws.com.cn"));
    aws.is_some_and(|rest| rest.split('.').any(|label| label == "s3" || label.starts_with("s3-")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{NeverOpened, Surroundings, open_rule};
    use serde_json::{Value, json};

    fn broad(targets: &[Value]) -> Vec<bool> {
        let never = NeverOpened::new(&[]);
        let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: true };
        let openings: Vec<Opening> = targets
            .iter()
            .map(|target| {
                let mut rule = json!({"name": "r", "ports": [{"port": 443}]});
                rule.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
                open_rule(&serde_json::from_value(rule).unwrap(), &surroundings).unwrap()
            })
            .collect();
        let found = too_broad(&openings.iter().collect::<Vec<_>>(), &EgressConfig::default());
        found.iter().map(Option::is_some).collect()
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
            // Without the metadata services in it, it is more than sixteen that are wide.
            &["fd00::/16"],
            &["64:ff9b::/96"],
            &["64:ff9b::/32"],
            &["64:ff9b::c00:0/103"],
            &["2002::/16"],
            &["2002:ca00::/23"],
        ] {
            assert!(matches!(all(wide), Err(Refusal::NetworksTooWide { .. })), "{wide:?}");
        }
        assert!(matches!(open(&many), Err(Refusal::NetworksTooWide { .. })));
        assert!(open(&many[1..]).is_ok() && all(&["10.0.0.0/8"]).is_ok() && all(&["2600::/16"]).is_ok());
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
        let mut asked: Vec<Opening> = (0..48_u32).map(|at| open(format!("203.{}.0.0/16", at * 29 % 96))).collect();
        asked.extend((0..8).map(|at| open(format!("203.{at}.7.0/24"))));
        asked.extend((0..4).map(|at| open(format!("10.{at}.0.0/16"))));
        for turn in 0..asked.len() {
            asked.rotate_left(7 * turn % 60);
            let mut given: Vec<Opening> = Vec::new();
            for one in &asked {
                let refused = too_broad_with(one, &given, &EgressConfig::default()).is_some();
                assert!(!refused || one.is_public(), "what is not of the Internet takes no room");
                if !refused {
                    given.push(one.clone());
                }
                let all: Vec<&Opening> = given.iter().collect();
                assert!(too_broad(&all, &EgressConfig::default()).iter().all(Option::is_none), "{given:?}");
            }
            assert!(given.len() > 16 && given.len() < asked.len(), "{}", given.len());
            // The same again takes no room either.
            assert!(given.iter().all(|one| too_broad_with(one, &given, &EgressConfig::default()).is_none()));
        }
    }

    #[test]
    fn a_name_that_stands_for_such_names_is_no_better() {
        for name in ["*.windows.net", "*.core.windows.net", "*.amazonaws.com", "*.eu-west-1.amazonaws.com"] {
            assert_eq!(broad(&[json!({"domainNames": [name]})]), [true], "{name}");
        }
        for name in ["*.arxiv.org", "*.dkr.ecr.eu-west-1.amazonaws.com", "*.x.windows.net"] {
            assert_eq!(broad(&[json!({"domainNames": [name]})]), [false], "{name}");
        }
    }

    #[test]
    fn a_name_that_anybody_can_have_storage_under_is_private_or_agreed_to() {
        let shared = [
            "acct.blob.core.windows.net",
            "s3.amazonaws.com",
            "bucket.s3.eu-west-1.amazonaws.com",
            "x.s3-accesspoint.eu-west-1.amazonaws.com",
            "storage.googleapis.com",
        ];
        for name in shared {
            assert_eq!(broad(&[json!({"domainNames": [name]})]), [true], "{name}");
            let inside = json!({"domainName": name, "expectedNetworks": ["10.40.0.0/16"]});
            assert_eq!(broad(&[json!({"privateEndpoint": inside})]), [false], "{name}");
        }
        for name in ["export.arxiv.org", "sts.amazonaws.com", "notcore.windows.net"] {
            assert_eq!(broad(&[json!({"domainNames": [name]})]), [false], "{name}");
        }
    }
}
