//! A grant in a few words, for lists: what an approver sees of it without opening it.

use super::{Grant, break_glass::owed};
use cloister_api::{EgressRule, GrantPhase, GrantStatus, GrantSummary, Port, Protocol, RuleApprovals};
use jiff::{SignedDuration, Timestamp};

/// How many ports are named.
const PORTS: usize = 3;

/// The summary of a status that is about to be written. What it is for is known only while the grant can be read.
pub fn of(status: &GrantStatus, reason: &str, grant: Option<&Grant>, now: Timestamp) -> GrantSummary {
    let before = &status.summary;
    let asked = grant.and_then(|grant| grant.terms().requested_duration);
    // One that ended before its time lasted until then.
    let until = status.expires_at.as_ref().map(|end| status.ended_at.as_ref().unwrap_or(end));
    GrantSummary {
        target: grant.map_or_else(|| before.target.clone(), |grant| grant.of_kind().names_target()),
        duration: asked.map_or_else(|| before.duration.clone(), |asked| duration(super::signed(asked))),
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

/// Where a rule leads to.
pub fn destination(rule: &EgressRule) -> String {
    let listed = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let mut all = listed(&rule.domain_names);
    all.extend(listed(&rule.networks));
    all.extend(rule.service.as_ref().map(|service| format!("{}/{}", service.namespace, service.name)));
    all.extend(rule.private_endpoint.as_ref().map(|endpoint| endpoint.domain_name.clone()));
    let Some(first) = all.first() else { return String::new() };
    let first = if first.contains(':') { format!("[{first}]") } else { first.clone() };
    let more = if all.len() > 1 { format!("+{}", all.len() - 1) } else { String::new() };
    format!("{first}{more}:{}", ports(&rule.ports))
}

fn ports(ports: &[Port]) -> String {
    let mut named: Vec<String> = ports
        .iter()
        .take(PORTS)
        .map(|port| {
            let end = port.end_port.map(|end| format!("-{end}")).unwrap_or_default();
            let protocol = if port.protocol == Protocol::default() {
                String::new()
            } else {
                format!("/{:?}", port.protocol).to_uppercase()
            };
            format!("{}{end}{protocol}", port.port)
        })
        .collect();
    if ports.len() > PORTS {
        named.push("...".to_owned());
    }
    named.join(",")
}
