//! Why a request cannot be decided yet, whatever its policy says.

use super::{
    Grant, Home, Input,
    eligibility::Ineligible,
    kind::{Kind, Missing, TargetError, undeclared},
    mistakes::Mistakes,
    outcome::{known_person, not_invalidated},
    wait::Wait,
};
use crate::names::Standing;
use jiff::Timestamp;

/// What holds a request up whose target is not known, together with what else is known to be wrong with it. Whether it keeps
/// its policy's terms is not known: it has none yet.
///
/// # Errors
///
/// It would be refused whatever it is for.
pub fn without_target(
    grant: &Grant,
    error: &TargetError,
    asked: Timestamp,
    deadline: Timestamp,
    input: &Input<'_>,
) -> Result<Wait, Mistakes> {
    let kind = grant.of_kind();
    let first = Mistakes::one(Missing { reason: error.reason(), message: error.to_string() });
    let mut wrong: Vec<Ineligible> = Vec::new();
    if let (Home::Enforced, true, Some(requester)) = (input.home, input.settings.usable, grant.terms().requested_by) {
        wrong.extend(not_invalidated(asked, input).err());
        wrong.extend(known_person(requester, input).err());
        wrong.extend(kind.conflict(input).err());
    }
    let is_final = !wrong.is_empty();
    let all =
        first.and(wrong.into_iter().map(Missing::from)).and(undeclared(kind, input)).and(known_doubt(kind, input));
    if is_final {
        return Err(all);
    }
    let message = format!(
        "{all}. The request waits until {deadline}, and then times out; whether it keeps the terms of its AccessPolicy is not known \
         before"
    );
    let wait = Wait::new(error.reason(), message, true);
    Ok(if error.is_of_what_may_come() { wait.for_what_may_come(asked) } else { wait })
}

/// What is known to stand in the way of a request, and not just not known yet.
pub fn known_doubt(kind: &dyn Kind, input: &Input<'_>) -> Option<Missing> {
    kind.doubt(input).filter(|doubt| doubt.reason != Standing::Unknown.reason())
}
