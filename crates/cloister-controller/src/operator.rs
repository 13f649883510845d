//! The life of the operator: connect, watch, work, and end.

use crate::{
    alerts::Alerts,
    args::Run,
    audit::Audit,
    bindable,
    clock::Clock,
    connection::Connection,
    definitions,
    dns::{Names, Resolution},
    heartbeat::{self, Heartbeat},
    index::{Index, NodeNetworks, Recorder},
    leader::{self, Keeper, Leadership, Lost},
    liveness::{self, Liveness},
    metrics::Metrics,
    needs,
    reconcile::Reconciler,
    requests::Requests,
    server::{self, Acting, Standing},
    snapshot::Sources,
    standby,
    store::Store,
    watch::Watches,
    watches, work,
    write::Writer,
};
use cloister_api::plugin::{CiliumNetworkPolicy, ClusterNetworkPolicy};
use cloister_core::egress::Installed;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use k8s_openapi::api::{
    networking::v1::ServiceCIDR,
    scheduling::v1::PriorityClass,
    storage::v1::{CSIDriver, StorageClass},
};
use kube::{Config, core::PartialObjectMeta};
use std::{
    future::Future,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tracing::{info, warn};

/// How long what is under way may take when the process is told to end.
const DRAIN: Duration = Duration::from_secs(20);

/// How long the start waits for lists. What depends on a kind that is not listed by then waits on, and nothing else does.
const LISTS: Duration = Duration::from_secs(5);

/// How long the first look-ups may hold up the start.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);

/// How long reading the audit record back may hold up the start.
const FIRST_RECORDS: Duration = Duration::from_secs(5);

/// How long what waits for the audit record may hold up the end.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// There is no configuration of a client.
    #[error("no cluster to work on: {0}; set KUBECONFIG, or run inside a cluster")]
    Config(#[from] kube::config::InferConfigError),
    /// The client cannot be built.
    #[error("cannot connect to the cluster: {0}")]
    Client(#[source] Box<kube::Error>),
    /// A signal or the listener failed.
    #[error("{what}: {source}")]
    Io {
        /// What failed.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// A watch is dead, and without it the operator would be blind.
    #[error("the watch of {0} ended; the process ends with it and must be started again")]
    WatchDead(&'static str),
    /// Names are looked up no more, and without that the operator would keep open what has moved.
    #[error("the look-up of names ended; the process ends with it and must be started again")]
    NamesDead,
    /// Nobody looks at the clocks and the connection any more.
    #[error("the heartbeat ended; the process ends with it and must be started again")]
    HeartbeatDead,
    /// Nobody looks at the copies of credentials any more.
    #[error(
        "the comparison of copies with their credentials ended; the process ends with it and must be started again"
    )]
    ComparingDead,
    /// Another operator acts.
    #[error("{0}; this operator ends, so that there are not two")]
    Lost(#[from] Lost),
    /// The drain took too long.
    #[error("what was under way did not end within {0:?}")]
    NotDrained(Duration),
}

/// Runs the operator until it is told to end.
///
/// # Errors
///
/// It cannot go on.
pub async fn run(args: Run) -> Result<(), Fatal> {
    // Another component may have installed the provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cannot = |what: String| move |source| Fatal::Io { what, source };
    let listener = TcpListener::bind(args.listen).map_err(cannot(format!("cannot listen on {}", args.listen)))?;
    let clock = Clock::default();
    let connection = connect(&clock).await?;
    let stop = told_to_end(args.until_stdin_closes)?.shared();
    let standing = Arc::new(Standing::default());
    server::start(listener, standing.clone()).map_err(cannot("cannot serve".into()))?;

    let identity = args.identity.clone().unwrap_or_else(|| leader::identity(args.pod.as_deref()));
    let is_pod = args.pod.as_ref().is_some_and(|pod| *pod == identity);
    let mut keeper = Keeper::new(connection.client(), identity, is_pod, standing.leadership.clone());
    tokio::select! {
        () = keeper.acquire() => {}
        () = standby::watch(connection.client(), &standing.leadership) => {}
        () = stop.clone() => return Ok(()),
    }
    // Whoever does not act has no record to keep.
    let operator = Operator::new(connection, clock, standing.leadership.clone(), &args);
    let audit = &operator.reconciler.sources.audit;
    audit.begin();
    // It is set once.
    let acting = Acting { reconciler: operator.reconciler.clone(), liveness: operator.liveness.clone() };
    let _ = standing.acting.set(acting);
    let store = operator.watches.store.clone();
    liveness::watch(operator.liveness.clone(), move || store.try_index().is_some())
        .map_err(cannot("cannot look after the process".into()))?;
    let ended = {
        let acting = operator.act(Duration::from_secs(args.compare_copies.into()), stop);
        tokio::select! {
            ended = acting => ended,
            lost = keeper.keep() => Err(Fatal::Lost(lost)),
        }
    };
    audit.close(LAST_RECORDS).await;
    if ended.is_ok() {
        keeper.release().await;
    }
    ended
}

/// The parts of an operator that acts.
struct Operator {
    watches: Arc<Watches>,
    reconciler: Arc<Reconciler>,
    liveness: Arc<Liveness>,
}

impl Operator {
    fn new(connection: Connection, clock: Clock, leadership: Arc<Leadership>, args: &Run) -> Self {
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
    async fn act(&self, compare_copies: Duration, stop: impl Future<Output = ()> + Clone) -> Result<(), Fatal> {
        let mut watching = watches::start(&self.watches);
        tokio::spawn({
            let reconciler = self.reconciler.clone();
            async move {
                let Reconciler { sources, alerts, metrics, writer, .. } = &*reconciler;
                alerts.write(&writer.requests, &sources.store.queue, metrics).await;
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
            info!("told to end");
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
            () = self.begin(&mut following) => {}
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
        let dispatching = work::run(self.reconciler.clone(), stop);
        tokio::select! {
            () = self.liveness.dispatcher.during(dispatching) => Ok(()),
            _ = looking => Err(Fatal::NamesDead),
            dead = first_to_end(&mut following) => Err(dead),
        }
    }

    /// Waits for the first lists, though not for ever, and takes away what is overdue as soon as it can be seen.
    async fn begin(&self, following: &mut JoinSet<&'static str>) {
        let (watches, reconciler) = (&self.watches, &self.reconciler);
        let store = &watches.store;
        let begun = Instant::now();
        let in_time = |lists| timeout(LISTS.saturating_sub(begun.elapsed()), lists);
        let of_definitions = store.synced.begin("CustomResourceDefinition");
        let of_bindable = store.synced.begin(needs::BINDABLE);
        let mut spawn = |kind: &'static str, watch: BoxFuture<'static, ()>| {
            following.spawn(async move {
                watch.await;
                kind
            });
        };
        spawn("CustomResourceDefinition", Box::pin(definitions::watch(watches.clone(), of_definitions)));
        spawn("ClusterRole", Box::pin(bindable::ask(reconciler.writer.requests.clone(), store.clone(), of_bindable)));
        // What else is watched depends on the settings, or on what they default to.
        let _ = in_time(store.synced.wait(Some(&needs::SETTINGS)).boxed()).await;
        let mut first_lists = Vec::new();
        let mut follow = |kind: &'static str, watch: &dyn Fn(watch::Sender<bool>) -> BoxFuture<'static, ()>| {
            store.synced.follow(kind);
            let (sender, mut first) = watch::channel(false);
            spawn(kind, watch(sender));
            first_lists.push(async move {
                let _ = first.wait_for(|complete| *complete).await;
            });
        };
        follow("Secret", &|first| Box::pin(watches::credentials(watches.clone(), first)));
        follow("EndpointSlice", &|first| Box::pin(watches::dns_endpoints(watches.clone(), first)));
        follow("Node", &|first| Box::pin(watches::everywhere::<NodeNetworks>(watches.clone(), "Node", first)));
        follow("ServiceCIDR", &|first| {
            Box::pin(watches::everywhere::<ServiceCIDR>(watches.clone(), "ServiceCIDR", first))
        });
        macro_rules! follow_names {
            ($kind:literal, $type:ty) => {
                follow($kind, &|first| {
                    Box::pin(watches::everywhere::<PartialObjectMeta<$type>>(watches.clone(), $kind, first))
                });
            };
        }
        follow_names!("StorageClass", StorageClass);
        follow_names!("CSIDriver", CSIDriver);
        follow_names!("PriorityClass", PriorityClass);
        let cilium = |installed: Installed| installed.cilium;
        follow("CiliumNetworkPolicy", &|first| {
            let watch = watches::plugin_policies::<CiliumNetworkPolicy>;
            Box::pin(watch(watches.clone(), "CiliumNetworkPolicy", cilium, first))
        });
        let cluster = |installed: Installed| installed.cluster.is_some();
        follow("ClusterNetworkPolicy", &|first| {
            let watch = watches::plugin_policies::<ClusterNetworkPolicy>;
            Box::pin(watch(watches.clone(), "ClusterNetworkPolicy", cluster, first))
        });
        store.synced.complete();
        let ends = [&needs::GRANTS[..], &needs::OPENED[..]].concat();
        let seen = async {
            join_all(first_lists).await;
            store.synced.wait(Some(&ends)).await;
        };
        let _ = in_time(seen.boxed()).await;
        // What ended while nobody was there goes before anything is opened.
        let overdue = store.index().overdue(store.clock.now());
        work::once(reconciler, overdue).await;
        let _ = in_time(store.synced.wait(None).boxed()).await;
        let missing = store.synced.missing(None);
        if missing.is_empty() {
            reconciler.sources.audit.forget_the_gone(&store.index());
        } else {
            warn!(?missing, "not all kinds are listed; what depends on them waits");
        }
        let (objects, backend) = {
            let index = store.index();
            (index.sizes(), index.settings().backend)
        };
        info!(?objects, ?backend, "the stores are filled");
    }
}

/// A watch never ends by itself. One that does, or panics, leaves the operator blind.
async fn first_to_end(watching: &mut JoinSet<&'static str>) -> Fatal {
    let ended = watching.join_next().await;
    Fatal::WatchDead(ended.and_then(Result::ok).unwrap_or("a kind"))
}

async fn connect(clock: &Clock) -> Result<Connection, Fatal> {
    let config = timeout(Duration::from_secs(10), Config::infer()).await.map_or_else(
        |_| Err(Fatal::Io { what: "no cluster to work on".into(), source: std::io::ErrorKind::TimedOut.into() }),
        |config| config.map_err(Fatal::from),
    )?;
    Connection::new(config, clock.clone()).map_err(|error| Fatal::Client(Box::new(error)))
}

fn told_to_end(until_stdin_closes: bool) -> Result<impl Future<Output = ()>, Fatal> {
    let on = |kind| signal(kind).map_err(|source| Fatal::Io { what: "cannot wait for signals".into(), source });
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let (closed, mut is_closed) = watch::channel(false);
    if until_stdin_closes {
        // A thread, because a read of standard input cannot be called off.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            closed.send_replace(true);
        });
    }
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            // Without the thread the channel is gone, and this is never ready.
            Ok(_) = is_closed.wait_for(|closed| *closed) => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

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
