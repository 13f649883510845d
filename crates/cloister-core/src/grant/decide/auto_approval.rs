//! What a policy approves by itself.

use super::eligibility;
use crate::{
    auto_approve,
    grant::{
        Grant, Input,
        model::{people::is_service_account, target::Target},
    },
};
use cloister_api::Identity;

/// What is said where the policy approves a request by itself.
pub fn auto_approval(grant: &Grant, requester: &Identity, target: &Target<'_>, input: &Input<'_>) -> Option<String> {
    let expressions = &target.policy.spec.auto_approve;
    if expressions.is_empty() || is_service_account(requester) {
        return None;
    }
    let duration = eligibility::duration(grant, &target.policy.spec);
    let request = auto_approve::Request::of(grant, input.namespace, requester, duration, target.sensitivity());
    // A request that cannot be written down is approved by nobody.
    match auto_approve::approves(expressions, &serde_json::to_value(request).ok()?) {
        auto_approve::Evaluation::Approved { expression, .. } => {
            let policy = target.policy.metadata.name.as_deref().unwrap_or_default();
            Some(format!("approved automatically by AccessPolicy {policy}: {expression}"))
        }
        auto_approve::Evaluation::NotApproved { .. } => None,
    }
}
