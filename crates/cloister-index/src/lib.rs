//! What is known of a cluster, indexed: which objects there are, and which of them a change concerns.
//!
//! The operator fills it from its watches; whoever decides about a cluster, or about a folder of manifests, fills it from
//! lists.

pub mod decode;
pub mod index;
pub mod key;
pub mod lane;
