//! What a grant owes that used break-glass, and the review by which that is settled.

use crate::{
    grant::{
        DeclaredGrant, Grant, Home, Input, UnreviewedBreakGlass,
        decide::{afresh::is_new, bars::People, borne_out, case::Case},
        model::{
            digest,
            judged::is_refused,
            owed::{has_broken_glass, note_review, owed},
            people::{is_service_account, same_person},
            reviews::recorded,
            target::Target,
            words::principals,
        },
    },
    model::durations::{later, signed},
};
use cloister_api::{
    AccessPolicySpec, AccessReview, BreakGlass, BreakGlassStatus, Decision, GrantStatus, Identity, RecordedReview,
};
use jiff::{SignedDuration, Timestamp};

/// Whether a grant used break-glass and there is no review by which that is settled.
pub fn owes_review(grant: &Grant, reviews: &[&AccessReview]) -> bool {
    has_broken_glass(grant) && !grant.status().is_some_and(|status| borne_out::is_settled(grant, status, reviews))
}

/// Puts right what is said of the review that a grant owes: it is settled only where there is a review that settles it.
/// One that was removed settles nothing any more.
pub fn put_right(status: &mut GrantStatus, grant: &Grant, target: Option<&Target<'_>>, input: &Input<'_>) {
    let Some(approved) = status.approved_at.clone().filter(|_| grant.terms().break_glass) else { return };
    let at = approved.0;
    let owed =
        || BreakGlassStatus { skipped: Vec::new(), review_due_at: approved, reviewed_by: None, reviewed_at: None };
    if status.break_glass.is_none() {
        status.break_glass = Some(owed());
    }
    if input.home == Home::Ending {
        // The reviews go with the Namespace, in any order. What was recorded of them before stays true.
        let settled = recorded_settlement(status, grant, target, input).cloned();
        return note_review(status, settled.as_ref(), input.now);
    }
    let settling = borne_out::settling(grant, status, input.reviews);
    let is_settled =
        settling.is_some_and(|review| target.is_none_or(|target| may_settle(review, grant, status, target, input)));
    if let Some(glass) = status.break_glass.as_mut().filter(|_| !is_settled) {
        (glass.reviewed_by, glass.reviewed_at) = (None, None);
    }
    let due = target.and_then(|target| last_day(grant, status, at, target, input));
    if let (Some(glass), Some(due)) = (&mut status.break_glass, due)
        && glass.review_due_at.0 > due
    {
        glass.review_due_at = crate::model::condition::seconds(due);
    }
}

/// The review that settled what a grant owes, as it was recorded while there was one: whoever it names must have been one to
/// decide. A review that was looked for after it went, and before its Namespace was known to end, is still recorded.
fn recorded_settlement<'s>(
    status: &'s GrantStatus,
    grant: &Grant,
    target: Option<&Target<'_>>,
    input: &Input<'_>,
) -> Option<&'s RecordedReview> {
    let said = status.break_glass.as_ref()?.reviewed_by.as_ref();
    let requester = grant.terms().requested_by?;
    status.reviews.iter().find(|recorded| {
        let who = &recorded.reviewer;
        let may_decide = match (said, target) {
            (Some(said), _) => *said == who.username,
            (None, Some(target)) => may_settle(recorded, grant, status, target, input),
            // Whoever revokes need not be one to review it. Whoever else is recorded was.
            (None, None) => recorded.decision != Decision::Revoke,
        };
        may_decide && !same_person(who, requester) && !is_service_account(who)
    })
}

/// By when it is to be reviewed at the latest. Once the policy is another than it was, that is not known any more.
fn last_day(
    grant: &Grant,
    status: &GrantStatus,
    approved: Timestamp,
    target: &Target<'_>,
    input: &Input<'_>,
) -> Option<Timestamp> {
    let glass = target.policy.spec.break_glass.as_ref()?;
    let is_as_agreed = digest::of(grant, input.namespace, target) == status.digest;
    // What is written down has no parts of seconds.
    is_as_agreed.then(|| later(later(approved, signed(glass.review_within)), SignedDuration::from_secs(1)))
}

/// Whether somebody who has settled what a grant owes was to decide about it. Once the policy is another than it was, that
/// is not known any more.
fn may_settle(
    review: &RecordedReview,
    grant: &Grant,
    status: &GrantStatus,
    target: &Target<'_>,
    input: &Input<'_>,
) -> bool {
    let Some(requester) = grant.terms().requested_by else { return false };
    let case = Case::of(grant.of_kind(), requester, target.policy, input);
    let people = People::of(&case, input.reviews.iter().filter_map(|review| review.spec.reviewer.as_ref()));
    digest::of(grant, input.namespace, target) != status.digest || case.judge(&review.reviewer, &people).is_ok()
}

/// Another grant by which somebody used break-glass, where nothing of this one stands yet: an operator that was
/// stopped may write an approval when another has taken over, and neither knew of what the other approved. Which of them was
/// first is not known, so that none of them is opened any more.
pub fn broken_twice(grant: &Grant, requester: &Identity, input: &Input<'_>) -> Option<UnreviewedBreakGlass> {
    let opens = grant.terms().break_glass && grant.status().is_some_and(|status| is_new(status, input));
    if opens { (input.catalogue.unreviewed_break_glass)(requester) } else { None }
}

/// What a grant that uses break-glass now owes.
pub fn break_glass_status(policy: &AccessPolicySpec, glass: &BreakGlass, now: Timestamp) -> BreakGlassStatus {
    let rules = policy.approval_rules.iter();
    let skipped = rules.map(|rule| {
        let approvals = if rule.required == 1 { "approval" } else { "approvals" };
        format!("{} {approvals} of {} ({})", rule.required, rule.name, principals(&rule.approvers))
    });
    BreakGlassStatus {
        skipped: skipped.collect(),
        review_due_at: crate::model::condition::seconds(later(now, signed(glass.review_within))),
        reviewed_by: None,
        reviewed_at: None,
    }
}

/// The review that settles what a grant owes: of an approver, about what was opened, whatever they decided.
pub fn settled(grant: &Grant, status: &GrantStatus, target: &Target<'_>, input: &Input<'_>) -> Option<RecordedReview> {
    owed(Some(status))?;
    let requester = grant.terms().requested_by?;
    let case = Case::of(grant.of_kind(), requester, target.policy, input);
    let people = People::of(&case, input.reviews.iter().filter_map(|review| review.spec.reviewer.as_ref()));
    input.reviews.iter().find_map(|review| {
        let reviewer = review.spec.reviewer.as_ref()?;
        let about_this = review.spec.request_ref.uid == grant.uid()
            && review.spec.digest == status.digest
            && review.metadata.deletion_timestamp.is_none()
            // What was said of it stays true.
            && !is_refused(review);
        let counts = || case.may_decide_now(reviewer, &people, input.settings).is_ok();
        (about_this && counts()).then(|| recorded(review, reviewer))
    })
}

/// Why nobody can make the review that a grant owes as long as that stays so, if it owes one: what would say who may is not
/// there.
pub fn unreviewable(input: &Input<'_>) -> Option<String> {
    let DeclaredGrant::Read(grant) = input.declared else { return None };
    let error = grant.of_kind().target(input).err().filter(|_| has_broken_glass(grant))?;
    Some(error.gone(grant.status()))
}

/// Whether a review says that it should not have been.
pub fn is_refusal(review: &RecordedReview) -> bool {
    review.decision != Decision::Approve
}
