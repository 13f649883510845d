//! Whether a request keeps its policy's terms, before anybody is asked to agree.

use super::{Grant, break_glass, people::is};
use cloister_api::{AccessPolicySpec, Identity, Subject, SubjectKind};
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
    #[error(
        "the API server did not say which person {0} is: CloisterConfig names {1} as the personKey, and the account has no such \
         value; ask with an account that has it, or ask whoever runs the identity provider to give it one"
    )]
    PersonUnknown(String, String),
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
    #[error("the policy lets nobody break the glass; ask without spec.breakGlass")]
    NoBreakGlass,
    #[error("{0} is not among those who may break the glass under the policy; ask without spec.breakGlass")]
    BreakGlassNotAllowed(String),
    #[error("a grant that breaks the glass opens at once; leave spec.startTime out")]
    BreakGlassLater,
    #[error("{0} broke the glass with {1}, which nobody has reviewed yet; ask an approver to review it first")]
    ReviewOwed(String, String),
    #[error("{0}")]
    TooMany(String),
    #[error("the window from startTime for the asked duration has passed")]
    WindowPassed,
    #[error(
        "grant {0} mounts a credential at {1} in the pods of the same ServiceAccount: the same credential is mounted at one \
         path, and others not at that path, nor in it or above it; ask with another mountPath, or when that grant has ended"
    )]
    MountConflict(String, String),
    #[error("CloisterConfig refuses what was asked before {0} (invalidateGrantsBefore); ask again")]
    Invalidated(Timestamp),
}

impl Ineligible {
    /// Why, in one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Ineligible::RequesterNotAllowed(_) => "RequesterNotAllowed",
            Ineligible::PersonUnknown(..) => "PersonUnknown",
            Ineligible::SubjectNotAllowed(_) => "SubjectNotAllowed",
            Ineligible::JustificationMissing => "JustificationMissing",
            Ineligible::TicketMissing => "TicketMissing",
            Ineligible::TicketMalformed(..) => "TicketMalformed",
            Ineligible::TooLong(..) => "DurationTooLong",
            Ineligible::StartTooLate(_) => "StartTooLate",
            Ineligible::NoBreakGlass | Ineligible::BreakGlassNotAllowed(_) => "BreakGlassNotAllowed",
            Ineligible::BreakGlassLater => "BreakGlassLater",
            Ineligible::ReviewOwed(..) => "ReviewOwed",
            Ineligible::TooMany(_) => "TooManyGrants",
            Ineligible::WindowPassed => "WindowPassed",
            Ineligible::MountConflict(..) => "MountConflict",
            Ineligible::Invalidated(_) => "Invalidated",
        }
    }
}

/// Checks a request that was made at `asked` against the terms of its policy.
pub fn check(
    grant: &Grant,
    requester: &Identity,
    policy: &AccessPolicySpec,
    asked: Timestamp,
) -> Result<(), Ineligible> {
    let terms = grant.terms();
    still(grant, requester, policy)?;
    if policy.justification.required && terms.justification.is_none() {
        return Err(Ineligible::JustificationMissing);
    }
    match (terms.ticket_ref, &policy.ticket.pattern) {
        (None, _) if policy.ticket.required => return Err(Ineligible::TicketMissing),
        (Some(ticket), Some(pattern)) if !looks_like(ticket, pattern) => {
            return Err(Ineligible::TicketMalformed(ticket.to_owned(), pattern.clone()));
        }
        _ => {}
    }
    let (duration, longest) = (duration(grant, policy), longest(grant, policy));
    if duration > longest {
        return Err(Ineligible::TooLong(format!("{duration:#}"), format!("{longest:#}")));
    }
    if let Some(start) = terms.start_time {
        if terms.break_glass {
            return Err(Ineligible::BreakGlassLater);
        }
        let delay = policy.max_start_delay.map_or(MAX_START_DELAY, signed);
        if start.0.duration_since(asked) > delay {
            return Err(Ineligible::StartTooLate(format!("{delay:#}")));
        }
    }
    Ok(())
}

/// Checks what must hold as long as a grant lasts: who asked may ask, and who gets it may get it.
pub fn still(grant: &Grant, requester: &Identity, policy: &AccessPolicySpec) -> Result<(), Ineligible> {
    if grant.terms().break_glass {
        break_glass::permitted(policy, requester)?;
    } else if !policy.requesters.iter().any(|principal| is(principal, requester)) {
        return Err(Ineligible::RequesterNotAllowed(requester.username.clone()));
    }
    let subjects = grant.of_kind().subjects();
    match subjects.iter().find(|subject| !may_benefit(subject, requester, policy)) {
        Some(subject) => Err(Ineligible::SubjectNotAllowed(format!("{:?} {}", subject.kind, subject.name))),
        None => Ok(()),
    }
}

/// How long a grant lasts: what it asks for, or else what its policy gives.
pub fn duration(grant: &Grant, policy: &AccessPolicySpec) -> SignedDuration {
    match grant.terms().requested_duration {
        Some(duration) => signed(duration),
        None => signed(policy.default_duration.unwrap_or(policy.max_duration)).min(longest(grant, policy)),
    }
}

/// The longest that a grant may last.
pub fn longest(grant: &Grant, policy: &AccessPolicySpec) -> SignedDuration {
    match &policy.break_glass {
        Some(glass) if grant.terms().break_glass => signed(glass.max_duration),
        _ => signed(policy.max_duration),
    }
}

/// A duration that is never negative: one that is counts as nothing.
pub fn signed(duration: Duration) -> SignedDuration {
    if duration.is_negative() {
        return SignedDuration::ZERO;
    }
    SignedDuration::try_from(std::time::Duration::from(duration)).unwrap_or(SignedDuration::MAX)
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
