//! The time, which is never behind the newest `Date` that the API server sent.
//!
//! A clock that was set back would keep open what has ended. So the time is the later of the machine's own and the API
//! server's, and when the two are far apart nothing new is opened.

use jiff::{SignedDuration, Timestamp};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// How far the clocks may be apart.
const SKEW_LIMIT: SignedDuration = SignedDuration::from_secs(30);

/// The clock.
#[derive(Clone, Default)]
pub struct Clock {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The newest time that the API server sent, in seconds.
    server: AtomicI64,
    /// The machine's time less the API server's at the last response, in seconds.
    skew: AtomicI64,
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Timestamp {
        let server = Timestamp::from_second(self.inner.server.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH);
        Timestamp::now().max(server)
    }

    /// Whether the clocks agree well enough to open something.
    pub fn is_sane(&self) -> bool {
        SignedDuration::from_secs(self.inner.skew.load(Ordering::Relaxed)).abs() <= SKEW_LIMIT
    }

    /// Takes note of a response.
    pub fn observe<B>(&self, response: &http::Response<B>) {
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
            self.observe_date(date.timestamp(), Timestamp::now());
        }
    }

    fn observe_date(&self, server: Timestamp, machine: Timestamp) {
        self.inner.server.fetch_max(server.as_second(), Ordering::Relaxed);
        self.inner.skew.store(machine.as_second() - server.as_second(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_not_behind_the_server() {
        let clock = Clock::default();
        let ahead = Timestamp::now() + SignedDuration::from_hours(1);
        clock.observe_date(ahead, Timestamp::now());
        assert!(clock.now() >= Timestamp::from_second(ahead.as_second()).unwrap());
        assert!(!clock.is_sane());
        clock.observe_date(Timestamp::now(), Timestamp::now());
        assert!(clock.is_sane());
        assert!(clock.now() >= Timestamp::from_second(ahead.as_second()).unwrap());
    }
}
