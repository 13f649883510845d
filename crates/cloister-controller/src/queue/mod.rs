//! The work queue: which key is to be worked on, and when.
//!
//! A key is in the queue at most once however often it is added, and is never worked on twice at a time: one that is
//! added while it is worked on comes again afterwards. So the queue holds at most as many entries as there are objects.
//! Keys to be looked at later wait by the wall clock, because what ends at a time ends at that time even when the
//! machine slept or its clock was set.
//!
//! Each lane has a concurrency of its own, and a key that must wait for another of its group takes none of it: so a grant that
//! must end waits for nothing but grants that must end. Two lanes only write statuses, a few at a time: where the API server is
//! the bottleneck, a crowd of statuses takes a small share of it from what opens and closes, and no other lane starves them.

mod inner;
mod job;
#[cfg(test)]
mod laws;
mod turns;

pub use cloister_index::lane::{Lane, Mode, Ticket};
pub use job::Job;

use cloister_index::key::Key;
use inner::Inner;
use jiff::Timestamp;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// The longest sleep of the dispatcher: how late it may notice that the wall clock was set.
const TICK: Duration = Duration::from_secs(2);

/// The first wait after a failure; each further one doubles it.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// The longest wait after a failure.
const LAST_BACKOFF: Duration = Duration::from_secs(120);

/// The work queue.
pub struct Queue {
    inner: Mutex<Inner>,
    failures: Mutex<HashMap<Key, u32>>,
    changed: Notify,
}

impl Queue {
    /// A queue that hands out so many keys at a time of what opens.
    pub fn new(workers: usize) -> Self {
        Queue { inner: Mutex::new(Inner::new(workers)), failures: Mutex::default(), changed: Notify::new() }
    }

    /// Adds keys to be worked on as soon as possible.
    pub fn add_all(&self, keys: impl IntoIterator<Item = (Key, Ticket)>) {
        let mut inner = self.lock();
        let mut any = false;
        for (key, ticket) in keys {
            inner.add(key, ticket);
            any = true;
        }
        drop(inner);
        if any {
            self.changed.notify_one();
        }
    }

    /// Adds a key to be looked at, at this time or before.
    pub fn add_at(&self, key: Key, at: Timestamp) {
        self.lock().add_at(key, at);
        self.changed.notify_one();
    }

    /// Takes a key out of turn, to work on it now.
    pub fn take(&self, key: Key, ticket: Ticket) -> Job {
        self.lock().take(key, ticket)
    }

    /// Says that the work on a key is done, and whether it succeeded. A key that failed comes again after a while,
    /// which grows with each failure in a row; how long that is, is returned.
    pub fn done(&self, key: &Key, succeeded: bool, now: Timestamp) -> Option<Duration> {
        let wait = self.wait_after(key, succeeded);
        let mut inner = self.lock();
        inner.end(key);
        if let Some(wait) = wait {
            inner.add_at(key.clone(), now + wait);
        }
        drop(inner);
        self.changed.notify_one();
        wait
    }

    /// Forgets how often keys have failed, and answers which have.
    pub fn forget_failures(&self) -> HashSet<Key> {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *all).into_keys().collect()
    }

    /// How long a key waits that failed.
    fn wait_after(&self, key: &Key, succeeded: bool) -> Option<Duration> {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if succeeded {
            all.remove(key);
            return None;
        }
        let failures = all.entry(key.clone()).or_default();
        let wait = backoff(*failures, fastrand::f64());
        *failures = failures.saturating_add(1);
        Some(wait)
    }

    /// Leaves the status of a key that is worked on to the lane of what has opened, where the key comes again. Whether that is
    /// so is returned: what is in another lane than the normal one does all at once.
    pub fn defer_status(&self, key: &Key) -> bool {
        self.lock().defer_status(key)
    }

    /// The next key to work on. What has fallen due is given tickets as of now, and the queue is not held meanwhile.
    pub async fn next(&self, now: impl Fn() -> Timestamp, tickets: impl Fn(Vec<Key>) -> Vec<(Key, Ticket)>) -> Job {
        loop {
            let changed = self.changed.notified();
            let time = now();
            let due = self.lock().fallen_due(time);
            let due = if due.is_empty() { Vec::new() } else { tickets(due) };
            let wait = {
                let mut inner = self.lock();
                due.into_iter().for_each(|(key, ticket)| inner.add(key, ticket));
                if let Some(job) = inner.pop() {
                    return job;
                }
                let due = inner.next_due().map(|at| at.duration_since(time));
                due.and_then(|due| Duration::try_from(due).ok()).map_or(TICK, |due| due.min(TICK))
            };
            // Whether it changed or fell due, the next round looks.
            let _ = timeout(wait, changed).await;
        }
    }

    /// How many keys are ready or wait for a turn, and how many wait for their time.
    pub fn depth(&self) -> (usize, usize) {
        self.lock().depth()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The queue's steps cannot leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Exponential backoff with jitter: between half and the whole of what the number of failures asks for.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let factor = 1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
    FIRST_BACKOFF.saturating_mul(factor).min(LAST_BACKOFF).mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests;
