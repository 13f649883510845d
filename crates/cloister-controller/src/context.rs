//! What every part of the operator shares.

use crate::{
    alerts::{Alerts, Impersonators},
    audit::Audit,
    clock::Clock,
    connection::Connection,
    guard::{Guarded, Reading, Writing},
    index::{Dirty, Index, Recorder},
    key::Key,
    leader::Leadership,
    liveness::Liveness,
    looks::Looks,
    metrics::Metrics,
    names::Names,
    queue::{Queue, Ticket},
    reconcile::{Destroyed, Replaced},
    requests::Requests,
    synced::Synced,
};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
};
use tokio::sync::{Notify, watch};

/// How often the users of an allowlist are counted at most: each namespace that comes changes their number.
const USAGE_WINDOW: SignedDuration = SignedDuration::from_secs(5);

/// What every part of the operator shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The connection to it.
    pub connection: Connection,
    /// What is known of the cluster.
    index: Guarded<Index>,
    /// What is known of the watches that fill the index.
    pub synced: Synced,
    /// Whether the process still does its work.
    pub liveness: Liveness,
    /// Whether this operator may act.
    pub leadership: Arc<Leadership>,
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
    /// Looks at pods that must not rest on a watch.
    pub looks: Looks,
    /// The copies of credentials that somebody else has written.
    pub replaced: Replaced,
    /// The copies of credentials that are known to be gone.
    pub destroyed: Destroyed,
    /// When the users of an allowlist were last counted, for those that were a moment ago.
    counted: std::sync::Mutex<HashMap<Arc<str>, Timestamp>>,
    /// Told when the settings may have changed.
    pub settings_changed: watch::Sender<()>,
    /// Told when other ClusterRoles may be named, or the operator may bind others.
    pub roles_changed: Notify,
    /// Grows when the definition of one of our kinds has changed, so that what was read by the old one is read anew.
    pub definitions: watch::Sender<u64>,
    /// Grows when everything is to be read anew: the API server's store was put back to an earlier state, or records are
    /// missing of what is not kept whole.
    pub restored: watch::Sender<u64>,
    /// What was decided while the clocks disagreed, to be looked at again when they agree.
    held: std::sync::Mutex<HashSet<Key>>,
    /// What waits until the kinds that it depends on are listed.
    parked: std::sync::Mutex<HashSet<Key>>,
}

impl Context {
    /// A context with an empty index.
    pub fn new(
        connection: Connection,
        leadership: Arc<Leadership>,
        clock: Clock,
        audit: Audit,
        workers: usize,
        max_requests: usize,
    ) -> Arc<Self> {
        let audit = Arc::new(audit);
        let recorder = Recorder(Some(audit.clone()));
        Arc::new(Context {
            client: connection.client(),
            connection,
            index: Guarded::new(Index { recorder, ..Index::default() }),
            synced: Synced::default(),
            liveness: Liveness::default(),
            leadership,
            queue: Queue::new(workers),
            clock,
            metrics: Metrics::default(),
            alerts: Alerts::default(),
            impersonators: Impersonators::default(),
            names: Names::default(),
            audit,
            requests: Requests::new(max_requests),
            looks: Looks::default(),
            replaced: Replaced::default(),
            destroyed: Destroyed::default(),
            counted: std::sync::Mutex::default(),
            settings_changed: watch::Sender::new(()),
            roles_changed: Notify::new(),
            definitions: watch::Sender::new(0),
            restored: watch::Sender::new(0),
            held: std::sync::Mutex::default(),
            parked: std::sync::Mutex::default(),
        })
    }

    /// Reads the index.
    pub fn index(&self) -> Reading<'_, Index> {
        self.index.read()
    }

    /// Reads the index, if nobody is writing it.
    pub fn try_index(&self) -> Option<Reading<'_, Index>> {
        self.index.try_read()
    }

    /// Writes the index.
    pub fn index_mut(&self) -> Writing<'_, Index> {
        self.index.write()
    }

    /// Has a key looked at again once the clocks agree.
    pub fn hold(&self, key: Key) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// Looks again at everything that waited for the clocks to agree.
    pub fn release_held(&self) {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        self.again(held);
    }

    /// Which of these kinds are not listed yet. If there are any, the key is looked at again when that has changed.
    pub fn park(&self, key: &Key, needs: &[&'static str]) -> Vec<&'static str> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = self.synced.missing(Some(needs));
        if !missing.is_empty() {
            parked.insert(key.clone());
        }
        missing
    }

    /// Looks again at what waited for a kind to be listed.
    pub fn resume(&self) {
        let parked = std::mem::take(&mut *self.parked.lock().unwrap_or_else(PoisonError::into_inner));
        self.again(parked);
    }

    /// Looks again at once at everything that failed and waits for its next try.
    pub fn retry_all(&self) {
        self.again(self.queue.forget_failures());
    }

    /// Queues keys that a change concerns.
    pub fn enqueue(&self, keys: Dirty) {
        if keys.contains(&Key::Config) {
            self.synced.settings_changed();
            self.settings_changed.send_replace(());
        }
        if keys.iter().any(|key| matches!(key, Key::Role(_) | Key::Storage(_))) {
            self.roles_changed.notify_one();
        }
        self.again(keys);
    }

    /// Queues keys of which nothing has changed.
    fn again(&self, keys: HashSet<Key>) {
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
