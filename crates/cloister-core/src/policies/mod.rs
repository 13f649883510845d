//! The policies that hold what is open: NetworkPolicies, CiliumNetworkPolicies and ClusterNetworkPolicies.

pub(crate) mod cilium_policy;
pub mod cluster_policy;
pub mod network_policies;
