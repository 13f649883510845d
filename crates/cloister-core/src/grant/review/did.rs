//! What is said of a review that decided about its grant: what it did.

use crate::grant::Grant;
use cloister_api::{AccessReview, Decision, GrantStatus, RecordedReview};

/// What is said of a review that its grant was decided by.
pub fn recorded(review: &AccessReview, grant: &Grant) -> Option<String> {
    let status = grant.status()?;
    let uid = review.metadata.uid.as_deref().unwrap_or_default();
    let says_so = |recorded: &&RecordedReview| {
        recorded.uid == uid
            && recorded.decision == review.spec.decision
            && review.spec.reviewer.as_ref() == Some(&recorded.reviewer)
    };
    let recorded = status.reviews.iter().find(says_so)?;
    let who = &recorded.reviewer.username;
    let rule = status.approvals.iter().find(|rule| rule.approved_by.contains(who));
    let is_owed = status.break_glass.as_ref().is_some_and(|glass| glass.reviewed_by.as_ref() == Some(who));
    let ended = if status.approved_at.is_some() { "ended the grant" } else { "ended the request" };
    Some(match (recorded.decision, rule) {
        (Decision::Approve, Some(rule)) => {
            let policy = status.policy.as_ref().map(|policy| format!(" of AccessPolicy {}", policy.name));
            format!("counts for {}{}", rule.rule, policy.unwrap_or_default())
        }
        (Decision::Approve, None) if is_owed => OWED.to_owned(),
        (Decision::Approve, None) => "counts; the quorum was reached without it".to_owned(),
        (Decision::Deny | Decision::Revoke, _) => match (is_owed, has_ended_it(recorded, status)) {
            (true, true) => format!("{ended}, and {OWED}"),
            (true, false) => format!("{OWED}; the grant had ended already"),
            (false, _) => ended.to_owned(),
        },
    })
}

/// What is said of the review that a grant owed which used break-glass.
pub const OWED: &str = "is the required review of a break-glass grant";

/// Whether a grant that used break-glass ended by this review.
fn has_ended_it(review: &RecordedReview, status: &GrantStatus) -> bool {
    match &*status.reason {
        "ReviewRefused" => true,
        "RevokedByReview" => {
            let mut revokes = status.reviews.iter().filter(|review| review.decision == Decision::Revoke);
            revokes.next().is_some_and(|first| first.uid == review.uid)
        }
        _ => false,
    }
}
