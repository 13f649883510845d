//! Whether a request keeps its policy's terms, before anybody is asked to agree.

use super::permission::{self, may_ask};
use crate::{
    grant::{
        Grant,
        kinds::ineligible::Ineligible,
        model::words::{principals, seen},
    },
    model::{
        durations::signed,
        suggest::{closest, did_you_mean},
    },
};
use cloister_api::{AccessPolicy, AccessPolicySpec, Identity, Subject, SubjectKind};
use jiff::{SignedDuration, Timestamp};

/// How far ahead a grant may start where its policy does not say.
const MAX_START_DELAY: SignedDuration = SignedDuration::from_hours(168);

/// The longest ticket pattern's compiled size, in bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// The rules of the policy that a request, which was made at `asked`, violates.
pub fn check(grant: &Grant, requester: &Identity, policy: &AccessPolicy, asked: Timestamp) -> Vec<Ineligible> {
    let (terms, spec) = (grant.terms(), &policy.spec);
    let mut wrong = check_still_eligible(grant, requester, policy);
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
    // Who may not use break-glass asks without, if at all.
    let glass =
        spec.break_glass.as_ref().filter(|_| terms.break_glass && permission::permitted(policy, requester).is_ok());
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

/// The rules of the policy that a grant violates, of those that must hold as long as it lasts: the requester may request it,
/// and its subjects may be beneficiaries.
pub fn check_still_eligible(grant: &Grant, requester: &Identity, policy: &AccessPolicy) -> Vec<Ineligible> {
    let spec = &policy.spec;
    let mut wrong = Vec::new();
    if grant.terms().break_glass {
        wrong.extend(permission::permitted(policy, requester).err());
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

/// Whom a grant may name.
fn beneficiaries(policy: &AccessPolicySpec) -> String {
    const NAMED: usize = 4;
    let all = &policy.beneficiaries;
    let named = all.iter().take(NAMED).map(|subject| format!("{:?} {}", subject.kind, subject.name));
    let named: Vec<String> = named.collect();
    match all.len() {
        0 => "the requester, as a User, and ServiceAccounts of the namespace".to_owned(),
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
