//! A request that waits for a decision, and what is written of it when one is taken.

use super::{
    outcome::{How, Outcome, outcome, window},
    status::{StatusBuilder, ended},
    summary,
    undecided::without_target,
    wait::{PENDING_TTL, Wait, deadline_of, wait_until},
};
use crate::{
    grant::{
        Grant, Input,
        decide::{
            changed, eligibility, membership,
            mistakes::{ASK_AGAIN, Mistakes},
            taken_back::{Ended, ended_by},
        },
        model::{
            credential_mount_key::{CredentialMountKey, secret_name},
            digest,
            own::{add_finalizer, drop_finalizer, own, surplus},
            target::Target,
        },
    },
    model::{condition::seconds, durations::later, plan::Plan},
};
use cloister_api::{GrantPhase, GrantStatus, PolicyReference};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Waits for a decision, and takes it where it can be taken.
pub fn decide(grant: &Grant, input: &Input<'_>) -> Plan<GrantStatus> {
    let mut plan = Plan::default();
    if grant.is_deleted() {
        // Nothing was opened yet. That it was asked for stays in the record. What stands in its name all the same, and is
        // still held, answers when it is gone.
        plan.close(surplus(input, &[]));
        if input.recorded && !own(input).any(|child| child.terminating) {
            drop_finalizer(&mut plan, grant);
        }
        return plan;
    }
    // Nobody has agreed to anything, so nothing stands in its name.
    plan.close(surplus(input, &[]));
    plan.open(add_finalizer(grant));
    let say = StatusBuilder::about(grant, input.now);
    let mut status = as_a_request(&say);
    membership::note(&mut status, grant, input.members);
    let asked = grant.metadata().creation_timestamp.as_ref().map_or(input.now, |at| at.0);
    let target = match grant.of_kind().target(input) {
        Ok(target) => target,
        Err(error) => {
            // The catalogue may come later than the request; nobody waits for ever, though.
            let deadline = later(asked, PENDING_TTL);
            if status.digest.is_empty() {
                // A review needs one, that of somebody who ends the request as well. Nothing is agreed to by this one.
                status.digest = digest::without_target(grant, input.namespace);
            }
            if let Some(ended) = ended_by(grant, None, input).filter(|_| deadline > input.now) {
                return refused(plan, &say, status, ended, input.now);
            }
            return match without_target(grant, &status, &error, asked, deadline, input) {
                Ok(wait) => wait_until(plan, &say, status, deadline, wait),
                Err(why) => denied(plan, &say, status, &why, input.now),
            };
        }
    };
    let deadline = deadline_of(target.policy, asked);
    if deadline <= input.now {
        let message = in_vain(grant, &target, asked, deadline, &status, input);
        let status = ended(status, GrantPhase::TimedOut, input.now);
        return say.ready(plan, status, "TimedOut", message);
    }
    status.digest = digest::of(grant, input.namespace, &target);
    status.summary.duration = summary::duration(eligibility::duration(grant, &target.policy.spec));
    if let Some(ended) = ended_by(grant, Some(&target), input) {
        return refused(plan, &say, status, ended, input.now);
    }
    match outcome(grant, &target, asked, &mut status, input) {
        Outcome::Wait(wait) => {
            if let Some(passes) = passes_at(grant, &target).filter(|passes| *passes > input.now) {
                plan.look_again(passes);
            }
            wait_until(plan, &say, status, deadline, wait)
        }
        Outcome::Refuse(by) => refused(plan, &say, status, by, input.now),
        Outcome::Deny(why) => denied(plan, &say, status, &why, input.now),
        Outcome::Approve { .. } if let Some(held) = input.held => {
            wait_until(plan, &say, status, deadline, Wait::while_held(held))
        }
        Outcome::Approve { reason, message, how } => match window(grant, &target, input.now) {
            Ok(expires) => {
                // Written down before anything is opened; what it opens follows at once.
                approve(&mut status, grant, &target, how, expires, input);
                plan.look_again(input.now);
                say.ready(plan, status, reason, message)
            }
            Err(why) => denied(plan, &say, status, &Mistakes::one(why.into()), input.now),
        },
    }
}

