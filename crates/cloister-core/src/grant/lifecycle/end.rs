//! Why a grant ends.

use crate::{
    cluster::POLICY_NOT_ALLOWED,
    grant::{
        Grant, Home, Input,
        break_glass::settle,
        decide::{
            afresh::{self, Against},
            auto_approval::auto_approval,
            borne_out,
            case::Case,
            changed, eligibility, membership,
            mistakes::{ASK_AGAIN, Mistakes},
        },
        kinds::{
            ineligible::{Ineligible, REQUESTER_LEFT},
            kind::undeclared_account,
            target_error::{TargetError, could_no_longer_be_granted},
        },
        model::{
            digest, owed,
            remains::Remains,
            reviews::{agreed, in_words, recorded, reviews_of},
            target::Target,
        },
        too_weak,
    },
    model::writers::{CONFIG_WRITERS, POLICY_WRITERS},
};
use cloister_api::{
    AccessPolicy, Decision, GrantPhase, GrantStatus, Identity, RecordedReview, WhenRequesterLeaves, condition::reason,
};
use jiff::Timestamp;
use std::fmt::Display;

/// What a reviewer did who says of break-glass that it was not right.
const REVIEWED_AND_REFUSED: &str = "reviewed and refused it";

/// Why a grant ends.
pub struct End {
    /// Whether its time came, or it ends before.
    pub phase: GrantPhase,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in words.
    pub message: String,
    /// The review that ends it.
    pub by: Option<Box<RecordedReview>>,
}

impl End {
    fn early(reason: &'static str, message: impl Into<String>) -> Self {
        End { phase: GrantPhase::Revoked, reason, message: message.into(), by: None }
    }

    /// For what may be put right afterwards, which brings no grant back.
    fn because(reason: &'static str, why: impl Display) -> Self {
        Self::early(reason, could_no_longer_be_granted(why))
    }
}

/// What an open grant is for, or why it ends now.
pub fn reason_to_end<'a>(grant: &Grant, input: &Input<'a>) -> Result<Target<'a>, End> {
    let status = grant.status().ok_or_else(end_unknown)?;
    ended_by_record(status, grant.is_deleted(), input)?;
    let target = grant.of_kind().target(input).map_err(|error| gone(&error, status))?;
    if let Some(end) = of_another_policy(grant, status, target.policy) {
        return Err(end);
    }
    if let Some(message) = target_changed(grant, status, &target) {
        return Err(End::early("TargetChanged", message));
    }
    borne_out::target(status, &target)
        .map_err(|what| not_borne_out(&what, "another version of the operator wrote it"))?;
    if let Some(withdrawn) = grant.of_kind().withdrawn(input) {
        return Err(End::because(withdrawn.reason, withdrawn.message));
    }
    still_approved(grant, status, &target, input)?;
    Ok(target)
}

/// Whether the grant ends because of its own status, its deletion or its namespace, whatever its target is.
fn ended_by_record(status: &GrantStatus, is_deleted: bool, input: &Input<'_>) -> Result<(), End> {
    let end = status.expires_at.as_ref().ok_or_else(end_unknown)?.0;
    if end <= input.now {
        let message = format!("the grant ended at {end}");
        return Err(End { phase: GrantPhase::Expired, reason: "Expired", message, by: None });
    }
    if is_deleted {
        let stays = if owed::owes_review_by(status) { "; it remains visible until it is reviewed" } else { "" };
        return Err(End::early("Deleted", format!("the grant was deleted{stays}")));
    }
    if matches!(input.home, Home::Closed | Home::Ending) {
        let message = format!("the research namespace {} was closed; ask again in one that is open", input.namespace);
        return Err(End::early("NamespaceClosed", message));
    }
    not_invalidated(status, input)
}

fn end_unknown() -> End {
    End::early("EndUnknown", "the status of the grant has no expiresAt, so the grant ends now")
}

