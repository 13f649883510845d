//! Where the audit record goes.
//!
//! What is recorded follows from what is written in the cluster (`cloister_core::audit`), and is taken after every
//! reconcile. So nothing is lost while the sink fails: what does not fit into memory is made again from the statuses when
//! the sink is back. A grant opens only when its approval is in the record, and a deleted one is there until its end is.
//! Nothing of it holds up what closes: a thread of its own writes, and everybody else hands over and goes on.
//!
//! A file is read back when it is opened, so that nothing is there twice. Standard output cannot be read back: a new chain
//! begins there with each start, with what happened of late.

mod destination;
mod error;
mod file;
mod record_ids;
mod sink;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use super::{
    alerts::{Alerts, settings_reference},
    notification::Notification,
};
use crate::{store::Store, watch::needs};
use cloister_api::{AccessReview, condition::reason};
use cloister_core::{
    audit::{Record, of_grant, of_review},
    grant::Grant,
    model::child::{Children, GrantRef},
};
use cloister_index::{
    index::{Index, Recorded},
    key::Key,
};
use jiff::{SignedDuration, Timestamp};
use sink::Sink;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, interval, sleep};
use tracing::{error, info};
use writer::{Due, Shared};

/// Of how many objects it is not worth while to forget what was recorded.
const FEW: usize = 1024;

/// How far back a sink that cannot be read back begins.
const OF_LATE: SignedDuration = SignedDuration::from_hours(1);

/// How often it is looked whether the sink stands otherwise.
const LOOK: Duration = Duration::from_secs(1);

/// The audit record.
pub struct Audit {
    /// None where nothing is recorded.
    shared: Option<Arc<Shared>>,
    /// The sink, until the thread has it.
    sink: Mutex<Option<Box<dyn Sink>>>,
    /// Of how many objects something must be remembered before it is asked which of them are gone.
    forget_at: AtomicUsize,
}

impl Audit {
    /// The record that goes to `stdout`, `none`, or a file, which is continued. Nothing is opened before it begins.
    pub fn new(to: &str) -> Self {
        let shared = |since| Some(Arc::new(Shared::new(since)));
        let (shared, sink) = match to {
            "none" => (None, None),
            "stdout" => {
                let since = Timestamp::now().checked_sub(OF_LATE).unwrap_or(Timestamp::MIN);
                (shared(since), Some(destination::named(to)))
            }
            path => (shared(Timestamp::MIN), Some(destination::named(path))),
        };
        Audit { shared, sink: Mutex::new(sink), forget_at: AtomicUsize::new(0) }
    }

