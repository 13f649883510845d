//! The one way out: every request that changes something in the cluster.
//!
//! Each has a time limit and counts against the limit of requests under way.

mod account;
mod action;
mod child;
mod credential;
mod destroyed;
mod finalizer;
mod looks;
mod namespace;
mod pods;
mod removal;
mod status;
mod target;
mod writer;

pub use removal::Removal;
pub use target::{Found, ObjectTarget};
pub use writer::Writer;
