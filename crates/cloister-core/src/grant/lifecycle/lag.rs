//! How long it takes until a grant that is over is confirmed to be.

use crate::grant::Grant;
use cloister_api::{GrantPhase, GrantStatus, condition::ACTIVE};
use jiff::Timestamp;

/// Since when a grant is over of which it is now said that the end is confirmed: since its time, since it was deleted, or since
/// it was seen that something ends it. `None` where that is not what is said.
pub fn over_since(before: &Grant, after: &GrantStatus, now: Timestamp) -> Option<Timestamp> {
    let was = before.phase();
    let over = matches!(after.phase, GrantPhase::Expired | GrantPhase::Revoked) && !was.has_ended();
    let end = after.expires_at.as_ref().filter(|_| over)?.0;
    let active = before.status()?.conditions.iter().find(|condition| condition.type_ == ACTIVE);
    let closing = active.filter(|_| was == GrantPhase::Revoking).map(|active| active.last_transition_time.0);
    let deleted = before.metadata().deletion_timestamp.as_ref().map(|at| at.0);
    [Some(now), Some(end), closing, deleted].into_iter().flatten().min()
}
