//! What is said of the objects of the catalogue: allowlists, storage, roles and policies. They are read, never acted upon, so
//! that a plan for one of them is a status alone.

mod access_policy;
mod allowlist;
pub mod config_status;
mod offered;

pub(crate) use access_policy::conditions_of;
pub use access_policy::{policy, undecodable};
pub use allowlist::{Users, allowlist, users};
pub use offered::{Input, role, storage};
