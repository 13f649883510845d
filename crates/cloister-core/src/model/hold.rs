//! The reasons for which the operator opens nothing new, whatever was declared and approved. What is open stays open, and
//! grants still end.

use cloister_api::condition::reason;

/// Why nothing new is opened now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The clocks of the operator and of the API server are too far apart.
    ClockSkew,
    /// The audit record cannot be written: what is approved or opened now might never be recorded.
    AuditUnavailable,
}

impl Held {
    /// The reason, in one word.
    pub fn reason(self) -> &'static str {
        match self {
            Held::ClockSkew => reason::CLOCK_SKEW,
            Held::AuditUnavailable => reason::AUDIT_UNAVAILABLE,
        }
    }

    /// The reason, and what to do about it.
    pub fn message(self) -> &'static str {
        match self {
            Held::ClockSkew => {
                "the clocks of the operator and of the API server are too far apart; nothing new is opened until they agree. \
                 Check the time on the node of the operator and on those of the API server"
            }
            Held::AuditUnavailable => {
                "the audit record cannot be written; nothing is approved or opened until it can. See the alarm \
                 AuditSinkFailed and the log of the operator for the cause"
            }
        }
    }
}
