//! Who may end a request or a grant, whatever else is missing, and the review by which a request that waits is ended.
//!
//! To end something waits for nothing: it needs no digest, no policy and no target. Approvers alone are known by the policy.

use super::case::{Case, may_always_end};
use crate::grant::{
    Grant, Input,
    model::{
        people::same_person,
        reviews::{in_words, recorded, reviews_of},
        target::Target,
    },
};
use cloister_api::{AccessReview, Decision, Identity, RecordedReview};

/// Whether a review ends its request, whatever is missing.
pub fn always_ends(review: &AccessReview, reviewer: &Identity, grant: &Grant, input: &Input<'_>) -> bool {
    let (requester, subjects) = (grant.terms().requested_by, grant.of_kind().subjects());
    review.spec.decision == Decision::Revoke && may_always_end(requester, subjects, input.members, reviewer)
}

/// Why a request is over that somebody has revoked, in one word and in words, and the review of them.
pub type Ended = (&'static str, String, RecordedReview);

/// The first review by which somebody ends a request who may. Approvers may where it is known who they are.
pub fn ended_by(grant: &Grant, target: Option<&Target<'_>>, input: &Input<'_>) -> Option<Ended> {
    let requester = grant.terms().requested_by;
    let case = requester.zip(target).map(|(who, target)| Case::of(grant.of_kind(), who, target.policy, input));
    let ends = |review: &AccessReview, reviewer: &Identity| match &case {
        Some(case) => review.spec.decision == Decision::Revoke && case.may_revoke(reviewer).is_ok(),
        None => always_ends(review, reviewer, grant, input),
    };
    let (review, reviewer) = reviews_of(grant.uid(), input).into_iter().find(|(one, who)| ends(one, who))?;
    let (reason, did) = match requester {
        Some(requester) if same_person(requester, reviewer) => ("Withdrawn", "withdrew it before it was decided"),
        _ => ("RevokedByReview", "revoked it before it was decided"),
    };
    Some((reason, in_words(review, reviewer, did), recorded(review, reviewer)))
}
