//! Breaking the glass: a grant that opens at once, for a short time, and owes a review.

use super::{
    Grant, Input, Target,
    approval::{Case, People, approvers, recorded},
    eligibility::{Ineligible, signed},
    people::{is, is_service_account},
};
use cloister_api::{AccessPolicySpec, BreakGlass, BreakGlassStatus, Decision, GrantStatus, Identity, RecordedReview};
use jiff::{SignedDuration, Timestamp};

/// Whether a grant broke the glass and was not reviewed yet.
pub fn owes_review(grant: &Grant) -> bool {
    owed(grant.status()).is_some()
}

/// The same by what was written down of it.
pub fn owes_review_by(status: &GrantStatus) -> bool {
    owed(Some(status)).is_some()
}

/// What a grant owes, where it broke the glass and was not reviewed yet.
pub fn owed(status: Option<&GrantStatus>) -> Option<&BreakGlassStatus> {
    status?.break_glass.as_ref().filter(|glass| glass.reviewed_by.is_none())
}

/// The terms under which somebody may break the glass.
pub fn permitted<'a>(policy: &'a AccessPolicySpec, requester: &Identity) -> Result<&'a BreakGlass, Ineligible> {
    let Some(glass) = &policy.break_glass else { return Err(Ineligible::NoBreakGlass) };
    let named = glass.requesters.iter().any(|principal| is(principal, requester));
    if named && !is_service_account(requester) {
        Ok(glass)
    } else {
        Err(Ineligible::BreakGlassNotAllowed(requester.username.clone()))
    }
}

/// What a grant that breaks the glass now owes.
pub fn debt(policy: &AccessPolicySpec, glass: &BreakGlass, now: Timestamp) -> BreakGlassStatus {
    let rules = policy.approval_rules.iter();
    let skipped = rules.map(|rule| format!("{} of {} ({})", rule.required, rule.name, approvers(&rule.approvers)));
    BreakGlassStatus {
        skipped: skipped.collect(),
        review_due_at: crate::condition::seconds(later(now, signed(glass.review_within))),
        reviewed_by: None,
        reviewed_at: None,
    }
}

/// The review that settles what a grant owes: of an approver, about what was opened, whatever they decided.
pub fn settled(grant: &Grant, target: &Target<'_>, input: &Input<'_>) -> Option<RecordedReview> {
    owed(grant.status())?;
    let (status, requester) = (grant.status()?, grant.terms().requested_by?);
    let case = Case::of(grant.of_kind(), requester, target.policy, input);
    let people = People::of(&case, input.reviews.iter().filter_map(|review| review.spec.reviewer.as_ref()));
    input.reviews.iter().find_map(|review| {
        let reviewer = review.spec.reviewer.as_ref()?;
        let about_this = review.spec.request_ref.uid == grant.uid() && review.spec.digest == status.digest;
        let counts = || case.may_decide_now(reviewer, &people, input.settings).is_ok();
        (about_this && counts()).then(|| recorded(review, reviewer))
    })
}

/// Whether a review says that it should not have been.
pub fn is_refusal(review: &RecordedReview) -> bool {
    review.decision != Decision::Approve
}

/// A time after another; the last of all times where there is none so late.
pub fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
