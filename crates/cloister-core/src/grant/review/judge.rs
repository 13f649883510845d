//! What is said of a review: that it counts, or why not.

use super::{
    did::{OWED, recorded},
    gone,
    late::late,
    question::Question,
};
use crate::{
    grant::{
        Grant, Input,
        decide::{bars::People, case::Case, changed, not_counted::NotCounted, taken_back::always_ends},
        kinds::target_error::TargetError,
        model::{
            judged::{Judged, ONCE, has_answer, is_answered, is_conditional, is_refused},
            own::stands_after_its_end,
            people::is_service_account,
            reviews::is_placeholder,
        },
        same_person,
    },
    model::{
        child::GrantRef,
        condition::{ConditionUpdate, conditions},
    },
};
use cloister_api::{
    AccessReview, AccessReviewStatus, Decision, GrantPhase, GrantStatus, Identity,
    condition::{COUNTED, READY, reason},
};
use jiff::Timestamp;

/// The status of a review, where it differs from what is there. `input` is that of the grant that it names, if there is
/// one; `elsewhere` the one that has the uid which it names, if that is another.
pub fn review(
    review: &AccessReview,
    input: Option<&Input<'_>>,
    elsewhere: Option<&GrantRef>,
    now: Timestamp,
) -> Option<AccessReviewStatus> {
    let question = input.and_then(Question::of);
    say(review, input, question.as_ref(), elsewhere, now)
}

fn say(
    review: &AccessReview,
    input: Option<&Input<'_>>,
    question: Option<&Question<'_, '_>>,
    elsewhere: Option<&GrantRef>,
    now: Timestamp,
) -> Option<AccessReviewStatus> {
    let before = review.status.as_ref();
    let (counts, why, message) = match gone::counted_for_one(review, input) {
        // It counted, and nobody is to believe that it does for a grant of that name which was made again.
        Some(message) => (Some(true), gone::REQUEST_GONE, message),
        None => match judge(review, question, elsewhere)? {
            Judged::Counts(message) => (Some(true), "Counted", message),
            Judged::Refused(why, message) => (Some(false), why, message),
            Judged::Waits(why, message) => (None, why, message),
            // What was said of it stays.
            Judged::TooLate(..) if is_answered(review) => return None,
            Judged::TooLate(why, message) => (Some(false), why, message),
        },
    };
    let updates = vec![
        // It was understood, whether it counts or not: a tool that waits must not hang.
        ConditionUpdate::new(READY, true, reason::RECONCILED, message.clone()),
        ConditionUpdate { type_: COUNTED, status: counts, reason: why.to_owned(), message },
    ];
    let generation = review.metadata.generation;
    let old = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let status =
        AccessReviewStatus { observed_generation: generation, conditions: conditions(old, updates, generation, now) };
    (before != Some(&status)).then_some(status)
}

/// The reviews of a grant that waits for people, of which something else is to be said: what they depend on changes while
/// it waits, and a review that decides must not be said to count for nothing. Once it is decided, those that were said to
/// count as soon as it would wait for nothing else.
pub fn to_answer<'a>(input: &Input<'a>) -> Vec<&'a AccessReview> {
    let Some(question) = Question::of(input) else { return Vec::new() };
    let is_decided = question.grant.phase() != GrantPhase::Pending && !question.owes();
    let differs = |one: &&AccessReview| say(one, Some(input), Some(&question), None, input.now).is_some();
    // What was said of others stays.
    let all = input.reviews.iter().copied().filter(|one| !is_decided || is_conditional(one));
    all.filter(differs).collect()
}

/// Whether all is said of a review of a grant that has ended: that it decided, where the grant was decided by it.
pub fn is_answered_by(review: &AccessReview, grant: &Grant) -> bool {
    is_answered(review) && (recorded(review, grant).is_none() || !is_refused(review))
}

