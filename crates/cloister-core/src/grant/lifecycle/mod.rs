//! What moves a grant from one phase to the next, what it opens, and how that ends.

mod end;
pub(crate) mod lag;
pub(crate) mod mounted;
mod open;
mod outcome;
mod pending;
pub(crate) mod phases;
mod revoke;
pub(crate) mod status;
mod summary;
mod undecided;
mod wait;
