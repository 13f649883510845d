//! What the catalogue says: the policy that decides, and the ClusterRoles that may be bound.

use super::{kind::Kind, target_error::TargetError};
use crate::{
    cluster::role_facts::Fault,
    grant::{Input, Listed, Lookup, Sensitive},
};
use cloister_api::AccessPolicy;

/// The policy of this name.
pub fn policy_of<'a>(
    name: &str,
    named_by: impl Fn() -> String,
    input: &Input<'a>,
) -> Result<&'a AccessPolicy, TargetError> {
    match (input.catalogue.policies)(name) {
        Lookup::Absent => {
            let meant = (input.catalogue.meant)(Listed::Policy, name);
            Err(TargetError::PolicyNotFound { name: name.to_owned(), named_by: named_by(), meant })
        }
        Lookup::Undecodable => Err(TargetError::PolicyUndecodable(name.to_owned())),
        Lookup::Read(policy) => Ok(policy),
    }
}

/// What a ClusterRole that is to be bound allows, as a digest.
pub fn cluster_role<'a>(name: &str, kind: &dyn Kind, input: &Input<'a>) -> Result<&'a str, TargetError> {
    let facts = (input.catalogue.cluster_roles)(name);
    crate::cluster::role_facts::given(name, facts).map_err(|fault| match fault {
        Fault::NotFound(name) => {
            let meant = (input.catalogue.meant)(Listed::ClusterRole, &name);
            TargetError::ClusterRoleNotFound { name, named_by: kind.entry(), meant }
        }
        fault => TargetError::RoleRefused { fault, named_by: kind.entry() },
    })
}

/// Both of what a target needs.
///
/// # Errors
///
/// What is wrong with one of them, or with both.
pub fn both<A, B>(one: Result<A, TargetError>, other: Result<B, TargetError>) -> Result<(A, B), TargetError> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err(TargetError::Several(vec![one, other])),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// What a ClusterRole allows, a line for each rule.
pub fn rules_of<'a>(name: &str, input: &Input<'a>) -> &'a [Box<str>] {
    (input.catalogue.cluster_roles)(name).map(|facts| &*facts.lines).unwrap_or_default()
}

/// Why a policy may not decide about a ClusterRole, if it may not, and how sensitive that is, where it says so.
pub fn guard_of(role: &str, policy: &str, input: &Input<'_>) -> (Option<String>, Option<Sensitive>) {
    let facts = (input.catalogue.cluster_roles)(role);
    let refusal = facts.and_then(|facts| facts.guard.refuses(&format!("ClusterRole {role}"), policy));
    let sensitivity = facts.and_then(|facts| facts.guard.sensitivity);
    (refusal, sensitivity.map(|sensitivity| Sensitive { sensitivity, by: format!("ClusterRole {role}") }))
}
