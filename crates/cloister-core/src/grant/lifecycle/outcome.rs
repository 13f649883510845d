//! How a request is decided now: it waits, is refused or is approved.

use super::wait::{Wait, deadline_of, not_here};
use crate::{
    auto_approve,
    cluster::guard::POLICY_NOT_ALLOWED,
    grant::{
        Grant, Input,
        break_glass::settle,
        decide::{
            approval::Tally, auto_approval::auto_approval, case::Case, changed, decisions::Decisions, eligibility,
            limits::Others, membership, mistakes::Mistakes, permission, taken_back::Ended,
        },
        kinds::{
            caution::asked_already,
            ineligible::Ineligible,
            kind::{Kind, known_doubts, missing, undeclared},
            obstacle::{Missing, Obstacle},
        },
        model::{digest, people::is_known, target::Target},
        too_weak,
    },
    model::{condition::seconds, text::first_of, writers::POLICY_WRITERS},
};
use cloister_api::{GrantStatus, Identity, RecordedReview, WhenRequesterLeaves};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How many of those whose approvals no longer count are named.
const APPROVERS_NAMED: usize = 4;

/// How a request is decided.
pub enum Outcome {
    /// It goes on waiting.
    Wait(Wait),
    /// Somebody has refused it.
    Refuse(Ended),
    /// It is refused for good, since it does not keep its policy's terms.
    Deny(Mistakes),
    /// It is approved.
    Approve { reason: &'static str, message: String, how: How },
}

/// What an approval rests on.
pub enum How {
    Policy,
    People(Tally, Vec<RecordedReview>),
    BreakGlass(cloister_api::BreakGlassStatus),
}

/// Decides about a request that was made at `asked`.
pub fn outcome(
    grant: &Grant,
    target: &Target<'_>,
    asked: Timestamp,
    status: &mut GrantStatus,
    input: &Input<'_>,
) -> Outcome {
    if let Some(wait) = not_here(asked, deadline_of(target.policy, asked), input) {
        return Outcome::Wait(wait);
    }
    let Some(requester) = grant.terms().requested_by else {
        let at_its_end = "the API server did not say who asked: the admission policy requester.cloister.dev was missing; ask a platform \
                          engineer to install it";
        let message = format!("{}, delete the grant and ask again", at_its_end.replace(" was missing", " is missing"));
        return Outcome::Wait(Wait::new("RequesterUnknown", message, at_its_end, true));
    };
    let kind = grant.of_kind();
    let others = Others::of(grant, requester, input);
    let left = membership::left(grant, status, requester, input.members);
    let undeclared = undeclared(kind, input);
    let mut wrong: Vec<Ineligible> = Vec::new();
    wrong.extend(not_invalidated(asked, input).err());
    wrong.extend(known_person(requester, input).err());
    wrong.extend(left_for_good(left.as_deref(), grant, target, input).err());
    wrong.extend(others.may_wait(requester, target).err());
    wrong.extend(eligibility::check(grant, requester, target.policy, asked));
    wrong.extend(kind.conflict(input).err());
    wrong.extend(nothing_unreviewed(grant, requester, input).err());
    wrong.extend(window(grant, target, input.now).err());
    if !wrong.is_empty() {
        // Alone it may be declared yet. Whoever asks anew corrects it as well.
        wrong.extend(undeclared.clone().map(Obstacle::of_one_refused).map(Ineligible::ServiceAccountNotFound));
    }
    if let Err(why) = Mistakes::none(wrong) {
        let why = why.and(kind.faults(input)).and_obstacles(known_doubts(kind, input), Obstacle::of_one_refused);
        return Outcome::Deny(why.noting(kind.unanswered(input)));
    }
    let case = Case::of(kind, requester, target.policy, input);
    let decisions = Decisions::of(&case, grant, &status.digest, input);
    if decisions.agreed_before.is_empty() || status.target_parts.is_empty() {
        // As those saw it who decide now. What they saw is kept while somebody has agreed to something else.
        status.target_parts = digest::as_seen(target);
        status.target_rules = changed::written(target.rules);
    }
    if let Some(refusal) = decisions.refusal {
        return Outcome::Refuse(refusal);
    }
    let weak = target.sensitive.as_ref().and_then(|said| too_weak(target.policy, said, input.settings));
    let weak = weak.map(|message| Missing { reason: "PolicyTooWeak", message });
    let unguarded = target.unguarded.clone().map(|message| Missing { reason: POLICY_NOT_ALLOWED, message });
    let of_policy = weak.into_iter().chain(unguarded).map(Obstacle::from);
    // Whoever declares an account of that name later would get what was opened for it.
    let missing: Vec<Obstacle> = of_policy.chain(missing(kind, target, input)).chain(undeclared).collect();
    if !missing.is_empty() {
        return Outcome::Wait(waits_for_all(missing, kind, input));
    }
    if grant.terms().break_glass {
        let permitted = permission::permitted(target.policy, requester);
        return match permitted.and_then(|glass| others.may_hold(false, requester, target).map(|()| glass)) {
            Ok(glass) => {
                let debt = settle::break_glass_status(&target.policy.spec, glass, input.now);
                let message = format!(
                    "{} used break-glass and bypassed {}. An approver must review it by {}",
                    requester.username,
                    if debt.skipped.is_empty() { "the policy's approvers".into() } else { debt.skipped.join(", ") },
                    debt.review_due_at.0
                );
                Outcome::Approve { reason: "BreakGlass", message, how: How::BreakGlass(debt) }
            }
            Err(why) => Outcome::Deny(Mistakes::one(why.into())),
        };
    }
    // Nobody would have looked at what somebody asked for who has left.
    let approved = if left.is_none() { auto_approval(grant, requester, target, input) } else { None };
    if let Some(message) = approved {
        if let Err(why) = others.may_hold(true, requester, target) {
            return Outcome::Deny(Mistakes::one(why.into()));
        }
        return Outcome::Approve { reason: "AutoApproved", message, how: How::Policy };
    }
    // Nobody is asked to agree to what may never work.
    if known_doubts(kind, input).next().is_some() {
        return Outcome::Wait(waits_for_all(Vec::new(), kind, input));
    }
    if let Some(unknown) = kind.doubts(input).into_iter().next() {
        let at_its_end = "one of its names had not been resolved by then".to_owned();
        return Outcome::Wait(Wait::new(unknown.reason, unknown.waiting, at_its_end, false));
    }
    let agreed: Vec<&Identity> = decisions.agreed.iter().map(|review| &review.reviewer).collect();
    let tally = case.tally(&agreed, &decisions.accounts);
    if tally.is_met {
        let names: Vec<&str> = tally.approvals.iter().flat_map(|rule| &rule.approved_by).map(String::as_str).collect();
        let message = format!("approved under AccessPolicy {} by {}", case.policy_name, names.join(", "));
        if let Err(why) = others.may_hold(false, requester, target) {
            // Those who agreed stay on record.
            status.approvals = tally.approvals;
            return Outcome::Deny(Mistakes::one(why.into()));
        }
        let reviews = decisions.recorded(&case, &tally);
        return Outcome::Approve { reason: "Approved", message, how: How::People(tally, reviews) };
    }
    status.approvals.clone_from(&tally.approvals);
    let mut wait = waits_for_people(&case, &decisions, &tally, left.as_deref(), status, target);
    if let Err(why) = others.may_hold(false, requester, target) {
        wait.message.push_str(&format!(". Note that approved now it is denied: {why}"));
    }
    for caution in kind.caution(input).into_iter().chain(asked_already(input)) {
        wait.message.push_str(&format!(". Note that {caution}"));
    }
    Outcome::Wait(wait)
}

/// What holds a request up, and what of that is said once it has waited in vain.
fn waits_for_all(missing: Vec<Obstacle>, kind: &dyn Kind, input: &Input<'_>) -> Wait {
    let all = |said: fn(Obstacle) -> Missing| {
        // What is missing already is not told twice.
        let is_told = |doubt: &Obstacle| missing.iter().any(|missing| missing.reason == doubt.reason);
        let doubts = || known_doubts(kind, input).filter(|doubt| !is_told(doubt));
        let all = match Mistakes::of(missing.iter().cloned().map(said)) {
            Some(missing) => Some(missing.and_obstacles(doubts(), said)),
            // Nobody is asked because of these alone.
            None => Mistakes::of(doubts().map(said)),
        };
        all.map(|all| all.noting(kind.unanswered(input)))
    };
    let reason = all(Obstacle::of_one_that_waits).map_or("", |all| all.first_reason());
    let text = |said| all(said).map(|all| all.to_string()).unwrap_or_default();
    Wait::new(reason, text(Obstacle::of_one_that_waits), text(Obstacle::of_one_refused), true)
}

/// Who must still agree.
fn waits_for_people(
    case: &Case<'_>,
    decisions: &Decisions<'_>,
    tally: &Tally,
    left: Option<&str>,
    status: &GrantStatus,
    target: &Target<'_>,
) -> Wait {
    let (policy, rules) = (case.policy_name, &case.policy.approval_rules);
    let fault = auto_approve::check(&case.policy.auto_approve).into_iter().next();
    let fault =
        fault.map(|fault| format!("; one of its expressions has an error ({fault}): {POLICY_WRITERS} can correct it"));
    let left = left.map(|who| {
        let by_people = format!(", so AccessPolicy {policy} does not approve it automatically");
        let by_people = if case.policy.auto_approve.is_empty() { String::new() } else { by_people };
        format!("; {who} is no longer a member of ResearchNamespace {}{by_people}", case.namespace)
    });
    let said = format!("{}{}", fault.unwrap_or_default(), left.unwrap_or_default());
    if rules.is_empty() {
        let at_its_end = format!(
            "AccessPolicy {policy} does not approve this request automatically, and names no approvers{said}. Ask \
             {POLICY_WRITERS} to name approvers"
        );
        return Wait::new("NoApproverLeft", format!("{at_its_end}, or delete the grant"), at_its_end, true);
    }
    let missing = tally.missing(rules);
    let mut message = format!("waits for approval under AccessPolicy {policy}: {missing}{said}");
    let changed = changed::since_read(status, target);
    if !decisions.agreed_before.is_empty() {
        let who = first_of(&decisions.agreed_before, APPROVERS_NAMED, ", ");
        let why = changed.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        message.push_str(&format!(
            "; what {who} approved does not count, because it names another digest than the request has now{why}: who still \
             approves it looks at the request again"
        ));
    }
    for refusal in &decisions.refused_before {
        let why = changed.as_deref().unwrap_or("with another digest than it has now");
        message.push_str(&format!("; before you approve, note that {refusal} ({why})"));
    }
    let wait = |reason: &str, message: String, broken: bool| {
        Wait::for_people(reason, message, format!("AccessPolicy {policy} required {missing}"), broken)
    };
    match case.out_of_reach(&decisions.accounts) {
        Some(why) => {
            let advice = format!("Ask {POLICY_WRITERS} to do that, or delete the grant");
            let at_its_end = format!(
                "AccessPolicy {policy} required {missing}, and no approver was left: {why}. First ask {POLICY_WRITERS} to do that"
            );
            Wait::new("NoApproverLeft", format!("{message}; no approver is left: {why}. {advice}"), at_its_end, true)
        }
        None => wait("AwaitingApproval", message, false),
    }
}

/// After etcd was restored, what was asked before may have been refused since, or taken back.
pub fn not_invalidated(asked: Timestamp, input: &Input<'_>) -> Result<(), Ineligible> {
    input.settings.invalidates(asked, input.now).map_or(Ok(()), |before| Err(Ineligible::Invalidated(before)))
}

/// Where the settings say how a person is known, somebody who is not does not ask.
pub fn known_person(requester: &Identity, input: &Input<'_>) -> Result<(), Ineligible> {
    if is_known(requester, input.settings) {
        return Ok(());
    }
    Err(Ineligible::PersonUnknown(requester.username.clone(), input.settings.spec.person_key.clone()))
}

/// Who asked as a member and has left is not given anything for it, unless the policy keeps what members got and people
/// decide about it.
fn left_for_good(left: Option<&str>, grant: &Grant, target: &Target<'_>, input: &Input<'_>) -> Result<(), Ineligible> {
    let keeps = target.policy.spec.when_requester_leaves == WhenRequesterLeaves::Keep && !grant.terms().break_glass;
    match left.filter(|_| !keeps) {
        Some(who) => Err(Ineligible::RequesterLeft(who.to_owned(), input.namespace.to_owned())),
        None => Ok(()),
    }
}

/// Who used break-glass once, and was not reviewed, does not do so again.
fn nothing_unreviewed(grant: &Grant, requester: &Identity, input: &Input<'_>) -> Result<(), Ineligible> {
    match (input.catalogue.unreviewed_break_glass)(requester) {
        Some(other) if grant.terms().break_glass => {
            Err(Ineligible::EarlierReviewOwed(requester.username.clone(), other))
        }
        _ => Ok(()),
    }
}

/// When the grant ends: its start and its duration. Begun late, it is shorter.
pub fn window(grant: &Grant, target: &Target<'_>, now: Timestamp) -> Result<Time, Ineligible> {
    let start = grant.terms().start_time.map_or(now, |start| start.0);
    let duration = eligibility::duration(grant, &target.policy.spec);
    // One that would end after all time ends with it.
    let end = start.checked_add(duration).unwrap_or(Timestamp::MAX);
    if end <= now { Err(Ineligible::WindowPassed(end)) } else { Ok(seconds(end)) }
}
