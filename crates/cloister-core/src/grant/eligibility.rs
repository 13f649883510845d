//! Whether a request keeps its policy's terms, before anybody is asked to agree.

use super::{
    Debt, Grant, break_glass,
    kind::Missing,
    membership::REQUESTER_LEFT,
    mount,
    people::{is, is_service_account},
    words::{CONFIG_WRITERS, POLICY_WRITERS, principals, seen},
};
use crate::suggest::{closest, did_you_mean};
use cloister_api::{AccessPolicy, AccessPolicySpec, Identity, Subject, SubjectKind};
use jiff::{SignedDuration, Timestamp};
use kube::core::Duration;

/// How far ahead a grant may start where its policy does not say.
const MAX_START_DELAY: SignedDuration = SignedDuration::from_hours(168);

/// The longest ticket pattern's compiled size, in bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// Why a request does not keep its policy's terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ineligible {
    #[error(
        "{who} is not among the requesters of AccessPolicy {policy} ({wanted}): {seen}. Ask with an account that is among them, or \
         ask {POLICY_WRITERS} to add you"
    )]
    RequesterNotAllowed { who: String, policy: String, wanted: String, seen: String },
    #[error(
        "the API server did not say which person {0} is: CloisterConfig names {1} as the personKey, and the account has no such \
         value; ask with an account that has it, or ask whoever runs the identity provider to give it one"
    )]
    PersonUnknown(String, String),
    #[error("{subject} may not be given this: under AccessPolicy {policy} a grant may name {beneficiaries}")]
    SubjectNotAllowed { subject: String, policy: String, beneficiaries: String },
    #[error("the policy asks for a justification; say in spec.justification what it is needed for")]
    JustificationMissing,
    #[error("the policy asks for a ticket; name it in spec.ticketRef")]
    TicketMissing,
    #[error("ticket {0:?} does not look like the policy's pattern {1}")]
    TicketMalformed(String, String),
    #[error(
        "the pattern that AccessPolicy {policy} has for tickets, {pattern:?}, cannot be read, so that no ticket is accepted: ask \
         {POLICY_WRITERS} to correct ticket.pattern"
    )]
    PatternInvalid { policy: String, pattern: String },
    #[error("{asked} is longer than the policy's {field} {longest}; ask for less")]
    TooLong { asked: String, field: &'static str, longest: String },
    #[error(
        "spec.startTime {0} is too late: a grant under this policy may start at most {1} after it is asked for; ask with an earlier \
         spec.startTime"
    )]
    StartTooLate(Timestamp, String),
    #[error("{0}")]
    BreakGlassNotAllowed(String),
    #[error("a grant that breaks the glass opens at once; leave spec.startTime out")]
    BreakGlassLater,
    #[error(
        "{0} was a member of ResearchNamespace {1} when this was asked for, and left before it was decided; whoever still needs it \
         asks as a member (an owner of the namespace adds to spec.members), or under a policy that lets others ask"
    )]
    RequesterLeft(String, String),
    #[error("{}", .0.message)]
    ServiceAccountNotFound(Missing),
    #[error("{0} broke the glass with {1}, which nobody has reviewed yet; ask {by} to review it first", by = .1.by())]
    EarlierReviewOwed(String, Debt),
    #[error("{0}")]
    TooMany(String),
    #[error(
        "the window from spec.startTime for the asked duration has passed: it ended at {0}; ask with a later spec.startTime, or \
         without one"
    )]
    WindowPassed(Timestamp),
    #[error("{0}")]
    MountConflict(mount::Conflict),
    #[error(
        "CloisterConfig refuses what was asked before {0} (invalidateGrantsBefore, which {CONFIG_WRITERS} can correct)"
    )]
    Invalidated(Timestamp),
}

impl Ineligible {
    /// Why, in one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Ineligible::RequesterNotAllowed { .. } => "RequesterNotAllowed",
            Ineligible::PersonUnknown(..) => "PersonUnknown",
            Ineligible::SubjectNotAllowed { .. } => "SubjectNotAllowed",
            Ineligible::JustificationMissing => "JustificationMissing",
            Ineligible::TicketMissing => "TicketMissing",
            Ineligible::TicketMalformed(..) => "TicketMalformed",
            Ineligible::PatternInvalid { .. } => "PatternInvalid",
            Ineligible::TooLong { .. } => "DurationTooLong",
            Ineligible::StartTooLate(..) => "StartTooLate",
            Ineligible::BreakGlassNotAllowed(_) => "BreakGlassNotAllowed",
            Ineligible::BreakGlassLater => "BreakGlassLater",
            Ineligible::RequesterLeft(..) => REQUESTER_LEFT,
            Ineligible::ServiceAccountNotFound(missing) => missing.reason,
            Ineligible::EarlierReviewOwed(..) => "EarlierReviewOwed",
            Ineligible::TooMany(_) => "TooManyGrants",
            Ineligible::WindowPassed(_) => "WindowPassed",
            Ineligible::MountConflict(..) => "MountConflict",
            Ineligible::Invalidated(_) => "Invalidated",
        }
    }
}

