//! Why a request cannot be decided yet, whatever its policy says.

use super::{
    outcome::{known_person, not_invalidated},
    wait::Wait,
};
use crate::grant::{
    Grant, Home, Input,
    decide::{membership, mistakes::Mistakes},
    kinds::{
        ineligible::Ineligible,
        kind::{known_doubts, undeclared},
        obstacle::{Missing, Obstacle},
        target_error::TargetError,
    },
};
use cloister_api::GrantStatus;
use jiff::Timestamp;

/// What holds a request up whose target is not known, together with what else is known to be wrong with it. Whether it keeps
/// its policy's terms is not known: it has none yet.
///
/// # Errors
///
/// It would be refused whatever it is for.
pub fn without_target(
    grant: &Grant,
    status: &GrantStatus,
    error: &TargetError,
    asked: Timestamp,
    deadline: Timestamp,
    input: &Input<'_>,
) -> Result<Wait, Mistakes> {
    let kind = grant.of_kind();
    let mut wrong: Vec<Ineligible> = Vec::new();
    let mut left = None;
    if let (Home::Enforced, true, Some(requester)) = (input.home, input.settings.usable, grant.terms().requested_by) {
        left = membership::left(grant, status, requester, input.members);
        wrong.extend(not_invalidated(asked, input).err());
        wrong.extend(known_person(requester, input).err());
        wrong.extend(kind.conflict(input).err());
        if let Some(who) = left.as_ref().filter(|_| grant.terms().break_glass) {
            // No policy keeps one that uses break-glass.
            wrong.push(Ineligible::RequesterLeft(who.clone(), input.namespace.to_owned()));
        }
    }
    let is_final = !wrong.is_empty();
    let wrong: Vec<Missing> = wrong.into_iter().map(Missing::from).collect();
    let all = |said: fn(Obstacle) -> Missing| {
        let mut of_target = error.obstacles().map(said);
        let first = of_target.next().unwrap_or_else(|| Missing { reason: error.reason(), message: error.to_string() });
        let doubts = undeclared(kind, input).into_iter().chain(known_doubts(kind, input));
        Mistakes::one(first)
            .and(of_target)
            .and(wrong.clone())
            .and(kind.faults(input))
            .and_obstacles(doubts, said)
            .noting(kind.unanswered(input))
    };
    let at_its_end = all(Obstacle::of_one_refused);
    if is_final {
        return Err(at_its_end);
    }
    let left = left.map(|who| {
        format!(
            "; {who} is no longer a member of ResearchNamespace {}: the request is denied then, unless its policy keeps \
             requests of former members (whenRequesterLeaves)",
            input.namespace
        )
    });
    let message = format!(
        "{}. The request waits until {deadline}, and then times out; it is checked against its AccessPolicy only when all of \
         that exists{}",
        all(Obstacle::of_one_that_waits),
        left.unwrap_or_default()
    );
    let wait = Wait::new(error.reason(), message, at_its_end.to_string(), true);
    Ok(if error.is_of_what_may_come() { wait.for_what_may_come(asked) } else { wait })
}
