//! A file that holds the record. It is read back when it is opened, so that nothing is there twice, and looked at before
//! each write: one that was deleted, moved away, replaced or cut is noticed, and what it lacks is written again.

use super::{
    error::AuditError,
    record_ids::RecordIds,
    sink::{Opened, Sink, lines},
};
use cloister_core::audit::{Head, Proof, Record, resumed};
use jiff::Timestamp;
use std::{
    fs::{self, File, Metadata, TryLockError},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    mem,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// A file that holds the record.
pub struct FileSink {
    path: PathBuf,
    open: Option<Open>,
    /// What happened to the file that was open last.
    change: Change,
    /// A file whose chain does not hold, as it was when it was read: it is read again when it is another.
    broken: Option<(Identity, AuditError)>,
}

struct Open {
    file: File,
    head: Head,
    /// How much of it this process knows.
    length: u64,
    /// Why a new chain begins with the next write, and where the one before was.
    resumed: Option<(&'static str, Head)>,
}

/// What happened to the file that was open.
#[derive(Default)]
struct Change {
    /// Why a new chain begins, and where the one before was. None where it goes on.
    resumed: Option<(&'static str, Head)>,
    /// Whether records may be missing that were in it.
    may_lack: bool,
}

/// What tells one state of a file from another.
type Identity = (u64, u64, u64, Option<SystemTime>);

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.modified().ok())
}

impl FileSink {
    /// The record in this file, which is not opened yet.
    pub fn new(path: &Path) -> Self {
        FileSink { path: path.to_owned(), open: None, change: Change::default(), broken: None }
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> AuditError + use<> {
        let path = self.path.clone();
        move |source| AuditError::File { path: path.clone(), what, source }
    }

    /// Closes the file where it is not any more what was written, so that it is opened anew.
    fn look(&mut self) -> Result<(), AuditError> {
        let Some(open) = &self.open else { return Ok(()) };
        let mine = open.file.metadata().map_err(self.failed("looked at"))?;
        let is_gone = mine.nlink() == 0;
        let (why, may_lack) = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_gone => ("the previous file was deleted", true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => ("the previous file was moved away", false),
            Err(error) => return Err(self.failed("looked at")(error)),
            Ok(there) if (there.dev(), there.ino()) != (mine.dev(), mine.ino()) => {
                ("another file replaced the previous one", is_gone)
            }
            Ok(there) if there.len() < open.length => {
                ("the file was cut: records that were in it are missing before this one", true)
            }
            Ok(there) => {
                if there.len() > open.length {
                    // Of somebody else, or of a write that failed and could not be taken back.
                    self.open = None;
                }
                return Ok(());
            }
        };
        if let Some(open) = self.open.take() {
            let head = open.resumed.map_or(open.head, |(_, head)| head);
            self.change.resumed.get_or_insert((why, head));
            self.change.may_lack |= may_lack;
        }
        Ok(())
    }

    /// Opens the file and reads it back. A last line that was torn is taken off: what it said follows from a status.
    fn open(&mut self) -> Result<Opened, AuditError> {
        // A device may be read without end. A path that is one from the start is written as a stream.
        let is_another = fs::metadata(&self.path).is_ok_and(|found| !found.is_file() && !found.is_dir());
        if is_another {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no longer a regular file");
            return Err(self.failed("opened")(source));
        }
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&self.path);
        let mut file = options.map_err(self.failed("opened"))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(AuditError::InUse(self.path.clone())),
            // Where there are no locks, there is one operator all the same (its Lease).
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let metadata = file.metadata().map_err(self.failed("looked at"))?;
        if let Some((known, error)) = &self.broken
            && *known == identity(&metadata)
            && let AuditError::Broken { path, source } = error
        {
            return Err(AuditError::Broken { path: path.clone(), source: source.clone() });
        }
        let mut ids = RecordIds::default();
        let read = read_back(&file, |id| {
            ids.insert(id);
        });
        let (head, length) = match read {
            Ok(read) => read,
            Err(ReadBack::Io(source)) => return Err(self.failed("read")(source)),
            Err(ReadBack::Broken(source)) => {
                let error = |source| AuditError::Broken { path: self.path.clone(), source };
                self.broken = Some((identity(&metadata), error(source.clone())));
                return Err(error(source));
            }
        };
        self.broken = None;
        file.set_len(length).map_err(self.failed("written"))?;
        file.seek(SeekFrom::End(0)).map_err(self.failed("read"))?;
        let Change { resumed, may_lack } = mem::take(&mut self.change);
        let head = if resumed.is_some() { Head::default() } else { head };
        self.open = Some(Open { file, head, length, resumed });
        Ok(Opened { ids, may_lack })
    }
}

impl Sink for FileSink {
    fn ready(&mut self) -> Result<Option<Opened>, AuditError> {
        self.look()?;
        if self.open.is_some() { Ok(None) } else { self.open().map(Some) }
    }

    fn append(&mut self, records: &[Record]) -> Result<(), AuditError> {
        let failed = self.failed("written");
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut head = open.head.clone();
        let note = open.resumed.as_ref().map(|(why, before)| resumed(why, before, Timestamp::now()));
        let mut all = lines(&mut head, note.as_slice());
        all.push_str(&lines(&mut head, records));
        let written = open.file.write_all(all.as_bytes()).and_then(|()| open.file.sync_data());
        match written {
            Ok(()) => {
                (open.head, open.resumed) = (head, None);
                open.length += all.len() as u64;
                Ok(())
            }
            Err(source) => {
                // What was written of it goes, so that the chain holds; where it cannot, it is found when next opened.
                let cut = open.file.set_len(open.length).and_then(|()| open.file.seek(SeekFrom::End(0)));
                if cut.is_err() {
                    self.open = None;
                }
                Err(failed(source))
            }
        }
    }
}

enum ReadBack {
    Io(io::Error),
    Broken(cloister_core::audit::Broken),
}

/// How long a line may be: no record is longer, and no more of a file than this is held in memory.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// Proves the chain, and answers where it is and how long it is without a torn line.
fn read_back(file: &File, mut each: impl FnMut(&str)) -> Result<(Head, u64), ReadBack> {
    let mut proof = Proof::default();
    let mut whole: u64 = 0;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(ReadBack::Io)?;
        if length as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            let why = format!("it is longer than {LONGEST_LINE} bytes, which no record is");
            return Err(ReadBack::Broken(cloister_core::audit::Broken { line: proof.records + 1, why }));
        }
        if length == 0 || line.last() != Some(&b'\n') {
            return Ok((proof.head, whole));
        }
        let text = String::from_utf8_lossy(&line);
        let id = proof.take(text.trim_end()).map_err(ReadBack::Broken)?;
        each(&id);
        whole += length as u64;
    }
}
