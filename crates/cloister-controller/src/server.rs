//! `/livez`, `/readyz` and `/metrics`.

use crate::{context::Context, watches::Synced};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serves until the process ends.
///
/// # Errors
///
/// The listener failed.
pub async fn run(listener: TcpListener, context: Arc<Context>, synced: Synced) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state((context, synced));
    axum::serve(listener, router).await
}

async fn readyz(State((_, synced)): State<(Arc<Context>, Synced)>) -> (StatusCode, String) {
    let missing = synced.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("still listing: {}", missing.join(", ")))
    }
}

async fn metrics(State((context, _)): State<(Arc<Context>, Synced)>) -> String {
    context.metrics.render(&context)
}
