//! A request that waits for a decision, and how it is decided.

use super::{
    Grant, Input, Target,
    approval::{Case, Tally},
    break_glass::{self, later},
    changed,
    decisions::Decisions,
    digest,
    eligibility::{self, Ineligible, Mistakes, signed},
    guard::POLICY_NOT_ALLOWED,
    kind::missing,
    limits::Others,
    membership,
    people::{is_known, is_service_account},
    phases::{add_finalizer, drop_finalizer, own, surplus},
    share::{Share, secret_name},
    status::{Say, ended},
    summary,
    target::too_weak,
    wait::{Wait, not_here, wait_until},
    words::POLICY_WRITERS,
};
use crate::{auto_approve, condition::seconds, names::Standing, plan::Plan, text::counted};
use cloister_api::{GrantPhase, GrantStatus, Identity, PolicyReference, RecordedReview};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How long a request waits where its policy does not say.
const PENDING_TTL: SignedDuration = SignedDuration::from_hours(24);

/// How a request is decided.
enum Outcome {
    /// It goes on waiting.
    Wait(Wait),
    /// It is refused for good.
    Refuse { reason: &'static str, message: String, by: Option<RecordedReview> },
    /// It is approved.
    Approve { reason: &'static str, message: String, how: How },
}

/// What an approval rests on.
enum How {
    Policy,
    People(Tally, Vec<RecordedReview>),
    BreakGlass(cloister_api::BreakGlassStatus),
}

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
    let say = Say::about(grant, input.now);
    let mut status = as_a_request(&say);
    let asked = grant.metadata().creation_timestamp.as_ref().map_or(input.now, |at| at.0);
    let target = match grant.of_kind().target(input) {
        Ok(target) => target,
        Err(error) => {
            // The catalogue may come later than the request; nobody waits for ever, though.
            let mut wait = Wait::new(&error.reason(), error.to_string(), true);
            if error.is_of_what_may_come() {
                wait = wait.for_what_may_come(asked);
            }
            return wait_until(plan, &say, status, later(asked, PENDING_TTL), wait);
        }
    };
    let ttl = target.policy.spec.pending_request_ttl.map_or(PENDING_TTL, signed);
    let deadline = later(asked, ttl);
    if deadline <= input.now {
        // Whatever would be decided now is decided too late.
        let status = ended(status, GrantPhase::TimedOut, input.now);
        return say.ready(plan, status, "TimedOut", format!("nobody decided by {deadline}; ask again"));
    }
    status.digest = digest::of(grant, input.namespace, &target);
    status.summary.duration = summary::duration(eligibility::duration(grant, &target.policy.spec));
    let outcome = outcome(grant, &target, asked, &mut status, input);
    match outcome {
        Outcome::Wait(wait) => wait_until(plan, &say, status, deadline, wait),
        Outcome::Refuse { reason, message, by } => {
            status = ended(status, GrantPhase::Denied, input.now);
            status.reviews.extend(by);
            say.ready(plan, status, reason, message)
        }
        Outcome::Approve { .. } if let Some(held) = input.held => {
            wait_until(plan, &say, status, deadline, Wait::new(held.reason(), held.message(), false))
        }
        Outcome::Approve { reason, message, how } => match window(grant, &target, input.now) {
            Ok(expires) => {
                // Written down before anything is opened; what it opens follows at once.
                approve(&mut status, grant, &target, how, expires, input);
                plan.look_again(input.now);
                say.ready(plan, status, reason, message)
            }
            Err(why) => {
                let status = ended(status, GrantPhase::Denied, input.now);
                say.ready(plan, status, why.reason(), why.to_string())
            }
        },
    }
}

/// What is kept of what was said before. Whatever else is there belongs to a later phase, and nobody has decided yet.
fn as_a_request(say: &Say<'_>) -> GrantStatus {
    let GrantStatus { reason, digest, approvals, conditions, target_parts, target_rules, .. } = say.before();
    GrantStatus { reason, digest, approvals, conditions, target_parts, target_rules, ..GrantStatus::default() }
}

fn outcome(
    grant: &Grant,
    target: &Target<'_>,
    asked: Timestamp,
    status: &mut GrantStatus,
    input: &Input<'_>,
) -> Outcome {
    if let Some(wait) = not_here(asked, input) {
        return Outcome::Wait(wait);
    }
    let Some(requester) = grant.terms().requested_by else {
        let message = "the API server did not say who asked: the admission policy requester.cloister.dev is missing; install it, \
                       delete the grant and ask again";
        return Outcome::Wait(Wait::new("RequesterUnknown", message, true));
    };
    let kind = grant.of_kind();
    let others = Others::of(grant, requester, input);
    let mut wrong: Vec<Ineligible> = Vec::new();
    wrong.extend(not_invalidated(asked, input).err());
    wrong.extend(known_person(requester, input).err());
    wrong.extend(others.may_wait(requester, target).err());
    wrong.extend(eligibility::check(grant, requester, target.policy, asked));
    wrong.extend(kind.conflict(input).err());
    wrong.extend(no_debt(grant, requester, input).err());
    wrong.extend(window(grant, target, input.now).err());
    if let Err(why) = Mistakes::none(wrong) {
        return Outcome::Refuse { reason: why.reason(), message: why.to_string(), by: None };
    }
    let case = Case::of(kind, requester, target.policy, input);
    let decisions = Decisions::of(&case, grant, &status.digest, input);
    if decisions.of_before == 0 || status.target_parts.is_empty() {
        // As those saw it who decide now. What they saw is kept while somebody has agreed to something else.
        status.target_parts = digest::parts(target);
        status.target_rules = changed::written(target.rules);
    }
    if let Some((reason, message, review)) = decisions.refusal {
        return Outcome::Refuse { reason, message, by: Some(review) };
    }
    let weak = target.sensitivity.and_then(|sensitivity| too_weak(target.policy, sensitivity, input.settings));
    if let Some(message) = weak {
        return Outcome::Wait(Wait::new("PolicyTooWeak", message, true));
    }
    if let Some(message) = &target.unguarded {
        return Outcome::Wait(Wait::new(POLICY_NOT_ALLOWED, message, true));
    }
    if let Some(missing) = missing(kind, target, input) {
        return Outcome::Wait(Wait::new(missing.reason, missing.message, true));
    }
    if grant.terms().break_glass {
        let permitted = break_glass::permitted(target.policy, requester);
        return match permitted.and_then(|glass| others.may_hold(false, requester, target).map(|()| glass)) {
            Ok(glass) => {
                let debt = break_glass::debt(&target.policy.spec, glass, input.now);
                let message = format!(
                    "{} broke the glass, past {}. An approver must review it by {}",
                    requester.username,
                    if debt.skipped.is_empty() { "the policy's approvers".into() } else { debt.skipped.join(", ") },
                    debt.review_due_at.0
                );
                Outcome::Approve { reason: "BreakGlass", message, how: How::BreakGlass(debt) }
            }
            Err(why) => Outcome::Refuse { reason: why.reason(), message: why.to_string(), by: None },
        };
    }
    if let Some(message) = by_itself(grant, requester, target, input) {
        if let Err(why) = others.may_hold(true, requester, target) {
            return Outcome::Refuse { reason: why.reason(), message: why.to_string(), by: None };
        }
        return Outcome::Approve { reason: "AutoApproved", message, how: How::Policy };
    }
    if let Some(doubt) = kind.doubt(input) {
        // Nobody is asked to agree to what may never work.
        let broken = doubt.reason != Standing::Unknown.reason();
        return Outcome::Wait(Wait::new(doubt.reason, doubt.message, broken));
    }
    let agreed: Vec<&Identity> = decisions.agreed.iter().map(|review| &review.reviewer).collect();
    let tally = case.tally(&agreed, &decisions.accounts);
    if tally.is_met {
        let names: Vec<&str> = tally.approvals.iter().flat_map(|rule| &rule.approved_by).map(String::as_str).collect();
        let message = format!("approved under AccessPolicy {} by {}", case.policy_name, names.join(", "));
        if let Err(why) = others.may_hold(false, requester, target) {
            return Outcome::Refuse { reason: why.reason(), message: why.to_string(), by: None };
        }
        let reviews = decisions.recorded(&case, &tally);
        return Outcome::Approve { reason: "Approved", message, how: How::People(tally, reviews) };
    }
    status.approvals.clone_from(&tally.approvals);
    let fault = auto_approve::check(&case.policy.auto_approve).into_iter().next();
    let fault = fault.map(|fault| format!("; its autoApprove is at fault ({fault}): {POLICY_WRITERS} can correct it"));
    let fault = fault.unwrap_or_default();
    if case.policy.approval_rules.is_empty() {
        let message = format!(
            "AccessPolicy {} does not approve this request by itself, and names nobody who could{fault}",
            case.policy_name
        );
        return Outcome::Wait(Wait::new("AwaitingApproval", message, false));
    }
    let mut message = format!(
        "waits for approval under AccessPolicy {}: {}{fault}",
        case.policy_name,
        tally.missing(&case.policy.approval_rules)
    );
    let of_before = decisions.of_before;
    if of_before > 0 {
        message.push_str(&format!(
            "; {} any more ({}): whoever wrote them must look at it again",
            counted(of_before, "approval does not count", "approvals do not count"),
            changed::since_read(status, target)
        ));
    }
    Outcome::Wait(Wait::new("AwaitingApproval", message, false))
}

/// After etcd was restored, what was asked before may have been refused since, or taken back.
fn not_invalidated(asked: Timestamp, input: &Input<'_>) -> Result<(), Ineligible> {
    input.settings.invalidates(asked).map_or(Ok(()), |before| Err(Ineligible::Invalidated(before)))
}

/// Where the settings say how a person is known, somebody who is not does not ask.
fn known_person(requester: &Identity, input: &Input<'_>) -> Result<(), Ineligible> {
    if is_known(requester, input.settings) {
        return Ok(());
    }
    Err(Ineligible::PersonUnknown(requester.username.clone(), input.settings.spec.person_key.clone()))
}

/// Who broke the glass once, and was not reviewed, does not do so again.
fn no_debt(grant: &Grant, requester: &Identity, input: &Input<'_>) -> Result<(), Ineligible> {
    match (input.catalogue.debts)(requester) {
        Some(other) if grant.terms().break_glass => Err(Ineligible::ReviewOwed(requester.username.clone(), other)),
        _ => Ok(()),
    }
}

fn approve(status: &mut GrantStatus, grant: &Grant, target: &Target<'_>, how: How, expires: Time, input: &Input<'_>) {
    let now = input.now;
    status.phase = GrantPhase::Approved;
    status.policy = Some(PolicyReference {
        name: target.policy.metadata.name.clone().unwrap_or_default(),
        uid: target.policy.metadata.uid.clone().unwrap_or_default(),
    });
    status.target_digest = digest::of_target(target);
    status.target_parts = digest::parts(target);
    status.target_rules = changed::written(target.rules);
    status.approved_at = Some(seconds(now));
    status.expires_at = Some(expires);
    // Whether or not there is a credential now: the role may get one, or share one that it had.
    status.secret_name = Share::of(grant).map(|share| secret_name(&share));
    let requester = grant.terms().requested_by;
    status.members = requester.map(|by| membership::members(grant, by, input.members)).unwrap_or_default();
    match how {
        How::Policy => {}
        How::People(tally, reviews) => {
            status.approvals = tally.approvals;
            status.reviews = reviews;
        }
        How::BreakGlass(debt) => status.break_glass = Some(debt),
    }
}

/// What is said where the policy approves a request by itself.
pub fn by_itself(grant: &Grant, requester: &Identity, target: &Target<'_>, input: &Input<'_>) -> Option<String> {
    let expressions = &target.policy.spec.auto_approve;
    if expressions.is_empty() || is_service_account(requester) {
        return None;
    }
    let duration = eligibility::duration(grant, &target.policy.spec);
    let request = auto_approve::Request::of(grant, input.namespace, requester, duration, target.sensitivity);
    // A request that cannot be written down is approved by nobody.
    match auto_approve::approves(expressions, &serde_json::to_value(request).ok()?) {
        auto_approve::Verdict::Approved { expression, .. } => {
            let policy = target.policy.metadata.name.as_deref().unwrap_or_default();
            Some(format!("approved by AccessPolicy {policy} itself: {expression}"))
        }
        auto_approve::Verdict::NotApproved { .. } => None,
    }
}

/// When the grant ends: its start and its duration. Begun late, it is shorter.
fn window(grant: &Grant, target: &Target<'_>, now: Timestamp) -> Result<Time, Ineligible> {
    let start = grant.terms().start_time.map_or(now, |start| start.0);
    let duration = eligibility::duration(grant, &target.policy.spec);
    let end = start.checked_add(duration).map_err(|_| Ineligible::WindowPassed)?;
    if end <= now { Err(Ineligible::WindowPassed) } else { Ok(seconds(end)) }
}
