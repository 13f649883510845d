//! A cluster with the operator running in it, for tests of what the operator does.

use crate::{TestCluster, cluster, witness};
use anyhow::Result;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};
use tokio::sync::OnceCell;
use xtask::operator::{self, Operator};

static OPERATOR: OnceCell<Result<Mutex<Operator>>> = OnceCell::const_new();

/// The cluster of this process, with the operator running as its own ServiceAccount, and a witness of what it writes.
pub async fn world() -> &'static TestCluster {
    let cluster = cluster().await;
    let start = async || {
        let binary = tokio::task::spawn_blocking(operator::build).await??;
        witness::start(cluster);
        Ok(Mutex::new(Operator::start(&binary, cluster.inner(), &log_file(), &["--log", "info"]).await?))
    };
    match OPERATOR.get_or_init(start).await {
        Ok(_) => cluster,
        Err(error) => panic!("there is no operator to test: {error:#}"),
    }
}

/// Where that operator answers.
pub async fn address() -> SocketAddr {
    world().await;
    match OPERATOR.get() {
        Some(Ok(operator)) => operator.lock().unwrap_or_else(PoisonError::into_inner).address(),
        _ => panic!("there is no operator"),
    }
}

/// Where the operator of this process writes its log.
pub fn log_file() -> PathBuf {
    let name = format!("cloister-tests-{}.log", std::process::id());
    std::env::var_os("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from).join(name)
}
