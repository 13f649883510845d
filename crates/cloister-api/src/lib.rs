//! The kinds of `cloister.dev/v1alpha1`: their fields, schemas, CEL rules and printer columns, and the constants
//! (labels, finalizers, reasons) that are part of the contract.
//!
//! Nothing here decides or talks to a cluster. A rule that the API server can check stands in a kind's schema, so
//! that bad input is refused where it is written; what needs another object to judge is left to `cloister-core`.

pub mod condition;
mod definition;
pub mod labels;
mod namespace_status;
mod null;
pub mod plugin;
pub mod quantities;
pub mod schema;
pub mod unseen;

mod access_policy;
mod access_review;
mod access_role;
mod cloister_config;
mod egress;
mod egress_allowlist;
mod egress_grant;
mod grant;
mod grant_kind;
mod grant_mount;
mod research_namespace;
mod role_grant;
mod storage_access_grant;
mod storage_resource;
mod subject;

pub use access_policy::*;
pub use access_review::*;
pub use access_role::*;
pub use cloister_config::*;
pub use definition::crds;
pub use egress::*;
pub use egress_allowlist::*;
pub use egress_grant::*;
pub use grant::*;
pub use grant_kind::*;
pub use grant_mount::*;
pub use namespace_status::*;
pub use research_namespace::*;
pub use role_grant::*;
pub use storage_access_grant::*;
pub use storage_resource::*;
pub use subject::*;

/// The API group of every kind.
pub const GROUP: &str = "cloister.dev";

/// The one served version.
pub const VERSION: &str = "v1alpha1";
