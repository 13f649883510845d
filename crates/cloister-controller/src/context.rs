//! What every part of the operator shares.

use crate::{clock::Clock, index::Index, key::Key, metrics::Metrics, queue::Queue};
use jiff::SignedDuration;
use kube::Client;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Mutex, Notify, Semaphore, watch};

/// How long changes are gathered before the status of an allowlist, which counts its users, is written.
const USAGE_WINDOW: SignedDuration = SignedDuration::from_secs(5);

/// How many locks the grants' shares are spread over.
const SHARE_LOCKS: usize = 64;

/// What every part of the operator shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is known of the cluster.
    index: RwLock<Index>,
    /// What is to be done.
    pub queue: Queue,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Metrics,
    /// How many requests may be under way.
    pub requests: Semaphore,
    /// Grants that share a mount are worked on one after the other.
    pub shares: [Mutex<()>; SHARE_LOCKS],
    /// Told when the settings may have changed.
    pub settings_changed: Notify,
    /// Grows when the definition of one of our kinds has changed, so that what was read by the old one is read anew.
    pub definitions: watch::Sender<u64>,
}

impl Context {
    /// A context with an empty index.
    pub fn new(client: Client, clock: Clock, max_requests: usize) -> Arc<Self> {
        Arc::new(Context {
            client,
            index: RwLock::default(),
            queue: Queue::default(),
            clock,
            metrics: Metrics::default(),
            requests: Semaphore::new(max_requests),
            shares: std::array::from_fn(|_| Mutex::new(())),
            settings_changed: Notify::new(),
            definitions: watch::Sender::new(0),
        })
    }

    /// Reads the index.
    pub fn index(&self) -> RwLockReadGuard<'_, Index> {
        // A panic while the index was written would have ended the process.
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the index.
    pub fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues keys that a change concerns.
    pub fn enqueue(&self, keys: impl IntoIterator<Item = Key>) {
        let (gathered, at_once): (Vec<Key>, Vec<Key>) =
            keys.into_iter().partition(|key| matches!(key, Key::Allowlist(_)));
        if at_once.contains(&Key::Config) {
            self.settings_changed.notify_one();
        }
        self.queue.add_all(at_once);
        if !gathered.is_empty() {
            let at = self.clock.now() + USAGE_WINDOW;
            for key in gathered {
                self.queue.add_at(key, at);
            }
        }
    }
}
