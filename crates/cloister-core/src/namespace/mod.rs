//! From a ResearchNamespace to what must stand in the cluster.
//!
//! A namespace is closed before anything in it opens: it is created sealed, its deny policy stands before any other,
//! and only then is it marked enforced, from which moment pods are admitted. What leaves the spec leaves the cluster.

mod agreed;
mod by_name;
pub mod children;
mod cilium;
mod closing;
pub(crate) mod cluster;
mod decide;
pub mod egress;
mod gateway;
mod granted;
pub(crate) mod hosts;
mod input;
mod labelled;
pub(crate) mod members;
mod needs;
mod opening;
mod own_rules;
mod peers;
pub mod policies;
mod put_right;
mod refused;
pub(crate) mod selected;
mod status;
mod takeover;
mod tally;

pub use agreed::{agreed, named_services};
pub use by_name::{BACKEND_MISSING, NOT_EXACT};
pub use decide::plan;
pub use hosts::{is_fresh, what_to_do};
pub use input::{
    Account, Declared, GrantedRule, Input, Inspection, KnownAllowlist, ObservedNamespace, OwedReview, Peer, PeerFound,
};
pub use labelled::is_owned_label;
pub use needs::{allowlist_of_entry, allows, is_meant_for, names};
pub use refused::keeps_out;
pub use status::failed;
pub use takeover::{has_own_volume, wants_inspection};
pub(crate) use tally::CORRECTED_BY;
