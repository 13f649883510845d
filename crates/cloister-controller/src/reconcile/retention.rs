//! What is over and has been kept long enough: ended grants and their reviews, where the settings say for how long.
//!
//! Only what is settled is removed: its end is in the audit record, and nobody owes or waits for a review of it. The reviews
//! go first, because one whose request is gone would be said to be about nothing.

use super::Reconciler;
use crate::{apply::Removal, error::Error};
use cloister_core::model::{child::GrantRef, durations::signed};
use cloister_index::{index::Index, key::Key};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use tracing::info;

/// How many grants are removed before the others are looked at again.
const AT_A_TIME: usize = 100;

/// How many requests may be under way for it.
const TOGETHER: usize = 4;

/// How long after a failure, or with more to do, it goes on.
const SOON: SignedDuration = SignedDuration::from_secs(1);

/// How long a grant waits of whose reviews something is still to be said.
const PATIENCE: SignedDuration = SignedDuration::from_mins(1);

/// A grant to be removed with its reviews, each with the uid that it must have.
struct Due {
    namespace: Arc<str>,
    grant: GrantRef,
    uid: Box<str>,
    reviews: Vec<(Arc<str>, Box<str>)>,
}

impl Reconciler {
    /// Removes what has been kept long enough, and looks again when the next is due.
    pub(super) async fn retention(&self) -> Result<(), Error> {
        let store = &self.sources.store;
        let now = store.clock.now();
        let (due, next) = {
            let index = store.index();
            let Some(kept) = kept_for(&index) else { return Ok(()) };
            due(&index, kept, now)
        };
        if let Some(next) = next {
            store.queue.add_at(Key::Retention, next);
        }
        if due.is_empty() {
            return Ok(());
        }
        info!(grants = due.len(), "removing ended grants whose retention time is over");
        stream::iter(due.iter().map(Ok)).try_for_each_concurrent(TOGETHER, |due| self.remove(due)).await
    }

    /// A grant has ended: it is to be looked at when it has been kept long enough.
    pub(super) fn look_again(&self) {
        let store = &self.sources.store;
        let kept = kept_for(&store.index());
        if let Some(kept) = kept {
            store.queue.add_at(Key::Retention, later(store.clock.now(), kept));
        }
    }

    async fn remove(&self, due: &Due) -> Result<(), Error> {
        let removal = |kind: Removal, name: &str, uid: &str| {
            let (namespace, name, uid) = (due.namespace.clone(), name.to_owned(), uid.to_owned());
            async move { self.writer.remove(kind, &namespace, &name, &uid).await }
        };
        let reviews = stream::iter(due.reviews.iter()).map(Ok);
        reviews.try_for_each_concurrent(TOGETHER, |(name, uid)| removal(Removal::Review, name, uid)).await?;
        removal(Removal::Grant(due.grant.kind), &due.grant.name, &due.uid).await
    }
}

fn kept_for(index: &Index) -> Option<SignedDuration> {
    index.settings().spec.retention.ended_grants.map(signed)
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// What is due, the first of it, and when to look again.
fn due(index: &Index, kept: SignedDuration, now: Timestamp) -> (Vec<Due>, Option<Timestamp>) {
    let mut due = Vec::new();
    let mut next: Option<Timestamp> = None;
    for (namespace, grant, ended) in index.all_ended() {
        let Some(at) = ended.ended_at.filter(|_| !ended.is_held).map(|at| later(at, kept)) else { continue };
        if at > now || due.len() == AT_A_TIME {
            let at = at.max(later(now, SOON));
            next = Some(next.map_or(at, |next| next.min(at)));
            continue;
        }
        match index.said_reviews(namespace, grant) {
            Some(reviews) => {
                due.push(Due { namespace: namespace.clone(), grant: grant.clone(), uid: ended.uid.clone(), reviews });
            }
            // Something is still to be said of one of them.
            None => next = Some(next.map_or(later(now, PATIENCE), |next| next.min(later(now, PATIENCE)))),
        }
    }
    (due, next)
}
