//! A Kubernetes control plane on this machine, or the user's own cluster, behind one type.
//!
//! The embedded cluster is a binary built from the Go module in `tests/cluster`: etcd, the API server, the controller
//! manager and the scheduler. It has no nodes. What it is given to write lives in memory and goes with it.

mod build;
mod certificate;
pub mod cli;
mod error;
mod kubeconfig;
mod options;
mod process;
mod progress;
mod registry;
mod token;
mod workspace;

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

pub use build::{
    build, build_coredns, build_cyclonus, build_kubectl, build_plugins, build_tools, build_validate, built_from,
    network_policy_api,
};
pub use error::{Error, Result};
pub use options::{DEFAULT_NAME, Options};
pub use workspace::root as workspace_root;

use process::{Attached, Report};

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    admin: Kubeconfig,
    kubeconfig: PathBuf,
    /// Of an embedded cluster alone: its certificate authority is in here.
    report: Option<Report>,
    /// Of an attached cluster alone: dropping it ends the cluster.
    attached: Option<Attached>,
}

impl Cluster {
    /// Starts an embedded cluster that ends with this process, or with the value if that is earlier.
    ///
    /// Builds it first if need be. Any number of these run side by side, whatever their names.
    pub async fn start(options: Options) -> Result<Self> {
        let name = options.name.clone();
        let (attached, report) = blocking(move || {
            let binary = build()?;
            Attached::start(&binary, &options)
        })
        .await?;
        let mut cluster = Self::embedded(name, report)?;
        cluster.attached = Some(attached);
        Ok(cluster)
    }

    /// Starts an embedded cluster that outlives this process; [`Cluster::connect`] finds it by its name.
    ///
    /// Fails with [`Error::AlreadyRunning`] if there is one of that name.
    pub async fn start_detached(options: Options) -> Result<Self> {
        let name = options.name.clone();
        let report = blocking(move || {
            let entry = registry::Entry::of(&options.name)?;
            let binary = build()?;
            entry.start_detached(&binary, &options)
        })
        .await?;
        Self::embedded(name, report)
    }

    /// The detached cluster of that name.
    pub fn connect(name: &str) -> Result<Self> {
        let report = registry::Entry::of(name)?.running().ok_or_else(|| Error::NotRunning { name: name.to_owned() })?;
        Self::embedded(name.to_owned(), report)
    }

    /// The user's own cluster: the current context of a kubeconfig, whose user must be an administrator.
    pub fn from_kubeconfig(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Ok(Self {
            name: path.display().to_string(),
            admin: kubeconfig::read(path)?,
            kubeconfig: path.to_owned(),
            report: None,
            attached: None,
        })
    }

    fn embedded(name: String, report: Report) -> Result<Self> {
        let admin = kubeconfig::read(&report.kubeconfig)?;
        Ok(Self { name, admin, kubeconfig: report.kubeconfig.clone(), report: Some(report), attached: None })
    }

    /// The name it was started with, or the path of the user's kubeconfig.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process to look at for memory and CPU time, with its children; none for the user's own cluster.
    pub fn pid(&self) -> Option<u32> {
        self.report.as_ref().map(|r| r.pid)
    }

    /// Where the components write their logs; none for the user's own cluster.
    pub fn log_dir(&self) -> Option<&Path> {
        self.report.as_ref().map(|r| r.log_dir.as_path())
    }

    /// The file of the administrator's kubeconfig.
    pub fn kubeconfig_path(&self) -> &Path {
        &self.kubeconfig
    }

    /// The administrator's kubeconfig.
    pub fn admin_kubeconfig(&self) -> Kubeconfig {
        self.admin.clone()
    }

    /// A client that may do everything.
    pub async fn admin_client(&self) -> Result<Client> {
        client(self.admin_kubeconfig()).await
    }

    /// A kubeconfig with a client certificate that says who somebody is; it is good for a day.
    ///
    /// An embedded cluster's certificate authority is at hand. Another cluster is asked for the certificate, by a
    /// CertificateSigningRequest that the administrator approves and that is deleted afterwards.
    pub async fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<Kubeconfig> {
        let identity = match &self.report {
            Some(report) => certificate::sign(&report.ca_cert, &report.ca_key, user, groups)?,
            None => certificate::request(self.admin_client().await?, user, groups).await?,
        };
        kubeconfig::of_certificate(&self.admin, user, &identity)
    }

    /// A client that is somebody: see [`Cluster::kubeconfig_for`].
    pub async fn client_for(&self, user: &str, groups: &[&str]) -> Result<Client> {
        client(self.kubeconfig_for(user, groups).await?).await
    }

    /// A kubeconfig with a token of a ServiceAccount, good for a day: what runs with it has that account's rights alone.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<Kubeconfig> {
        let token = token::request(self.admin_client().await?, namespace, name).await?;
        kubeconfig::of_token(&self.admin, &format!("{namespace}:{name}"), Some(namespace), token)
    }

    /// A kubeconfig with a token that somebody else gave out, such as an identity provider that
    /// [`Options::authentication_config`] names.
    pub fn token_kubeconfig(&self, user: &str, token: String) -> Result<Kubeconfig> {
        kubeconfig::of_token(&self.admin, user, None, token)
    }

    /// Ends an attached or detached embedded cluster and waits until nothing of it is left. The user's own is left alone.
    pub async fn stop(self) -> Result<()> {
        blocking(move || match (self.attached, self.report) {
            (Some(attached), _) => attached.stop(),
            (None, Some(_)) => registry::Entry::of(&self.name)?.stop().map(|_| ()),
            (None, None) => Ok(()),
        })
        .await
    }
}

/// A client from a kubeconfig.
pub async fn client(kubeconfig: Kubeconfig) -> Result<Client> {
    install_crypto();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|source| Error::Kubeconfig { of: "this cluster".to_owned(), source: Box::new(source) })?;
    Client::try_from(config).map_err(Error::api("cannot make a client"))
}

/// Makes ring the cryptography of TLS in this process. It may be called any number of times.
pub fn install_crypto() {
    // An error says that somebody has chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
