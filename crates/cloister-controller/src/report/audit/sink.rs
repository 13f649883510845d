//! Where the lines of the record go. Everything here may block, and so runs on the writer's thread alone.

use super::{error::AuditError, record_ids::RecordIds};
use cloister_core::audit::{Head, Record};

/// What was found when a sink was opened, or opened again.
#[derive(Debug, Default)]
pub struct Opened {
    /// The ids of the records that are in it.
    pub ids: RecordIds,
    /// Whether records may be missing that were in it before.
    pub may_lack: bool,
}

/// Takes lines.
pub trait Sink: Send {
    /// Makes sure that lines can be written, and says what was found where it had to be opened.
    ///
    /// # Errors
    ///
    /// They cannot.
    fn ready(&mut self) -> Result<Option<Opened>, AuditError>;

    /// Writes these records, all or none.
    ///
    /// # Errors
    ///
    /// They could not be written, or not to the end.
    fn append(&mut self, records: &[Record]) -> Result<(), AuditError>;
}

/// The lines of these records, each with its line break.
pub fn lines(head: &mut Head, records: &[Record]) -> String {
    let mut lines = String::new();
    for record in records {
        lines.push_str(&head.append(record));
        lines.push('\n');
    }
    lines
}
