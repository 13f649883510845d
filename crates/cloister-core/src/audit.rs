//! The audit record: each decision and transition of a grant as one CloudEvents 1.0 line, chained by hashes.
//!
//! Records are made from what is written in the cluster, never from what is about to be written, and each has an id that
//! follows from it. So a record that was lost in a crash is made again from the status, and one that was written twice
//! is seen to be the same. Each line carries the hash of the line before and its own, over its canonical JSON
//! (RFC 8785): a line that is changed, taken out or put in breaks the chain.

mod chain;
mod record;
mod resumed;

pub use chain::{Broken, Head, Proof};
pub use record::{Record, of_grant, of_review};
pub use resumed::resumed;
