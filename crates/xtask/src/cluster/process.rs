//! The process of an embedded cluster.

use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::{Error, Options, Result};

const PATIENCE: Duration = Duration::from_secs(15);

/// What the binary says when its cluster is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub server: String,
    pub kubeconfig: PathBuf,
    pub ca_cert: PathBuf,
    pub ca_key: PathBuf,
    pub data_dir: PathBuf,
    pub log_dir: PathBuf,
    pub pid: u32,
}

impl Report {
    /// The process holds a lock as long as it lives.
    pub(super) fn is_alive(&self) -> bool {
        let lock = File::open(self.data_dir.join("lock"));
        lock.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    /// Asks the process to end and waits until it has, with its data.
    pub(super) fn terminate(&self) -> Result<()> {
        // The lock is held by this very process, so its number has not been given to another one.
        if self.is_alive() {
            let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
            // An error says that it has ended in between.
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        }
        let began = Instant::now();
        while self.is_alive() {
            if began.elapsed() > PATIENCE {
                return Err(Error::DoesNotEnd { pid: self.pid, seconds: PATIENCE.as_secs() });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.remove_data()
    }

    /// Removes what a process left that was killed; one that ended by itself has done so.
    fn remove_data(&self) -> Result<()> {
        match fs::remove_dir_all(&self.data_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.data_dir)(error))
            }
            _ => Ok(()),
        }
    }
}

/// A cluster that ends with this value: its process ends when its standard input does, which we hold.
#[derive(Debug)]
pub(super) struct Attached {
    child: Child,
    stdin: Option<ChildStdin>,
    errors: File,
    data_dir: PathBuf,
}

impl Attached {
    pub(super) fn start(binary: &Path, options: &Options) -> Result<(Self, Report)> {
        let errors = tempfile::tempfile().map_err(Error::io("make a file in", std::env::temp_dir()))?;
        let mut child = spawn(binary, options, Stdio::piped(), &errors, &[])?;
        let stdin = child.stdin.take();
        let mut attached = Self { child, stdin, errors, data_dir: PathBuf::new() };
        let report = wait_until_ready(&mut attached.child, &mut attached.errors)?;
        attached.data_dir.clone_from(&report.data_dir);
        Ok((attached, report))
    }

    pub(super) fn stop(mut self) -> Result<()> {
        self.end()
    }

    /// Whether it has ended by itself, and what it said then.
    pub(super) fn ended(&mut self) -> Option<(ExitStatus, String)> {
        let status = self.child.try_wait().ok().flatten()?;
        Some((status, read_all(&mut self.errors)))
    }

    fn end(&mut self) -> Result<()> {
        drop(self.stdin.take());
        let began = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if began.elapsed() > PATIENCE {
                // Its children go with it.
                let _ = self.child.kill();
                let _ = self.child.wait();
                self.remove_data();
                return Err(Error::DoesNotEnd { pid: self.child.id(), seconds: PATIENCE.as_secs() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.remove_data();
        Ok(())
    }

    /// There is some only if it was killed, and the next cluster would remove it too.
    fn remove_data(&self) {
        if !self.data_dir.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.data_dir);
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            let _ = writeln!(std::io::stderr(), "cluster: {error}");
        }
    }
}

/// Starts a cluster that belongs to nobody. What it says on standard error goes to the file.
pub(super) fn start_detached(binary: &Path, options: &Options, mut errors: File) -> Result<Report> {
    let mut child = spawn(binary, options, Stdio::null(), &errors, &["--detached"])?;
    wait_until_ready(&mut child, &mut errors)
}

fn spawn(binary: &Path, options: &Options, stdin: Stdio, errors: &File, more: &[&str]) -> Result<Child> {
    let mut command = Command::new(binary);
    command.args(more).current_dir("/");
    let files = [
        ("--audit-log", &options.audit_log),
        ("--authentication-config", &options.authentication_config),
        ("--log-dir", &options.log_dir),
        ("--data", &options.data),
        ("--save-data", &options.save_data),
    ];
    for (flag, path) in files {
        if let Some(path) = path {
            command.arg(flag).arg(std::path::absolute(path).map_err(Error::io("find", path))?);
        }
    }
    let errors = errors.try_clone().map_err(Error::io("write the errors of", binary))?;
    command.stdin(stdin).stdout(Stdio::piped()).stderr(errors);
    if more.is_empty() {
        // Out of the terminal's reach: on Ctrl-C, whoever uses the cluster ends it, and may need it until then.
        command.process_group(0);
    }
    command.spawn().map_err(Error::io("run", binary))
}

fn wait_until_ready(child: &mut Child, errors: &mut File) -> Result<Report> {
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    if let Ok(report) = serde_json::from_str(&line) {
        return Ok(report);
    }
    let _ = child.wait();
    Err(Error::Start { output: read_all(errors) })
}

fn read_all(file: &mut File) -> String {
    let mut text = String::new();
    if file.rewind().is_ok() {
        let _ = file.read_to_string(&mut text);
    }
    text.trim_end().to_owned()
}
