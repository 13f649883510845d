//! What can go wrong, in words that say what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong with a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no usable Go.
    #[error(
        "Go 1.26 or newer builds the embedded cluster, and {found}. \
         Install it (https://go.dev/dl), or use a cluster of your own with --kubeconfig FILE"
    )]
    Go {
        /// What there is instead.
        found: String,
    },
    /// The Go build failed.
    #[error("the embedded cluster did not build: `{command}` failed. Its last words:\n{output}")]
    Build {
        /// The command that failed.
        command: String,
        /// The end of what it printed.
        output: String,
    },
    /// The binary ended before the cluster was ready.
    #[error("the embedded cluster did not start:\n{output}")]
    Start {
        /// What it printed.
        output: String,
    },
    /// No detached cluster has this name.
    #[error("no cluster named {name:?} is running; start it with `cargo xtask cluster up --detach --name {name}`")]
    NotRunning {
        /// The name.
        name: String,
    },
    /// A detached cluster has this name already.
    #[error(
        "a cluster named {name:?} is running already: use it, end it with `cargo xtask cluster down --name {name}`, or take another name"
    )]
    AlreadyRunning {
        /// The name.
        name: String,
    },
    /// The process does not end.
    #[error(
        "process {pid} of the cluster did not end within {seconds} s; look at it with `ps`, and end it with `kill -9 {pid}`"
    )]
    DoesNotEnd {
        /// The process.
        pid: u32,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Not a name of a cluster.
    #[error("{name:?} cannot name a cluster: use up to 63 of a-z, 0-9 and -, the first one a letter")]
    Name {
        /// The name.
        name: String,
    },
    /// The source of the embedded cluster is not to be found.
    #[error("tests/cluster is not to be found from {from}: run this inside a checkout of the repository")]
    NoWorkspace {
        /// Where the search began.
        from: PathBuf,
    },
    /// A kubeconfig cannot be used.
    #[error("the kubeconfig of {of} cannot be used: {source}")]
    Kubeconfig {
        /// Whose it is.
        of: String,
        /// Why.
        source: Box<kube::config::KubeconfigError>,
    },
    /// A certificate cannot be made.
    #[error("cannot make a client certificate for {user:?}: {reason}")]
    Certificate {
        /// Whom it is for.
        user: String,
        /// Why.
        reason: String,
    },
    /// The API server refused, or cannot be reached.
    #[error("{what}: {source}")]
    Api {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<kube::Error>,
    },
    /// The file system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.as_ref().to_owned(), source }
    }

    pub(super) fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { what: what.into(), source: Box::new(source) }
    }

    pub(super) fn certificate(user: &str, reason: impl ToString) -> Self {
        Self::Certificate { user: user.to_owned(), reason: reason.to_string() }
    }
}
