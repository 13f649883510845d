//! What is known of the cluster, and who is woken when it changes.

use crate::{
    clock::Clock,
    guard::{Guarded, Reading, Writing},
    queue::{Queue, Ticket},
    watch::Synced,
};
use cloister_core::cluster::settings::Settings;
use cloister_index::{
    index::{Dirty, Index},
    key::Key,
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// How long what is about all namespaces waits after a change, so that many changes are looked at once.
const GATHERING: Duration = Duration::from_millis(200);

/// The index, the watches that fill it, and the queue of the keys that a change concerns.
pub struct Store {
    index: Guarded<Index>,
    /// What is known of the watches that fill the index.
    pub synced: Synced,
    /// What is to be reconciled.
    pub queue: Queue,
    /// The time.
    pub clock: Clock,
    /// The settings that watches follow; notified when there are others.
    pub followed: watch::Sender<Arc<Settings>>,
    /// Notified when other ClusterRoles may be named, or the operator may bind others.
    pub roles_changed: Notify,
    /// Grows when the definition of one of our kinds has changed, so that what was read by the old one is read anew.
    pub definitions: watch::Sender<u64>,
    /// Grows when everything is to be read anew: the API server's store was put back to an earlier state, or records are
    /// missing of what is not kept whole.
    pub restored: watch::Sender<u64>,
    /// What was decided while the clocks disagreed, to be looked at again when they agree.
    held: Mutex<HashSet<Key>>,
    /// What waits until the kinds that it depends on are listed.
    parked: Mutex<HashSet<Key>>,
}

impl Store {
    /// A store of this index, whose queue hands out so many keys at a time.
    pub fn new(index: Index, clock: Clock, workers: usize) -> Self {
        Store {
            followed: watch::Sender::new(index.settings().clone()),
            index: Guarded::new(index),
            synced: Synced::default(),
            queue: Queue::new(workers),
            clock,
            roles_changed: Notify::new(),
            definitions: watch::Sender::new(0),
            restored: watch::Sender::new(0),
            held: Mutex::default(),
            parked: Mutex::default(),
        }
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

    /// The settings, with which nothing more is opened for this key while the clocks disagree. It is then looked at again when
    /// they agree.
    pub fn settings_for(&self, index: &Index, key: impl FnOnce() -> Key) -> Arc<Settings> {
        if self.clock.is_sane() {
            return index.settings().clone();
        }
        locked(&self.held).insert(key());
        Arc::new(Settings { held: true, ..Settings::clone(index.settings()) })
    }

    /// Looks again at everything that waited for the clocks to agree.
    pub fn release_held(&self) {
        let held = std::mem::take(&mut *locked(&self.held));
        self.again(held);
    }

    /// Which of these kinds are not listed yet. If there are any, the key is looked at again when that has changed.
    pub fn park(&self, key: &Key, needs: &[&'static str]) -> Vec<&'static str> {
        let mut parked = locked(&self.parked);
        let missing = self.synced.missing(Some(needs));
        if !missing.is_empty() {
            parked.insert(key.clone());
        }
        missing
    }

    /// Looks again at what waited for a kind to be listed.
    pub fn resume(&self) {
        let parked = std::mem::take(&mut *locked(&self.parked));
        self.again(parked);
    }

    /// Looks again at once at everything that failed and waits for its next try.
    pub fn retry_all(&self) {
        self.again(self.queue.forget_failures());
    }

    /// Queues keys that a change concerns.
    pub fn enqueue(&self, keys: Dirty) {
        if keys.contains(&Key::Config) {
            self.follow_settings();
        }
        if keys.iter().any(|key| matches!(key, Key::Role(_) | Key::Storage(_))) {
            self.roles_changed.notify_one();
        }
        self.again(keys);
    }

    /// Tells the watches that follow the settings, where there are others.
    fn follow_settings(&self) {
        let now = self.index().settings().clone();
        self.followed.send_if_modified(|followed| {
            let are_others = !Arc::ptr_eq(followed, &now);
            if are_others {
                self.synced.settings_changed();
                *followed = now;
            }
            are_others
        });
    }

    /// Queues keys of which nothing has changed.
    pub fn again(&self, mut keys: HashSet<Key>) {
        let later = self.clock.now() + GATHERING;
        keys.extract_if(Key::gathers).for_each(|key| self.queue.add_at(key, later));
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
}

fn locked<T>(all: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step leaves it half changed.
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_core::egress::Installed;

    #[test]
    fn what_the_settings_name_is_missing_only_when_there_are_other_settings() {
        let store = Store::new(Index::default(), Clock::default(), 1);
        store.synced.follow("Secret");
        store.synced.followed("Secret", store.synced.settings());
        store.enqueue([Key::Config].into());
        assert!(store.synced.missing(None).is_empty(), "nothing else is in force");
        let mut dirty = Dirty::new();
        store.index_mut().install(Installed { cilium: true, ..Installed::default() }, &mut dirty);
        store.enqueue(dirty);
        assert_eq!(store.synced.missing(None), ["Secret"]);
    }

    #[test]
    fn what_is_about_all_namespaces_waits_a_little() {
        let store = Store::new(Index::default(), Clock::default(), 1);
        store.again([Key::Users("web".into()), Key::Impersonation].into());
        assert_eq!(store.queue.depth().0, 0, "it is looked at with what else changes");
        store.again([Key::Allowlist("web".into())].into());
        assert_eq!(store.queue.depth().0, 1);
    }
}
