//! What a decision is made from: the index as it stands, and what else is known at the time.
//!
//! What a decision asks for is what its object depends on. An object is made to depend on a name, on the audit record or on
//! the clocks before it is told what is known of them, so that it hears of whatever changes afterwards.

mod catalogue;
mod find;
mod grant;
mod inspect;
mod mount;
mod namespace;
mod taken;

pub use catalogue::Said;
pub use grant::{GrantDecision, reference_of};
pub use inspect::inspect;
pub use namespace::NamespaceDecision;
pub use taken::{Snapshot, Sources};