/// After etcd was restored, what was approved before may have been revoked since.
fn not_invalidated(status: &GrantStatus, input: &Input<'_>) -> Result<(), End> {
    let approved = status.approved_at.as_ref().map_or(Timestamp::MIN, |at| at.0);
    match input.settings.invalidates(approved, input.now) {
        None => Ok(()),
        Some(before) => {
            let message = format!(
                "CloisterConfig ends grants that were approved before {before} (invalidateGrantsBefore, which {CONFIG_WRITERS} \
                 can correct); ask again"
            );
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
        let message = "the target has changed since it was approved: the object, its role, its endpoint, the Service behind \
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
    let words = if words.is_empty() { "its parts".to_owned() } else { words.join("; ") };
    Some(format!(
        "the target of {} {} has changed since it was approved: {words}; ask again",
        grant.kind().as_str(),
        grant.name()
    ))
}

/// Why a grant ends whose target cannot be found.
fn gone(error: &TargetError, status: &GrantStatus) -> End {
    if !error.is_of_policy() {
        return End::early("TargetGone", error.ended());
    }
    match (error.policy_not_found(), &status.policy) {
        (Some((name, named_by)), Some(agreed)) if agreed.name != name => {
            let once = format!("ask {POLICY_WRITERS} to publish AccessPolicy {name}, then create another request");
            End::early("TargetChanged", names_another(named_by, name, &agreed.name, &once))
        }
        _ => End::early("PolicyGone", error.ended()),
    }
}

/// Why a grant ends that was approved under another policy than the one that decides now.
fn of_another_policy(grant: &Grant, status: &GrantStatus, policy: &AccessPolicy) -> Option<End> {
    let agreed = status.policy.as_ref().filter(|agreed| Some(&agreed.uid) != policy.metadata.uid.as_ref())?;
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    Some(if agreed.name == name {
        let message = format!(
            "AccessPolicy {name}, under which it was approved, was deleted. The new policy of that name does not count; create \
             another request"
        );
        End::early("PolicyGone", message)
    } else {
        End::early("TargetChanged", names_another(&grant.of_kind().entry(), name, &agreed.name, "ask again"))
    })
}

fn names_another(named_by: &str, now: &str, then: &str, advice: &str) -> String {
    format!(
        "{named_by} was changed to name AccessPolicy {now}, but this was approved under AccessPolicy {then}; {advice}"
    )
}

/// Whether what was recorded still satisfies the policy as it is now, and nobody has revoked it.
fn still_approved(grant: &Grant, status: &GrantStatus, target: &Target<'_>, input: &Input<'_>) -> Result<(), End> {
    let Some(requester) = grant.terms().requested_by else {
        return Err(End::early("RequesterUnknown", "the grant has no requester (spec.requestedBy)"));
    };
    let case = Case::of(grant.of_kind(), requester, target.policy, input);
    if let Some((review, message)) = revoked_by(&case, grant, input) {
        return Err(End { by: Some(Box::new(review)), ..End::early("RevokedByReview", message) });
    }
    let mut righted = status.clone();
    settle::put_right(&mut righted, grant, Some(target), input);
    if let Some(review) = settle::settled(grant, &righted, target, input).filter(settle::is_refusal) {
        let written = input.reviews.iter().find(|one| one.metadata.uid.as_deref() == Some(&*review.uid));
        let message = written.map_or_else(
            || format!("{} {REVIEWED_AND_REFUSED}", review.reviewer.username),
            |written| in_words(written, &review.reviewer, REVIEWED_AND_REFUSED),
        );
        return Err(End { by: Some(Box::new(review)), ..End::early("ReviewRefused", message) });
    }
    Mistakes::none(eligibility::check_still_eligible(grant, requester, target.policy))
        .map_err(|why| End::because("RequesterNotEligible", why))?;
    let leaves = || membership::left(grant, status, requester, input.members);
    if let (WhenRequesterLeaves::Revoke, Some(who)) = (target.policy.spec.when_requester_leaves, leaves()) {
        let message = format!(
            "{who} had this grant as a member of ResearchNamespace {}, and was no longer a member when it ended; to get it \
             again, ask an owner of the namespace to add {who} to spec.members, and then create another request",
            input.namespace
        );
        return Err(End::early(REQUESTER_LEFT, message));
    }
    if let Some(account) = undeclared_account(grant.of_kind(), input) {
        // What stands for an account that is gone would be for whoever declares one of that name again.
        let message = format!(
            "ResearchNamespace {} no longer declared ServiceAccount {account}, which this grant was for; if it is still \
             needed, ask an owner of the namespace to declare it in serviceAccounts, and create another request",
            input.namespace
        );
        return Err(End::early("ServiceAccountGone", message));
    }
    if let Some(other) = settle::broken_twice(grant, requester, input) {
        let owed = Ineligible::EarlierReviewOwed(requester.username.clone(), other);
        return Err(End::early("BrokenTwice", owed.to_string()));
    }
    let weak = target.sensitive.as_ref().filter(|_| input.settings.usable);
    if let Some(message) = weak.and_then(|said| too_weak(target.policy, said, input.settings)) {
        return Err(End::because("PolicyTooWeak", message));
    }
    if let Some(message) = &target.unguarded {
        return Err(End::because(POLICY_NOT_ALLOWED, message));
    }
    borne_out::approval(grant, status, input).map_err(|what| not_borne_out(&what, "a review was deleted"))?;
    let not_enough = |why: String| Err(End::early("ApprovalsNotEnough", why));
    let policy = case.policy_name;
    if grant.terms().break_glass || status.reviews.is_empty() {
        // Nobody has agreed before it opened, so it follows from the policy alone: from what that says now.
        let asked = grant.metadata().creation_timestamp.as_ref().map_or(input.now, |at| at.0);
        if let Err(why) = Mistakes::none(eligibility::check(grant, requester, target.policy, asked)) {
            return not_enough(format!("when it ended, AccessPolicy {policy} did not allow it: {why}. {ASK_AGAIN}"));
        }
        if !grant.terms().break_glass && auto_approval(grant, requester, target, input).is_none() {
            return not_enough(format!(
                "nobody had approved it, and when it ended, AccessPolicy {policy} did not approve it automatically. \
                 {ASK_AGAIN}"
            ));
        }
    } else {
        let accounts: Vec<&Identity> = reviews_of(grant.uid(), input).into_iter().map(|(_, who)| who).collect();
        let agreed = agreed(&status.reviews);
        let tally = case.tally(&agreed, &accounts);
        if !tally.is_met {
            let who: Vec<&str> = agreed.iter().map(|who| who.username.as_str()).collect();
            return not_enough(format!(
                "when it ended, the approvals of {} were not enough for AccessPolicy {policy}: it required {}. {ASK_AGAIN}",
                who.join(", "),
                tally.missing(&case.policy.approval_rules)
            ));
        }
    }
    borne_out::end(grant, status, target).map_err(|what| not_borne_out(&what, "the policy allows less than before"))?;
    afresh::check(&case, grant, status, target, input).map_err(|against| match against {
        Against::Refusal(review, message) => {
            let message = format!("{message}; that was before it was approved");
            End { by: Some(review), ..End::early("ReviewRefused", message) }
        }
        Against::NotBorneOut(what) => not_borne_out(&what, "this has changed since"),
    })
}

fn not_borne_out(what: &str, cause: &str) -> End {
    let message = format!(
        "the status does not agree with the reviews, the spec and the policy: {what}. Either {cause}, or somebody other than \
         the operator wrote the status; create another request"
    );
    End::early(reason::RECORD_NOT_BORNE_OUT, message)
}

/// Why a grant ends again that is said to have ended.
pub fn stands(grant: &Grant) -> End {
    let message = format!(
        "the status said {}, but an object that it opened existed: somebody other than the operator wrote the status, or \
         created that object",
        grant.phase().as_str()
    );
    End::early(reason::RECORD_NOT_BORNE_OUT, message)
}

fn revoked_by(case: &Case<'_>, grant: &Grant, input: &Input<'_>) -> Option<(RecordedReview, String)> {
    reviews_of(grant.uid(), input).into_iter().find_map(|(review, reviewer)| {
        let revokes = review.spec.decision == Decision::Revoke && case.may_revoke(reviewer).is_ok();
        revokes.then(|| (recorded(review, reviewer), in_words(review, reviewer, "revoked it")))
    })
}

/// Why a grant that cannot be read ends now, if it does: by what was written down of it.
pub fn reason_to_end_unread(remains: &Remains<'_>, input: &Input<'_>) -> Option<End> {
    let status = remains.status?;
    ended_by_record(status, remains.is_deleted(), input).err()
}
