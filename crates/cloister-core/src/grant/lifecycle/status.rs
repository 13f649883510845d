//! What is said of a grant.

use super::summary;
use crate::{
    grant::{Grant, Input, break_glass::settle, model::remains::Remains},
    model::{
        carry_out::{Outcome, ReportedError},
        condition::{self, ConditionUpdate, conditions, seconds},
        plan::{About, Plan},
    },
};
use cloister_api::{
    BreakGlassStatus, Decision, GrantPhase, GrantStatus,
    condition::{ACTIVE, APPROVED, DECIDED, READY, REVIEWED, REVOCATION_UNCONFIRMED, reason::RECORD_NOT_BORNE_OUT},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Writes the status of one grant, where it differs from the one before.
pub struct StatusBuilder<'a> {
    pub grant: Option<&'a Grant>,
    pub metadata: &'a ObjectMeta,
    pub before: Option<&'a GrantStatus>,
    pub now: Timestamp,
    /// Why nobody can make the review that it owes, if that is so.
    pub unreviewable: Option<String>,
}

impl<'a> StatusBuilder<'a> {
    pub fn about(grant: &'a Grant, now: Timestamp) -> Self {
        StatusBuilder {
            grant: Some(grant),
            metadata: grant.metadata(),
            before: grant.status(),
            now,
            unreviewable: None,
        }
    }

    /// About a grant that ends, or has.
    pub fn of_remains(remains: &Remains<'a>, input: &Input<'_>) -> Self {
        let unreviewable = settle::unreviewable(input);
        StatusBuilder { grant: None, metadata: remains.metadata, before: remains.status, now: input.now, unreviewable }
    }

    /// What was said before.
    pub fn before(&self) -> GrantStatus {
        self.before.cloned().unwrap_or_default()
    }

    /// All is as it should be in this phase.
    pub fn ready(
        &self,
        plan: Plan<GrantStatus>,
        status: GrantStatus,
        reason: &str,
        message: String,
    ) -> Plan<GrantStatus> {
        self.written(plan, status, reason, condition::ready(reason, message.clone()), message)
    }

    /// Broken until somebody changes something.
    pub fn stalled(
        &self,
        plan: Plan<GrantStatus>,
        status: GrantStatus,
        reason: &str,
        message: String,
    ) -> Plan<GrantStatus> {
        self.written(plan, status, reason, condition::stalled(reason, message.clone()), message)
    }

    /// On its way to something.
    pub fn waiting(
        &self,
        plan: Plan<GrantStatus>,
        status: GrantStatus,
        reason: &str,
        message: String,
    ) -> Plan<GrantStatus> {
        let updates = vec![ConditionUpdate::new(READY, false, reason, message.clone())];
        self.written(plan, status, reason, updates, message)
    }

    /// Over, but something of it may be left.
    pub fn unconfirmed(&self, plan: Plan<GrantStatus>, status: GrantStatus, message: String) -> Plan<GrantStatus> {
        let why = status.reason.clone();
        self.remaining(plan, status, &why, "RevocationUnconfirmed", message)
    }

    /// As [`StatusBuilder::stalled`], and something that it opened may be left.
    pub fn stalled_unconfirmed(
        &self,
        plan: Plan<GrantStatus>,
        status: GrantStatus,
        reason: &str,
        message: String,
    ) -> Plan<GrantStatus> {
        self.remaining(plan, status, reason, reason, message)
    }

    /// Something may be left, and `stalled` says why that is so.
    fn remaining(
        &self,
        plan: Plan<GrantStatus>,
        status: GrantStatus,
        reason: &str,
        stalled: &str,
        message: String,
    ) -> Plan<GrantStatus> {
        let mut updates = condition::stalled(stalled, message.clone());
        updates.push(ConditionUpdate::new(REVOCATION_UNCONFIRMED, true, "PodsRemain", message.clone()));
        self.written(plan, status, reason, updates, message)
    }

    /// As it was said before, but for what is owed.
    pub fn again(&self, plan: Plan<GrantStatus>, status: GrantStatus) -> Plan<GrantStatus> {
        let before = status.conditions.clone();
        let kept = before.iter().filter(|condition| ![ACTIVE, APPROVED, DECIDED].contains(&&*condition.type_));
        let updates = kept.filter_map(ConditionUpdate::of).filter(|update| update.type_ != REVIEWED).collect();
        let ready = before.iter().find(|condition| condition.type_ == READY);
        let message = ready.map(|ready| ready.message.clone()).unwrap_or_default();
        let reason = status.reason.clone();
        self.written(plan, status, &reason, updates, message)
    }

