//! Whether what is about to be opened would be approved by what is live: a status that says it was approved may have been
//! written while that was being refused.

use super::{
    Grant, Input,
    bars::People,
    case::Case,
    digest,
    found::Target,
    limits::Others,
    own::own,
    reviews::{in_words, recorded, reviews_of},
};
use cloister_api::{AccessReview, Decision, GrantPhase, GrantStatus, Identity, RecordedReview};

/// What stands against it.
pub enum Against {
    /// Somebody who may had refused it before it was approved.
    Refusal(Box<RecordedReview>, String),
    /// It would have been refused for what its requester has.
    NotBorneOut(String),
}

/// Whether nothing stands against it. It is asked until something of the grant stands, and once its policy or what it is for
/// is another than it was, it is not known any more.
///
/// # Errors
///
/// What does.
pub fn check(
    case: &Case<'_>,
    grant: &Grant,
    status: &GrantStatus,
    target: &Target<'_>,
    input: &Input<'_>,
) -> Result<(), Against> {
    if !is_new(status, input) || digest::of(grant, input.namespace, target) != status.digest {
        return Ok(());
    }
    if let Some((review, message)) = refused_before(case, grant, status, input) {
        return Err(Against::Refusal(Box::new(review), message));
    }
    let requester = case.requester;
    Others::before(grant, requester, input)
        .may_hold(false, requester, target)
        .map_err(|why| Against::NotBorneOut(why.to_string()))
}

/// Whether nothing of a grant that was approved stands.
pub fn is_new(status: &GrantStatus, input: &Input<'_>) -> bool {
    status.phase == GrantPhase::Approved || own(input).next().is_none()
}

/// A review that refused it before it was approved: by that it would have been denied.
fn refused_before(
    case: &Case<'_>,
    grant: &Grant,
    status: &GrantStatus,
    input: &Input<'_>,
) -> Option<(RecordedReview, String)> {
    let all = reviews_of(grant.uid(), input);
    let made = |review: &AccessReview| review.metadata.creation_timestamp.as_ref().map(|made| made.0);
    // Whatever time is written down: it was approved after those had agreed by whom it was.
    let counted = |review: &AccessReview| {
        status.reviews.iter().any(|recorded| review.metadata.uid.as_deref() == Some(&*recorded.uid))
    };
    let agreed = all.iter().filter(|(review, _)| counted(review)).filter_map(|(review, _)| made(review));
    let approved = agreed.chain(status.approved_at.as_ref().map(|at| at.0)).max()?;
    let accounts: Vec<&Identity> = all.iter().map(|(_, reviewer)| *reviewer).collect();
    let people = People::of(case, accounts);
    all.into_iter().find_map(|(review, reviewer)| {
        let refuses = review.spec.decision == Decision::Deny
            && review.spec.digest == status.digest
            && made(review).is_some_and(|made| made < approved)
            && case.may_decide_now(reviewer, &people, input.settings).is_ok();
        refuses.then(|| (recorded(review, reviewer), in_words(review, reviewer, "refused it")))
    })
}
