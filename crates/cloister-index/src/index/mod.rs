//! What the operator knows of the cluster: plain maps, filled by the watches and by the answers to its own writes.
//!
//! Every method is synchronous and does no more than keep the maps and tell which keys a change concerns. Only what a
//! decision needs is kept: of our kinds the objects, of everything else a fingerprint or a few facts.

mod children;
mod cluster;
mod counts;
mod dns;
mod ended;
mod facts;
mod grant_change;
mod grant_relations;
mod grants;
mod keys;
mod listed;
mod named;
mod networks;
mod on_nodes;
mod peers;
mod pod_addresses;
mod pod_metadata;
mod pod_references;
mod pods;
mod rbac;
mod relations;
mod requesters;
mod reviews;
mod roots;
mod state;
#[cfg(test)]
mod tests;
mod ticket;

pub use cluster::Secret;
pub use dns::SERVICE_NAME;
pub use facts::{HeldCopy, Recorded, Recorder, reviewed};
pub use listed::Listed;
pub use networks::{API_SERVER, API_SERVER_NAMESPACE, NodeNetworks};
pub use pods::GatedPod;
pub use relations::enqueue_dependents_of_cluster_role;
pub use state::{Answer, Dirty, Index, Indexed};
pub use ticket::mount_of;