    /// As it was said before, but that the review which is owed can never be made.
    pub fn given_up(&self, plan: Plan<GrantStatus>, status: GrantStatus) -> Plan<GrantStatus> {
        let mut plan = self.again(plan, status);
        let status = plan.status.get_or_insert_with(|| self.before());
        for condition in status.conditions.iter_mut().filter(|condition| condition.type_ == REVIEWED) {
            NEVER_REVIEWED.clone_into(&mut condition.reason);
            "the Namespace of this break-glass grant was deleted before anybody reviewed the grant; ask the requester, and the \
             person who deleted the Namespace"
                .clone_into(&mut condition.message);
        }
        plan
    }

    /// As it is said, and that only finalizers of others hold it from now on.
    pub fn held(&self, mut plan: Plan<GrantStatus>, finalizers: &str) -> Plan<GrantStatus> {
        let mut status = plan.status.take().unwrap_or_else(|| self.before());
        let held = format!(
            "; it is being deleted, but finalizers of other tools hold it: {finalizers}. Those tools must remove them; if such \
             a tool no longer exists, a platform engineer must"
        );
        let ready = status.conditions.iter_mut().filter(|condition| condition.type_ == READY);
        ready.filter(|ready| !ready.message.ends_with(&held)).for_each(|ready| ready.message.push_str(&held));
        plan.status = (self.before != Some(&status)).then_some(status);
        plan
    }

    fn written(
        &self,
        mut plan: Plan<GrantStatus>,
        mut status: GrantStatus,
        reason: &str,
        mut updates: Vec<ConditionUpdate>,
        message: String,
    ) -> Plan<GrantStatus> {
        let approved = status.approved_at.is_some();
        let active = status.phase == GrantPhase::Active;
        let phase = status.phase.as_str();
        updates.push(ConditionUpdate::new(DECIDED, status.phase != GrantPhase::Pending, reason, message.clone()));
        let (why, said) = approval(&status, reason).map_or((reason, message.clone()), |said| ("Approved", said));
        updates.push(ConditionUpdate::new(APPROVED, approved, why, said));
        let (why, said) = lasts_until(&status).map_or((phase, message), |said| ("Active", said));
        updates.push(ConditionUpdate::new(ACTIVE, active, why, said));
        if let Some(glass) = &status.break_glass {
            updates.push(reviewed(glass, &status, self.unreviewable.as_deref(), self.now));
            if glass.reviewed_by.is_none() && glass.review_due_at.0 > self.now {
                plan.look_again(glass.review_due_at.0);
            }
        }
        let generation = self.metadata.generation;
        let before = self.before.map(|before| before.conditions.as_slice()).unwrap_or_default();
        status.observed_generation = generation;
        reason.clone_into(&mut status.reason);
        status.summary = summary::of(&status, reason, self.grant, self.now);
        status.conditions = conditions(before, updates, generation, self.now);
        plan.status = (self.before != Some(&status)).then_some(status);
        plan
    }
}

/// How a grant was approved, whatever has become of it since. A record that is not borne out says nothing.
fn approval(status: &GrantStatus, reason: &str) -> Option<String> {
    let at = status.approved_at.as_ref().filter(|_| reason != RECORD_NOT_BORNE_OUT)?.0;
    let people: Vec<&str> = status.approvals.iter().flat_map(|rule| &rule.approved_by).map(String::as_str).collect();
    let how = match (people.as_slice(), &status.break_glass) {
        ([], Some(_)) => "opened by break-glass".to_owned(),
        ([], None) => "approved automatically".to_owned(),
        (people, _) => format!("approved by {}", people.join(", ")),
    };
    let policy = status.policy.as_ref().map(|policy| format!(" under AccessPolicy {}", policy.name));
    Some(format!("{how}{} at {at}", policy.unwrap_or_default()))
}

/// Until when a grant lasts that is open. How much of it is, its `Ready` says.
fn lasts_until(status: &GrantStatus) -> Option<String> {
    let end = status.expires_at.as_ref().filter(|_| status.phase == GrantPhase::Active)?;
    Some(format!("lasts until {}", end.0))
}

/// Whether it was said of a grant that the review which it owes can never be made.
pub fn is_given_up(status: &GrantStatus) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == REVIEWED && condition.reason == NEVER_REVIEWED)
}

/// Why a review that was owed can never be made: its namespace is gone.
const NEVER_REVIEWED: &str = "NeverReviewed";