/// Whether a review counts. `None` where what was said of it before stays.
fn judge(review: &AccessReview, question: Option<&Question<'_, '_>>, elsewhere: Option<&GrantRef>) -> Option<Judged> {
    let named = &review.spec.request_ref;
    let refused = |why, message: String| Some(Judged::Refused(why, message));
    let there = question.map(|question| question.grant.uid());
    let Some(question) = question.filter(|question| question.grant.uid() == named.uid) else {
        // That a grant is deleted, or cannot be read any more, changes nothing about what was decided by it.
        if has_answer(review) {
            return None;
        }
        return refused("RequestNotFound", gone::not_found(named, elsewhere, there));
    };
    let Question { input, grant, .. } = *question;
    if let Some(recorded) = recorded(review, grant) {
        return Some(Judged::Counts(recorded));
    }
    let owes = question.owes();
    if owes && is_refused(review) {
        // It settles nothing any more, whatever has changed since.
        return None;
    }
    let Some(reviewer) = &review.spec.reviewer else {
        return refused(NotCounted::ReviewerUnknown.reason(), NotCounted::ReviewerUnknown.to_string());
    };
    if grant.phase() == GrantPhase::Pending && always_ends(review, reviewer, grant, input) {
        return Some(Judged::Counts(ENDS_IT.into()));
    }
    let Some(requester) = grant.terms().requested_by else {
        return refused("RequesterUnknown", "the API server did not say who asked".into());
    };
    let kind = grant.of_kind();
    let too_late = || Some(late(review, grant));
    let target = match question.target() {
        Ok(target) => target,
        Err(error) if owes => return Some(waits_for(error, grant.status())),
        Err(error) if grant.phase() == GrantPhase::Pending => {
            let never = if is_service_account(reviewer) {
                Some(NotCounted::ServiceAccount)
            } else {
                same_person(requester, reviewer).then(|| NotCounted::Requester(reviewer.username.clone()))
            };
            return Some(match never {
                Some(why) => refusal(why, review, grant, !is_service_account(reviewer)),
                None => Judged::Waits(error.reason(), UNDECIDABLE.into()),
            });
        }
        // It ends now, and then it is said how.
        Err(_) if matches!(grant.phase(), GrantPhase::Approved | GrantPhase::Active) => return None,
        Err(_) => return too_late(),
    };
    let case = Case::of(kind, requester, target.policy, input);
    let people = question.people(&case);
    let may_decide = || case.may_decide_now(reviewer, people, input.settings);
    let ends = grant.phase().has_ended() || grant.phase() == GrantPhase::Revoking;
    let is_over = ends && !stands_after_its_end(grant, input);
    if review.spec.decision == Decision::Revoke {
        let settles =
            || owes && may_decide().is_ok() && grant.status().is_some_and(|status| status.digest == review.spec.digest);
        return match case.may_revoke(reviewer) {
            Ok(()) if is_over && settles() => Some(Judged::Counts(format!("{OWED}; the grant had ended already"))),
            // Nobody is sent to others who can do nothing either.
            _ if is_over && !owes => too_late(),
            Err(why) => refused(why.reason(), why.to_string()),
            Ok(()) if is_over => too_late(),
            Ok(()) => Some(Judged::Counts(ENDS_IT.into())),
        };
    }
    if is_over && !owes {
        return too_late();
    }
    let is_open_question = grant.phase() == GrantPhase::Pending || owes;
    let judged = if is_open_question { may_decide() } else { case.judge(reviewer, people) };
    let rules = match judged {
        Err(why) => return Some(refusal(why, review, grant, !is_over && case.may_revoke(reviewer).is_ok())),
        Ok(_) if !is_open_question => return too_late(),
        Ok(rules) => rules,
    };
    let digest = if owes { grant.status()?.digest.as_str() } else { question.digest(target) };
    if review.spec.digest != digest {
        let why = grant.status().and_then(|status| changed::since_read(status, target));
        let anew = of_now(reviewer, digest, grant, people, input);
        return refused("DigestDiffers", digest_differs(&review.spec.digest, why.as_deref(), digest, anew));
    }
    if review.spec.decision == Decision::Deny && !ends {
        return Some(Judged::Counts(ENDS_IT.into()));
    }
    let names: Vec<&str> =
        rules.iter().filter_map(|at| Some(case.policy.approval_rules.get(*at)?.name.as_str())).collect();
    let once = said_before(review, reviewer, people, input).map_or_else(String::new, |before| {
        format!(", once for all reviews of {}: review {before} has the same decision", reviewer.username)
    });
    let (names, policy) = (names.join(" or "), case.policy_name);
    let waits = held_up(review, grant).map_or_else(String::new, |why| format!("{ONCE}{why}, see its status)"));
    Some(Judged::Counts(format!("counts for {names} of AccessPolicy {policy}{once}{waits}")))
}

/// What a request waits for before anybody is asked, in one word.
fn held_up<'a>(review: &AccessReview, grant: &'a Grant) -> Option<&'a str> {
    // A refusal waits for nothing.
    let agrees = review.spec.decision == Decision::Approve;
    let status = grant.status().filter(|_| agrees && grant.phase() == GrantPhase::Pending)?;
    let asks = ["", "AwaitingApproval", "NoApproverLeft"].contains(&&*status.reason);
    (!asks).then_some(&*status.reason)
}

