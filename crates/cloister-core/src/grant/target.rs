//! What the catalogue says: the policy that decides, and the ClusterRoles that may be bound.

use super::{
    Input, Listed,
    kind::{Kind, Target, TargetError},
    words::CATALOGUE_WRITERS,
};
use crate::{cluster_role::Fault, settings::Settings, text::counted};
use cloister_api::{AccessPolicy, AccessPolicySpec, Sensitivity, StorageResource};

/// An object of the catalogue, as it was found.
#[derive(Debug)]
pub enum Known<'a, K> {
    /// There is none.
    Absent,
    /// It is there, but this version of the operator cannot read it.
    Undecodable,
    /// It can be read.
    Read(&'a K),
}

impl<K> Clone for Known<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Known<'_, K> {}

/// How much is at stake, and what says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sensitive {
    /// How much.
    pub sensitivity: Sensitivity,
    /// The object that says so.
    pub by: String,
}

impl Sensitive {
    /// What a storage says of itself.
    pub fn of_storage(storage: &StorageResource) -> Self {
        let name = storage.metadata.name.as_deref().unwrap_or_default();
        Sensitive { sensitivity: storage.spec.sensitivity, by: format!("StorageResource {name}") }
    }

    /// The highest of what is said: of two that are the same, the first.
    pub fn highest(said: impl IntoIterator<Item = Self>) -> Option<Self> {
        let higher = |one: Self, other: Self| if other.sensitivity > one.sensitivity { other } else { one };
        said.into_iter().reduce(higher)
    }
}

impl Target<'_> {
    /// How much is at stake, where that is said.
    pub fn sensitivity(&self) -> Option<Sensitivity> {
        self.sensitive.as_ref().map(|said| said.sensitivity)
    }
}

/// The policy of this name.
pub fn policy_of<'a>(
    name: &str,
    named_by: impl Fn() -> String,
    input: &Input<'a>,
) -> Result<&'a AccessPolicy, TargetError> {
    match (input.catalogue.policies)(name) {
        Known::Absent => {
            let meant = (input.catalogue.meant)(Listed::Policy, name);
            Err(TargetError::PolicyNotFound { name: name.to_owned(), named_by: named_by(), meant })
        }
        Known::Undecodable => Err(TargetError::PolicyUndecodable(name.to_owned())),
        Known::Read(policy) => Ok(policy),
    }
}

/// What a ClusterRole that is to be bound allows, as a digest.
pub fn cluster_role<'a>(name: &str, kind: &dyn Kind, input: &Input<'a>) -> Result<&'a str, TargetError> {
    let facts = (input.catalogue.cluster_roles)(name);
    crate::cluster_role::given(name, facts).map_err(|fault| match fault {
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

/// How many people a policy asks to agree, at the least: none where it may approve by itself. `None` where it can never
/// approve.
pub fn policy_strength(policy: &AccessPolicySpec) -> Option<u32> {
    if !policy.auto_approve.is_empty() {
        return Some(0);
    }
    let total = policy.approval_rules.iter().map(|rule| rule.required).sum();
    (!policy.approval_rules.is_empty()).then_some(total)
}

/// Why a policy is too weak for content of this sensitivity, if it is.
pub fn too_weak(policy: &AccessPolicy, said: &Sensitive, settings: &Settings) -> Option<String> {
    let Sensitive { sensitivity, by } = said;
    let least = settings.spec.minimum_approvals.of(*sensitivity);
    let strength = policy_strength(&policy.spec)?;
    (strength < least).then(|| {
        format!(
            "AccessPolicy {} can approve with {}, and content of sensitivity {sensitivity:?}, as {by} says, needs \
             {least} at least (minimumApprovals of CloisterConfig); ask {CATALOGUE_WRITERS} to name a stronger policy",
            policy.metadata.name.as_deref().unwrap_or_default(),
            counted(strength as usize, "person", "people")
        )
    })
}
