//! The work queue: which key is to be worked on, and when.
//!
//! A key is in the queue at most once however often it is added, and is never worked on twice at a time: one that is
//! added while it is worked on comes again afterwards. So the queue holds at most as many entries as there are objects.
//! Keys to be looked at later wait by the wall clock, because what ends at a time ends at that time even when the
//! machine slept or its clock was set.

use crate::key::Key;
use jiff::Timestamp;
use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::timeout,
};

/// The longest sleep of the dispatcher: how late it may notice that the wall clock was set.
const TICK: Duration = Duration::from_secs(2);

/// The first wait after a failure; each further one doubles it.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// The longest wait after a failure.
const LAST_BACKOFF: Duration = Duration::from_secs(120);

/// How many keys go past one that can wait.
const PATIENCE: u32 = 64;

/// How long what is only to be said waits for what opens and closes.
const COURTESY: Duration = Duration::from_secs(3);

/// How many things are only said at a time. What is to be opened then finds the API server nearly idle.
const FEW: usize = 4;

/// How many may wait for their turn to say something. Each takes the place of a worker, of which there must be more.
const SEATS: usize = 32;

/// The work queue.
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    /// Told when nothing urgent is left.
    calm: Notify,
    /// Places for those that give way, while they wait and while they then say what there is to say.
    seats: Semaphore,
    few: Semaphore,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            inner: Mutex::default(),
            changed: Notify::new(),
            calm: Notify::new(),
            seats: Semaphore::new(SEATS),
            few: Semaphore::new(FEW),
        }
    }
}

/// The turn of somebody who gave way.
#[derive(Debug)]
pub struct Turn<'a> {
    _seat: Option<SemaphorePermit<'a>>,
    _one_of_few: Option<SemaphorePermit<'a>>,
}

#[derive(Default)]
struct Inner {
    ready: VecDeque<Key>,
    /// Keys that can wait for those of `ready`, though not for ever.
    can_wait: VecDeque<Key>,
    /// How many keys were taken past those that can wait.
    taken: u32,
    /// Since when a key is ready; the keys of `ready` and `can_wait`.
    since: HashMap<Key, Instant>,
    running: HashSet<Key>,
    /// The keys of `running` that others give way to.
    urgent: HashSet<Key>,
    /// Keys that were added while they were worked on.
    again: HashSet<Key>,
    later: BTreeSet<(Timestamp, Key)>,
    /// When a key is due; the keys of `later`.
    due: HashMap<Key, Timestamp>,
    failures: HashMap<Key, u32>,
}

/// A key to be worked on now.
#[derive(Debug)]
pub struct Job {
    /// The key.
    pub key: Key,
    /// How long it waited.
    pub age: Duration,
}

impl Queue {
    /// Adds keys to be worked on as soon as possible.
    pub fn add_all(&self, keys: impl IntoIterator<Item = Key>) {
        let mut inner = self.lock();
        let mut any = false;
        for key in keys {
            inner.add(key);
            any = true;
        }
        drop(inner);
        if any {
            self.changed.notify_one();
            self.calm.notify_waiters();
        }
    }

    /// Adds a key to be looked at, at this time or before.
    pub fn add_at(&self, key: Key, at: Timestamp) {
        self.lock().add_at(key, at);
        self.changed.notify_one();
    }

    /// Takes a key out of turn, to work on it now.
    pub fn take(&self, key: &Key) {
        self.lock().begin(key.clone());
    }

    /// Says that the work on a key is done, and whether it succeeded. A key that failed comes again after a while,
    /// which grows with each failure in a row; how long that is, is returned.
    pub fn done(&self, key: &Key, succeeded: bool, now: Timestamp) -> Option<Duration> {
        let mut inner = self.lock();
        inner.end(key);
        let wait = if succeeded {
            inner.failures.remove(key);
            None
        } else {
            let failures = inner.failures.entry(key.clone()).or_default();
            let wait = backoff(*failures, fastrand::f64());
            *failures = failures.saturating_add(1);
            inner.add_at(key.clone(), now + wait);
            Some(wait)
        };
        drop(inner);
        self.changed.notify_one();
        self.calm.notify_waiters();
        wait
    }

