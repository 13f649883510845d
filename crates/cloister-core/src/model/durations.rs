//! Durations and times that never overflow.

use jiff::{SignedDuration, Timestamp};
use kube::core::Duration;

/// A duration that is never negative: a negative duration becomes zero.
pub fn signed(duration: Duration) -> SignedDuration {
    if duration.is_negative() {
        return SignedDuration::ZERO;
    }
    SignedDuration::try_from(std::time::Duration::from(duration)).unwrap_or(SignedDuration::MAX)
}

/// A time after another; the latest possible time on overflow.
pub fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
