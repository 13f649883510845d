//! How an embedded cluster is started.

use std::path::PathBuf;

/// The name of a cluster that has been given none.
pub const DEFAULT_NAME: &str = "cloister";

/// How to start an embedded cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name: in messages, and how a detached one is found again.
    pub name: String,
    /// Where to write an audit log at level Metadata, one line for each request answered.
    pub audit_log: Option<PathBuf>,
    /// An `AuthenticationConfiguration` (`apiserver.config.k8s.io/v1`) for the API server: whose tokens it believes, beside
    /// client certificates and its own ServiceAccounts' tokens. The API server reads the file again when it changes.
    pub authentication_config: Option<PathBuf>,
    /// Where to write the components' logs, to be kept; otherwise they go with the cluster.
    pub log_dir: Option<PathBuf>,
    /// What it begins with: a folder that a cluster of the same binary wrote by [`Options::save_data`].
    pub data: Option<PathBuf>,
    /// The new folder in which to leave what is stored, when it ends.
    pub save_data: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            audit_log: None,
            authentication_config: None,
            log_dir: None,
            data: None,
            save_data: None,
        }
    }
}
