//! What is known of the cluster, and the settings that CloisterConfig makes of it.

pub mod clock;
pub mod dns_service;
pub(crate) mod guard;
pub mod impersonation;
pub mod known_networks;
mod lasting_access;
pub mod lease;
pub mod networks_condition;
pub mod node_networks;
pub mod references;
pub mod role_facts;
mod setting_addresses;
pub mod settings;

pub use guard::{Guard, POLICY_NOT_ALLOWED};
