//! Whether what the status of a grant says was decided follows from what people have written.
//!
//! A status gives nothing by itself: whoever holds the operator's token can write it. It is a record, and what is open
//! stays open only as long as the record is borne out by what the API server attests: the spec with its requester, the
//! reviews with theirs, the policy, and the time.

use super::eligibility;
use crate::{
    grant::{
        Grant, Input,
        model::{
            credential_mount_key::{CredentialMountKey, secret_name},
            digest,
            people::{is_service_account, same_person},
            target::Target,
        },
    },
    model::durations::{self, later},
};
use cloister_api::{AccessReview, GrantStatus, RecordedReview};
use jiff::SignedDuration;

/// How far the time that was written down may be from that of the API server. Nothing is approved while the clocks are
/// further apart than half of it.
const CLOCKS: SignedDuration = SignedDuration::from_secs(60);

/// What the API server cuts off a time.
const ROUNDING: SignedDuration = SignedDuration::from_secs(1);

/// Whether the review that was recorded is still there, says the same, and is about the same.
pub fn is_live(recorded: &RecordedReview, grant: &Grant, status: &GrantStatus, reviews: &[&AccessReview]) -> bool {
    live(recorded, grant, status, reviews).is_some()
}

fn live<'a>(
    recorded: &RecordedReview,
    grant: &Grant,
    status: &GrantStatus,
    reviews: &[&'a AccessReview],
) -> Option<&'a AccessReview> {
    reviews.iter().copied().find(|review| {
        let spec = &review.spec;
        review.metadata.uid.as_deref() == Some(&*recorded.uid)
            && review.metadata.deletion_timestamp.is_none()
            && spec.request_ref.uid == grant.uid()
            && spec.digest == status.digest
            && spec.decision == recorded.decision
            && spec.reviewer.as_ref() == Some(&recorded.reviewer)
    })
}

/// Whether there is a review of somebody else by which what a grant owes is settled, as its status says.
pub fn is_settled(grant: &Grant, status: &GrantStatus, reviews: &[&AccessReview]) -> bool {
    settling(grant, status, reviews).is_some()
}

/// That review, as it is recorded.
pub fn settling<'a>(grant: &Grant, status: &'a GrantStatus, reviews: &[&AccessReview]) -> Option<&'a RecordedReview> {
    let who = status.break_glass.as_ref()?.reviewed_by.as_ref()?;
    let requester = grant.terms().requested_by?;
    status.reviews.iter().find(|recorded| {
        recorded.reviewer.username == *who
            && !same_person(&recorded.reviewer, requester)
            && !is_service_account(&recorded.reviewer)
            && is_live(recorded, grant, status, reviews)
    })
}

/// Whether the approval follows from what people have written, as far as that does not depend on who must agree.
///
/// # Errors
///
/// What is not borne out.
pub fn approval(grant: &Grant, status: &GrantStatus, input: &Input<'_>) -> Result<(), String> {
    let Some(approved) = &status.approved_at else { return Err("it has no approvedAt".to_owned()) };
    if approved.0 > later(input.now, CLOCKS) {
        return Err(format!("its approvedAt {} is in the future", approved.0));
    }
    let made = grant.metadata().creation_timestamp.as_ref();
    if let Some(made) = made.filter(|made| later(approved.0, CLOCKS) < made.0) {
        return Err(format!("its approvedAt {} is before the creation of the grant at {}", approved.0, made.0));
    }
    if status.policy.is_none() {
        return Err("it names no AccessPolicy".to_owned());
    }
    match (grant.terms().break_glass, status.break_glass.is_some()) {
        (false, true) => {
            return Err("the status says that break-glass was used, but spec.breakGlass is not set".to_owned());
        }
        (true, false) => return Err("spec.breakGlass is set, but the status requires no review".to_owned()),
        _ => {}
    }
    for recorded in &status.reviews {
        let (name, who) = (&recorded.name, &recorded.reviewer.username);
        let Some(review) = live(recorded, grant, status, input.reviews) else {
            let uid = &recorded.uid;
            return Err(format!("AccessReview {name} (uid {uid}) of {who} does not exist, or differs from the status"));
        };
        // That which break-glass owes comes afterwards.
        let made = review.metadata.creation_timestamp.as_ref().filter(|_| !grant.terms().break_glass);
        if let Some(made) = made.filter(|made| later(approved.0, CLOCKS) < made.0) {
            return Err(format!("its approvedAt {} is before the review of {who} at {}", approved.0, made.0));
        }
    }
    if status.secret_name != CredentialMountKey::of(grant).map(|key| secret_name(&key)) {
        return Err("its secretName does not match its mount".to_owned());
    }
    let recorded = |name: &&String| status.reviews.iter().any(|review| review.reviewer.username == **name);
    match status.approvals.iter().flat_map(|rule| &rule.approved_by).find(|name| !recorded(name)) {
        Some(name) => Err(format!("the status lists an approval by {name}, but there is no AccessReview")),
        None => Ok(()),
    }
}

/// Whether the parts of what it is for are those that its digest is of. They decide while its Service is not there.
///
/// # Errors
///
/// What is not borne out.
pub fn target(status: &GrantStatus, target: &Target<'_>) -> Result<(), String> {
    // An older version did not write them.
    let is_of_digest =
        status.target_digest != digest::of_target(target) || status.target_parts == *digest::parts(target);
    if is_of_digest || status.target_parts.is_empty() {
        return Ok(());
    }
    Err("its targetParts do not match its targetDigest".to_owned())
}

/// Whether the end is no later than the spec and the policy give it from the approval on.
///
/// # Errors
///
/// What is not borne out.
pub fn end(grant: &Grant, status: &GrantStatus, target: &Target<'_>) -> Result<(), String> {
    let (Some(approved), Some(end)) = (&status.approved_at, &status.expires_at) else { return Ok(()) };
    let begin = grant.terms().start_time.map_or(approved.0, |start| start.0);
    // Who agreed has agreed to what was asked for, under the policy as it was. Where nothing was asked for the default of
    // then is not known any more.
    let longest = match grant.terms().requested_duration {
        Some(asked) => durations::signed(asked),
        None => eligibility::longest(grant, &target.policy.spec),
    };
    let last = later(later(begin, longest), ROUNDING);
    if end.0 <= last {
        return Ok(());
    }
    let policy = target.policy.metadata.name.as_deref().unwrap_or_default();
    Err(format!("it ends at {}, but AccessPolicy {policy} and the request allow {last} at the latest", end.0))
}
