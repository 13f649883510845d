//! The dispatcher: works on what the queue hands out, until it is told to stop.

use crate::{error::Error, queue::Job, reconcile::Reconciler, requests};
use cloister_index::key::Key;
use futures::StreamExt;
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tracing::{Instrument, debug, info_span, warn};

/// How many grants are ended at a time before there is a dispatcher.
const AT_ONCE: usize = 64;

/// The longest wait after the API server could not be reached, or did not do its part.
const SOON: Duration = Duration::from_secs(3);

/// Works until `stop`, then lets what is under way come to its end, and writes the statuses that were left for later.
pub async fn run(reconciler: Arc<Reconciler>, stop: impl Future<Output = ()>) {
    let store = &reconciler.sources.store;
    let mut tasks = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let job = tokio::select! {
            () = &mut stop => break,
            job = store.queue.next(|| store.clock.now(), |keys| store.tickets(keys)) => job,
        };
        while let Some(ended) = tasks.try_join_next() {
            report(ended);
        }
        let reconciler = reconciler.clone();
        tasks.spawn(async move {
            let span = info_span!("reconcile", object = %job.key);
            work(&reconciler, job).instrument(span).await;
        });
    }
    debug!(under_way = tasks.len(), "waiting for the work in progress");
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
    reconciler.say_all_opened().await;
}

/// Works on these keys once, before there is a dispatcher. One that fails comes again by the queue.
pub async fn once(reconciler: &Reconciler, keys: Vec<Key>) {
    let store = &reconciler.sources.store;
    let each = |(key, ticket)| async move {
        let span = info_span!("reconcile", object = %key);
        let job = store.queue.take(key, ticket);
        work(reconciler, job).instrument(span).await;
    };
    futures::stream::iter(store.tickets(keys)).for_each_concurrent(AT_ONCE, each).await;
}

async fn work(reconciler: &Reconciler, job: Job) {
    let store = &reconciler.sources.store;
    reconciler.metrics.waited(job.age);
    let began = Instant::now();
    let result = requests::within(job.ticket.lane, reconciler.reconcile(&job)).await;
    reconciler.metrics.reconciled(job.key.kind(), began.elapsed());
    let now = store.clock.now();
    let mut wait = store.queue.done(&job.key, result.is_ok(), now);
    if result.as_ref().is_err_and(Error::is_outage) && wait.is_some_and(|wait| wait > SOON) {
        // Nothing is wrong with the object.
        store.queue.add_at(job.key.clone(), now + SOON);
        wait = Some(SOON);
    }
    match result {
        Ok(()) => {
            reconciler.alerts.status_taken(&job.key);
            debug!(took = ?began.elapsed(), "done");
        }
        Err(error) => {
            reconciler.metrics.failed(job.key.kind(), error.category());
            if error.is_conflict() {
                debug!(%error, ?wait, "the object changed in the meantime; trying again");
            } else {
                warn!(%error, category = error.category(), ?wait, "failed; trying again");
            }
        }
    }
}

/// A reconcile that panics is a defect, and its key would never come again.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
