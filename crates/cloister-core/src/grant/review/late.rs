//! What is said of a review when there was nothing left to decide: how that stands, and what its author can do.

use crate::grant::{Grant, model::judged::Judged};
use cloister_api::{AccessReview, Decision, GrantPhase, GrantStatus};

/// How a grant stands that a review came too late for.
pub fn late(review: &AccessReview, grant: &Grant) -> Judged {
    let what = format!("{} {}", grant.kind().as_str(), grant.name());
    let status = grant.status().cloned().unwrap_or_default();
    let reviewed = status.break_glass.as_ref().and_then(|glass| glass.reviewed_by.as_ref());
    let (why, message) = match (status.phase, reviewed) {
        (GrantPhase::Pending | GrantPhase::Denied, _) => ("AlreadyDecided", denied(&what, &status)),
        (GrantPhase::TimedOut, _) => (
            "RequestTimedOut",
            format!(
                "{what} was not decided in time, and has timed out; there is nothing to decide. Whoever still needs it deletes \
                 it, and creates another one"
            ),
        ),
        (phase, Some(who)) if review.spec.decision != Decision::Revoke => {
            let end = if is_open(phase) { TO_END_IT } else { "" };
            ("AlreadyReviewed", format!("{who} has already written the required break-glass review of {what}{end}"))
        }
        (phase, _) if is_open(phase) => {
            let end = status.expires_at.as_ref().map(|end| format!(", until {} at the latest", end.0));
            let end = end.unwrap_or_default();
            ("AlreadyApproved", format!("{what} was approved before this review counted{end}{TO_END_IT}"))
        }
        _ => {
            let at = status.ended_at.as_ref().map(|at| format!(" at {}", at.0)).unwrap_or_default();
            let ended =
                if status.phase == GrantPhase::Revoking { "is being ended".to_owned() } else { format!("ended{at}") };
            ("AlreadyEnded", format!("{what} {ended} ({}); there is nothing to decide", status.reason))
        }
    };
    Judged::TooLate(why, message)
}

/// What somebody does about a grant that is open.
const TO_END_IT: &str = "; while it is open, a review with the decision Revoke ends it";

fn is_open(phase: GrantPhase) -> bool {
    matches!(phase, GrantPhase::Approved | GrantPhase::Active)
}

fn denied(what: &str, status: &GrantStatus) -> String {
    format!(
        "{what} was denied before this review counted ({}), and stays denied; there is nothing to decide. Whoever still needs \
         it deletes it, and creates another one",
        status.reason
    )
}
