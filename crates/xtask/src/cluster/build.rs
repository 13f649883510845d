//! Builds the programs of the Go module, each once for each state of its source.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::progress::Progress;
use super::{Error, Result, workspace};

const KUBERNETES: &str = "1.37.2";
const MINIMUM_GO: (u32, u32) = (1, 26);

/// A program of the Go module.
struct Program {
    /// The name of its binary.
    name: &'static str,
    /// What people call it.
    title: &'static str,
    /// The folder of its module, inside that of the cluster.
    module: &'static str,
    /// Its package: a folder inside the module, or one that the module's `go.mod` names as a tool.
    package: &'static str,
}

const CLUSTER: Program = Program { name: "cloister-cluster", title: "the embedded cluster", module: ".", package: "." };
const CYCLONUS: Program = Program { name: "cyclonus", title: "Cyclonus", module: ".", package: "./cyclonus" };
// Of the version of the cluster, whose module names it as a tool.
const KUBECTL: Program =
    Program { name: "kubectl", title: "kubectl", module: ".", package: "k8s.io/kubernetes/cmd/kubectl" };
// Modules of their own, so that they do not move the versions that the API server is built with.
const COREDNS: Program = Program { name: "coredns", title: "CoreDNS", module: "coredns", package: "." };
const PLUGINS: Program =
    Program { name: "plugins", title: "the reading of network plugins", module: "plugins", package: "." };

const TOOLS: Program = Program { name: "tools", title: "other people's tools", module: "tools", package: "." };
const VALIDATE: Program = Program { name: "validate", title: "kubectl-validate", module: "validate", package: "." };

/// Builds the embedded cluster if its source has changed, and returns the path of the binary.
///
/// The first build takes several minutes, and says on standard error how far it is. When nothing has changed this takes
/// milliseconds and needs no Go. Processes that call it at the same time wait for the one that builds.
///
/// # Errors
///
/// There is no Go that is new enough, or it cannot be built.
pub fn build() -> Result<PathBuf> {
    CLUSTER.build()
}

/// A hash of all that the binary of the embedded cluster is made from.
///
/// # Errors
///
/// The source cannot be read.
pub fn built_from() -> Result<String> {
    CLUSTER.hash(&workspace::module(&workspace::root()?).join(CLUSTER.module))
}

/// Builds the evaluator of NetworkPolicies that ours is compared with, as [`build`] does.
///
/// # Errors
///
/// As [`build`].
pub fn build_cyclonus() -> Result<PathBuf> {
    CYCLONUS.build()
}

/// Builds kubectl of the cluster's own version, as [`build`] does. The binary is called `kubectl`, so that a shell with its
/// folder first in `PATH` runs it.
///
/// # Errors
///
/// As [`build`].
pub fn build_kubectl() -> Result<PathBuf> {
    KUBECTL.build()
}

/// Builds the DNS server of the tests, as [`build`] does.
///
/// # Errors
///
/// As [`build`].
pub fn build_coredns() -> Result<PathBuf> {
    COREDNS.build()
}

/// Builds what reads policies as network plugins do, as [`build`] does.
///
/// # Errors
///
/// As [`build`].
pub fn build_plugins() -> Result<PathBuf> {
    PLUGINS.build()
}

/// Builds what asks other people's tools what they make of Cloister, as [`build`] does.
///
/// # Errors
///
/// As [`build`].
pub fn build_tools() -> Result<PathBuf> {
    TOOLS.build()
}

/// Builds what validates manifests as kubectl-validate does, as [`build`] does.
///
/// # Errors
///
/// As [`build`].
pub fn build_validate() -> Result<PathBuf> {
    VALIDATE.build()
}

