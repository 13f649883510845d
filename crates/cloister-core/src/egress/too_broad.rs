//! The parts of a rule that an allowlist may not open, and that need an EgressGrant; with their messages.

use super::{AllowRule, measure::RANGES};
use crate::model::text::first_few;
use cloister_api::{EgressRule, MaxPublicPrefix};
use ipnet::IpNet;

/// Why a part of a rule is too broad for allowlists, and needs an EgressGrant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooBroad {
    /// One range of it is wider than the widest that an allowlist may open.
    #[error("{what} is wider than the widest range that an EgressAllowlist may open, {} (egress.maxPublicPrefix of CloisterConfig)", widest(*limit))]
    Wide {
        /// The range, in words.
        what: String,
        /// The range.
        networks: Vec<IpNet>,
        /// The widest that allowlists may open.
        limit: MaxPublicPrefix,
    },
    /// Its ranges, together with all else that is open in the namespace, are wider than allowlists may open together.
    #[error(
        "{what} and what else is open in this namespace add up to {size}; together, EgressAllowlists may open at most \
         {RANGES} times {} (egress.maxPublicPrefix of CloisterConfig), where adjacent ranges count as one", widest(*limit)
    )]
    Together {
        /// The range, in words.
        what: String,
        /// The range.
        networks: Vec<IpNet>,
        /// The size of all of it.
        size: String,
        /// The widest that allowlists may open.
        limit: MaxPublicPrefix,
    },
    /// Anybody can have storage there.
    #[error("{name} {how}, where anybody can have storage")]
    SharedSuffix {
        /// The name.
        name: String,
        /// How it leads to what anybody can have storage under, in words.
        how: String,
    },
    /// Anybody can have storage there, and some of its expectedNetworks are public.
    #[error("{name} {how}, where anybody can have storage, and these of its expectedNetworks are public: {public}")]
    SharedExpected {
        /// The name.
        name: String,
        /// How it leads to what anybody can have storage under, in words.
        how: String,
        /// The networks among them that are public, in words.
        public: String,
    },
    /// Its expectedNetworks contain a public range that is wider than the widest that an allowlist may open.
    #[error(
        "{name} is expected in {what}, which is wider than the widest range that an EgressAllowlist may open, {} \
         (egress.maxPublicPrefix of CloisterConfig)",
        widest(*limit)
    )]
    Expected {
        /// The name.
        name: String,
        /// The public range that is too wide, in words.
        what: String,
        /// The widest that allowlists may open.
        limit: MaxPublicPrefix,
    },
}

/// The widest range that an allowlist may open, in words.
fn widest(limit: MaxPublicPrefix) -> String {
    format!("a /{} or an IPv6 /{}", limit.ipv4, limit.ipv6)
}

impl TooBroad {
    /// The reason, and what to do about it.
    pub fn message(&self) -> String {
        format!("{self}; {}, or request an EgressGrant for it", self.help())
    }

    /// What to do about it, besides an EgressGrant.
    pub(super) fn help(&self) -> &'static str {
        match self {
            TooBroad::Wide { .. } => {
                "name narrower networks, ask a policy administrator (ClusterRole cloister:policy-admin) to allow wider ones"
            }
            TooBroad::Together { .. } => "name fewer or narrower networks",
            TooBroad::SharedSuffix { .. } => "declare it as privateEndpoint with private expectedNetworks",
            TooBroad::SharedExpected { .. } => "name only private networks",
            TooBroad::Expected { .. } => "name narrower expectedNetworks",
        }
    }

    /// Merges entries that differ only in their networks.
    pub fn folded(all: Vec<Self>) -> Vec<Self> {
        let mut folded: Vec<(Self, Vec<String>)> = Vec::new();
        for one in all {
            let what = match &one {
                TooBroad::Wide { what, .. } | TooBroad::Together { what, .. } => what.clone(),
                _ => String::new(),
            };
            match folded.iter_mut().find_map(|(known, parts)| known.takes_in(&one).then_some(parts)) {
                Some(parts) => parts.push(what),
                None => folded.push((one, vec![what])),
            }
        }
        let named = folded.into_iter().map(|(mut one, parts)| {
            if let TooBroad::Wide { what, .. } | TooBroad::Together { what, .. } = &mut one {
                *what = first_few(parts.iter());
            }
            one
        });
        named.collect()
    }

    /// Adds the networks of another entry that differs only in its networks. Returns whether it did.
    fn takes_in(&mut self, other: &Self) -> bool {
        match (self, other) {
            (TooBroad::Wide { networks, limit, .. }, TooBroad::Wide { networks: others, limit: other_limit, .. })
                if limit == other_limit =>
            {
                networks.extend(others)
            }
            (
                TooBroad::Together { networks, size, limit, .. },
                TooBroad::Together { networks: others, size: other_size, limit: other_limit, .. },
            ) if size == other_size && limit == other_limit => networks.extend(others),
            _ => return false,
        }
        true
    }

    /// The part of the rule that is too broad: what an EgressGrant would have to open.
    pub fn part_of(&self, rule: &EgressRule) -> EgressRule {
        let mut part = rule.clone();
        match self {
            TooBroad::Wide { networks, .. } | TooBroad::Together { networks, .. } => {
                part.networks = Some(networks.iter().map(ToString::to_string).collect());
            }
            // A private endpoint has only one name, so the part is the whole rule.
            TooBroad::SharedExpected { .. } => {}
            TooBroad::SharedSuffix { .. } | TooBroad::Expected { .. } if rule.private_endpoint.is_some() => {}
            TooBroad::SharedSuffix { name, .. } | TooBroad::Expected { name, .. } => {
                part.domain_names = Some(vec![name.clone()]);
            }
        }
        part
    }
}

/// The reason of a rule that an allowlist covers, and that is too broad for allowlists.
pub const TOO_BROAD: &str = "TooBroad";

/// A rule without the parts that need an EgressGrant.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrowed {
    /// What is left of the rule, if anything.
    pub opening: Option<AllowRule>,
    /// The parts that were removed, and why.
    pub too_broad: Vec<TooBroad>,
}