    /// Waits until nothing that opens or closes is ready or under way, or until it was polite long enough.
    pub async fn calm(&self) {
        let _ = timeout(COURTESY, self.until(Inner::is_calm)).await;
    }

    /// Lets everything go first that opens or closes, because what is left to do for this key is only to say something.
    /// Ends early when the key is to be looked at again, and at once where too many wait already. The turn that is
    /// returned is to be kept while it is said.
    pub async fn give_way(&self, key: &Key) -> Turn<'_> {
        self.lock().urgent.remove(key);
        self.calm.notify_waiters();
        let mut turn = Turn { _seat: self.seats.try_acquire().ok(), _one_of_few: None };
        if turn._seat.is_some() {
            let wait = async {
                let one_of_few = self.few.acquire().await.ok();
                self.until(|inner| inner.is_calm() || inner.again.contains(key)).await;
                one_of_few
            };
            turn._one_of_few = timeout(COURTESY, wait).await.ok().flatten();
        }
        turn
    }

    async fn until(&self, holds: impl Fn(&Inner) -> bool) {
        loop {
            let changed = self.calm.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// The next key to work on.
    pub async fn next(&self, now: impl Fn() -> Timestamp) -> Job {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let mut inner = self.lock();
                let time = now();
                inner.fall_due(time);
                if let Some(job) = inner.pop() {
                    return job;
                }
                let due = inner.later.first().map(|(at, _)| at.duration_since(time));
                due.and_then(|due| Duration::try_from(due).ok()).map_or(TICK, |due| due.min(TICK))
            };
            // Whether it changed or fell due, the next round looks.
            let _ = timeout(wait, changed).await;
        }
    }

    /// How many keys are ready, and how many wait for their time.
    pub fn depth(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.since.len(), inner.later.len())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The queue's steps cannot leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, key: Key) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if !self.since.contains_key(&key) {
            self.since.insert(key.clone(), Instant::now());
            let lane = if key.can_wait() { &mut self.can_wait } else { &mut self.ready };
            lane.push_back(key);
        }
    }

    fn add_at(&mut self, key: Key, at: Timestamp) {
        match self.due.get(&key) {
            Some(&due) if due <= at => return,
            Some(&due) => {
                self.later.remove(&(due, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    fn fall_due(&mut self, now: Timestamp) {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.due.remove(&key);
                self.add(key);
            }
        }
    }

    /// Whether nothing is ready or under way but what can wait.
    fn is_calm(&self) -> bool {
        self.ready.is_empty() && self.urgent.is_empty()
    }

    fn begin(&mut self, key: Key) {
        if !key.can_wait() {
            self.urgent.insert(key.clone());
        }
        self.running.insert(key);
    }

    fn end(&mut self, key: &Key) {
        self.running.remove(key);
        self.urgent.remove(key);
        if self.again.remove(key) {
            self.add(key.clone());
        }
    }

    fn pop(&mut self) -> Option<Job> {
        let waited_enough = self.taken >= PATIENCE && !self.can_wait.is_empty();
        let key = if self.is_calm() || waited_enough {
            if self.running.len() - self.urgent.len() >= FEW && self.ready.is_empty() {
                return None;
            }
            self.taken = 0;
            self.can_wait.pop_front()?
        } else {
            // While one is under way, what can wait would take from it what the API server can do.
            let key = self.ready.pop_front()?;
            self.taken += 1;
            key
        };
        let age = self.since.remove(&key).map(|since| since.elapsed()).unwrap_or_default();
        self.begin(key.clone());
        Some(Job { key, age })
    }
}

/// Exponential backoff with jitter: between half and the whole of what the number of failures asks for.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let factor = 1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX);
    FIRST_BACKOFF.saturating_mul(factor).min(LAST_BACKOFF).mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::Namespace(name.into())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_key_is_queued_once() {
        let mut inner = Inner::default();
        inner.add(key("a"));
        inner.add(key("a"));
        assert_eq!(inner.pop().unwrap().key, key("a"));
        assert!(inner.pop().is_none());
    }

    #[test]
    fn what_can_wait_goes_last_though_not_for_ever() {
        let mut inner = Inner::default();
        let review = Key::Review("a".into(), "b".into());
        inner.add(review.clone());
        for at in 0..PATIENCE + 4 {
            inner.add(key(&format!("n{at}")));
        }
        let order: Vec<Key> = std::iter::from_fn(|| inner.pop()).map(|job| job.key).collect();
        assert_eq!(order.iter().position(|key| *key == review), Some(PATIENCE as usize));
        assert_eq!(order.len(), PATIENCE as usize + 5);
    }

    #[tokio::test]
    async fn what_can_wait_waits_for_what_is_under_way() {
        let queue = Queue::default();
        let review = Key::Review("a".into(), "b".into());
        queue.add_all([key("a"), review.clone()]);
        assert_eq!(queue.lock().pop().unwrap().key, key("a"));
        assert!(queue.lock().pop().is_none());
        let calm = queue.calm();
        tokio::pin!(calm);
        assert!(futures::poll!(&mut calm).is_pending());
        queue.done(&key("a"), true, at(0));
        calm.await;
        assert_eq!(queue.lock().pop().unwrap().key, review);
        // What is only said does not disturb.
        queue.calm().await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gives_way_waits_for_the_others() {
        let queue = Queue::default();
        let a = key("a");
        queue.add_all([a.clone(), key("b")]);
        for name in ["a", "b"] {
            assert_eq!(queue.lock().pop().unwrap().key, key(name));
        }
        let polite = queue.give_way(&a);
        tokio::pin!(polite);
        assert!(futures::poll!(&mut polite).is_pending());
        queue.done(&key("b"), true, at(0));
        assert!(futures::poll!(&mut polite).is_ready());

        queue.add_all([key("b")]);
        assert_eq!(queue.lock().pop().unwrap().key, key("b"));
        let polite = queue.give_way(&a);
        tokio::pin!(polite);
        assert!(futures::poll!(&mut polite).is_pending());
        queue.add_all([key("a")]);
        assert!(futures::poll!(&mut polite).is_ready());
        queue.done(&key("a"), true, at(0));
        // Whatever is under way, it ends.
        queue.give_way(&a).await;
    }

    #[test]
    fn a_key_added_while_it_runs_comes_again_afterwards() {
        let queue = Queue::default();
        queue.add_all([key("a")]);
        assert!(queue.lock().pop().is_some());
        queue.add_all([key("a")]);
        assert!(queue.lock().pop().is_none());
        queue.done(&key("a"), true, at(0));
        assert_eq!(queue.lock().pop().unwrap().key, key("a"));
    }

    #[test]
    fn the_earlier_time_counts() {
        let mut inner = Inner::default();
        inner.add_at(key("a"), at(9));
        inner.add_at(key("a"), at(5));
        inner.add_at(key("a"), at(7));
        inner.fall_due(at(4));
        assert!(inner.pop().is_none());
        inner.fall_due(at(5));
        assert_eq!(inner.pop().unwrap().key, key("a"));
        inner.end(&key("a"));
        inner.fall_due(at(100));
        assert!(inner.pop().is_none());
    }

    #[test]
    fn failures_wait_longer_and_success_forgets_them() {
        let queue = Queue::default();
        let waits: Vec<Duration> = (0..12).filter_map(|_| queue.done(&key("a"), false, at(0))).collect();
        assert!(waits[0] <= FIRST_BACKOFF && waits[0] >= FIRST_BACKOFF / 2);
        assert!(waits[11] <= LAST_BACKOFF && waits[11] >= LAST_BACKOFF / 2);
        queue.done(&key("a"), true, at(0));
        assert!(queue.done(&key("a"), false, at(0)).unwrap() <= FIRST_BACKOFF);
    }

    #[tokio::test]
    async fn a_key_that_is_due_is_handed_out() {
        let queue = Queue::default();
        queue.add_at(key("a"), at(5));
        let job = queue.next(|| at(6)).await;
        assert_eq!(job.key, key("a"));
        assert_eq!(queue.depth(), (0, 0));
    }
}
