//! The clock: what the machine says, what the API server's answers say, and what `cloister_core::clock` makes of both.

use cloister_core::cluster::clock::{Agreement, Judge, Moment};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The clock.
#[derive(Clone, Default)]
pub struct Clock {
    judge: Arc<Mutex<Judge>>,
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.judge().now(moment())
    }

    /// Whether the machine and the API server agree about the time. Nothing is opened while they do not.
    pub fn agreement(&self) -> Agreement {
        self.judge().agreement(moment())
    }

    /// Whether they agree.
    pub fn is_sane(&self) -> bool {
        self.agreement() == Agreement::Sane
    }

    /// Takes note of an answer to a request that was sent at this elapsed time.
    pub fn observe<B>(&self, response: &http::Response<B>, sent: Duration) {
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
            self.judge().answer(date.timestamp(), sent, moment());
        }
    }

    fn judge(&self) -> MutexGuard<'_, Judge> {
        // No step leaves it half changed.
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much time has elapsed since the machine was started, sleep included.
pub fn elapsed() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn moment() -> Moment {
    Moment { machine: Timestamp::now(), elapsed: elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{SignedDuration, tz::TimeZone};

    fn answer(at: Timestamp) -> http::Response<()> {
        let date = at.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        http::Response::builder().header("Date", date).body(()).unwrap()
    }

    #[test]
    fn answers_are_read() {
        let clock = Clock::default();
        assert!(!clock.is_sane(), "nobody has said anything");
        clock.observe(&http::Response::new(()), elapsed());
        for _ in 0..3 {
            clock.observe(&answer(Timestamp::now()), elapsed());
        }
        assert!(clock.is_sane());
        let before = clock.now();
        clock.observe(&answer(Timestamp::now() + SignedDuration::from_hours(1)), elapsed());
        assert!(clock.is_sane() && clock.now().duration_since(before) < SignedDuration::from_secs(5));
    }
}
