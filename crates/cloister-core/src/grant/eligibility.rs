//! Whether a request keeps its policy's terms, before anybody is asked to agree.

use cloister_api::{AccessPolicySpec, Identity, Principal, StorageAccessGrant, Subject, SubjectKind};
use jiff::{SignedDuration, Timestamp};
use kube::core::Duration;

/// How far ahead a grant may start where its policy does not say.
const MAX_START_DELAY: SignedDuration = SignedDuration::from_hours(168);

/// The longest ticket pattern's compiled size, in bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// Why a request does not keep its policy's terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ineligible {
    #[error("{0} is not among the requesters of the policy; ask somebody who is, or ask security to add you")]
    RequesterNotAllowed(String),
    #[error("{0} may not be given this: the policy's beneficiaries do not name it")]
    SubjectNotAllowed(String),
    #[error("the policy asks for a justification; say in spec.justification what it is needed for")]
    JustificationMissing,
    #[error("the policy asks for a ticket; name it in spec.ticketRef")]
    TicketMissing,
    #[error("ticket {0:?} does not look like the policy's pattern {1}")]
    TicketMalformed(String, String),
    #[error("{0} is longer than the policy's maxDuration {1}; ask for less")]
    TooLong(String, String),
    #[error("a grant under this policy may start at most {0} after it is asked for")]
    StartTooLate(String),
    #[error("the window from startTime for the asked duration has passed")]
    WindowPassed,
    #[error("grant {0} mounts the same credential at {1}; mount it there too, or ask when that grant has ended")]
    MountConflict(String, String),
}

impl Ineligible {
    /// Why, in one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Ineligible::RequesterNotAllowed(_) => "RequesterNotAllowed",
            Ineligible::SubjectNotAllowed(_) => "SubjectNotAllowed",
            Ineligible::JustificationMissing => "JustificationMissing",
            Ineligible::TicketMissing => "TicketMissing",
            Ineligible::TicketMalformed(..) => "TicketMalformed",
            Ineligible::TooLong(..) => "DurationTooLong",
            Ineligible::StartTooLate(_) => "StartTooLate",
            Ineligible::WindowPassed => "WindowPassed",
            Ineligible::MountConflict(..) => "MountConflict",
        }
    }
}

/// Checks a request that was made at `asked` against the terms of its policy.
pub fn check(
    grant: &StorageAccessGrant,
    requester: &Identity,
    policy: &AccessPolicySpec,
    asked: Timestamp,
) -> Result<(), Ineligible> {
    let spec = &grant.spec;
    if !policy.requesters.iter().any(|principal| is(principal, requester)) {
        return Err(Ineligible::RequesterNotAllowed(requester.username.clone()));
    }
    if let Some(subject) = spec.subjects.iter().find(|subject| !may_benefit(subject, requester, policy)) {
        return Err(Ineligible::SubjectNotAllowed(format!("{:?} {}", subject.kind, subject.name)));
    }
    if policy.justification.required && spec.justification.trim().is_empty() {
        return Err(Ineligible::JustificationMissing);
    }
    match (&spec.ticket_ref, &policy.ticket.pattern) {
        (None, _) if policy.ticket.required => return Err(Ineligible::TicketMissing),
        (Some(ticket), Some(pattern)) if !looks_like(ticket, pattern) => {
            return Err(Ineligible::TicketMalformed(ticket.clone(), pattern.clone()));
        }
        _ => {}
    }
    let (duration, longest) = (duration(grant, policy), signed(policy.max_duration));
    if duration > longest {
        return Err(Ineligible::TooLong(format!("{duration:#}"), format!("{longest:#}")));
    }
    if let Some(start) = &spec.start_time {
        let delay = policy.max_start_delay.map_or(MAX_START_DELAY, signed);
        if start.0.duration_since(asked) > delay {
            return Err(Ineligible::StartTooLate(format!("{delay:#}")));
        }
    }
    Ok(())
}

/// How long a grant lasts: what it asks for, or else what its policy gives.
pub fn duration(grant: &StorageAccessGrant, policy: &AccessPolicySpec) -> SignedDuration {
    signed(grant.spec.requested_duration.or(policy.default_duration).unwrap_or(policy.max_duration))
}

/// A duration that is never negative: one that is counts as nothing.
pub fn signed(duration: Duration) -> SignedDuration {
    if duration.is_negative() {
        return SignedDuration::ZERO;
    }
    SignedDuration::try_from(std::time::Duration::from(duration)).unwrap_or(SignedDuration::MAX)
}

/// Whether somebody is a ServiceAccount.
pub fn is_service_account(identity: &Identity) -> bool {
    identity.username.starts_with("system:serviceaccount:")
}

fn is(principal: &Principal, identity: &Identity) -> bool {
    // A ServiceAccount asks only where it is named itself: its groups hold every account of a namespace, or of all.
    let account = is_service_account(identity);
    match principal.kind {
        SubjectKind::User => !account && principal.name == identity.username,
        SubjectKind::Group => !account && identity.groups.contains(&principal.name),
        SubjectKind::ServiceAccount => {
            let namespace = principal.namespace.as_deref().unwrap_or_default();
            identity.username == format!("system:serviceaccount:{namespace}:{}", principal.name)
        }
    }
}

fn may_benefit(subject: &Subject, requester: &Identity, policy: &AccessPolicySpec) -> bool {
    if policy.beneficiaries.is_empty() {
        match subject.kind {
            SubjectKind::ServiceAccount => true,
            SubjectKind::User => subject.name == requester.username,
            SubjectKind::Group => false,
        }
    } else {
        policy.beneficiaries.contains(subject)
    }
}

/// A pattern that does not compile matches nothing.
fn looks_like(ticket: &str, pattern: &str) -> bool {
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build().is_ok_and(|pattern| pattern.is_match(ticket))
}

/// Why a ticket pattern cannot be used, if it cannot.
pub fn pattern_error(pattern: &str) -> Option<String> {
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build().err().map(|error| error.to_string())
}
