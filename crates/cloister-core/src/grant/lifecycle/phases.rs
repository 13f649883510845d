//! The phases of a grant, and what moves it from one to the next.

use super::{
    end, open, pending,
    revoke::{revoke, shut},
    status::{StatusBuilder, is_given_up},
};
use crate::{
    grant::{
        DeclaredGrant, Grant, Home, Input,
        break_glass::settle,
        is_answered,
        model::{
            owed,
            own::{drop_finalizer, own, stands_after_its_end, surplus},
            remains::Remains,
        },
    },
    model::{
        finalizers::of_others,
        plan::{Action, After, Plan},
    },
};
use cloister_api::{GrantPhase, GrantStatus, labels};

/// What to do about a grant.
pub fn plan(input: &Input<'_>) -> Plan<GrantStatus> {
    let mut plan = decide(input);
    // What the settings end then, ends then.
    if matches!(input.declared, DeclaredGrant::Read(grant) if !grant.phase().has_ended()) {
        input.settings.invalidates_later(input.now).into_iter().for_each(|later| plan.look_again(later));
    }
    plan
}

fn decide(input: &Input<'_>) -> Plan<GrantStatus> {
    let grant = match input.declared {
        DeclaredGrant::Read(grant) => grant,
        DeclaredGrant::Undecodable { metadata, status, error } => {
            return undecodable(&Remains::unread(metadata, status), error, input);
        }
    };
    match grant.phase() {
        GrantPhase::Pending => pending::decide(grant, input),
        GrantPhase::Approved | GrantPhase::Active => match end::reason_to_end(grant, input) {
            Ok(target) => open::open(grant, &target, input),
            Err(end) => revoke(&Remains::of(grant), Some(end), input),
        },
        GrantPhase::Revoking => revoke(&Remains::of(grant), None, input),
        GrantPhase::Expired | GrantPhase::Revoked | GrantPhase::Denied | GrantPhase::TimedOut => over(grant, input),
    }
}

/// A grant that cannot be read opens nothing, and what it opened before is taken away. What ends, ends: by what was
/// written down of it.
fn undecodable(remains: &Remains<'_>, error: &str, input: &Input<'_>) -> Plan<GrantStatus> {
    if remains.phase() == GrantPhase::Revoking {
        return revoke(remains, None, input);
    }
    if remains.may_hold() {
        return match end::reason_to_end_unread(remains, input) {
            Some(end) => revoke(remains, Some(end), input),
            None => shut(remains, error, input),
        };
    }
    if remains.is_deleted() {
        // Nothing was opened, or nothing of it is left.
        let mut plan = Plan::default();
        plan.close(surplus(input, &[]));
        if remains.has_finalizer() && !own(input).any(|child| child.terminating) {
            plan.end_with(Action::DropFinalizer, After::Everything);
        }
        return plan;
    }
    if remains.phase().has_ended() {
        let mut plan = Plan::default();
        plan.close(surplus(input, &[]));
        return plan;
    }
    shut(remains, error, input)
}

/// A grant that is over opens nothing, whatever stands with its name on it. One that used break-glass still owes its
/// review, and stays until it has it.
fn over(grant: &Grant, input: &Input<'_>) -> Plan<GrantStatus> {
    if stands_after_its_end(grant, input) {
        return revoke(&Remains::of(grant), Some(end::stands(grant)), input);
    }
    let mut plan = Plan::default();
    plan.close(surplus(input, &[]));
    let mut owes = false;
    if owed::has_broken_glass(grant) {
        let say = StatusBuilder { unreviewable: settle::unreviewable(input), ..StatusBuilder::about(grant, input.now) };
        let mut status = say.before();
        let target = grant.of_kind().target(input).ok();
        settle::put_right(&mut status, grant, target.as_ref(), input);
        let is_owed = owed::owes_review_by(&status);
        // What is put right is said before the grant is gone.
        owes = is_owed || grant.status().is_some_and(owed::owes_review_by);
        let review = target.and_then(|target| settle::settled(grant, &status, &target, input));
        owed::note_review(&mut status, review.as_ref(), input.now);
        if is_owed && review.is_none() && grant.is_deleted() && input.home == Home::Ending {
            // Nobody can make the review any more. That is told first, and written down; then nothing waits for it.
            owes = !grant.status().is_some_and(is_given_up);
            if owes {
                plan.look_again(input.now);
                return say.given_up(plan, status);
            }
        } else {
            plan = say.again(plan, status);
        }
    }
    // One that is still held answers when it is gone, and then the finalizer may go too. What is in the status must be in
    // the record first, and its reviews must have been answered: they would be of no grant.
    let waits = own(input).any(|child| child.terminating) || owes || !input.recorded || has_unanswered(grant, input);
    if grant.is_deleted() && !waits {
        let others = of_others(grant.metadata(), labels::GRANT_FINALIZER).filter(|_| grant.has_finalizer());
        if let Some(others) = others {
            plan = StatusBuilder::about(grant, input.now).held(plan, &others);
        }
        drop_finalizer(&mut plan, grant);
    }
    plan
}

/// Whether nothing was said yet of a review of this grant.
fn has_unanswered(grant: &Grant, input: &Input<'_>) -> bool {
    let live = input.reviews.iter().filter(|review| review.metadata.deletion_timestamp.is_none());
    let mut theirs = live.filter(|review| review.spec.request_ref.uid == grant.uid());
    theirs.any(|review| !is_answered(review))
}
