//! What an approved grant opens, from its start on.

use super::status::StatusBuilder;
use crate::{
    grant::{
        CredentialMountKey, Grant, Home, Input,
        break_glass::settle::{put_right, settled},
        decide::membership,
        kinds::{ineligible, kind::missing, obstacle::Missing},
        model::{
            owed::note_review,
            own::{add_finalizer, applied, forged, surplus},
            target::Target,
        },
    },
    model::{
        child::{Child, ChildKey},
        condition::seconds,
        plan::{Chain, Plan},
    },
};
use cloister_api::{GrantPhase, GrantStatus, ResidualExposure, condition::reason};

/// What is said while nothing may be opened because of the clocks.
pub const CLOCK_SKEW: &str = "waits until the clocks of the operator and the API server agree; until then, nothing is opened, \
                              and active grants end at their time";

/// Opens what was approved, and keeps it open.
pub fn open(grant: &Grant, target: &Target<'_>, input: &Input<'_>) -> Plan<GrantStatus> {
    let say = StatusBuilder::about(grant, input.now);
    let mut plan = Plan::default();
    let mut status = say.before();
    put_right(&mut status, grant, Some(target), input);
    let review = settled(grant, &status, target, input);
    note_review(&mut status, review.as_ref(), input.now);
    let end = status.expires_at.as_ref().map_or(input.now, |end| end.0);
    plan.look_again(end);
    plan.open(add_finalizer(grant));
    if let Some(start) = grant.terms().start_time.filter(|start| start.0 > input.now) {
        plan.close(surplus(input, &[]));
        plan.look_again(start.0);
        let message = format!("approved; opens at {}", start.0);
        return say.ready(plan, status, "WaitingForStart", message);
    }
    // Before it was ever open, nothing stands in its name; after that, only what was made for it.
    let not_ours = if status.phase == GrantPhase::Approved { surplus(input, &[]) } else { forged(grant, input) };
    if status.phase == GrantPhase::Approved && (input.held.is_some() || !input.recorded) {
        plan.close(not_ours);
        if let Some(held) = input.held {
            return say.stalled(plan, status, held.reason(), held.message().to_owned());
        }
        // It opens when its approval is in the record, which will be told.
        return plan;
    }
    if !input.settings.usable {
        plan.close(not_ours);
        // What stands may stay until its end; nothing is opened, or opened again.
        let message =
            "CloisterConfig cloister cannot be read by this version of the operator; nothing is opened until it can";
        return say.stalled(plan, status, reason::CONFIG_UNDECODABLE, message.to_owned());
    }
    if input.home == Home::NotEnforced {
        plan.close(not_ours);
        let message =
            format!("waits for ResearchNamespace {} to be enforced; until then, nothing is opened", input.namespace);
        return say.waiting(plan, status, "NamespaceNotEnforced", message);
    }
    let kind = grant.of_kind();
    if let (Some(missing), GrantPhase::Approved) = (missing(kind, target, input), status.phase) {
        plan.close(not_ours);
        return say.stalled(plan, status, missing.reason, missing.waiting);
    }

    let opening = kind.opening(grant, target, input);
    opening.next.into_iter().for_each(|next| plan.look_again(next));
    let keys: Vec<ChildKey> = opening.children.iter().map(Child::key).collect();
    plan.close(surplus(input, &keys));
    plan.close(opening.close);
    let anew = applied(&mut plan, opening.children, grant.has_finalizer(), input);
    plan.open_by(anew.into_iter().map(|action| Chain::of([action])).chain(opening.chain));
    if input.settings.held && plan.hold() {
        return say.waiting(plan, status, reason::CLOCK_SKEW, CLOCK_SKEW.to_owned());
    }
    // Those that share a mount take turns.
    plan.status_can_wait = CredentialMountKey::of(grant).is_none();

    status.phase = GrantPhase::Active;
    status.secret_destroyed = false;
    status.residual_exposure = residue(grant, target, input);
    status.hosts = opening.hosts;
    status.activated_at = status.activated_at.or_else(|| Some(seconds(input.now)));
    let until = match opening.opens_nothing {
        true => format!("lasts until {end}, and nothing of it is open now"),
        false => format!("open until {end}"),
    };
    let requester = grant.terms().requested_by;
    let left =
        requester.and_then(|requester| membership::left(grant, &status, requester, input.members)).map(|who| Missing {
            reason: ineligible::REQUESTER_LEFT,
            message: format!(
                "{who} is no longer a member of ResearchNamespace {}, and AccessPolicy {} keeps the grants of former members \
                 (whenRequesterLeaves); revoke it if it is not needed",
                input.namespace,
                target.policy.metadata.name.as_deref().unwrap_or_default()
            ),
        });
    match (opening.fault, opening.note.or(left)) {
        (Some(fault), _) => {
            say.stalled(plan, status, fault.reason, format!("it lasts until {end}, but {}", fault.message))
        }
        (None, Some(note)) => say.ready(plan, status, note.reason, format!("{until}; {}", note.message)),
        (None, None) => say.ready(plan, status, "Active", until),
    }
}

/// What of it may outlast the grant, once each.
fn residue(grant: &Grant, target: &Target<'_>, input: &Input<'_>) -> Vec<ResidualExposure> {
    let mut left = grant.of_kind().residue(target, input);
    left.sort();
    left.dedup();
    left
}
