//! Why a grant ends, and how what it opened is taken away.

use super::{
    Declared, Grant, Home, Input, Target,
    afresh::{self, Against},
    approval::{Case, agreed, in_words, recorded, reviews_of},
    borne_out,
    break_glass::{self, later},
    changed, digest,
    eligibility::{self, Ineligible, Mistakes},
    guard::POLICY_NOT_ALLOWED,
    kind::TargetError,
    membership::{self, REQUESTER_LEFT},
    mount::{self, LOOK},
    open::note_review,
    pending::by_itself,
    phases::{own, surplus},
    remains::Remains,
    residue,
    status::{Say, WAITING, ended, said_before},
    target::too_weak,
    words::left,
};
use crate::plan::Plan;
use cloister_api::{
    Decision, GrantPhase, GrantStatus, Identity, RecordedReview, WhenRequesterLeaves,
    condition::{self, reason},
};
use jiff::{SignedDuration, Timestamp};

/// How long pods may take to end before it is said that the revocation is unconfirmed.
const POD_PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// Why a grant ends.
pub struct End {
    phase: GrantPhase,
    reason: &'static str,
    message: String,
    by: Option<Box<RecordedReview>>,
}

impl End {
    fn early(reason: &'static str, message: impl Into<String>) -> Self {
        End { phase: GrantPhase::Revoked, reason, message: message.into(), by: None }
    }
}

/// What an open grant is for, or why it ends now.
pub fn reason_to_end<'a>(grant: &Grant, input: &Input<'a>) -> Result<Target<'a>, End> {
    let status = grant.status().ok_or_else(end_unknown)?;
    over_by_itself(status, grant.is_deleted(), input)?;
    let target = grant.of_kind().target(input).map_err(|error| End::early(gone(&error), error.to_string()))?;
    if status.policy.as_ref().is_some_and(|policy| Some(&policy.uid) != target.policy.metadata.uid.as_ref()) {
        let message = "the policy that it was approved under was deleted; one of the same name is another";
        return Err(End::early("PolicyGone", message));
    }
    if let Some(message) = target_changed(grant, status, &target) {
        return Err(End::early("TargetChanged", message));
    }
    borne_out::target(status, &target).map_err(|what| not_borne_out(&what, "it was written by another version"))?;
    if let Some(withdrawn) = grant.of_kind().withdrawn(input) {
        return Err(End::early(withdrawn.reason, withdrawn.message));
    }
    still_approved(grant, status, &target, input)?;
    Ok(target)
}

/// Whether it is over by what was written down of it, whatever it is for.
fn over_by_itself(status: &GrantStatus, is_deleted: bool, input: &Input<'_>) -> Result<(), End> {
    let end = status.expires_at.as_ref().ok_or_else(end_unknown)?.0;
    if end <= input.now {
        let message = format!("the grant ended at {end}");
        return Err(End { phase: GrantPhase::Expired, reason: "Expired", message, by: None });
    }
    if is_deleted {
        return Err(End::early("Deleted", "the grant was deleted"));
    }
    if matches!(input.home, Home::Closed | Home::Ending) {
        let message = format!("the research namespace {} is closed", input.namespace);
        return Err(End::early("NamespaceClosed", message));
    }
    not_invalidated(status, input)
}

fn end_unknown() -> End {
    End::early("EndUnknown", "the grant has no end written down, so it ends now")
}

/// After etcd was restored, what was approved before may have been revoked since.
fn not_invalidated(status: &GrantStatus, input: &Input<'_>) -> Result<(), End> {
    let approved = status.approved_at.as_ref().map_or(Timestamp::MIN, |at| at.0);
    match input.settings.invalidates(approved) {
        None => Ok(()),
        Some(before) => {
            let message =
                format!("CloisterConfig ends what was approved before {before} (invalidateGrantsBefore); ask again");
            Err(End::early("Invalidated", message))
        }
    }
}

/// What has changed of what a grant is for since it was approved, if something has.
fn target_changed(grant: &Grant, status: &GrantStatus, target: &Target<'_>) -> Option<String> {
    if status.target_digest == digest::of_target(target) {
        return None;
    }
    if status.target_parts.is_empty() {
        // It was approved by a version that did not write them down.
        let message = "what it is for has changed since it was approved: the target, its role, its endpoint, the Service behind \
                       it, where its credential is kept, or what its ClusterRole allows; ask again";
        return Some(message.to_owned());
    }
    // The digest decides, and the parts say what has changed. Only while a Service is not there do they decide, too: what it
    // would open is closed as long.
    let is_same = digest::changed(&status.target_parts, target).is_empty()
        && digest::parts(target).len() == status.target_parts.len();
    if is_same && digest::lacks_its_service(target) {
        return None;
    }
    let words = changed::words(status, target);
    let words = if words.is_empty() { "what it consists of".to_owned() } else { words.join("; ") };
    Some(format!(
        "what {} {} is for has changed since it was approved: {words}; ask again",
        grant.kind().as_str(),
        grant.name()
    ))
}

fn gone(error: &TargetError) -> &'static str {
    if error.is_of_policy() { "PolicyGone" } else { "TargetGone" }
}

