//! From a ResearchNamespace to what must stand in the cluster.
//!
//! A namespace is closed before anything in it opens: it is created sealed, its deny policy stands before any other,
//! and only then is it marked enforced, from which moment pods are admitted. What leaves the spec leaves the cluster.

mod agreed;
mod allowlists;
pub mod children;
mod closing;
mod desired;
mod failed_status;
mod gateway;
mod granted;
mod hold_by_name;
pub(crate) mod host_status;
mod in_the_way;
mod input;
mod labelled;
pub(crate) mod members;
mod needs;
mod open_agreed;
mod own_rules;
mod peers;
mod put_right;
mod refused;
pub(crate) mod selects;
mod status;
mod takeover;
mod tally;
mod usable;

pub use agreed::{agreed, named_services};
pub use desired::plan;
pub use failed_status::failed;
pub use hold_by_name::{BACKEND_MISSING, NOT_EXACT};
pub use host_status::{is_fresh, what_to_do};
pub use in_the_way::{has_own_volume, may_be_policies};
pub use input::{
    Account, DeclaredNamespace, GrantedRule, Input, Inspection, KnownAllowlist, ObservedNamespace, OwedReview, Peer,
    PeerFound, Unseen,
};
pub use labelled::is_owned_label;
pub use needs::{allowlist_of_entry, allows, is_meant_for, names};
pub use refused::{keeps_out, requirements};
pub use takeover::wants_inspection;
pub(crate) use tally::{CORRECTED_BY, part_closed};
