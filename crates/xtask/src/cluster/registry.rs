//! The clusters that have a name by which other processes find them: a folder each, in `target/clusters`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::process::{self, Report};
use super::{Error, Options, Result, workspace};

const STATE: &str = "state.json";
const KUBECONFIG: &str = "kubeconfig";
const ERRORS: &str = "cluster.log";

/// The place of one name, whether a cluster is there or not.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    dir: PathBuf,
}

/// What has become of the cluster of an entry.
pub(super) enum Found {
    Running,
    Dead,
    Nothing,
}

impl Entry {
    pub(super) fn of(name: &str) -> Result<Self> {
        let good = name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !good {
            return Err(Error::Name { name: name.to_owned() });
        }
        Ok(Self { name: name.to_owned(), dir: folder()?.join(name) })
    }

    /// Every name for which there is something, in order.
    pub(super) fn all() -> Result<Vec<Self>> {
        let folder = folder()?;
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", &folder)(error)),
        };
        let mut names: Vec<String> = entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names.iter().filter_map(|name| Self::of(name).ok()).filter(|e| e.dir.join(STATE).is_file()).collect())
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.dir.join(KUBECONFIG)
    }

    /// When its cluster became ready.
    pub(super) fn since(&self) -> Option<SystemTime> {
        fs::metadata(self.dir.join(STATE)).ok()?.modified().ok()
    }

    pub(super) fn report(&self) -> Option<Report> {
        let state = fs::read(self.dir.join(STATE)).ok()?;
        let mut report: Report = serde_json::from_slice(&state).ok()?;
        report.kubeconfig = self.kubeconfig();
        Some(report)
    }

    pub(super) fn running(&self) -> Option<Report> {
        self.report().filter(Report::is_alive)
    }

    pub(super) fn start_detached(&self, binary: &Path, options: &Options) -> Result<Report> {
        let _lock = self.lock()?;
        if self.running().is_some() {
            return Err(Error::AlreadyRunning { name: self.name.clone() });
        }
        self.clear()?;
        let errors = private(&self.dir.join(ERRORS))?;
        let report = process::start_detached(binary, options, errors)?;
        self.write(&report)
    }

    /// Writes down a cluster, and returns where it is to be found.
    pub(super) fn register(&self, report: &Report) -> Result<Report> {
        let _lock = self.lock()?;
        if self.running().is_some() {
            return Err(Error::AlreadyRunning { name: self.name.clone() });
        }
        self.clear()?;
        self.write(report)
    }

    /// Forgets a cluster that is gone, unless another one has taken its name since.
    pub(super) fn unregister(&self, gone: &Report) -> Result<()> {
        let _lock = self.lock()?;
        if self.report().is_some_and(|report| report.data_dir == gone.data_dir) { self.remove() } else { Ok(()) }
    }

    /// Ends the cluster and removes what was written down about it.
    pub(super) fn stop(&self) -> Result<Found> {
        if !self.dir.exists() {
            return Ok(Found::Nothing);
        }
        let _lock = self.lock()?;
        let Some(report) = self.report() else {
            self.remove()?;
            return Ok(Found::Nothing);
        };
        let found = if report.is_alive() { Found::Running } else { Found::Dead };
        report.terminate()?;
        self.remove()?;
        Ok(found)
    }

    fn write(&self, report: &Report) -> Result<Report> {
        let kubeconfig = fs::read(&report.kubeconfig).map_err(Error::io("read", &report.kubeconfig))?;
        let state = serde_json::to_vec_pretty(report).unwrap_or_default();
        for (name, content) in [(KUBECONFIG, kubeconfig), (STATE, state)] {
            let path = self.dir.join(name);
            private(&path)?.write_all(&content).map_err(Error::io("write", &path))?;
        }
        Ok(Report { kubeconfig: self.kubeconfig(), ..report.clone() })
    }

    /// What a cluster of this name left that is dead.
    fn clear(&self) -> Result<()> {
        if let Some(dead) = self.report() {
            dead.terminate()?;
        }
        self.remove()?;
        fs::create_dir_all(&self.dir).map_err(Error::io("make", &self.dir))
    }

    fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &self.dir)(error)),
            _ => Ok(()),
        }
    }

    /// One process at a time starts or ends the cluster of this name.
    fn lock(&self) -> Result<File> {
        let folder = self.dir.parent().unwrap_or(&self.dir);
        fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        let path = folder.join(format!(".{}.lock", self.name));
        let file = File::create(&path).map_err(Error::io("make", &path))?;
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(file)
    }
}

fn folder() -> Result<PathBuf> {
    Ok(workspace::root()?.join("target/clusters"))
}

/// An empty file that its owner alone can read.
fn private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(Error::io("write", path))
}
