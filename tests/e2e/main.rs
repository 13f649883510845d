//! End-to-end tests: a real API server, the admission policies and RBAC of `deploy/`, and the identities that meet them.

mod admission_adopting;
mod admission_decisions;
mod admission_grant_mounts;
mod admission_grant_secrets;
mod admission_kinds;
mod admission_managed_objects;
mod admission_member_roles;
mod admission_namespaces;
mod admission_operator;
mod admission_operator_bounds;
mod admission_operator_lease;
mod admission_operator_owners;
mod admission_person_key;
mod admission_pod_identity;
mod admission_pod_node;
mod admission_policies;
mod admission_requester;
mod admission_research_namespaces;
mod admission_reserved;
mod admission_runtime_class;
mod admission_seal;
mod admission_workloads;
mod quantities;
mod rbac;
mod support;