/// What is said of a review that names another digest than its grant has.
fn digest_differs(written: &str, why: Option<&str>, digest: &str, anew: Option<&str>) -> String {
    let why = match why {
        _ if is_placeholder(written) => {
            "its digest is the placeholder of an example, and it cannot be changed".to_owned()
        }
        Some(why) => format!("it names another digest: {why}, or the digest is mistyped"),
        None => "it names another digest than the request has now: the digest is mistyped, or something has changed since the \
                 reviewer read it"
            .to_owned(),
    };
    let advice = match anew {
        Some(other) => format!("review {other} of the same person already names that digest"),
        None => "While the grant needs a decision, look at it, and create another review with that digest and another \
                 metadata.name"
            .to_owned(),
    };
    format!("{why}; the digest is now {digest}. {advice}")
}

/// A review by which the same person has decided about what is there now.
fn of_now<'a>(who: &Identity, digest: &str, grant: &Grant, people: &People, input: &Input<'a>) -> Option<&'a str> {
    let is_of_now = |other: &&&AccessReview| {
        let spec = &other.spec;
        let is_person = spec.reviewer.as_ref().is_some_and(|reviewer| people.person(reviewer) == people.person(who));
        is_person && spec.request_ref.uid == grant.uid() && spec.digest == digest
    };
    input.reviews.iter().find(is_of_now).and_then(|other| other.metadata.name.as_deref())
}

/// The review by which the same person has agreed to the same before.
fn said_before<'a>(review: &AccessReview, who: &Identity, people: &People, input: &Input<'a>) -> Option<&'a str> {
    let earlier = input.reviews.iter().take_while(|other| other.metadata.uid != review.metadata.uid);
    let is_same = |other: &&&AccessReview| {
        let (one, other) = (&review.spec, &other.spec);
        let is_person = other.reviewer.as_ref().is_some_and(|reviewer| people.person(reviewer) == people.person(who));
        let is_of_this = one.request_ref.uid == other.request_ref.uid && one.digest == other.digest;
        is_person && is_of_this && one.decision == Decision::Approve && other.decision == Decision::Approve
    };
    earlier.filter(is_same).find_map(|other| other.metadata.name.as_deref())
}

/// What is said of the review that a grant owes while nobody knows who may decide about it.
fn waits_for(error: &TargetError, status: Option<&GrantStatus>) -> Judged {
    let message = format!(
        "it cannot be judged yet: {}. It is judged when that exists; until then, the grant still needs its review",
        error.gone(status)
    );
    Judged::Waits(error.reason(), message)
}

/// What is said of a review that ends what it is about.
const ENDS_IT: &str = "ends it";

/// What is said of a review of a request while nobody knows who may decide about it.
const UNDECIDABLE: &str = "it cannot be judged while the request names an object that does not exist or cannot be used (see \
                           the status of the request). It is judged when the object can be used; an Approve or a Deny counts \
                           then if it names the digest that the request has then. The requester, a beneficiary or an owner of \
                           the namespace can end the request with a review with the decision Revoke";

/// What is said of the review of somebody who may not decide. Whoever may end the grant is told how.
fn refusal(why: NotCounted, review: &AccessReview, grant: &Grant, may_end: bool) -> Judged {
    let refuses = review.spec.decision == Decision::Deny && may_end;
    let instead = if refuses { instead_of_a_refusal(&why, grant).to_owned() } else { somebody_else(&why) };
    Judged::Refused(why.reason(), format!("{why}{instead}"))
}

/// Who can decide where somebody may not.
fn somebody_else(why: &NotCounted) -> String {
    let who = match why {
        NotCounted::Requester(_) | NotCounted::Beneficiary(_) => "another approver",
        NotCounted::InBeneficiaryGroup(..) => "an approver who is not in that group",
        NotCounted::Member(..) => "an approver who is not a member",
        _ => return String::new(),
    };
    format!("; while the grant needs a decision, ask {who}")
}

/// What somebody can do whose refusal does not count, but who may end the grant.
fn instead_of_a_refusal(why: &NotCounted, grant: &Grant) -> &'static str {
    match (why, grant.phase()) {
        (NotCounted::Requester(_), GrantPhase::Pending) => {
            "; while it waits, a review with the decision Revoke takes it back, or its deletion"
        }
        _ => "; while it is open, a review with the decision Revoke ends it",
    }
}
