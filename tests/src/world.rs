//! A cluster with the operator running in it, for tests of what the operator does.

use crate::{TestCluster, cluster, witness};
use anyhow::Result;
use std::{path::PathBuf, sync::Mutex};
use tokio::sync::OnceCell;
use xtask::operator::{self, Operator};

/// The cluster of this process, with the operator running as its own ServiceAccount, and a witness of what it writes.
pub async fn world() -> &'static TestCluster {
    static OPERATOR: OnceCell<Result<Mutex<Operator>>> = OnceCell::const_new();
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

/// Where the operator of this process writes its log.
pub fn log_file() -> PathBuf {
    let name = format!("cloister-tests-{}.log", std::process::id());
    std::env::var_os("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from).join(name)
}
