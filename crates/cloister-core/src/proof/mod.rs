//! Which flows NetworkPolicies allow, as `networking.k8s.io/v1` defines it, for all policies in the API server, whoever wrote
//! them; and the proofs that Cloister's own policies open no more than was approved.
//!
//! It shares only the matching of labels with the code that writes Cloister's policies, so that it can find errors of that
//! code. It is compared with [Cyclonus](https://github.com/mattfenwick/cyclonus), flow by flow, in the
//! tests of `tests/`.
//!
//! Policies are additive: a flow is allowed if any policy that selects its pod allows it, or if no policy selects the pod.
//! Both sides of the flow must allow it.

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
