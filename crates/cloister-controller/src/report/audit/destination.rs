//! The sink that a person names.

use super::{
    error::AuditError,
    file::FileSink,
    sink::{Opened, Sink},
    stream::Stream,
};
use cloister_core::audit::Record;
use std::path::{Path, PathBuf};

/// The sink of this name: `stdout`, or a file.
pub fn named(to: &str) -> Box<dyn Sink> {
    match to {
        "stdout" => Box::new(Stream::stdout()),
        path => Box::new(FileOrStream { path: path.into(), sink: None }),
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
            if is_stream(path) { Box::new(Stream::at(path)) } else { Box::new(FileSink::new(path)) }
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
