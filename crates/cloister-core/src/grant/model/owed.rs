//! Whether a grant used break-glass, and what it owes by what is written down of it.

use crate::{grant::Grant, model::condition::seconds};
use cloister_api::{BreakGlassStatus, GrantStatus, RecordedReview};
use jiff::Timestamp;

/// Writes down the review that a grant which used break-glass owed.
pub fn note_review(status: &mut GrantStatus, review: Option<&RecordedReview>, now: Timestamp) {
    if let (Some(review), Some(_)) = (review, owed(Some(status))) {
        if let Some(glass) = &mut status.break_glass {
            glass.reviewed_by = Some(review.reviewer.username.clone());
            glass.reviewed_at = Some(seconds(now));
        }
        if !status.reviews.iter().any(|known| known.uid == review.uid) {
            status.reviews.push(review.clone());
        }
    }
}

/// Whether a grant used break-glass: by what was asked for, and approved.
pub fn has_broken_glass(grant: &Grant) -> bool {
    grant.terms().break_glass && grant.status().is_some_and(|status| status.approved_at.is_some())
}

/// Whether a grant owes a review by what was written down of it alone.
pub fn owes_review_by(status: &GrantStatus) -> bool {
    owed(Some(status)).is_some()
}

/// What a grant owes, where it used break-glass and was not reviewed yet.
pub fn owed(status: Option<&GrantStatus>) -> Option<&BreakGlassStatus> {
    status?.break_glass.as_ref().filter(|glass| glass.reviewed_by.is_none())
}
