//! `/livez`, `/readyz` and `/metrics`, on a thread of their own: they answer whatever keeps the rest of the process.

use crate::{
    heartbeat::in_words,
    leader::{LEASE, Leadership},
    liveness::Liveness,
    reconcile::Reconciler,
    report::{Counts, Format},
};
use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use cloister_api::labels;
use cloister_core::{cluster::clock::Agreement, model::text::counted};
use std::{
    net::TcpListener,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};
use tracing::error;

/// How long the metrics wait for the index.
const INDEX: Duration = Duration::from_secs(2);

/// Of what is told.
#[derive(Default)]
pub struct Served {
    /// Whether this operator acts, or who does instead.
    pub leadership: Arc<Leadership>,
    /// What acts, once this operator does.
    pub acting: OnceLock<Acting>,
}

/// What acts.
pub struct Acting {
    /// What reconciles.
    pub reconciler: Arc<Reconciler>,
    /// Whether the process still does its work.
    pub liveness: Arc<Liveness>,
}

/// Serves until the process ends.
///
/// # Errors
///
/// There can be no thread, or the listener cannot be used.
pub fn start(listener: TcpListener, served: Arc<Served>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(served);
        let served =
            runtime.block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await });
        // Nobody could ask any more whether the operator is alive.
        error!(?served, "the listener stopped; the process stops with it and must be restarted");
        std::process::exit(1);
    };
    thread::Builder::new().name("http".to_owned()).spawn(serve).map(drop)
}

async fn livez(State(served): State<Arc<Served>>) -> (StatusCode, &'static str) {
    if served.acting.get().is_some_and(|acting| acting.liveness.is_dead()) {
        (StatusCode::SERVICE_UNAVAILABLE, "stuck: it must be restarted")
    } else {
        (StatusCode::OK, "ok")
    }
}

async fn readyz(State(served): State<Arc<Served>>) -> (StatusCode, String) {
    let Some(Acting { reconciler, .. }) = served.acting.get() else {
        return match served.leadership.held_by() {
            Some(holder) => {
                (StatusCode::OK, format!("standby: {holder} is the leader{}", late(served.leadership.overdue())))
            }
            None => (StatusCode::SERVICE_UNAVAILABLE, format!("waits for Lease {LEASE}")),
        };
    };
    let Reconciler { sources, alerts, .. } = &**reconciler;
    let Some((missing, silent)) = sources.store.synced.missing_of_all_namespaces() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting: not every kind is watched yet".to_owned());
    };
    let mut why = Vec::new();
    if !missing.is_empty() {
        why.push(format!("still listing: {}", missing.join(", ")));
    }
    if !silent.is_empty() {
        why.push(format!("no answer about: {}", silent.join(", ")));
    }
    if let Agreement::Skewed(skew) = sources.store.clock.agreement() {
        why.push(in_words(&skew));
    }
    if alerts.refused_always() {
        why.push(format!(
            "the API server rejects every status that this operator writes: make sure that it runs as the ServiceAccount \
             {}/{}, which the admission policies allow to write, and that its ClusterRole is bound; the Events with reason \
             StatusRefused and the log say what rejects it",
            labels::SYSTEM_NAMESPACE,
            labels::OPERATOR_ACCOUNT
        ));
    }
    // It goes on closing, and so is ready.
    let record = sources.audit.failure().map(|why| format!("; nothing is opened: {why}")).unwrap_or_default();
    let refused = match alerts.refused() {
        0 => String::new(),
        many => format!(
            "; the status of {} is rejected, see the Events with reason StatusRefused",
            counted(many, "object", "objects")
        ),
    };
    if why.is_empty() {
        (StatusCode::OK, format!("ok{record}{refused}"))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, why.join("; "))
    }
}

/// What one that stands by says of the one that acts.
fn late(overdue: usize) -> String {
    match overdue {
        0 => String::new(),
        _ => format!(
            "; {} open past the end: look at that operator, and see who holds Lease {}/{LEASE}",
            counted(overdue, "grant is", "grants are"),
            labels::SYSTEM_NAMESPACE
        ),
    }
}

async fn metrics(State(served): State<Arc<Served>>, headers: HeaderMap) -> Response {
    // A header may be sent in several parts.
    let asked: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|part| part.to_str().ok()).collect();
    let format = Format::preferred(&asked.join(","));
    match measured(&served).await {
        Some(text) => {
            ([(CONTENT_TYPE, format.content_type()), (VARY, ACCEPT.as_str())], format.write(text)).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the index is out of reach").into_response(),
    }
}

/// The metrics as OpenMetrics, where they can be had in time.
async fn measured(served: &Served) -> Option<String> {
    let Some(Acting { reconciler, .. }) = served.acting.get() else {
        let overdue = served.leadership.overdue();
        return Some(format!(
            "# HELP cloister_alerts What needs attention now.\n# TYPE cloister_alerts gauge\n\
             cloister_alerts{{alert=\"LeaderAbsent\"}} {overdue}\n# EOF\n"
        ));
    };
    let counts = counts(reconciler);
    let text = async {
        loop {
            if let Some(index) = reconciler.sources.store.try_index() {
                return reconciler.metrics.render(&counts, &index);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(INDEX, text).await.ok()
}

/// What is counted beside the index.
fn counts(reconciler: &Reconciler) -> Counts {
    let Reconciler { sources, alerts, impersonators, replaced, .. } = reconciler;
    let (names, rebound) = sources.names.count();
    Counts {
        names,
        rebound,
        records: sources.audit.counts(),
        record_fails: sources.audit.failure().is_some(),
        queue: sources.store.queue.depth(),
        impersonators: impersonators.count(),
        clocks_disagree: matches!(sources.store.clock.agreement(), Agreement::Skewed(_)),
        silent: sources.store.synced.silent().len(),
        refused: alerts.refused(),
        replaced: replaced.count(),
    }
}
