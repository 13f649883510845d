//! Why the audit record cannot be kept.

use cloister_core::audit::Broken;
use std::{io, path::PathBuf};

/// Why the audit record cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened, read or written.
    #[error("the audit record {path} cannot be {what}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("the audit record on standard output cannot be written: {0}")]
    Stdout(io::Error),
    /// The file was changed by somebody else.
    #[error("the audit record {path} is not intact: {source}; it is kept as evidence: move it away")]
    Broken {
        /// The file.
        path: PathBuf,
        /// Where.
        source: Broken,
    },
    /// Another process writes it.
    #[error("another process writes the audit record {0}; stop that process, or name another file")]
    InUse(PathBuf),
}

impl AuditError {
    /// The category, as the logs have it.
    pub fn category(&self) -> &'static str {
        match self {
            AuditError::File { source, .. } | AuditError::Stdout(source) => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => "full",
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => "read_only",
                io::ErrorKind::NotFound => "missing",
                io::ErrorKind::BrokenPipe => "no_reader",
                _ => "io",
            },
            AuditError::Broken { .. } => "broken",
            AuditError::InUse(_) => "in_use",
        }
    }
}
