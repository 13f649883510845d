//! What the end-to-end tests stand on: one embedded cluster for each test process, with `deploy/` in it, and people who
//! use it.

pub mod bare;
pub mod cyclonus;
mod emptied;
pub mod issuer;
pub mod ours;
pub mod proxy;
mod reuse;
pub mod scene;
pub mod tools;
pub mod witness;
pub mod world;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Client;
use tokio::sync::OnceCell;
use xtask::cluster::{self, Cluster, Options, workspace_root};
use xtask::install::{self, Parts};
use xtask::prepared;

/// The identity of the operator.
pub const OPERATOR: &str = "system:serviceaccount:cloister-system:cloister-operator";

/// How long a test waits for what must become true.
pub const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(50);

/// The cluster of this process, with everything of `deploy/` but the operator's Deployment.
///
/// It ends with the process. Tests run side by side in it: each makes its own namespaces, by [`unique`] names.
pub async fn cluster() -> &'static TestCluster {
    // A failure is kept too: no test after the first one tries again.
    static CLUSTER: OnceCell<Result<TestCluster>> = OnceCell::const_new();
    match CLUSTER.get_or_init(TestCluster::start).await {
        Ok(cluster) => cluster,
        Err(error) => panic!("there is no cluster to test in: {error:#}"),
    }
}

/// See [`cluster()`]. A client belongs to the runtime of one test, so each test makes its own.
pub struct TestCluster(Cluster);

impl TestCluster {
    async fn start() -> Result<Self> {
        // `CLOISTER_TEST_KUBECONFIG` names a cluster of the user's own.
        let deploy = workspace_root()?.join("deploy");
        let Some(path) = std::env::var_os("CLOISTER_TEST_KUBECONFIG") else {
            let options = Options { name: "tests".to_owned(), ..Default::default() };
            return Ok(Self(prepared::start(options, &deploy).await?));
        };
        let cluster = Cluster::from_kubeconfig(path)?;
        install::install(&cluster.admin_client().await?, &deploy, Parts::WithoutWorkloads).await?;
        Ok(Self(cluster))
    }

    /// The cluster itself: its kubeconfigs and logs.
    pub fn inner(&self) -> &Cluster {
        &self.0
    }

    /// A client in the group `system:masters`: RBAC lets it do everything, admission does not.
    pub async fn admin(&self) -> Result<Client> {
        Ok(self.0.admin_client().await?)
    }

    /// A client with the operator's own token.
    pub async fn operator(&self) -> Result<Client> {
        self.service_account("cloister-system", "cloister-operator").await
    }

    /// A client with the token of a ServiceAccount.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<Client> {
        Ok(cluster::client(self.0.service_account_kubeconfig(namespace, name).await?).await?)
    }

    /// A client with the certificate of a person.
    pub async fn client_for(&self, user: &str, groups: &[&str]) -> Result<Client> {
        Ok(self.0.client_for(user, groups).await?)
    }
}

/// A name that no other test of this run has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Asks until `check` agrees, for at most a minute; then fails with what it said last.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if began.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("waited {} s in vain for {what}", PATIENCE.as_secs()));
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// That a policy of ours refused a request, as a person would see it: 403, and a message that says what to do.
#[track_caller]
pub fn assert_denied<T>(result: kube::Result<T>, policy: &str) {
    if let Err(error) = denied(result, policy) {
        panic!("{error:#}");
    }
}

/// As [`assert_denied`], for [`eventually`].
pub fn denied<T>(result: kube::Result<T>, policy: &str) -> Result<()> {
    match result {
        Ok(_) => anyhow::bail!("{policy} should have refused it"),
        Err(kube::Error::Api(status)) => {
            let by = format!("ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: ");
            ensure!(status.message.contains(&by), "{policy} should have refused it, not: {status:?}");
            ensure!(status.code == 403, "refused with {} instead of 403: {}", status.code, status.message);
            Ok(())
        }
        Err(error) => Err(error).context("refused by something else"),
    }
}