/// Whether the review was made that a grant owes which used break-glass.
fn reviewed(
    glass: &BreakGlassStatus,
    status: &GrantStatus,
    unreviewable: Option<&str>,
    now: Timestamp,
) -> ConditionUpdate {
    let due = glass.review_due_at.0;
    let policy = status
        .policy
        .as_ref()
        .map_or_else(|| "its policy".to_owned(), |policy| format!("AccessPolicy {}", policy.name));
    let unreviewable =
        unreviewable.map(|why| format!("; until then, no review can be judged: {why}")).unwrap_or_default();
    match &glass.reviewed_by {
        Some(who) => {
            let theirs = status.reviews.iter().find(|review| review.reviewer.username == *who);
            let refused = theirs.filter(|review| review.decision != Decision::Approve);
            let why = refused.map(|review| format!(", who refused it: see AccessReview {}", review.name));
            ConditionUpdate::new(REVIEWED, true, "Reviewed", format!("reviewed by {who}{}", why.unwrap_or_default()))
        }
        None if due <= now => {
            let message = format!(
                "nobody reviewed it by {due}; an approver of {policy} must review it with an AccessReview{unreviewable}"
            );
            ConditionUpdate::new(REVIEWED, false, "ReviewOverdue", message)
        }
        None => {
            let message = format!("an approver of {policy} must review it by {due} with an AccessReview{unreviewable}");
            ConditionUpdate::new(REVIEWED, false, "ReviewOwed", message)
        }
    }
}

/// The status of a grant of whose plan something failed: what was planned to be said, as far as it came to be, and what
/// failed. One that was to end is being revoked until all of it is gone.
pub fn failed(
    metadata: &ObjectMeta,
    before: Option<&GrantStatus>,
    planned: Option<GrantStatus>,
    outcome: &Outcome<ReportedError>,
    now: Timestamp,
) -> Option<GrantStatus> {
    let say = StatusBuilder { grant: None, metadata, before, now, unreviewable: None };
    let before = say.before();
    let mut status = planned.unwrap_or_else(|| before.clone());
    let mut updates = condition::failed(&outcome.failures);
    let kept = status.conditions.iter().filter_map(ConditionUpdate::of);
    updates.extend(kept.filter(|update| update.type_ == REVOCATION_UNCONFIRMED));
    let unseen = outcome.failures.iter().find(|failed| failed.about == About::Look && failed.error.is_final);
    if let Some(unseen) = unseen {
        let message = format!("{}; give the operator the right to list pods", unseen.error.message);
        updates.retain(|update| update.type_ != REVOCATION_UNCONFIRMED);
        updates.push(ConditionUpdate::new(REVOCATION_UNCONFIRMED, true, "PodsUnseen", message));
    }
    let why = updates.first().map(|ready| ready.reason.clone()).unwrap_or_default();
    let mut message = updates.first().map(|ready| ready.message.clone()).unwrap_or_default();
    let end = |status: &GrantStatus| (status.phase, status.reason.clone(), status.ended_at.clone());
    let ends = status.phase == GrantPhase::Revoking || (status.phase.has_ended() && end(&status) != end(&before));
    let why = match before.phase {
        GrantPhase::Pending => {
            // Who was a member stays known.
            status = GrantStatus { members: status.members, ..before };
            why
        }
        _ if ends => {
            message = format!("{}{WAITING}{message}", said_before(&status));
            updates.iter_mut().take(1).for_each(|ready| ready.message.clone_from(&message));
            let why = status.reason.clone();
            status = GrantStatus {
                phase: GrantPhase::Revoking,
                ended_at: None,
                // It may be there still.
                secret_name: before.secret_name,
                secret_destroyed: before.secret_destroyed,
                residual_exposure_until: before.residual_exposure_until,
                hosts: before.hosts,
                ..status
            };
            why
        }
        GrantPhase::Approved if !outcome.opened() => {
            status = before;
            why
        }
        GrantPhase::Approved | GrantPhase::Active => why,
        _ => before.reason,
    };
    say.written(Plan::default(), status, &why, updates, message).status
}

/// What stands between why a grant ended and what is still waited for.
pub const WAITING: &str = "; waiting for ";

/// Why a grant ended, as it was said when that began.
pub fn said_before(status: &GrantStatus) -> String {
    let ready = status.conditions.iter().find(|condition| condition.type_ == READY);
    let said = ready.map(|ready| ready.message.split_once(WAITING).map_or(&*ready.message, |(why, _)| why));
    said.map_or_else(|| format!("the grant was revoked: {}", status.reason), str::to_owned)
}

/// When a grant ended, and how.
pub fn ended(mut status: GrantStatus, phase: GrantPhase, now: Timestamp) -> GrantStatus {
    status.phase = phase;
    status.ended_at = Some(seconds(now));
    status.secret_name = None;
    status.secret_destroyed = false;
    status.hosts = Vec::new();
    status
}
