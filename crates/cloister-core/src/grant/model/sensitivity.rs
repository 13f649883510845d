//! How much is at stake, and whether a policy is strong enough for it.

use crate::{
    cluster::settings::Settings,
    model::{text::counted, writers::CATALOGUE_WRITERS},
};
use cloister_api::{AccessPolicy, AccessPolicySpec, Sensitivity, StorageResource};

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
            "AccessPolicy {} can approve with {}, but {by} sets sensitivity {sensitivity:?}, which needs at least {least} \
             (minimumApprovals of CloisterConfig); ask {CATALOGUE_WRITERS} to name a stronger policy",
            policy.metadata.name.as_deref().unwrap_or_default(),
            counted(strength as usize, "person", "people")
        )
    })
}
