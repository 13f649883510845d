//! What is said of a review: that it counts, or why not.

use super::{
    Declared, Grant, Input, approval::Case, bars::People, changed, digest, not_counted::NotCounted,
    phases::stands_after_its_end,
};
use crate::condition::{Verdict, conditions};
use cloister_api::{
    AccessReview, AccessReviewStatus, Decision, GrantPhase, GrantStatus, RecordedReview,
    condition::{COUNTED, READY, reason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// The status of a review, where it differs from what is there. `input` is that of the grant that it names, if there is
/// one.
pub fn review(review: &AccessReview, input: Option<&Input<'_>>, now: Timestamp) -> Option<AccessReviewStatus> {
    let before = review.status.as_ref();
    let (counts, why, message) = match counted_for_one_gone(review, input) {
        // It counted, and nobody is to believe that it does for a grant of that name which was made again.
        Some(message) => (true, REQUEST_GONE.to_owned(), message),
        None => match judge(review, input).or_else(|| before.is_none().then(too_late))? {
            Ok(message) => (true, "Counted".to_owned(), message),
            Err((why, message)) => (false, why, message),
        },
    };
    let verdicts = vec![
        // It was understood, whether it counts or not: a tool that waits must not hang.
        Verdict::new(READY, true, reason::RECONCILED, message.clone()),
        Verdict::new(COUNTED, counts, why, message),
    ];
    let generation = review.metadata.generation;
    let old = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let status =
        AccessReviewStatus { observed_generation: generation, conditions: conditions(old, verdicts, generation, now) };
    (before != Some(&status)).then_some(status)
}

/// Whether it was said of a review that it counts, or why not.
pub fn is_answered(review: &AccessReview) -> bool {
    let conditions = review.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == COUNTED)
}

/// The reviews of a grant that waits for people, of which something else is to be said: what they depend on changes while
/// it waits, and a review that decides must not be said to count for nothing.
pub fn to_answer<'a>(input: &Input<'a>) -> Vec<&'a AccessReview> {
    let Declared::Read(grant) = input.declared else { return Vec::new() };
    if grant.phase() != GrantPhase::Pending && !super::owes_review(grant, input.reviews) {
        return Vec::new();
    }
    input.reviews.iter().copied().filter(|one| review(one, Some(input), input.now).is_some()).collect()
}

/// Whether all is said of a review of a grant that has ended: that it decided, where the grant was decided by it.
pub fn is_answered_by(review: &AccessReview, grant: &Grant) -> bool {
    is_answered(review) && (recorded(review, grant).is_none() || counts(review).is_some())
}

/// The condition of a review that counts.
fn counts(review: &AccessReview) -> Option<&Condition> {
    let conditions = review.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().find(|condition| condition.type_ == COUNTED && condition.status == "True")
}

type Judged = Result<String, (String, String)>;

fn too_late() -> Judged {
    Err(("AlreadyDecided".into(), "the request was decided before this review was seen".into()))
}

/// Whether a review counts. `None` where its grant is decided or gone, and what was said of the review before stays.
fn judge(review: &AccessReview, input: Option<&Input<'_>>) -> Option<Judged> {
    let named = &review.spec.request_ref;
    let refused = |why: &str, message: String| Some(Err((why.to_owned(), message)));
    let found = input.and_then(|input| match input.declared {
        Declared::Read(grant) if grant.uid() == named.uid => Some((grant, input)),
        _ => None,
    });
    let Some((grant, input)) = found else {
        // That a grant is deleted, or cannot be read any more, changes nothing about what was decided by it.
        if is_answered(review) {
            return None;
        }
        let message = format!(
            "there is no {} {} with uid {} here; one that was made again is another, and needs reviews of its own",
            named.kind.as_str(),
            named.name,
            named.uid
        );
        return refused("RequestNotFound", message);
    };
    if let Some(recorded) = recorded(review, grant) {
        return Some(Ok(recorded));
    }
    let Some(reviewer) = &review.spec.reviewer else {
        return refused(NotCounted::ReviewerUnknown.reason(), NotCounted::ReviewerUnknown.to_string());
    };
    let Some(requester) = grant.terms().requested_by else {
        return refused("RequesterUnknown", "the API server did not say who asked".into());
    };
    let kind = grant.of_kind();
    let target = match kind.target(input) {
        Ok(target) => target,
        Err(error) => {
            return (grant.phase() == GrantPhase::Pending).then(|| Err((error.reason().to_owned(), error.to_string())));
        }
    };
    let case = Case::of(kind, requester, target.policy, input);
    let not_counted = |why: NotCounted| refused(why.reason(), why.to_string());
    if review.spec.decision == Decision::Revoke {
        return match case.may_revoke(reviewer) {
            Err(why) => not_counted(why),
            Ok(()) if grant.phase().has_ended() && !stands_after_its_end(grant, input) => None,
            Ok(()) => Some(Ok("ends it".into())),
        };
    }
    let owes = super::owes_review(grant, input.reviews);
    let is_open_question = grant.phase() == GrantPhase::Pending || owes;
    let digest = if owes { grant.status()?.digest.clone() } else { digest::of(grant, input.namespace, &target) };
    if is_open_question && review.spec.digest != digest {
        let message = format!(
            "it is about something else ({}), or its digest is mistyped; the digest is now {digest}. Look at the request again and \
             review that",
            grant.status().map_or_else(String::new, |status| changed::since_read(status, &target))
        );
        return refused("DigestDiffers", message);
    }
    let people = People::of(&case, input.reviews.iter().filter_map(|review| review.spec.reviewer.as_ref()));
    let judged = if is_open_question {
        case.may_decide_now(reviewer, &people, input.settings)
    } else {
        case.judge(reviewer, &people)
    };
    match judged {
        Err(why) => not_counted(why),
        Ok(_) if !is_open_question => None,
        Ok(rules) => {
            let names: Vec<&str> =
                rules.iter().filter_map(|at| Some(case.policy.approval_rules.get(*at)?.name.as_str())).collect();
            Some(Ok(format!("counts for {} of AccessPolicy {}", names.join(" or "), case.policy_name)))
        }
    }
}

