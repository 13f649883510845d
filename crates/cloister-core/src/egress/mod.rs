//! What egress rules open: from declared destinations to the NetworkPolicies that allow them.
//!
//! A rule of an allowlist, or the endpoint of a storage resource, was agreed to and opens whole ([`open`]). A
//! namespace's own rule opens as far as allowlist rules cover it ([`open_covered`]). An item of a rule that cannot be
//! opened is refused with a reason, and stays closed; the others open ([`open_rule_in_part`]).
//!
//! ```
//! use cloister_core::{
//!     address::NeverOpened,
//!     egress::{Surroundings, open_rule},
//! };
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

mod allow_rule;
mod backend;
mod breadth;
mod covered;
mod denied_to_names;
mod endpoint;
mod host_set;
mod items;
mod measure;
pub(crate) mod open_rule;
pub(crate) mod overlap;
pub(crate) mod published;
mod reach;
mod resolved;
mod service_facts;
mod shared;
mod surroundings;
pub(crate) mod target;
mod too_broad;
mod within;

pub use allow_rule::{AllowRule, Peers};
pub use backend::{Backend, Channel, Installed};
pub use breadth::{narrowed, too_broad, too_broad_with};
pub use covered::{
    Allowed, COVERED, Covered, NOT_COVERED, PARTLY_COVERED, REACH_EXCEEDS_INTENT, open_covered, open_covered_by,
};
pub use denied_to_names::{Inexact, not_the_internet, not_to_be_reached};
pub use endpoint::{endpoint_refused, endpoint_too_broad, grant_refused};
pub use open_rule::{open, open_endpoint, open_endpoint_in_part, open_rule, open_rule_in_part};
pub use overlap::{endpoint_overlaps, overlap, overlapping_networks};
pub use published::{is_as_published, published};
pub use resolved::{Opened, ResolvedRule};
pub use service_facts::{PodOnNode, ServiceFacts, ServicePortFacts};
pub use surroundings::Surroundings;
pub use target::EgressTarget;
pub use too_broad::{Narrowed, TOO_BROAD, TooBroad};
pub use within::is_within;
