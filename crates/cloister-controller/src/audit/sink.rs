//! Where the lines of the record go. Everything here may block, and so runs on the writer's thread alone.

use super::{error::AuditError, file::FileSink, known::Known};
use cloister_core::audit::{Head, Record, resumed};
use jiff::Timestamp;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// What was found when a sink was opened, or opened again.
#[derive(Debug, Default)]
pub struct Opened {
    /// The ids of the records that are in it.
    pub ids: Known,
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

/// The sink of this name: `stdout`, or a file.
pub fn named(to: &str) -> Box<dyn Sink> {
    match to {
        "stdout" => Box::new(Stream::stdout()),
        path => Box::new(FileOrStream { path: path.into(), sink: None }),
    }
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

/// What cannot be read back: standard output, a pipe, a terminal. A new chain begins with each start.
pub struct Stream {
    path: Option<PathBuf>,
    open: Option<File>,
    head: Head,
    /// Where the chain was when a write failed: nobody knows how much of it was taken.
    torn: Option<Head>,
}

impl Stream {
    fn stdout() -> Self {
        Stream { path: None, open: None, head: Head::default(), torn: None }
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
            let note = resumed("a write to the one before failed, and may have been cut off", torn, Timestamp::now());
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

/// A path, of which it is known only when it is opened whether it can be read back.
struct FileOrStream {
    path: PathBuf,
    sink: Option<Box<dyn Sink>>,
}

impl Sink for FileOrStream {
    fn ready(&mut self) -> Result<Option<Opened>, AuditError> {
        let path = &self.path;
        let sink = self.sink.get_or_insert_with(|| {
            if is_stream(path) {
                Box::new(Stream { path: Some(path.clone()), ..Stream::stdout() })
            } else {
                Box::new(FileSink::new(path))
            }
        });
        sink.ready()
    }

    fn append(&mut self, records: &[Record]) -> Result<(), AuditError> {
        match &mut self.sink {
            Some(sink) => sink.append(records),
            None => Ok(()),
        }
    }
}

fn is_stream(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}
