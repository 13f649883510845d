//! What a grant is for: the storage, its role, and the policy that decides.

use super::Input;
use crate::settings::Settings;
use cloister_api::{AccessPolicy, AccessPolicySpec, Sensitivity, StorageAccessGrant, StorageResource, StorageRole};

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

/// What a grant is for.
#[derive(Clone, Copy, Debug)]
pub struct GrantTarget<'a> {
    pub storage: &'a StorageResource,
    pub role: &'a StorageRole,
    pub policy: &'a AccessPolicy,
}

/// Why it could not be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("there is no StorageResource {0}; ask its owners to publish it, or name another")]
    StorageNotFound(String),
    #[error("StorageResource {0} cannot be read by this version of the operator; see its status")]
    StorageUndecodable(String),
    #[error("StorageResource {storage} offers no role {role}; it offers {offered}")]
    RoleNotFound { storage: String, role: String, offered: String },
    #[error(
        "there is no AccessPolicy {policy}, which role {role} of StorageResource {storage} names; ask security to publish it"
    )]
    PolicyNotFound { storage: String, role: String, policy: String },
    #[error("AccessPolicy {0} cannot be read by this version of the operator; see its status")]
    PolicyUndecodable(String),
}

impl TargetError {
    /// Why, in one word.
    pub fn reason(&self) -> &'static str {
        match self {
            TargetError::StorageNotFound(_) => "StorageNotFound",
            TargetError::StorageUndecodable(_) => "StorageUndecodable",
            TargetError::RoleNotFound { .. } => "RoleNotFound",
            TargetError::PolicyNotFound { .. } => "PolicyNotFound",
            TargetError::PolicyUndecodable(_) => "PolicyUndecodable",
        }
    }
}

impl<'a> GrantTarget<'a> {
    /// Finds what a grant is for.
    pub fn of(grant: &StorageAccessGrant, input: &Input<'a>) -> Result<Self, TargetError> {
        let name = &grant.spec.storage;
        let storage = match (input.storages)(name) {
            Known::Absent => return Err(TargetError::StorageNotFound(name.clone())),
            Known::Undecodable => return Err(TargetError::StorageUndecodable(name.clone())),
            Known::Read(storage) => storage,
        };
        let Some(role) = storage.spec.roles.iter().find(|role| role.name == grant.spec.role) else {
            let offered: Vec<&str> = storage.spec.roles.iter().map(|role| role.name.as_str()).collect();
            return Err(TargetError::RoleNotFound {
                storage: name.clone(),
                role: grant.spec.role.clone(),
                offered: offered.join(", "),
            });
        };
        let policy = match (input.policies)(&role.access_policy) {
            Known::Absent => {
                return Err(TargetError::PolicyNotFound {
                    storage: name.clone(),
                    role: role.name.clone(),
                    policy: role.access_policy.clone(),
                });
            }
            Known::Undecodable => return Err(TargetError::PolicyUndecodable(role.access_policy.clone())),
            Known::Read(policy) => policy,
        };
        Ok(GrantTarget { storage, role, policy })
    }
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
pub fn too_weak(policy: &AccessPolicy, sensitivity: Sensitivity, settings: &Settings) -> Option<String> {
    let least = settings.spec.minimum_approvals.of(sensitivity);
    let strength = policy_strength(&policy.spec)?;
    (strength < least).then(|| {
        format!(
            "AccessPolicy {} can approve with {strength} people, and content of sensitivity {sensitivity:?} needs {least} at least \
             (minimumApprovals of CloisterConfig); ask security to name a stronger policy",
            policy.metadata.name.as_deref().unwrap_or_default()
        )
    })
}