/// Whether there is no grant any more that a review is about.
fn is_gone(review: &AccessReview, input: Option<&Input<'_>>) -> bool {
    let uid = input.and_then(|input| match input.declared {
        Declared::Read(grant) => grant.metadata().uid.as_deref(),
        Declared::Undecodable { metadata, .. } => metadata.uid.as_deref(),
    });
    uid != Some(&*review.spec.request_ref.uid)
}

/// What is said of a review that counted for a grant that is gone.
fn counted_for_one_gone(review: &AccessReview, input: Option<&Input<'_>>) -> Option<String> {
    let before = counts(review)?;
    let said = before.message.split_once(GONE).map_or(&*before.message, |(said, _)| said);
    let named = &review.spec.request_ref;
    is_gone(review, input).then(|| {
        format!(
            "{said}{GONE}{} {} with uid {}; one of that name that was made again is another, and needs reviews of its own",
            named.kind.as_str(),
            named.name,
            named.uid
        )
    })
}

/// What stands between what was said of a review and that its grant is gone.
const GONE: &str = "; there is no more ";

/// Why a review says nothing of any grant that is there.
const REQUEST_GONE: &str = "RequestGone";

/// What is said of a review that its grant was decided by.
fn recorded(review: &AccessReview, grant: &Grant) -> Option<String> {
    let status = grant.status()?;
    let uid = review.metadata.uid.as_deref().unwrap_or_default();
    let says_so = |recorded: &&RecordedReview| {
        recorded.uid == uid
            && recorded.decision == review.spec.decision
            && review.spec.reviewer.as_ref() == Some(&recorded.reviewer)
    };
    let recorded = status.reviews.iter().find(says_so)?;
    let who = &recorded.reviewer.username;
    let rule = status.approvals.iter().find(|rule| rule.approved_by.contains(who));
    let is_owed = status.break_glass.as_ref().is_some_and(|glass| glass.reviewed_by.as_ref() == Some(who));
    let ended = if status.approved_at.is_some() { "ended the grant" } else { "ended the request" };
    Some(match (recorded.decision, rule) {
        (Decision::Approve, Some(rule)) => format!("counts for {}", rule.rule),
        (Decision::Approve, None) if is_owed => OWED.to_owned(),
        (Decision::Approve, None) => "counts, beyond what was needed".to_owned(),
        (Decision::Deny | Decision::Revoke, _) => match (is_owed, has_ended_it(recorded, status)) {
            (true, true) => format!("{ended}, and {OWED}"),
            (true, false) => format!("{OWED}; the grant had ended already"),
            (false, _) => ended.to_owned(),
        },
    })
}

/// What is said of the review that a grant owed which broke the glass.
const OWED: &str = "is the review that was owed because the glass was broken";

/// Whether a grant that broke the glass ended by this review.
fn has_ended_it(review: &RecordedReview, status: &GrantStatus) -> bool {
    match &*status.reason {
        "ReviewRefused" => true,
        "RevokedByReview" => {
            let mut revokes = status.reviews.iter().filter(|review| review.decision == Decision::Revoke);
            revokes.next().is_some_and(|first| first.uid == review.uid)
        }
        _ => false,
    }
}
