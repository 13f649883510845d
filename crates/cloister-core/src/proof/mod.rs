//! What NetworkPolicies allow, as `networking.k8s.io/v1` defines it: asked flow by flow, of policies as they stand in the
//! API server, whoever wrote them.
//!
//! It shares nothing with what writes Cloister's policies but the matching of labels, so that it can tell whether those
//! say what was meant. It is compared with [Cyclonus](https://github.com/mattfenwick/cyclonus), flow by flow, in the
//! tests of `tests/`.
//!
//! Policies add up: a flow is allowed where any policy that selects its pod allows it, and where none selects the pod.
//! It must be allowed at both ends.

mod cilium_proof;
mod cluster_proof;
mod names_allowed;
pub(crate) mod objection;
mod parsed_policy;
mod policies_allow;

pub use cilium_proof::objection_to_cilium;
pub use cluster_proof::objection_to_cluster;
pub use objection::{Agreements, Declaration, Excess, Facts, excess, objection};
pub use parsed_policy::Unreadable;
pub use policies_allow::{End, Flow, Labels, NamedPort, Pod, Policies, Reachability, Selected};