/// The folder of the network-policy-api project, which has the definitions of its kinds, at the version and by the checksum
/// of the module of [`build_plugins`].
///
/// # Errors
///
/// It cannot be had.
pub fn network_policy_api() -> Result<PathBuf> {
    const PATH: &str = "sigs.k8s.io/network-policy-api";
    let root = workspace::root()?;
    let module = workspace::module(&root).join(PLUGINS.module);
    let ask = |args: &[&str]| {
        let output = go(&module).args(args).output().map_err(Error::io("run go in", &module))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(Error::Go { found: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    };
    ask(&["mod", "download", PATH])?;
    Ok(ask(&["list", "-m", "-f", "{{.Dir}}", PATH])?.into())
}

impl Program {
    fn build(&self) -> Result<PathBuf> {
        let root = workspace::root()?;
        let module = workspace::module(&root).join(self.module);
        let target = root.join("target/cluster");
        let binary = target.join(self.name);
        let stamp = target.join(format!("{}.built-from", self.name));

        let hash = self.hash(&module)?;
        let current = || binary.is_file() && fs::read_to_string(&stamp).is_ok_and(|built| built == hash);
        if current() {
            return Ok(binary);
        }
        fs::create_dir_all(&target).map_err(Error::io("make", &target))?;
        let _lock = lock(&target.join("lock"))?;
        if current() {
            return Ok(binary);
        }
        check_go(&target)?;
        // A name of our own: the Go build of a process that was killed may still be writing to its.
        let new = target.join(format!("new-{}-{}", self.name, std::process::id()));
        self.compile(&module, &new)?;
        fs::rename(&new, &binary).map_err(Error::io("put in place", &binary))?;
        fs::write(&stamp, hash).map_err(Error::io("write", &stamp))?;
        Ok(binary)
    }

    /// Of all that decides what the binary is: the source, the versions and checksums of what it imports, the flags.
    fn hash(&self, module: &Path) -> Result<String> {
        let mut files = sources(module)?;
        if self.package.starts_with("./") {
            files.extend(sources(&module.join(self.package))?);
        }
        files.sort();
        let mut hash = Sha256::new();
        hash.update(link_flags());
        for file in &files {
            let content = fs::read(file).map_err(Error::io("read", file))?;
            hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update((content.len() as u64).to_be_bytes());
            hash.update(content);
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn compile(&self, module: &Path, output: &Path) -> Result<()> {
        let title = self.title;
        let mut progress = Progress::start(&format!("building {title} (several minutes the first time)"));

        let mut list = go(module);
        list.args(["list", "-deps", self.package]);
        progress.phase("finding and downloading the modules");
        let packages = progress.run(&mut list)?;
        progress.total(packages);

        let mut build = go(module);
        build.args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", &link_flags(), "-o"]);
        build.arg(output).arg(self.package);
        progress.phase("compiling");
        progress.run(&mut build)?;
        progress.finish(&format!("built {title}"));
        Ok(())
    }
}

/// One process builds at a time; the lock goes with the file, and with the process.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).map_err(Error::io("make", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            Progress::say("another process is building the embedded cluster: waiting for it")
        }
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
    }
    file.lock().map_err(Error::io("lock", path))?;
    Ok(file)
}

fn link_flags() -> String {
    let set = |variable: &str, value: &str| format!(" -X k8s.io/{variable}={value}");
    let version = format!("v{KUBERNETES}");
    ["-s -w".to_owned()]
        .into_iter()
        .chain([
            set("component-base/version.gitVersion", &version),
            set("component-base/version.gitMajor", "1"),
            set("component-base/version.gitMinor", "37"),
            set("component-base/version.gitCommit", "unknown"),
            set("client-go/pkg/version.gitVersion", &version),
            set("client-go/pkg/version.gitCommit", "unknown"),
        ])
        .collect()
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_source(path)).collect())
}

fn is_source(path: &Path) -> bool {
    matches!(path.extension().and_then(|e| e.to_str()), Some("go" | "mod" | "sum"))
}

fn go(dir: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(dir).stdin(Stdio::null());
    command.env("GOFLAGS", "-mod=readonly").env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    // Whatever surrounds this checkout is no part of the module.
    command.env("GOWORK", "off").env_remove("GOOS").env_remove("GOARCH");
    command
}

fn check_go(dir: &Path) -> Result<()> {
    let output = go(dir).args(["env", "GOVERSION"]).output();
    let found = match output {
        Err(error) => format!("`go` cannot be run ({error})"),
        Ok(output) => {
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if go_version(&version).is_some_and(|v| v >= MINIMUM_GO) {
                return Ok(());
            }
            format!("the `go` on the PATH is {version:?}")
        }
    };
    Err(Error::Go { found })
}

/// `go1.26.8`, `go1.27rc1`: the first two numbers.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("go")?.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go() {
        assert_eq!(go_version("go1.26.8"), Some((1, 26)));
        assert_eq!(go_version("go1.27rc1"), Some((1, 27)));
        assert_eq!(go_version("devel"), None);
        assert!(go_version("go1.9") < Some(MINIMUM_GO));
    }
}
