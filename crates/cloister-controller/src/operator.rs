//! The life of the operator: connect, watch, work, and end.

use crate::{
    alerts::Alerts,
    args::Run,
    audit::{Audit, AuditError},
    bindable,
    clock::Clock,
    context::Context,
    definitions, names,
    reconcile::remember_names,
    server,
    watch::consistent,
    watches, work,
};
use cloister_api::plugin::{CiliumNetworkPolicy, ClusterNetworkPolicy};
use cloister_core::egress::Installed;
use futures::FutureExt;
use kube::{Config, client::ClientBuilder};
use std::{future::Future, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tower::util::{MapRequestLayer, MapResponseLayer};
use tracing::info;

/// How long what is under way may take when the process is told to end.
const DRAIN: Duration = Duration::from_secs(20);

/// How long the first look-ups may hold up the start.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);

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
    /// The audit record cannot be kept.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A watch is dead, and without it the operator would be blind.
    #[error("the watch of {0} ended; the process ends with it and must be started again")]
    WatchDead(&'static str),
    /// Names are looked up no more, and without that the operator would keep open what has moved.
    #[error("the look-up of names ended; the process ends with it and must be started again")]
    NamesDead,
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
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|source| Fatal::Io { what: format!("cannot listen on {}", args.listen), source })?;
    let clock = Clock::default();
    let audit = Audit::open(&args.audit)?;
    let context = Context::new(connect(&clock).await?, clock, audit, args.workers, args.max_requests);
    let stop = told_to_end(args.until_stdin_closes)?.shared();

    let synced = watches::Synced::default();
    let mut watching = watches::start(&context, &synced);
    tokio::spawn(server::run(listener, context.clone(), synced.clone()));
    let (sender, mut installed) = watch::channel(false);
    let definitions = tokio::spawn(definitions::watch(context.clone(), sender));
    tokio::spawn(Alerts::write(context.clone()));
    let working = async {
        synced.wait().await;
        // What opens names depends on it.
        let _ = installed.wait_for(|known| *known).await;
        let (sender, mut first) = watch::channel(false);
        let credentials = tokio::spawn(watches::credentials(context.clone(), sender));
        let (sender, mut endpoints) = watch::channel(false);
        let resolving = tokio::spawn(watches::dns_endpoints(context.clone(), sender));
        let (sender, mut seen) = watch::channel(false);
        let is_there = |installed: Installed| installed.cilium;
        let cilium = watches::plugin_policies::<CiliumNetworkPolicy>;
        let cilium = tokio::spawn(cilium(context.clone(), "CiliumNetworkPolicy", is_there, sender));
        let (sender, mut bound) = watch::channel(false);
        let is_there = |installed: Installed| installed.cluster.is_some();
        let cluster = watches::plugin_policies::<ClusterNetworkPolicy>;
        let cluster = tokio::spawn(cluster(context.clone(), "ClusterNetworkPolicy", is_there, sender));
        let (sender, mut asked) = watch::channel(false);
        let binding = tokio::spawn(bindable::ask(context.clone(), sender));
        tokio::select! {
            _ = async {
                let _ = first.wait_for(|complete| *complete).await;
                let _ = endpoints.wait_for(|complete| *complete).await;
                let _ = seen.wait_for(|complete| *complete).await;
                let _ = bound.wait_for(|complete| *complete).await;
                asked.wait_for(|asked| *asked).await.is_ok()
            } => {}
            () = stop.clone() => return Ok(()),
        }
        info!(objects = ?context.index().sizes(), backend = ?context.index().settings().backend, "all stores are synced");
        context.audit.forget_the_gone(&context.index());
        // What ended while nobody was there goes before anything is opened.
        let overdue = context.index().overdue(context.clock.now());
        tokio::select! {
            () = work::once(&context, overdue) => {}
            () = stop.clone() => return Ok(()),
        }
        // What is open by name stays so: its addresses are known again before anything is decided.
        let looking = tokio::spawn(names::run(context.clone()));
        remember_names(&context);
        tokio::select! {
            () = names::first_answers(&context, FIRST_ANSWERS) => {}
            () = stop.clone() => return Ok(()),
        }
        let all = context.index().all_keys();
        context.enqueue(all);
        tokio::select! {
            () = work::run(context.clone(), stop.clone()) => Ok(()),
            _ = credentials => Err(Fatal::WatchDead("Secret")),
            _ = cilium => Err(Fatal::WatchDead("CiliumNetworkPolicy")),
            _ = cluster => Err(Fatal::WatchDead("ClusterNetworkPolicy")),
            _ = resolving => Err(Fatal::WatchDead("EndpointSlice")),
            _ = looking => Err(Fatal::NamesDead),
            _ = binding => Err(Fatal::WatchDead("ClusterRole")),
            _ = definitions => Err(Fatal::WatchDead("CustomResourceDefinition")),
        }
    };
    let until_drained = async {
        stop.clone().await;
        info!("told to end");
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = working => ended,
        dead = first_to_end(&mut watching) => Err(dead),
        () = until_drained => Err(Fatal::NotDrained(DRAIN)),
    }
}

/// A watch never ends by itself. One that does, or panics, leaves the operator blind.
async fn first_to_end(watching: &mut JoinSet<&'static str>) -> Fatal {
    let ended = watching.join_next().await;
    Fatal::WatchDead(ended.and_then(Result::ok).unwrap_or("a kind"))
}

async fn connect(clock: &Clock) -> Result<kube::Client, Fatal> {
    let mut config = timeout(Duration::from_secs(10), Config::infer()).await.map_or_else(
        |_| Err(Fatal::Io { what: "no cluster to work on".into(), source: std::io::ErrorKind::TimedOut.into() }),
        |config| config.map_err(Fatal::from),
    )?;
    // A failed request is tried again with its key, when what it was for has been decided anew.
    config.default_retry = false;
    let clock = clock.clone();
    let observe = MapResponseLayer::new(move |response| {
        clock.observe(&response);
        response
    });
    let builder = ClientBuilder::try_from(config).map_err(|error| Fatal::Client(Box::new(error)))?;
    Ok(builder.with_layer(&observe).with_layer(&MapRequestLayer::new(consistent)).build())
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
