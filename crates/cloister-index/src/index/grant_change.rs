//! Which dependents a change of a grant concerns.

use crate::decode::Decoded;
use cloister_api::{GrantPhase, condition::REVIEWED};
use cloister_core::grant::{Grant, may_hold, owes_review_by};

/// What a change of a grant concerns, besides the grant itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct GrantChange {
    /// The statuses of its reviews may change.
    pub for_reviews: bool,
    /// It opens something, or did before.
    pub for_namespace: bool,
    /// Somebody got or lost an AccessRole here, who may not decide about requests of the namespace while they have it.
    pub for_deciders: bool,
    /// It waits, is open or is over by now: something else is to be said of those that wait beside it.
    pub for_those_beside: bool,
    /// A storage endpoint opened or closed: there may be room for the endpoint of another grant.
    pub for_endpoints: bool,
}

impl GrantChange {
    pub(super) fn of(old: Option<&Decoded<Grant>>, new: &Decoded<Grant>) -> Self {
        let opens = |grant: &Decoded<Grant>| {
            grant.status().map_or(grant.object.is_err(), |status| may_hold(status) || owes_review_by(status))
        };
        GrantChange {
            for_reviews: !old.is_some_and(|old| alike_for_reviews(old, new)),
            for_namespace: opens(new) || old.is_some_and(opens),
            for_those_beside: phase(new) != old.and_then(phase),
            for_deciders: gives_role(new) != old.is_some_and(gives_role),
            for_endpoints: opens_storage(new) != old.is_some_and(opens_storage),
        }
    }
}

fn phase(grant: &Decoded<Grant>) -> Option<GrantPhase> {
    grant.object.as_ref().ok().map(Grant::phase)
}

/// Whether somebody has an AccessRole by this grant.
pub(super) fn gives_role(grant: &Decoded<Grant>) -> bool {
    matches!(&grant.object, Ok(Grant::Role(role)) if role.status.as_ref().is_some_and(may_hold))
}

/// Whether storage may be open by this grant.
fn opens_storage(grant: &Decoded<Grant>) -> bool {
    matches!(&grant.object, Ok(Grant::Storage(storage)) if storage.status.as_ref().is_some_and(may_hold))
}

/// Whether what is said of a grant's reviews is the same.
fn alike_for_reviews(old: &Decoded<Grant>, new: &Decoded<Grant>) -> bool {
    let (Ok(was), Ok(is)) = (&old.object, &new.object) else { return false };
    let decided = |grant: &Grant| {
        let status = grant.status()?;
        let glass = status.break_glass.as_ref().map(|glass| glass.reviewed_by.is_some());
        // A review waits where what would say who may make it is not there.
        let owed = status.conditions.iter().find(|said| said.type_ == REVIEWED).map(|said| said.message.clone());
        // One that counts says what else the request waits for.
        let waits = (status.phase == GrantPhase::Pending).then(|| status.reason.clone());
        Some((status.phase, status.digest.clone(), status.reviews.len(), glass, owed, waits))
    };
    old.metadata.uid == new.metadata.uid && decided(was) == decided(is)
}
