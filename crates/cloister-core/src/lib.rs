//! The decisions of Cloister, as pure functions: no client, no runtime, no clock.
//!
//! Each kind has a `plan`: from what is declared, what is observed and the time, to what must be done and said. It is
//! total, synchronous and deterministic. Reading the cluster and writing to it are the controller's matter.

pub mod audit;
pub mod auto_approve;
mod canonical_json;
pub mod carry_out;
pub mod catalogue;
pub mod child;
pub mod clock;
pub mod cluster_facts;
pub mod cluster_networks;
pub mod cluster_role;
pub mod condition;
pub mod config_status;
pub mod durations;
pub mod egress;
pub mod evaluator;
mod finalizers;
pub mod grant;
mod hash;
pub mod hold;
pub mod impersonation;
pub mod lease;
pub mod names;
pub mod namespace;
pub mod networks_condition;
pub mod node_networks;
pub mod ownership;
pub mod plan;
pub mod quantity;
pub mod references;
pub mod settings;
mod shell;
pub mod suggest;
pub mod text;
mod writers;