/// When the window of a request that names its start has passed, so that nobody is asked any more.
fn passes_at(grant: &Grant, target: &Target<'_>) -> Option<Timestamp> {
    grant.terms().start_time?;
    window(grant, target, Timestamp::MIN).ok().map(|end| end.0)
}

/// What is said of a request that has waited in vain: what held it up until then. Whatever would be decided now is decided too
/// late.
fn in_vain(
    grant: &Grant,
    target: &Target<'_>,
    asked: Timestamp,
    deadline: Timestamp,
    status: &GrantStatus,
    input: &Input<'_>,
) -> String {
    let mut status = status.clone();
    status.digest = digest::of(grant, input.namespace, target);
    match outcome(grant, target, asked, &mut status, input) {
        Outcome::Wait(wait) => wait.in_vain(deadline),
        Outcome::Deny(why) => format!("it was not decided by {deadline}: {why}. {ASK_AGAIN}"),
        Outcome::Approve { .. } if let Some(held) = input.held => Wait::while_held(held).in_vain(deadline),
        Outcome::Refuse(_) | Outcome::Approve { .. } => format!("nobody decided by {deadline}. {ASK_AGAIN}"),
    }
}

/// Somebody has ended it by a review.
fn refused(
    plan: Plan<GrantStatus>,
    say: &StatusBuilder<'_>,
    status: GrantStatus,
    (reason, message, by): Ended,
    now: Timestamp,
) -> Plan<GrantStatus> {
    let mut status = ended(status, GrantPhase::Denied, now);
    let who = if reason == "Withdrawn" { String::new() } else { format!("talk to {}, ", by.reviewer.username) };
    status.reviews.push(by);
    say.ready(
        plan,
        status,
        reason,
        format!("{message}. It stays denied: if it is still needed, {who}delete it, and ask again"),
    )
}

/// It is refused, and nothing of it can be changed.
fn denied(
    plan: Plan<GrantStatus>,
    say: &StatusBuilder<'_>,
    status: GrantStatus,
    why: &Mistakes,
    now: Timestamp,
) -> Plan<GrantStatus> {
    let status = ended(status, GrantPhase::Denied, now);
    // What was so then may be otherwise when it is read.
    let message = format!("denied at {}: {why}. {ASK_AGAIN}", seconds(now).0);
    say.ready(plan, status, why.reason(), message)
}

/// What is kept of what was said before. Whatever else is there belongs to a later phase, and nobody has decided yet.
fn as_a_request(say: &StatusBuilder<'_>) -> GrantStatus {
    let GrantStatus { reason, digest, members, approvals, conditions, target_parts, target_rules, .. } = say.before();
    GrantStatus { reason, digest, members, approvals, conditions, target_parts, target_rules, ..GrantStatus::default() }
}

fn approve(status: &mut GrantStatus, grant: &Grant, target: &Target<'_>, how: How, expires: Time, input: &Input<'_>) {
    let now = input.now;
    status.phase = GrantPhase::Approved;
    status.policy = Some(PolicyReference {
        name: target.policy.metadata.name.clone().unwrap_or_default(),
        uid: target.policy.metadata.uid.clone().unwrap_or_default(),
    });
    status.target_digest = digest::of_target(target).to_owned();
    status.target_parts = digest::parts(target).clone();
    status.target_rules = changed::written(target.rules);
    status.approved_at = Some(seconds(now));
    status.expires_at = Some(expires);
    // Whether or not there is a credential now: the role may get one, or share one that it had.
    status.secret_name = CredentialMountKey::of(grant).map(|key| secret_name(&key));
    match how {
        How::Policy => {}
        How::People(tally, reviews) => {
            status.approvals = tally.approvals;
            status.reviews = reviews;
        }
        How::BreakGlass(debt) => status.break_glass = Some(debt),
    }
}
