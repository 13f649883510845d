//! A grant in a few words, for lists: what an approver sees of it without opening it.

use super::Grant;
use crate::grant::break_glass::owed::owed;
use cloister_api::{GrantPhase, GrantStatus, GrantSummary, RuleApprovals};
use jiff::{SignedDuration, Timestamp};

/// The summary of a status that is about to be written. What it is for is known only while the grant can be read.
pub fn of(status: &GrantStatus, reason: &str, grant: Option<&Grant>, now: Timestamp) -> GrantSummary {
    let before = &status.summary;
    let asked = grant.and_then(|grant| grant.terms().requested_duration);
    // One that ended before its time lasted until then.
    let until = status.expires_at.as_ref().map(|end| status.ended_at.as_ref().unwrap_or(end));
    GrantSummary {
        target: grant.map_or_else(|| before.target.clone(), |grant| grant.of_kind().names_target()),
        duration: asked.map_or_else(|| before.duration.clone(), |asked| duration(crate::durations::signed(asked))),
        approvals: approvals(status),
        reason: said(status, reason, now),
        until: until.map(|end| end.0.strftime("%Y-%m-%dT%H:%MZ").to_string()).unwrap_or_default(),
    }
}

/// A duration as people write it.
pub fn duration(duration: SignedDuration) -> String {
    format!("{duration:#}").replace(' ', "")
}

fn approvals(status: &GrantStatus) -> String {
    let of_rule = |rule: &RuleApprovals| rule.approved_by.len() as u64;
    let required: u64 = status.approvals.iter().map(|rule| u64::from(rule.required)).sum();
    let agreed: u64 = status.approvals.iter().map(|rule| of_rule(rule).min(u64::from(rule.required))).sum();
    if required > 0 {
        format!("{agreed}/{required}")
    } else if status.break_glass.is_some() {
        "nobody".to_owned()
    } else if status.approved_at.is_some() {
        "policy".to_owned()
    } else {
        String::new()
    }
}

/// The reason, where it says more than the phase, and the review that is owed.
fn said(status: &GrantStatus, reason: &str, now: Timestamp) -> String {
    let reason = Some(reason).filter(|reason| *reason != status.phase.as_str());
    let glass = owed(Some(status)).filter(|_| status.phase != GrantPhase::Pending);
    let review = glass.map(|glass| if glass.review_due_at.0 <= now { "ReviewOverdue" } else { "ReviewOwed" });
    let said: Vec<&str> = reason.into_iter().chain(review).collect();
    said.join(",")
}
