//! What every part of the operator shares.

use crate::{
    alerts::{Alerts, Impersonators},
    audit::Audit,
    clock::Clock,
    index::{Dirty, Index, Recorder},
    key::Key,
    metrics::Metrics,
    names::Names,
    queue::{Queue, Ticket},
    requests::Requests,
};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::{Notify, watch};

/// How often the users of an allowlist are counted at most: each namespace that comes changes their number.
const USAGE_WINDOW: SignedDuration = SignedDuration::from_secs(5);

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
    /// What is told.
    pub alerts: Alerts,
    /// The bindings by which tenants may act as somebody else.
    pub impersonators: Impersonators,
    /// What is known of names.
    pub names: Names,
    /// What is recorded.
    pub audit: Arc<Audit>,
    /// How many requests may be under way.
    pub requests: Requests,
    /// When the users of an allowlist were last counted, for those that were a moment ago.
    counted: std::sync::Mutex<HashMap<Arc<str>, Timestamp>>,
    /// Told when the settings may have changed.
    pub settings_changed: watch::Sender<()>,
    /// Told when other ClusterRoles may be named, or the operator may bind others.
    pub roles_changed: Notify,
    /// Grows when the definition of one of our kinds has changed, so that what was read by the old one is read anew.
    pub definitions: watch::Sender<u64>,
}

impl Context {
    /// A context with an empty index.
    pub fn new(client: Client, clock: Clock, audit: Audit, workers: usize, max_requests: usize) -> Arc<Self> {
        let audit = Arc::new(audit);
        let recorder = Recorder(Some(audit.clone()));
        Arc::new(Context {
            client,
            index: RwLock::new(Index { recorder, ..Index::default() }),
            queue: Queue::new(workers),
            clock,
            metrics: Metrics::default(),
            alerts: Alerts::default(),
            impersonators: Impersonators::default(),
            names: Names::default(),
            audit,
            requests: Requests::new(max_requests),
            counted: std::sync::Mutex::default(),
            settings_changed: watch::Sender::new(()),
            roles_changed: Notify::new(),
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
    pub fn enqueue(&self, keys: Dirty) {
        if keys.contains(&Key::Config) {
            self.settings_changed.send_replace(());
        }
        if keys.iter().any(|key| matches!(key, Key::Role(_) | Key::Storage(_))) {
            self.roles_changed.notify_one();
        }
        if !keys.is_empty() {
            self.queue.add_all(self.tickets(keys));
        }
    }

    /// Gives each key a ticket by what is known now.
    pub fn tickets(&self, keys: impl IntoIterator<Item = Key>) -> Vec<(Key, Ticket)> {
        let now = self.clock.now();
        let index = self.index();
        let ticket = |key: Key| {
            let ticket = index.ticket(&key, now);
            (key, ticket)
        };
        keys.into_iter().map(ticket).collect()
    }

    /// Whether the count of an allowlist's users may be written again, or when it may be.
    ///
    /// # Errors
    ///
    /// It was written a moment ago; the time from which it may be written again.
    pub fn may_count(&self, allowlist: &Arc<str>, now: Timestamp) -> Result<(), Timestamp> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.retain(|_, at| *at + USAGE_WINDOW > now);
        match counted.get(allowlist) {
            Some(at) => Err(*at + USAGE_WINDOW),
            None => {
                counted.insert(allowlist.clone(), now);
                Ok(())
            }
        }
    }
}
