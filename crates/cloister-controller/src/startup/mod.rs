//! The life of the operator: connect, watch, work, and end.

mod fatal;
mod lists;
mod operator;

use crate::{
    args::Run,
    clock::Clock,
    connection::Connection,
    leader::{self, Keeper},
    liveness,
    server::{self, Acting, Served},
    standby,
};
use fatal::Fatal;
use futures::FutureExt;
use kube::Config;
use operator::Operator;
use std::{future::Future, net::TcpListener, sync::Arc, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};

/// How long what waits for the audit record may hold up the end.
const LAST_RECORDS: Duration = Duration::from_secs(3);

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
    let served = Arc::new(Served::default());
    server::start(listener, served.clone()).map_err(cannot("cannot serve".into()))?;

    let identity = args.identity.clone().unwrap_or_else(|| leader::identity(args.pod.as_deref()));
    let is_pod = args.pod.as_ref().is_some_and(|pod| *pod == identity);
    let mut keeper = Keeper::new(connection.client(), identity, is_pod, served.leadership.clone());
    tokio::select! {
        () = keeper.acquire() => {}
        () = standby::watch(connection.client(), &served.leadership) => {}
        () = stop.clone() => return Ok(()),
    }
    // Whoever does not act has no record to keep.
    let operator = Operator::new(connection, clock, served.leadership.clone(), &args);
    let audit = &operator.reconciler.sources.audit;
    audit.begin();
    // It is set once.
    let acting = Acting { reconciler: operator.reconciler.clone(), liveness: operator.liveness.clone() };
    let _ = served.acting.set(acting);
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
