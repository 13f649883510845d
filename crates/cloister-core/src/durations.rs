//! Durations and times that never overflow.

use jiff::{SignedDuration, Timestamp};
use kube::core::Duration;

/// A duration that is never negative: one that is counts as nothing.
pub fn signed(duration: Duration) -> SignedDuration {
    if duration.is_negative() {
        return SignedDuration::ZERO;
    }
    SignedDuration::try_from(std::time::Duration::from(duration)).unwrap_or(SignedDuration::MAX)
}

/// A time after another; the last of all times where there is none so late.
pub fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