    /// Starts the thread that writes.
    pub fn begin(&self) {
        let sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(shared), Some(mut sink)) = (self.shared.clone(), sink) else { return };
        let thread = std::thread::Builder::new().name("audit".into());
        if let Err(error) = thread.spawn(move || shared.write(&mut *sink)) {
            error!(%error, "there is no thread for the audit record; nothing is opened");
        }
    }

    /// Waits until it is known what is in the record, for so long at most.
    pub async fn opened(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while self.shared.as_ref().is_some_and(|shared| !shared.was_opened()) && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Writes what waits, for so long at most, and ends the thread.
    pub async fn close(&self, limit: Duration) {
        let Some(shared) = &self.shared else { return };
        shared.close();
        let until = Instant::now() + limit;
        while !shared.is_at_rest() && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Why nothing can be recorded now, if that is so.
    pub fn failure(&self) -> Option<String> {
        self.shared.as_ref()?.failure()
    }

    /// How many records wait to be written, and how many were.
    pub fn counts(&self) -> (usize, u64) {
        self.shared.as_ref().map(|shared| shared.counts()).unwrap_or_default()
    }

    /// Whether everything that was said of a grant is in the record. Where it is not, the grant is looked at again when it
    /// is.
    pub fn holds(&self, grant: &Grant, key: &Key, namespace: &str) -> bool {
        let Some(shared) = &self.shared else { return true };
        let missing = of_grant(grant, namespace, &Children::new(), |id| shared.is_written(id));
        let ids: Vec<String> = missing.into_iter().map(|record| record.id).collect();
        shared.has_written(&ids, key)
    }

    /// Has an object looked at again when the record can be written, or cannot any more.
    pub fn tell(&self, key: &Key) {
        if let Some(shared) = &self.shared {
            shared.tell(key);
        }
    }

    /// Forgets what was recorded of objects that are not there any more, once there may be as many of those as of others.
    pub fn forget_the_gone(&self, index: &Index) {
        let Some(shared) = &self.shared else { return };
        if shared.objects() < self.forget_at.load(Relaxed) {
            return;
        }
        shared.retain(index.uids().into_iter());
        self.forget_at.store(shared.objects() * 2 + FEW, Relaxed);
    }

    /// Records what is new of a grant.
    pub fn take_grant(&self, store: &Store, namespace: &Arc<str>, grant: &GrantRef) {
        static NOTHING: Children = Children::new();
        let Some(shared) = &self.shared else { return };
        let key = Key::Grant(namespace.clone(), grant.clone());
        if !shared.takes(&key) {
            return;
        }
        let records = {
            let index = store.index();
            let Some(Ok(found)) = index.grant(namespace, grant).map(|found| found.object.as_ref()) else { return };
            let children = index.children.get(namespace).map_or(&NOTHING, |children| &children.all);
            of_grant(found, namespace, children, |id| shared.has(id))
        };
        self.hand_over(store, records, &key);
    }

    /// Records what is new of a review.
    pub fn take_review(&self, store: &Store, namespace: &Arc<str>, name: &Arc<str>) {
        let Some(shared) = &self.shared else { return };
        let key = Key::Review(namespace.clone(), name.clone());
        if !shared.takes(&key) {
            return;
        }
        let record = {
            let index = store.index();
            let found = index.reviews.get(namespace).and_then(|reviews| reviews.get(name));
            found.and_then(|found| of_review(found.object.as_ref().ok()?, namespace))
        };
        self.hand_over(store, record.into_iter().collect(), &key);
    }

    fn hand_over(&self, store: &Store, records: Vec<Record>, key: &Key) {
        let (Some(shared), false) = (&self.shared, records.is_empty()) else { return };
        shared.hand_over(records, key);
        // What was not listed yet is not gone.
        let kinds = [&needs::GRANTS[..], &["AccessReview"]].concat();
        if store.synced.missing(Some(&kinds)).is_empty() {
            self.forget_the_gone(&store.index());
        }
    }

    /// Follows how the sink stands: raises the alarm, and has looked at again what waits for it. Never ends.
    pub async fn follow(&self, store: &Store, alerts: &Alerts) {
        let Some(shared) = self.shared.clone() else { return std::future::pending().await };
        let mut tick = interval(LOOK);
        let mut said: Option<String> = None;
        loop {
            tokio::select! {
                () = shared.news.notified() => {}
                _ = tick.tick() => {}
            }
            let failure = shared.failure();
            let changed = failure.is_some() != said.is_some();
            let Due { mut keys, all } = shared.due(changed);
            if all {
                // Of grants that have ended only a few facts are kept. What is to be recorded of them is read again.
                store.restored.send_modify(|count| *count += 1);
                let of_grants = |key: &Key| matches!(key, Key::Grant(..) | Key::Review(..));
                keys.extend(store.index().all_keys().into_iter().filter(of_grants));
            }
            if failure != said {
                // Also where there is no CloisterConfig to say it in, somebody is told.
                if let Some(why) = &failure {
                    let notification = Notification::warning(reason::AUDIT_UNAVAILABLE, why.clone());
                    alerts.raise(settings_reference(), notification);
                } else {
                    info!("the audit record can be written again");
                }
                keys.insert(Key::Config);
                said = failure;
            }
            store.again(keys);
        }
    }
}

impl Recorded for Audit {
    fn takes_grant(&self, grant: &Grant, namespace: &str) -> bool {
        let reference = GrantRef { kind: grant.kind(), name: grant.name().into() };
        // What it opened is gone.
        self.takes(Key::Grant(namespace.into(), reference), |shared| {
            of_grant(grant, namespace, &Children::new(), |id| shared.has(id))
        })
    }

    fn takes_review(&self, review: &AccessReview, namespace: &str) -> bool {
        let name = review.metadata.name.as_deref().unwrap_or_default();
        self.takes(Key::Review(namespace.into(), name.into()), |_| of_review(review, namespace).into_iter().collect())
    }
}

impl Audit {
    fn takes(&self, key: Key, records: impl FnOnce(&Shared) -> Vec<Record>) -> bool {
        let Some(shared) = &self.shared else { return true };
        shared.takes(&key) && shared.hand_over(records(shared), &key)
    }
}
