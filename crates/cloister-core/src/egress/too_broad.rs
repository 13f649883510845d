//! What an agreement of its own is needed for, in words.

use super::{AllowRule, measure::RANGES};
use crate::model::text::first_few;
use cloister_api::{EgressRule, MaxPublicPrefix};
use ipnet::IpNet;

/// Why a part of an opening needs an agreement of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooBroad {
    /// It is wider than allowlists may open, by itself.
    #[error("{what} is wider than allowlists may open, {} (egress.maxPublicPrefix of CloisterConfig)", widest(*limit))]
    Wide {
        /// The range, in words.
        what: String,
        /// The range.
        networks: Vec<IpNet>,
        /// The widest that allowlists may open.
        limit: MaxPublicPrefix,
    },
    /// It is not, but with what else is open in the namespace it is part of something that is.
    #[error(
        "{what} and what else is open here come to {size}, which is wider than allowlists may open together, {RANGES} times {} \
         (egress.maxPublicPrefix of CloisterConfig), neighbours counted as one", widest(*limit)
    )]
    Together {
        /// The range, in words.
        what: String,
        /// The range.
        networks: Vec<IpNet>,
        /// What it comes to.
        size: String,
        /// The widest that allowlists may open.
        limit: MaxPublicPrefix,
    },
    /// Anybody can have storage there.
    #[error("{name} is at or below {suffix}, where anybody can have storage")]
    SharedSuffix {
        /// The name.
        name: String,
        /// What anybody can have storage under.
        suffix: String,
    },
    /// Anybody can have storage there, and it may lead there.
    #[error(
        "{name} is at or below {suffix}, where anybody can have storage, and of its expectedNetworks this is public: {public}"
    )]
    SharedExpected {
        /// The name.
        name: String,
        /// What anybody can have storage under.
        suffix: String,
        /// The networks among them that are public, in words.
        public: String,
    },
    /// Wherever its name leads, it is expected there.
    #[error(
        "{name} is expected in {what}, which is wider than allowlists may open, {} (egress.maxPublicPrefix of CloisterConfig)",
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

/// How wide a range may be, in words.
fn widest(limit: MaxPublicPrefix) -> String {
    format!("a /{} or an IPv6 /{}", limit.ipv4, limit.ipv6)
}

impl TooBroad {
    /// Why, and what to do about it.
    pub fn told(&self) -> String {
        let help = match self {
            TooBroad::Wide { .. } => {
                "name narrower networks, ask a policy administrator (ClusterRole cloister:policy-admin) to allow wider ones, \
                 or ask for an EgressGrant of it"
            }
            TooBroad::Together { .. } => "name fewer or narrower networks, or ask for an EgressGrant of it",
            TooBroad::SharedSuffix { .. } => {
                "declare it as privateEndpoint with private expectedNetworks, or ask for it with an EgressGrant"
            }
            TooBroad::SharedExpected { .. } => "name private networks alone, or ask for it with an EgressGrant",
            TooBroad::Expected { .. } => "narrow expectedNetworks, or ask for it with an EgressGrant",
        };
        format!("{self}; {help}")
    }

    /// The same, with one entry where several differ in nothing but their networks.
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

    /// Takes in the networks of another that says the same.
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

    /// The part of a rule that it is about: what a grant would have to open.
    pub fn part_of(&self, rule: &EgressRule) -> EgressRule {
        let mut part = rule.clone();
        match self {
            TooBroad::Wide { networks, .. } | TooBroad::Together { networks, .. } => {
                part.networks = Some(networks.iter().map(ToString::to_string).collect());
            }
            // Of a private endpoint there is one name, and no part.
            TooBroad::SharedExpected { .. } => {}
            TooBroad::SharedSuffix { .. } | TooBroad::Expected { .. } if rule.private_endpoint.is_some() => {}
            TooBroad::SharedSuffix { name, .. } | TooBroad::Expected { name, .. } => {
                part.domain_names = Some(vec![name.clone()]);
            }
        }
        part
    }
}

/// Reason of a rule that an allowlist agrees to, and that opens too much.
pub const TOO_BROAD: &str = "TooBroad";

/// An opening without what needs an agreement of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrowed {
    /// What is left of it, where anything is.
    pub opening: Option<AllowRule>,
    /// What is not, and why.
    pub too_broad: Vec<TooBroad>,
}
