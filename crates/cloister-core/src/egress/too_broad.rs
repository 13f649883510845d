//! What an agreement of its own is needed for, in words.

use cloister_api::EgressRule;
use ipnet::IpNet;

/// Why a part of an opening needs an agreement of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooBroad {
    /// It is wider than allowlists may open, by itself.
    #[error(
        "{what} is wider than allowlists may open (egress.maxPublicPrefix of CloisterConfig); name narrower networks"
    )]
    Wide {
        /// The range, in words.
        what: String,
        /// The range.
        networks: Vec<IpNet>,
    },
    /// It is not, but with what else is open in the namespace it is part of something that is.
    #[error(
        "{what} and what else is open here come to {size}, which is wider than allowlists may open together (egress.maxPublicPrefix \
         of CloisterConfig)"
    )]
    Together {
        /// The range, in words.
        what: String,
        /// The range.
        networks: Vec<IpNet>,
        /// What it comes to.
        size: String,
    },
    /// Anybody can have storage there.
    #[error(
        "{name} is at or below {suffix}, where anybody can have storage; declare it as privateEndpoint with private expectedNetworks"
    )]
    SharedSuffix {
        /// The name.
        name: String,
        /// What anybody can have storage under.
        suffix: String,
    },
    /// Anybody can have storage there, and it may lead there.
    #[error(
        "{name} is at or below {suffix}, where anybody can have storage, and of its expectedNetworks this is public: {public}; name \
         private networks alone"
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
        "{name} is expected in {what}, which is wider than allowlists may open (egress.maxPublicPrefix of CloisterConfig); narrow \
         expectedNetworks"
    )]
    Expected {
        /// The name.
        name: String,
        /// The public range that is too wide, in words.
        what: String,
    },
}

impl TooBroad {
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
