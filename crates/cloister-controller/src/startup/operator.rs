//! The parts of an operator that acts, and what they do until it is told to end.

use super::{fatal::Fatal, lists};
use crate::{
    apply::Writer,
    args::Run,
    clock::Clock,
    connection::Connection,
    dispatcher,
    dns::{Names, Resolution},
    heartbeat::{self, Heartbeat},
    leader::Leadership,
    liveness::Liveness,
    reconcile::Reconciler,
    report::{Alerts, Audit, Metrics},
    requests::Requests,
    snapshot::Sources,
    store::Store,
    watch::{Watches, kinds},
};
use cloister_index::index::{Index, Recorder};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tracing::info;

/// How long what is under way may take when the process is told to end.
const DRAIN: Duration = Duration::from_secs(20);

/// How long the first look-ups may hold up the start.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);

/// How long reading the audit record back may hold up the start.
const FIRST_RECORDS: Duration = Duration::from_secs(5);

/// The parts of an operator that acts.
pub struct Operator {
    pub watches: Arc<Watches>,
    pub reconciler: Arc<Reconciler>,
    pub liveness: Arc<Liveness>,
}

impl Operator {
    pub fn new(connection: Connection, clock: Clock, leadership: Arc<Leadership>, args: &Run) -> Self {
        let (alerts, metrics) = (Arc::new(Alerts::default()), Arc::new(Metrics::default()));
        let audit = Arc::new(Audit::new(&args.audit));
        let index = Index { recorder: Recorder(Some(audit.clone())), ..Index::default() };
        let store = Arc::new(Store::new(index, clock, args.workers));
        let requests = Arc::new(Requests::new(connection.client(), leadership, args.max_requests));
        let sources = Sources { store: store.clone(), names: Arc::new(Names::default()), audit };
        let writer = Writer::new(requests, store.clone(), metrics.clone(), alerts.clone());
        let reconciler = Arc::new(Reconciler::new(sources, writer, alerts, metrics.clone()));
        let watches = Arc::new(Watches { connection, store, metrics });
        Operator { watches, reconciler, liveness: Arc::default() }
    }

    /// Watches and works until it is told to end.
    pub async fn act(&self, compare_copies: Duration, stop: impl Future<Output = ()> + Clone) -> Result<(), Fatal> {
        let mut watching = kinds::start(&self.watches);
        tokio::spawn({
            let reconciler = self.reconciler.clone();
            async move {
                let Reconciler { alerts, metrics, writer, .. } = &*reconciler;
                alerts.write(&writer.requests, metrics).await;
            }
        });
        tokio::spawn({
            let reconciler = self.reconciler.clone();
            async move {
                let Reconciler { sources, alerts, .. } = &*reconciler;
                sources.audit.follow(&sources.store, alerts).await;
            }
        });
        let beating = tokio::spawn({
            let (connection, store) = (self.watches.connection.clone(), self.watches.store.clone());
            let heart = Heartbeat { connection, store, alerts: self.reconciler.alerts.clone() };
            let liveness = self.liveness.clone();
            async move { liveness.runtime.during(heartbeat::run(heart)).await }
        });
        let comparing = tokio::spawn({
            let reconciler = self.reconciler.clone();
            async move { reconciler.compare_copies(compare_copies).await }
        });
        let working = self.work(stop.clone());
        let until_drained = async {
            stop.clone().await;
            info!("received a signal to stop");
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            ended = working => ended,
            dead = first_to_end(&mut watching) => Err(dead),
            _ = beating => Err(Fatal::HeartbeatDead),
            _ = comparing => Err(Fatal::ComparingDead),
            () = until_drained => Err(Fatal::NotDrained(DRAIN)),
        }
    }

    /// Works until it is told to end.
    async fn work(&self, stop: impl Future<Output = ()> + Clone) -> Result<(), Fatal> {
        let Sources { store, names, audit } = &self.reconciler.sources;
        let mut following = JoinSet::new();
        tokio::select! {
            () = lists::take_up(&self.watches, &self.reconciler, &mut following) => {}
            () = stop.clone() => return Ok(()),
        }
        // What is open by name stays so: its addresses are known again before anything is decided.
        let (alerts, metrics) = (self.reconciler.alerts.clone(), self.reconciler.metrics.clone());
        let resolution = Resolution { names: names.clone(), store: store.clone(), alerts, metrics };
        let looking = tokio::spawn(resolution.run());
        self.reconciler.remember_names();
        tokio::select! {
            () = names.first_answers(FIRST_ANSWERS) => {}
            () = stop.clone() => return Ok(()),
        }
        // Otherwise all would be looked at twice.
        tokio::select! {
            () = audit.opened(FIRST_RECORDS) => {}
            () = stop.clone() => return Ok(()),
        }
        let all = store.index().all_keys();
        store.enqueue(all);
        let dispatching = dispatcher::run(self.reconciler.clone(), stop);
        tokio::select! {
            () = self.liveness.dispatcher.during(dispatching) => Ok(()),
            _ = looking => Err(Fatal::NamesDead),
            dead = first_to_end(&mut following) => Err(dead),
        }
    }
}

/// A watch never ends by itself. One that does, or panics, leaves the operator blind.
async fn first_to_end(watching: &mut JoinSet<&'static str>) -> Fatal {
    let ended = watching.join_next().await;
    Fatal::WatchDead(ended.and_then(Result::ok).unwrap_or("a kind"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_watch_that_ends_ends_the_operator() {
        let mut watching = JoinSet::new();
        watching.spawn(pending());
        watching.spawn(async { "NetworkPolicy" });
        let dead = first_to_end(&mut watching).await;
        assert!(matches!(dead, Fatal::WatchDead("NetworkPolicy")), "{dead}");
    }

    #[tokio::test]
    async fn a_watch_that_panics_ends_the_operator() {
        let mut watching: JoinSet<&'static str> = JoinSet::new();
        watching.spawn(pending());
        watching.spawn(async { panic!("a defect") });
        assert!(matches!(first_to_end(&mut watching).await, Fatal::WatchDead(_)));
    }

    #[tokio::test]
    async fn watches_that_go_on_end_nothing() {
        let mut watching: JoinSet<&'static str> = JoinSet::new();
        watching.spawn(pending());
        let waited = timeout(Duration::from_millis(20), first_to_end(&mut watching)).await;
        assert!(waited.is_err());
    }
}
