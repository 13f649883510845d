//! How what a grant opened is taken away.

use super::{
    end::End,
    status::{StatusBuilder, WAITING, ended, said_before},
};
use crate::{
    grant::{
        DeclaredGrant, Input,
        break_glass::settle,
        credential::mount::{self, LOOK},
        kinds::residue,
        model::{
            owed::note_review,
            own::{own, surplus},
            remains::Remains,
            words::left,
        },
    },
    model::{durations::later, plan::Plan},
};
use cloister_api::{
    GrantPhase, GrantStatus, RecordedReview,
    condition::{self, reason},
};
use jiff::{SignedDuration, Timestamp};

/// How long pods may take to end before it is said that the revocation is unconfirmed.
const POD_PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// Takes away what a grant opened, in the order that leaves no gap, until nothing of it is left.
pub fn revoke(remains: &Remains<'_>, end: Option<End>, input: &Input<'_>) -> Plan<GrantStatus> {
    let say = StatusBuilder::of_remains(remains, input);
    let mut plan = Plan::default();
    let mut status = say.before();
    let (phase, reason, message) = match end {
        Some(end) => {
            if let Some(review) = end.by {
                record(&mut status, *review, input);
            }
            (end.phase, end.reason.to_owned(), end.message)
        }
        None => {
            // It is being revoked already; how it ends was decided when that began.
            let phase = if status.reason == "Expired" { GrantPhase::Expired } else { GrantPhase::Revoked };
            (phase, status.reason.clone(), said_before(&status))
        }
    };
    let closing = mount::closing(remains, input);
    let (pods, settled_at) = (closing.pods, closing.settled_at);
    // What somebody else's finalizer holds is not gone.
    let held = own(input).filter(|child| child.terminating).count() + closing.held;
    plan.close(surplus(input, &[]));
    if pods == 0 && held == 0 && settled_at.is_none() {
        plan.close_by(closing.whole());
        let was_open = status.activated_at.is_some();
        status = ended(status, phase, input.now);
        let left = residue::note(&mut status, input.settings, input.now).filter(|_| was_open);
        let message = left.map_or(message.clone(), |left| format!("{message}; {left}"));
        let mut plan = say.ready(plan, status, &reason, message);
        if remains.is_deleted() {
            plan.look_again(input.now);
        }
        return plan;
    }
    let look = closing.confirm;
    plan.close_by(closing.chain);
    settled_at.into_iter().for_each(|settled| plan.look_again(settled));
    // From here on it does not become open again, whatever the clock says.
    status.phase = GrantPhase::Revoking;
    status.ended_at = None;
    status.secret_destroyed = remains.mount.is_some();
    let message = match pods + held {
        0 => format!("{message}{WAITING}the API server to notice that nothing is mounted any more"),
        _ => format!("{message}{WAITING}{}, to end", left(pods, held)),
    };
    // One that is over by its time needs no status to stay so, and admission takes a moment to notice.
    let over_in_a_moment = phase == GrantPhase::Expired && pods == 0 && held == 0;
    let since = revoking_since(remains, input.now).unwrap_or(input.now);
    let patience = later(since, POD_PATIENCE);
    if input.now < patience {
        plan.look_again(patience.min(later(input.now, LOOK)));
        plan = say.waiting(plan, status, &reason, message);
        if over_in_a_moment && remains.phase() != GrantPhase::Revoking {
            plan.if_failed = plan.status.take();
        }
    } else {
        plan.look_again(later(input.now, POD_PATIENCE));
        status.reason = reason;
        let message = format!(
            "{message}: make sure that the nodes of the pods are reachable and that no finalizer of another tool holds the \
             objects, and rotate the credential at its source"
        );
        plan = say.unconfirmed(plan, status, message);
    }
    if pods > 0 && plan.status.is_none() {
        // They may be gone, and the watch silent.
        plan.close(look);
    }
    plan
}

/// Closes a grant that cannot be read and is not over: what it opened is taken away, as at its end. It opens again when it
/// can be read before its end.
pub fn shut(remains: &Remains<'_>, error: &str, input: &Input<'_>) -> Plan<GrantStatus> {
    let say = StatusBuilder::of_remains(remains, input);
    let mut plan = Plan::default();
    let mut status = say.before();
    let closing = mount::shutting(remains, input);
    status.secret_destroyed |= closing.confirm.is_some();
    let held = own(input).filter(|child| child.terminating).count() + closing.held;
    let (pods, settled_at) = (closing.pods, closing.settled_at);
    plan.close(surplus(input, &[]));
    settled_at.into_iter().for_each(|settled| plan.look_again(settled));
    let end = status.expires_at.as_ref().filter(|_| remains.may_hold());
    end.into_iter().for_each(|end| plan.look_again(end.0));
    let unread = format!("this version of the operator cannot read the grant ({error})");
    let advice = "Update the operator, or delete the grant and ask again";
    if pods == 0 && held == 0 {
        plan.close_by(if settled_at.is_none() { closing.whole() } else { closing.chain });
        let message = format!("{unread}; what it opened is closed. {advice}");
        return say.stalled(plan, status, reason::UNDECODABLE, message);
    }
    let message = format!("{unread}; what it opened is being closed{WAITING}{}, to end. {advice}", left(pods, held));
    let look = closing.confirm;
    plan.close_by(closing.chain);
    plan.look_again(later(input.now, LOOK));
    let since = status.conditions.iter().find(|c| c.type_ == condition::STALLED && c.reason == reason::UNDECODABLE);
    let since = since.map_or(input.now, |since| since.last_transition_time.0);
    plan = if input.now < later(since, POD_PATIENCE) {
        say.stalled(plan, status, reason::UNDECODABLE, message)
    } else {
        say.stalled_unconfirmed(plan, status, reason::UNDECODABLE, message)
    };
    if pods > 0 && plan.status.is_none() {
        plan.close(look);
    }
    plan
}

/// Writes down the review that ended a grant, which may be the one that it owed.
fn record(status: &mut GrantStatus, review: RecordedReview, input: &Input<'_>) {
    if let DeclaredGrant::Read(grant) = input.declared {
        let target = grant.of_kind().target(input).ok();
        let before = status.clone();
        let settles = target.and_then(|target| settle::settled(grant, &before, &target, input));
        note_review(status, settles.as_ref(), input.now);
    }
    if !status.reviews.iter().any(|known| known.uid == review.uid) {
        status.reviews.push(review);
    }
}

/// Since when the grant is known to be over: not before it was last open, and not before what ended it.
fn revoking_since(remains: &Remains<'_>, now: Timestamp) -> Option<Timestamp> {
    let status = remains.status.filter(|status| status.phase == GrantPhase::Revoking)?;
    let active = status.conditions.iter().find(|said| said.type_ == condition::ACTIVE)?;
    let active = Some(active).filter(|active| active.status != "True")?;
    let ends = [&status.expires_at, &remains.metadata.deletion_timestamp];
    let first = ends.into_iter().flatten().map(|end| end.0).filter(|end| *end <= now).min();
    Some(first.map_or(active.last_transition_time.0, |first| first.max(active.last_transition_time.0)))
}
