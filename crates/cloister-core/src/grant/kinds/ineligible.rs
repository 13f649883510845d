//! Why a request does not keep its policy's terms.

use super::obstacle::Missing;
use crate::{
    grant::{UnreviewedBreakGlass, credential::mount_conflict},
    model::writers::{CONFIG_WRITERS, POLICY_WRITERS},
};
use jiff::Timestamp;

/// Why a request does not keep its policy's terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ineligible {
    #[error(
        "{who} is not among the requesters of AccessPolicy {policy} ({wanted}): {seen}. Ask with an account that is among them, or \
         ask {POLICY_WRITERS} to add you"
    )]
    RequesterNotAllowed { who: String, policy: String, wanted: String, seen: String },
    #[error(
        "the API server did not say which person {0} is: CloisterConfig names {1} as the personKey, and the account has no \
         such value; ask with an account that has it, or ask the administrator of the identity provider to give it one"
    )]
    PersonUnknown(String, String),
    #[error("{subject} may not be a beneficiary: under AccessPolicy {policy}, a grant may name {beneficiaries}")]
    SubjectNotAllowed { subject: String, policy: String, beneficiaries: String },
    #[error("the policy requires a justification; write in spec.justification why the grant is needed")]
    JustificationMissing,
    #[error("the policy requires a ticket; name it in spec.ticketRef")]
    TicketMissing,
    #[error(
        "ticket {0:?} does not match the pattern {1} of the policy; write a ticket that matches it in spec.ticketRef"
    )]
    TicketMalformed(String, String),
    #[error(
        "ticket.pattern of AccessPolicy {policy}, {pattern:?}, cannot be read, so no ticket is accepted: ask {POLICY_WRITERS} \
         to correct it"
    )]
    PatternInvalid { policy: String, pattern: String },
    #[error("{asked} is longer than the policy's {field} {longest}; ask for less")]
    TooLong { asked: String, field: &'static str, longest: String },
    #[error(
        "spec.startTime {0} is too late: a grant under this policy may start at most {1} after the request; ask with an \
         earlier spec.startTime"
    )]
    StartTooLate(Timestamp, String),
    #[error("{0}")]
    BreakGlassNotAllowed(String),
    #[error("a break-glass grant opens immediately; leave spec.startTime out")]
    BreakGlassLater,
    #[error(
        "{0} was a member of ResearchNamespace {1} when this was asked for, and left before it was decided; if it is still \
         needed, ask as a member (an owner of the namespace adds to spec.members), or under a policy that lets others ask"
    )]
    RequesterLeft(String, String),
    #[error("{}", .0.message)]
    ServiceAccountNotFound(Missing),
    #[error("{0} used break-glass for {1}, and nobody had reviewed that grant when this was decided; unless somebody has by now, ask {by} to review it, and then ask again", by = .1.by())]
    EarlierReviewOwed(String, UnreviewedBreakGlass),
    #[error("{0}")]
    TooMany(String),
    #[error(
        "the requested time has passed: the duration from spec.startTime ended at {0}; ask with a later spec.startTime, or \
         without one"
    )]
    WindowPassed(Timestamp),
    #[error("{0}")]
    MountConflict(mount_conflict::Conflict),
    #[error(
        "CloisterConfig rejects requests from before {0} (invalidateGrantsBefore, which {CONFIG_WRITERS} can correct)"
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

/// Why a request is denied, or a grant ends or says that it goes on, whose requester has left.
pub const REQUESTER_LEFT: &str = "RequesterLeft";
