//! Builds the operator, and runs it outside of the cluster as what it is inside: with the token, and so with the RBAC, of
//! its ServiceAccount.

use crate::cluster::{Cluster, workspace_root};
use anyhow::{Context, Result, bail, ensure};
use cloister_api::labels;
use kube::config::Kubeconfig;
use std::{
    fs::{File, OpenOptions},
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(20);

/// Names the operator's program to tests, where it is built already: they start it often, and Cargo would look at every
/// dependency each time.
pub const BINARY: &str = "CLOISTER_OPERATOR_BINARY";

/// Builds the operator, as optimised as this program itself is, and says where it is. Quick when it is current: a debug
/// build has the features of the whole workspace, as the tests have, and a release build those of the product.
///
/// # Errors
///
/// It does not build.
pub fn build() -> Result<PathBuf> {
    if let Some(built) = std::env::var_os(BINARY) {
        return Ok(built.into());
    }
    let release = !cfg!(debug_assertions);
    let root = workspace_root()?;
    let mut command = crate::cargo::command();
    command
        .current_dir(&root)
        .args(["build", "--bin", "cloister-controller"])
        .args(crate::cargo::quiet())
        .stdin(Stdio::null());
    if release {
        command.args(["--release", "--package", "cloister-controller"]);
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the operator does not build; see above");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    Ok(target.join(if release { "release" } else { "debug" }).join("cloister-controller"))
}

/// A running operator. It ends with this process, whatever becomes of that.
#[derive(Debug)]
pub struct Operator {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    _folder: TempDir,
}

impl Operator {
    /// Starts it and waits until all its stores are synced. Its log goes to the file, after what is there.
    ///
    /// # Errors
    ///
    /// It does not start; the message holds the end of its log.
    pub async fn start(binary: &Path, cluster: &Cluster, log: &Path, arguments: &[&str]) -> Result<Self> {
        let mut operator = Self::spawn(binary, cluster, log, arguments).await?;
        operator.wait_until_ready().await?;
        Ok(operator)
    }

    /// Starts it, and does not wait.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub async fn spawn(binary: &Path, cluster: &Cluster, log: &Path, arguments: &[&str]) -> Result<Self> {
        Self::spawn_as(binary, &Self::kubeconfig(cluster).await?, log, arguments)
    }

    /// The kubeconfig that it is run with.
    ///
    /// # Errors
    ///
    /// The API server gives no token.
    pub async fn kubeconfig(cluster: &Cluster) -> Result<Kubeconfig> {
        Ok(cluster.service_account_kubeconfig(labels::SYSTEM_NAMESPACE, labels::OPERATOR_ACCOUNT).await?)
    }

    /// Starts it with a kubeconfig of one's own, and does not wait.
    ///
    /// # Errors
    ///
    /// It cannot be run.
    pub fn spawn_as(binary: &Path, kubeconfig: &Kubeconfig, log: &Path, arguments: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("kubeconfig");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(serde_saphyr::to_string(kubeconfig)?.as_bytes())?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let output = File::options()
            .append(true)
            .create(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(binary)
            .arg("run")
            .args(["--listen", &address.to_string(), "--log-format", "text", "--until-stdin-closes"])
            .args(arguments)
            .env("KUBECONFIG", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        Ok(Operator { child, address, log: log.to_owned(), _folder: folder })
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    ///
    /// It ended, or is not ready after a minute.
    pub async fn wait_until_ready(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            if self.get("/readyz").await.is_ok_and(|(code, _)| code == 200) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the operator ended with {status}; the end of its log:\n{}", self.log_end());
            }
            ensure!(began.elapsed() < PATIENCE, "the operator is not ready; the end of its log:\n{}", self.log_end());
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it for a page: the status code and the text.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let code = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).context("no HTTP answer")?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((code, body.to_owned()))
    }

    /// The sum of a metric over those of its lines that contain this text.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn metric(&self, name: &str, containing: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(containing));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Tells it to end (SIGTERM), and waits until it has.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(began.elapsed() < PATIENCE, "the operator does not end; the end of its log:\n{}", self.log_end());
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The last lines of its log.
    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
