//! A fresh cluster for one side of one scenario, with everything of `deploy/` in it but the operator's Deployment.

use super::{
    audit::{Audit, Mark, Writes},
    fixture,
    raw::Raw,
    watch::Watch,
};
use crate::{
    cluster::{Cluster, Options, workspace_root},
    install::{Parts, install},
    operator::Operator,
};
use anyhow::{Context, Result, ensure};
use cloister_api::labels;
use cloister_core::model::child::names::DENY_ALL;
use k8s_openapi::api::{core::v1::Namespace, networking::v1::NetworkPolicy, rbac::v1::RoleBinding};
use kube::{Api, Client, runtime::watcher::Config};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// How long nothing may be written before the operator is called quiet.
const QUIET: Duration = Duration::from_secs(1);

/// A cluster, and what is known of it.
pub struct Site {
    /// The cluster.
    pub cluster: Cluster,
    /// An administrator.
    pub admin: Client,
    /// The writes that it answered.
    pub audit: Audit,
    operator: PathBuf,
    folder: TempDir,
}

impl Site {
    /// Starts a cluster and installs what the operator needs.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn open(operator: &Path) -> Result<Self> {
        let folder = TempDir::new()?;
        let audit = folder.path().join("audit.log");
        let options = Options { name: "bench".to_owned(), audit_log: Some(audit.clone()), ..Options::default() };
        let cluster = Cluster::start(options).await?;
        let admin = cluster.admin_client().await?;
        install(&admin, &workspace_root()?.join("deploy"), Parts::WithoutWorkloads).await?;
        fixture::write_catalogue(&admin).await?;
        fixture::until_watchable(&admin).await?;
        Ok(Site { cluster, admin, audit: Audit::new(audit), operator: operator.to_owned(), folder })
    }

    /// Ends the cluster.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub async fn close(self) -> Result<()> {
        Ok(self.cluster.stop().await?)
    }

    /// Starts the operator, and does not wait.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub async fn spawn_operator(&self) -> Result<Operator> {
        Operator::spawn(&self.operator, &self.cluster, &self.log(), &[]).await
    }

    /// Starts the operator and waits until it has nothing to do.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn start_operator(&self) -> Result<Operator> {
        let mut operator = self.spawn_operator().await?;
        operator.wait_until_ready().await?;
        self.until_quiet(&operator).await?;
        Ok(operator)
    }

    /// Stops the operator. It must have ended well.
    ///
    /// # Errors
    ///
    /// It did not.
    pub async fn stop_operator(&self, operator: Operator) -> Result<()> {
        let status = operator.stop().await?;
        ensure!(status.success(), "the operator ended with {status}");
        Ok(())
    }

    /// Waits until the operator has nothing to do and has written nothing for a second.
    ///
    /// # Errors
    ///
    /// It always has something to do.
    pub async fn until_quiet(&self, operator: &Operator) -> Result<()> {
        self.until_quiet_for(operator, QUIET).await
    }

    /// The same, for as long as this.
    ///
    /// # Errors
    ///
    /// It always has something to do.
    pub async fn until_quiet_for(&self, operator: &Operator, quiet: Duration) -> Result<()> {
        let began = Instant::now();
        let (mut writes, mut since) = (f64::NAN, Instant::now());
        while since.elapsed() < quiet {
            ensure!(
                began.elapsed() < PATIENCE,
                "the operator is not done; the end of its log:\n{}",
                operator.log_end()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = operator.metric("cloister_writes_total", "").await?;
            let depth = operator.metric("cloister_queue_depth", "").await?;
            if now != writes || depth > 0.0 {
                (writes, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// The raw loop, with the operator's identity.
    ///
    /// # Errors
    ///
    /// It cannot connect.
    pub async fn raw(&self) -> Result<Raw> {
        let account = (labels::SYSTEM_NAMESPACE, labels::OPERATOR_ACCOUNT);
        Raw::connect(self.cluster.service_account_kubeconfig(account.0, account.1).await?).await
    }

    /// Watches deny policies.
    ///
    /// # Errors
    ///
    /// The watch does not begin.
    pub async fn watch_denied(&self) -> Result<Watch> {
        self.watch_policy(DENY_ALL).await
    }

    /// Watches the NetworkPolicies of a name.
    ///
    /// # Errors
    ///
    /// The watch does not begin.
    pub async fn watch_policy(&self, name: &str) -> Result<Watch> {
        let config = Config::default().fields(&format!("metadata.name={name}"));
        Watch::begin::<NetworkPolicy>(Api::all(self.watcher().await?), config).await
    }

    /// Watches Namespaces that are enforced.
    ///
    /// # Errors
    ///
    /// The watch does not begin.
    pub async fn watch_enforced(&self) -> Result<Watch> {
        let config = Config::default().labels(&format!("{}=true", labels::ENFORCED));
        Watch::begin::<Namespace>(Api::all(self.watcher().await?), config).await
    }

    /// Watches the RoleBindings of grants.
    ///
    /// # Errors
    ///
    /// The watch does not begin.
    pub async fn watch_grant_bindings(&self) -> Result<Watch> {
        let config = Config::default().labels(labels::GRANT);
        Watch::begin::<RoleBinding>(Api::all(self.watcher().await?), config).await
    }

    /// The operator's writes since then, all of which must have been accepted.
    ///
    /// # Errors
    ///
    /// The audit log cannot be read.
    pub fn writes(&self, mark: Mark) -> Result<Writes> {
        self.audit.since(mark)
    }

    /// What the operator complained about, at most the first few lines of it.
    pub fn complaints(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let bad =
            log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR") || line.contains("panicked"));
        let bad: Vec<String> = bad.map(plain).collect();
        let more = bad.len().saturating_sub(5);
        let first = bad.iter().take(5).cloned();
        first.chain((more > 0).then(|| format!("... and {more} more"))).collect()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("operator.log")
    }

    async fn watcher(&self) -> Result<Client> {
        self.cluster.admin_client().await.context("the watcher has no client")
    }
}

/// A line of a log without its colours, cut where it gets long.
fn plain(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once('m').map_or("", |(_, text)| text));
    let text = rest.fold(first, |text, part| text + part);
    match text.char_indices().nth(240) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(plain("\u{1b}[2mnow\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m told"), "now  WARN told");
        assert_eq!(plain("nothing"), "nothing");
        assert_eq!(plain(&"x".repeat(300)).len(), 243);
    }
}
