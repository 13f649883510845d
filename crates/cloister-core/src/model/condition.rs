//! How metav1.Conditions are updated, so that tools that read them (kstatus, `kubectl wait`) see the right state.

use super::{
    carry_out::{Failed, ReportedError},
    text::{first_of, shown},
};
use cloister_api::condition::{
    ACTIVE, APPROVED, ENFORCED, READY, RESOLUTION_STABLE, REVIEWED, REVOCATION_UNCONFIRMED, STALLED, reason,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The longest message that the API server accepts in a condition.
const MESSAGE_LIMIT: usize = 32_000;

/// The new value of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionUpdate {
    /// Its type.
    pub type_: &'static str,
    /// `True`, `False`, or `Unknown` for `None`.
    pub status: Option<bool>,
    /// The reason, in one word.
    pub reason: String,
    /// The reason, and what to do about it.
    pub message: String,
}

impl ConditionUpdate {
    /// A condition with a status of true or false.
    pub fn new(type_: &'static str, status: bool, reason: impl Into<String>, message: impl Into<String>) -> Self {
        ConditionUpdate { type_, status: Some(status), reason: reason.into(), message: message.into() }
    }

    /// The value of an existing condition, if its type is one of ours.
    pub fn of(condition: &Condition) -> Option<Self> {
        let known = [READY, STALLED, REVOCATION_UNCONFIRMED, ACTIVE, APPROVED, REVIEWED, ENFORCED, RESOLUTION_STABLE];
        let type_ = known.into_iter().find(|known| *known == condition.type_)?;
        let status = match condition.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        Some(ConditionUpdate { type_, status, reason: condition.reason.clone(), message: condition.message.clone() })
    }

    /// A condition whose status is not known yet.
    pub fn unknown(type_: &'static str, message: impl Into<String>) -> Self {
        ConditionUpdate { type_, status: None, reason: reason::PROGRESSING.into(), message: message.into() }
    }
}

/// Ready, and not stalled.
pub fn ready(reason: impl Into<String>, message: impl Into<String>) -> Vec<ConditionUpdate> {
    vec![ConditionUpdate::new(READY, true, reason, message)]
}

/// Broken until somebody changes something: not ready, and stalled, which kstatus reports as failed.
pub fn stalled(reason: impl Into<String>, message: impl Into<String>) -> Vec<ConditionUpdate> {
    let (reason, message) = (reason.into(), message.into());
    vec![
        ConditionUpdate::new(READY, false, reason.clone(), message.clone()),
        ConditionUpdate::new(STALLED, true, reason, message),
    ]
}

/// How many failures a message names.
const FAILURES: usize = 5;

/// The longest message about one failure.
const FAILURE_LIMIT: usize = 1_000;

/// Not ready because of these failures, and stalled if one of them is permanent.
pub fn failed(failures: &[Failed<ReportedError>]) -> Vec<ConditionUpdate> {
    let mut in_order: Vec<&Failed<ReportedError>> = failures.iter().collect();
    in_order.sort_by_key(|failed| !failed.error.is_final);
    let said = in_order.iter().map(|failed| {
        let mut message = failed.error.message.clone();
        clip(&mut message, FAILURE_LIMIT);
        if failed.closed_instead { format!("{message} (the earlier object was deleted)") } else { message }
    });
    let message = first_of(said, FAILURES, "; ");
    match in_order.first() {
        Some(first) if first.error.is_final => stalled(reason::APPLY_REFUSED, message),
        _ => vec![ConditionUpdate::new(READY, false, reason::APPLY_FAILED, message)],
    }
}

/// The conditions of an object after these updates. A condition without an update is removed, and `lastTransitionTime`
/// changes only if the status changes.
pub fn conditions(
    before: &[Condition],
    updates: Vec<ConditionUpdate>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    updates
        .into_iter()
        .map(|update| {
            let status = match update.status {
                Some(true) => "True",
                Some(false) => "False",
                None => "Unknown",
            };
            let unchanged = before.iter().find(|old| old.type_ == update.type_ && old.status == status);
            Condition {
                type_: update.type_.to_owned(),
                status: status.to_owned(),
                reason: update.reason,
                message: clipped(shown(&update.message).into_owned()),
                observed_generation: generation,
                last_transition_time: unchanged.map_or_else(|| seconds(now), |old| old.last_transition_time.clone()),
            }
        })
        .collect()
}

/// The time in whole seconds, which is what the API server keeps.
pub fn seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn clipped(mut message: String) -> String {
    clip(&mut message, MESSAGE_LIMIT);
    message
}

fn clip(message: &mut String, limit: usize) {
    if message.len() > limit {
        let end = (0..=limit).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_on_a_flip_only() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = conditions(&[], ready("A", "a"), Some(1), at(1));
        let same = conditions(&first, ready("B", "b"), Some(2), at(2));
        assert_eq!(same[0].last_transition_time, seconds(at(1)));
        assert_eq!((same[0].reason.as_str(), same[0].observed_generation), ("B", Some(2)));
        let flipped = conditions(&same, stalled("C", "c"), Some(2), at(3));
        assert_eq!(flipped[0].last_transition_time, seconds(at(3)));
        assert_eq!(flipped.len(), 2);
    }
}
