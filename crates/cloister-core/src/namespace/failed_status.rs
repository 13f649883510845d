//! The status of a research namespace of whose plan something failed.

use super::status::{LIMIT, StatusBuilder, is_open};
use crate::model::{
    carry_out::{Outcome, ReportedError},
    condition::{self, ConditionUpdate},
    plan::{About, Plan},
};
use cloister_api::{
    EgressState, ResearchNamespace, ResearchNamespaceStatus,
    condition::{ENFORCED, RESOLUTION_STABLE, reason},
};
use jiff::Timestamp;

/// The status of a namespace of whose plan something failed: what was planned to be said of the rest, and what failed.
pub fn failed(
    declared: &ResearchNamespace,
    planned: Option<ResearchNamespaceStatus>,
    outcome: &Outcome<ReportedError>,
    now: Timestamp,
) -> Option<ResearchNamespaceStatus> {
    let say = StatusBuilder::about(declared, now);
    let before = declared.status.clone().unwrap_or_default();
    let mut status = planned.unwrap_or_else(|| before.clone());
    let mut updates = condition::failed(&outcome.failures);
    let said =
        |status: &ResearchNamespaceStatus| status.conditions.iter().filter_map(ConditionUpdate::of).collect::<Vec<_>>();
    let seal_failed = outcome.failures.iter().any(|failed| failed.closes && failed.about == About::Namespace);
    let is_sealed = outcome.last_is_left && declared.metadata.deletion_timestamp.is_none();
    let enforced = |update: &ConditionUpdate| update.type_ == ENFORCED;
    if seal_failed {
        updates.extend(said(&before).into_iter().filter(enforced));
    } else if is_sealed {
        let message = "no new pod is admitted until what failed is applied";
        updates.push(ConditionUpdate::new(ENFORCED, false, "Sealed", message));
    } else {
        updates.extend(said(&status).into_iter().filter(enforced));
    }
    updates.extend(said(&status).into_iter().filter(|update| update.type_ == RESOLUTION_STABLE));
    if is_sealed {
        status.enforced_at.clone_from(&before.enforced_at);
    }
    correct(&mut status, &before, outcome);
    say.written(Plan::default(), status, updates).status
}

/// Puts right what is said of needs whose policies could not be written, or could not be taken away.
fn correct(status: &mut ResearchNamespaceStatus, before: &ResearchNamespaceStatus, outcome: &Outcome<ReportedError>) {
    let was_open = |name: &str| before.egress.iter().any(|need| need.name == name && is_open(need.state));
    if outcome.kept_closed() {
        for need in status.egress.iter_mut().filter(|need| is_open(need.state) && !was_open(&need.name)) {
            need.state = EgressState::Unresolved;
            reason::APPLY_FAILED.clone_into(&mut need.reason);
            "waits for objects that must exist before anything opens; see the condition Ready"
                .clone_into(&mut need.message);
        }
    }
    for failed in &outcome.failures {
        let About::Child(key) = &failed.about else { continue };
        let Some(name) = super::needs::need_of(key) else { continue };
        let need = status.egress.iter_mut().find(|need| need.name == name);
        let ReportedError { message, is_final } = &failed.error;
        match need {
            Some(need) if *is_final || !failed.closes => {
                let (state, why) = match is_final {
                    true => (EgressState::Refused, reason::APPLY_REFUSED),
                    false => (EgressState::Unresolved, reason::APPLY_FAILED),
                };
                (need.state, need.reason, need.message) = (state, why.to_owned(), message.clone());
            }
            Some(_) => {}
            // It has left the spec, and is still open.
            None => status.egress.extend(before.egress.iter().find(|need| need.name == name).cloned()),
        }
    }
    let open = status.egress.iter().filter(|need| is_open(need.state)).count();
    let all = status.egress_summary.split_once('/').and_then(|(_, all)| all.parse().ok()).unwrap_or(0);
    if status.egress.len() < LIMIT {
        status.egress_summary = format!("{open}/{}", status.egress.len().max(all));
    }
}