/// What of a request that was made at `asked` does not keep the terms of its policy.
pub fn check(grant: &Grant, requester: &Identity, policy: &AccessPolicy, asked: Timestamp) -> Vec<Ineligible> {
    let (terms, spec) = (grant.terms(), &policy.spec);
    let mut wrong = still(grant, requester, policy);
    if spec.justification.required && terms.justification.is_none() {
        wrong.push(Ineligible::JustificationMissing);
    }
    match (terms.ticket_ref, &spec.ticket.pattern) {
        (None, _) if spec.ticket.required => wrong.push(Ineligible::TicketMissing),
        (Some(_), Some(pattern)) if pattern_error(pattern).is_some() => {
            let policy = policy.metadata.name.clone().unwrap_or_default();
            wrong.push(Ineligible::PatternInvalid { policy, pattern: pattern.clone() });
        }
        (Some(ticket), Some(pattern)) if !looks_like(ticket, pattern) => {
            wrong.push(Ineligible::TicketMalformed(ticket.to_owned(), pattern.clone()));
        }
        _ => {}
    }
    // Who may not break the glass asks without, if at all.
    let glass =
        spec.break_glass.as_ref().filter(|_| terms.break_glass && break_glass::permitted(policy, requester).is_ok());
    let (field, longest) = match glass {
        Some(glass) => ("breakGlass.maxDuration", signed(glass.max_duration)),
        None => ("maxDuration", signed(spec.max_duration)),
    };
    let duration = duration(grant, spec);
    if duration > longest {
        wrong.push(Ineligible::TooLong { asked: format!("{duration:#}"), field, longest: format!("{longest:#}") });
    }
    if let Some(start) = terms.start_time {
        let delay = spec.max_start_delay.map_or(MAX_START_DELAY, signed);
        if terms.break_glass {
            wrong.push(Ineligible::BreakGlassLater);
        } else if start.0.duration_since(asked) > delay {
            wrong.push(Ineligible::StartTooLate(start.0, format!("{delay:#}")));
        }
    }
    wrong
}

/// What is wrong of that which must hold as long as a grant lasts: who asked may ask, and who gets it may get it.
pub fn still(grant: &Grant, requester: &Identity, policy: &AccessPolicy) -> Vec<Ineligible> {
    let spec = &policy.spec;
    let mut wrong = Vec::new();
    if grant.terms().break_glass {
        wrong.extend(break_glass::permitted(policy, requester).err());
    } else if !may_ask(requester, policy) {
        wrong.push(Ineligible::RequesterNotAllowed {
            who: requester.username.clone(),
            policy: policy.metadata.name.clone().unwrap_or_default(),
            wanted: principals(&spec.requesters),
            seen: seen(requester),
        });
    }
    let refused = grant.of_kind().subjects().iter().filter(|subject| !may_benefit(subject, requester, spec));
    wrong.extend(refused.map(|subject| Ineligible::SubjectNotAllowed {
        subject: format!("{:?} {}{}", subject.kind, subject.name, did_you_mean(meant(subject, requester, spec))),
        policy: policy.metadata.name.clone().unwrap_or_default(),
        beneficiaries: beneficiaries(spec),
    }));
    wrong
}

/// Whether a policy names somebody among those who may ask.
fn may_ask(who: &Identity, policy: &AccessPolicy) -> bool {
    policy.spec.requesters.iter().any(|principal| is(principal, who))
}

/// Why somebody may not break the glass under a policy, and what they can do: nobody is sent to what would be refused too.
pub fn no_break_glass(who: &Identity, policy: &AccessPolicy) -> Ineligible {
    let (name, user) = (policy.metadata.name.as_deref().unwrap_or_default(), &who.username);
    let (refused, by_groups) = match &policy.spec.break_glass {
        None => (format!("AccessPolicy {name} lets nobody break the glass"), false),
        Some(_) if is_service_account(who) => {
            (format!("ServiceAccount {user} is not among those who may break the glass, who are people"), false)
        }
        Some(glass) => {
            let wanted = principals(&glass.requesters);
            (format!("{user} is not among those who may break the glass under AccessPolicy {name} ({wanted})"), true)
        }
    };
    Ineligible::BreakGlassNotAllowed(if may_ask(who, policy) {
        // Where nobody may, or no account of its kind, no group helps.
        let seen = if by_groups { format!(": {}", seen(who)) } else { String::new() };
        format!("{refused}{seen}. Ask without spec.breakGlass")
    } else {
        let wanted = principals(&policy.spec.requesters);
        format!(
            "{refused}, and {user} is not among its requesters either ({wanted}): {}. Ask {POLICY_WRITERS} to add you",
            seen(who)
        )
    })
}

/// Whom a grant may name.
fn beneficiaries(policy: &AccessPolicySpec) -> String {
    const NAMED: usize = 4;
    let all = &policy.beneficiaries;
    let named = all.iter().take(NAMED).map(|subject| format!("{:?} {}", subject.kind, subject.name));
    let named: Vec<String> = named.collect();
    match all.len() {
        0 => "whoever asks, as a User, and ServiceAccounts of the namespace".to_owned(),
        1..=NAMED => named.join(" or "),
        _ => format!("{} or others (its beneficiaries)", named.join(" or ")),
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

/// Whom a grant may name that is like one which it may not.
fn meant<'a>(subject: &Subject, requester: &'a Identity, policy: &'a AccessPolicySpec) -> Option<&'a str> {
    let asks = (policy.beneficiaries.is_empty() && subject.kind == SubjectKind::User).then_some(&*requester.username);
    let named = policy.beneficiaries.iter().filter(|one| one.kind == subject.kind).map(|one| one.name.as_str());
    closest(&subject.name, named.chain(asks))
}

/// A pattern that does not compile matches nothing.
fn looks_like(ticket: &str, pattern: &str) -> bool {
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build().is_ok_and(|pattern| pattern.is_match(ticket))
}

/// Why a ticket pattern cannot be used, if it cannot.
pub fn pattern_error(pattern: &str) -> Option<String> {
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build().err().map(|error| error.to_string())
}
