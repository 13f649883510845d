//! What egress rules open: from declared destinations to the NetworkPolicies that allow them.
//!
//! A rule of an allowlist, or the endpoint of a storage resource, was agreed to and opens whole ([`open`]). A
//! namespace's own rule opens as far as allowlist rules cover it ([`open_covered`]). An item of a rule that cannot be
//! opened is refused with a reason, and stays closed; the others open ([`open_rule_in_part`]).
//!
//! ```
//! use cloister_core::egress::{NeverOpened, Surroundings, open_rule};
//!
//! let never = NeverOpened::new(&[]);
//! let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: false };
//! let rule = serde_json::from_value(serde_json::json!({
//!     "name": "lab",
//!     "networks": ["169.254.0.0/15"],
//!     "ports": [{"port": 443}],
//! }))?;
//! let spec = open_rule(&rule, &surroundings)?.to_network_policy_spec();
//! // The metadata services in the second half are left out.
//! let to = spec.egress.unwrap().remove(0).to.unwrap();
//! assert_eq!(to[0].ip_block.as_ref().unwrap().cidr, "169.255.0.0/16");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod blocks;
mod breadth;
mod by_name;
mod covered;
mod cuts;
mod domain;
mod endpoint;
mod hosts;
mod items;
mod label;
mod measure;
mod networks;
mod never;
mod open;
mod opening;
pub(crate) mod overlap;
mod ports;
mod public;
pub(crate) mod published;
mod reach;
mod refusal;
mod selector;
mod service;
mod shared;
mod source;
mod special;
mod surroundings;
pub(crate) mod target;
mod too_broad;
mod within;
mod writable;

pub use backend::{Backend, Channel, Installed};
pub use breadth::{narrowed, too_broad_with};
pub use by_name::{Inexact, not_the_internet, not_to_be_reached};
pub use covered::{
    Allowed, COVERED, Covered, NOT_COVERED, PARTLY_COVERED, REACH_EXCEEDS_INTENT, open_covered, open_covered_by,
};
pub use cuts::CutBy;
pub use domain::{DomainName, NameFault};
pub use endpoint::{endpoint_refused, endpoint_too_broad, grant_refused};
pub use never::NeverOpened;
pub(crate) use never::is_metadata;
pub use open::{Opened, open, open_endpoint, open_endpoint_in_part, open_rule, open_rule_in_part};
pub use opening::{Opening, Peers, PolicyPort, PolicyPortNumber};
pub use overlap::overlap;
pub use public::is_public;
pub use published::{is_as_published, published};
pub use refusal::Refusal;
pub use selector::selector_matches;
pub(crate) use selector::{canonical, selector_implies, selector_implies_labels, selectors_can_meet};
pub use service::{PodOnNode, ServiceFacts, ServicePortFacts};
pub use source::{KnownNetwork, NeverWhy, Source};
pub(crate) use special::{is_link_local, is_local_nat64};
pub use surroundings::Surroundings;
pub use target::Target;
pub use too_broad::{Narrowed, TOO_BROAD, TooBroad};
pub use within::is_within;
pub use writable::Pieces;
pub(crate) use writable::fits;