/// Whether what was recorded still satisfies the policy as it is now, and nobody has revoked it.
fn still_approved(grant: &Grant, status: &GrantStatus, target: &Target<'_>, input: &Input<'_>) -> Result<(), End> {
    let Some(requester) = grant.terms().requested_by else {
        return Err(End::early("RequesterUnknown", "nobody is known to have asked for it"));
    };
    let case = Case::of(grant.of_kind(), requester, target.policy, input);
    if let Some((review, message)) = revoked_by(&case, grant, input) {
        return Err(End { by: Some(Box::new(review)), ..End::early("RevokedByReview", message) });
    }
    let mut righted = status.clone();
    break_glass::put_right(&mut righted, grant, Some(target), input);
    if let Some(review) = break_glass::settled(grant, &righted, target, input).filter(break_glass::is_refusal) {
        let message = format!("{} reviewed it and refused", review.reviewer.username);
        return Err(End { by: Some(Box::new(review)), ..End::early("ReviewRefused", message) });
    }
    Mistakes::none(eligibility::still(grant, requester, target.policy))
        .map_err(|why| End::early("RequesterNotEligible", format!("no longer eligible: {why}")))?;
    let leaves = || membership::left(status, requester, input.members);
    if let (WhenRequesterLeaves::Revoke, Some(who)) = (target.policy.spec.when_requester_leaves, leaves()) {
        let message = format!(
            "{who} had this as a member of ResearchNamespace {}, and is none any more; ask again if it is still needed",
            input.namespace
        );
        return Err(End::early(REQUESTER_LEFT, message));
    }
    if let Some(other) = break_glass::broken_twice(grant, requester, input) {
        let owed = Ineligible::ReviewOwed(requester.username.clone(), other);
        return Err(End::early(owed.reason(), owed.to_string()));
    }
    let weak = target.sensitivity.filter(|_| input.settings.usable);
    if let Some(message) = weak.and_then(|sensitivity| too_weak(target.policy, sensitivity, input.settings)) {
        return Err(End::early("PolicyTooWeak", message));
    }
    if let Some(message) = &target.unguarded {
        return Err(End::early(POLICY_NOT_ALLOWED, message.clone()));
    }
    borne_out::approval(grant, status, input).map_err(|what| not_borne_out(&what, "a review was deleted"))?;
    let not_enough = |why: String| Err(End::early("ApprovalsNotEnough", format!("{why}; ask again")));
    let policy = case.policy_name;
    if grant.terms().break_glass || status.reviews.is_empty() {
        // Nobody has agreed before it opened, so it follows from the policy alone: from what that says now.
        let asked = grant.metadata().creation_timestamp.as_ref().map_or(input.now, |at| at.0);
        if let Err(why) = Mistakes::none(eligibility::check(grant, requester, target.policy, asked)) {
            return not_enough(format!("AccessPolicy {policy} as it is now does not give this: {why}"));
        }
        if !grant.terms().break_glass && by_itself(grant, requester, target, input).is_none() {
            return not_enough(format!(
                "nobody has agreed, and AccessPolicy {policy} as it is now does not approve this by itself"
            ));
        }
    } else {
        let accounts: Vec<&Identity> = reviews_of(grant.uid(), input).into_iter().map(|(_, who)| who).collect();
        if !case.tally(&agreed(&status.reviews), &accounts).is_met {
            return not_enough(format!("those who agreed are not enough under AccessPolicy {policy} as it is now"));
        }
    }
    borne_out::end(grant, status, target).map_err(|what| not_borne_out(&what, "the policy gives less than it did"))?;
    afresh::check(&case, grant, status, target, input).map_err(|against| match against {
        Against::Refusal(review, message) => {
            let message = format!("{message}; that was before it was approved");
            End { by: Some(review), ..End::early("ReviewRefused", message) }
        }
        Against::NotBorneOut(what) => not_borne_out(&what, "that has changed since"),
    })
}

fn not_borne_out(what: &str, cause: &str) -> End {
    let message = format!(
        "what its status says of its approval is not borne out: {what}. Either {cause}, or somebody else than the operator has \
         written the status; ask again"
    );
    End::early(reason::RECORD_NOT_BORNE_OUT, message)
}

/// Why a grant ends again that is said to have ended.
pub fn stands(grant: &Grant) -> End {
    let message = format!(
        "its status said {}, and something that it opened stood: somebody else than the operator has written the status, or has \
         put that there",
        grant.phase().as_str()
    );
    End::early(reason::RECORD_NOT_BORNE_OUT, message)
}

fn revoked_by(case: &Case<'_>, grant: &Grant, input: &Input<'_>) -> Option<(RecordedReview, String)> {
    reviews_of(grant.uid(), input).into_iter().find_map(|(review, reviewer)| {
        let revokes = review.spec.decision == Decision::Revoke && case.may_revoke(reviewer).is_ok();
        revokes.then(|| (recorded(review, reviewer), in_words(review, reviewer, "revoked")))
    })
}

/// Why a grant that cannot be read ends now, if it does: by what was written down of it.
pub fn reason_to_end_unread(remains: &Remains<'_>, input: &Input<'_>) -> Option<End> {
    let status = remains.status?;
    over_by_itself(status, remains.is_deleted(), input).err()
}

/// Takes away what a grant opened, in the order that leaves no gap, until nothing of it is left.
pub fn revoke(remains: &Remains<'_>, end: Option<End>, input: &Input<'_>) -> Plan<GrantStatus> {
    let say = Say::of_remains(remains, input.now);
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
    let message = format!("{message}{WAITING}{}, to end", left(pods, held));
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
            "{message}: see that the pods' nodes are reachable and that nobody's finalizer holds the objects, and rotate the \
             credential at its source"
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
    let say = Say::of_remains(remains, input.now);
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
    if let Declared::Read(grant) = input.declared {
        let target = grant.of_kind().target(input).ok();
        let before = status.clone();
        let settles = target.and_then(|target| break_glass::settled(grant, &before, &target, input));
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
