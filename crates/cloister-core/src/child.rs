//! What the operator writes into a research namespace, and the fingerprint by which it is compared with what is there.
//!
//! The operator keeps no copies of what it observes, only a [`Fingerprint`] of each object's meaning: the fields that
//! the operator owns, in a form that the API server's defaulting and its rewriting of quantities leave alone. Two
//! objects with one fingerprint need no write.

pub mod build;
mod fingerprint;
mod key;
mod object;
mod observed;

pub mod names;
pub use fingerprint::Fingerprint;
pub use key::{ChildKey, ChildKind, GrantRef};
pub use names::is_deny;
pub use object::{Child, IfRefused};
pub use observed::{Children, MountFacts, ObservedChild};
