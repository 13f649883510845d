//! A stream that takes the record and cannot be read back.

use super::{
    error::AuditError,
    sink::{Opened, Sink, lines},
};
use cloister_core::audit::{Head, Record, resumed};
use jiff::Timestamp;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// What cannot be read back: standard output, a pipe, a terminal. A new chain begins with each start.
pub struct Stream {
    path: Option<PathBuf>,
    open: Option<File>,
    head: Head,
    /// Where the chain was when a write failed: nobody knows how much of it was taken.
    torn: Option<Head>,
}

impl Stream {
    pub fn stdout() -> Self {
        Stream { path: None, open: None, head: Head::default(), torn: None }
    }

    /// A stream that has a path.
    pub fn at(path: &Path) -> Self {
        Stream { path: Some(path.to_owned()), ..Self::stdout() }
    }

    fn failed(&self, what: &'static str, source: io::Error) -> AuditError {
        match &self.path {
            Some(path) => AuditError::File { path: path.clone(), what, source },
            None => AuditError::Stdout(source),
        }
    }
}

impl Sink for Stream {
    fn ready(&mut self) -> Result<Option<Opened>, AuditError> {
        if self.open.is_some() {
            return Ok(None);
        }
        let opened = match &self.path {
            Some(path) => OpenOptions::new().append(true).open(path),
            None => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        };
        self.open = Some(opened.map_err(|source| self.failed("opened", source))?);
        Ok(Some(Opened::default()))
    }

    fn append(&mut self, records: &[Record]) -> Result<(), AuditError> {
        let before = self.head.clone();
        let mut head = before.clone();
        let mut all = String::new();
        if let Some(torn) = &self.torn {
            head = Head::default();
            let note = resumed("a write of the previous record failed, and may be incomplete", torn, Timestamp::now());
            all.push_str(&lines(&mut head, &[note]));
        }
        all.push_str(&lines(&mut head, records));
        let Some(file) = &mut self.open else { return Ok(()) };
        match file.write_all(all.as_bytes()) {
            Ok(()) => {
                (self.head, self.torn) = (head, None);
                Ok(())
            }
            Err(source) => {
                self.torn.get_or_insert(before);
                self.open = None;
                Err(self.failed("written", source))
            }
        }
    }
}
