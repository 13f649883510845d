//! Where the audit record goes.
//!
//! What is recorded follows from what is written in the cluster (`cloister_core::audit`), and is taken after every
//! reconcile; what was recorded already is remembered by its id, as long as its object is there. A file is read back at
//! the start, so that nothing is missing after a crash and nothing is there twice. Standard output cannot be read back:
//! a new chain begins there with each start, with what happened of late.

use crate::{
    context::Context,
    index::{Index, Recorded},
    needs,
};
use cloister_api::AccessReview;
use cloister_core::{
    audit::{Broken, Head, Proof, Record, of_grant, of_review},
    child::{Children, GrantRef},
    grant::Grant,
};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tracing::{error, info};

/// Of how many objects it is not worth while to forget what was recorded.
const FEW: usize = 1024;

/// How far back a sink that cannot be read back begins.
const OF_LATE: SignedDuration = SignedDuration::from_hours(1);

/// Why the audit record cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened, read or written.
    #[error("the audit record {path}: {source}; name a file that the operator may write, or --audit stdout")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file was changed by somebody else.
    #[error("the audit record {path} does not hold: {source}; keep it as evidence, and name another file")]
    Broken {
        /// The file.
        path: PathBuf,
        /// Where.
        source: Broken,
    },
}

/// The audit record.
pub struct Audit {
    sink: Mutex<Option<Sink>>,
    /// The ids of what was recorded, by the uid of its object.
    recorded: Mutex<HashMap<Box<str>, HashSet<Box<str>>>>,
    /// Of how many objects something must be remembered before it is asked which of them are gone.
    forget_at: AtomicUsize,
    /// Whether there is a record.
    is_kept: bool,
    /// What happened before is not recorded: it was, by an operator before this one.
    since: Timestamp,
}

struct Sink {
    to: To,
    head: Head,
}

enum To {
    Stdout,
    File(File),
}

impl Audit {
    /// Opens the record: `stdout`, `none`, or a file, which is continued.
    ///
    /// # Errors
    ///
    /// The file cannot be used, or was tampered with.
    pub fn open(to: &str) -> Result<Self, AuditError> {
        let mut recorded: HashMap<Box<str>, HashSet<Box<str>>> = HashMap::new();
        let mut since = Timestamp::MIN;
        let sink = match to {
            "none" => None,
            "stdout" => {
                since = Timestamp::now().checked_sub(OF_LATE).unwrap_or(Timestamp::MIN);
                Some(Sink { to: To::Stdout, head: Head::default() })
            }
            path => {
                let path = Path::new(path);
                let (file, head) = read_back(path, |id| {
                    recorded.entry(uid_of(id).into()).or_default().insert(id.into());
                })?;
                info!(path = %path.display(), records = head.length, "the audit record is continued");
                Some(Sink { to: To::File(file), head })
            }
        };
        Ok(Audit {
            is_kept: sink.is_some(),
            sink: Mutex::new(sink),
            recorded: Mutex::new(recorded),
            forget_at: AtomicUsize::new(0),
            since,
        })
    }

    /// Forgets what was recorded of objects that are not there any more, once there may be as many of those as of others.
    pub fn forget_the_gone(&self, index: &Index) {
        let mut recorded = self.recorded();
        if recorded.len() < self.forget_at.load(Relaxed) {
            return;
        }
        let uids = index.uids();
        recorded.retain(|uid, _| uids.contains(&**uid));
        self.forget_at.store(recorded.len() * 2 + FEW, Relaxed);
    }

    fn forget_what_is_gone(&self, context: &Context) {
        // What was not listed yet is not gone.
        let kinds = [&needs::GRANTS[..], &["AccessReview"]].concat();
        if context.synced.missing(Some(&kinds)).is_empty() {
            self.forget_the_gone(&context.index());
        }
    }

    /// Records what is new of a grant.
    pub fn take_grant(&self, context: &Context, namespace: &Arc<str>, grant: &GrantRef) {
        static NOTHING: Children = Children::new();
        let records = {
            let index = context.index();
            let Some(Ok(found)) = index.grant(namespace, grant).map(|found| found.object.as_ref()) else { return };
            let children = index.children.get(namespace).map_or(&NOTHING, |children| &children.all);
            of_grant(found, namespace, children, |id| self.is_known(id))
        };
        self.record(records);
        self.forget_what_is_gone(context);
    }

    /// Records what is new of a review.
    pub fn take_review(&self, context: &Context, namespace: &Arc<str>, name: &Arc<str>) {
        let record = {
            let index = context.index();
            let found = index.reviews.get(namespace).and_then(|reviews| reviews.get(name));
            found.and_then(|found| of_review(found.object.as_ref().ok()?, namespace))
        };
        self.record(record.into_iter().collect());
        self.forget_what_is_gone(context);
    }

    /// Whether what happened to an object is recorded, or happened before there is something to record.
    fn has_all(&self, records: &[Record]) -> bool {
        !self.is_kept || records.iter().all(|record| record.time < self.since || self.is_known(&record.id))
    }

    fn is_known(&self, id: &str) -> bool {
        self.recorded().get(uid_of(id)).is_some_and(|ids| ids.contains(id))
    }

    fn record(&self, records: Vec<Record>) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sink) = sink.as_mut() else { return };
        let mut known = self.recorded();
        let mut lines = String::new();
        for record in records {
            // Another look may have recorded it meanwhile.
            let is_new = known.entry(uid_of(&record.id).into()).or_default().insert(record.id.as_str().into());
            if is_new && record.time >= self.since {
                lines.push_str(&sink.head.append(&record));
                lines.push('\n');
            }
        }
        if lines.is_empty() {
            return;
        }
        let written = match &mut sink.to {
            To::Stdout => io::stdout().lock().write_all(lines.as_bytes()),
            To::File(file) => file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()),
        };
        if let Err(error) = written {
            // Without its record nothing may be decided; it is made again from the status at the next start.
            error!(%error, "the audit record cannot be written; the operator ends");
            std::process::exit(1);
        }
    }

    fn recorded(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, HashSet<Box<str>>>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded for Audit {
    fn has_grant(&self, grant: &Grant, namespace: &str) -> bool {
        static NOTHING: Children = Children::new();
        self.has_all(&of_grant(grant, namespace, &NOTHING, |id| self.is_known(id)))
    }

    fn has_review(&self, review: &AccessReview, namespace: &str) -> bool {
        self.has_all(of_review(review, namespace).as_slice())
    }
}

/// The uid of the object that a record's id begins with.
fn uid_of(id: &str) -> &str {
    id.split('.').next().unwrap_or_default()
}

/// Reads a record back and opens it to be continued. A last line that was torn by a crash is taken off: what it said
/// follows from a status.
fn read_back(path: &Path, mut each: impl FnMut(&str)) -> Result<(File, Head), AuditError> {
    let failed = |source| AuditError::File { path: path.to_owned(), source };
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let mut proof = Proof::default();
    let mut whole: u64 = 0;
    let mut reader = BufReader::new(&file);
    let mut line = String::new();
    loop {
        line.clear();
        let length = reader.read_line(&mut line).map_err(failed)?;
        if length == 0 || !line.ends_with('\n') {
            break;
        }
        let id = proof.take(line.trim_end()).map_err(|source| AuditError::Broken { path: path.to_owned(), source })?;
        each(&id);
        whole += length as u64;
    }
    drop(reader);
    file.set_len(whole).map_err(failed)?;
    file.seek(SeekFrom::End(0)).map_err(failed)?;
    Ok((file, proof.head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(id: &str) -> Record {
        Record {
            id: id.into(),
            r#type: "dev.cloister.grant.requested.v1".into(),
            time: Timestamp::from_second(1).unwrap(),
            subject: "StorageAccessGrant/interp/run".into(),
            data: json!({}),
        }
    }

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_file_is_continued_without_doubles_and_without_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let name = path.to_str().unwrap();
        Audit::open(name).unwrap().record(vec![record("u1.requested"), record("u1.approved")]);
        let torn = lines(&path).join("\n") + "\n{\"specversion\":\"1.0\",\"id\":\"u1.acti";
        std::fs::write(&path, torn).unwrap();
        let again = Audit::open(name).unwrap();
        again.record(vec![record("u1.requested"), record("u1.approved"), record("u1.activated")]);
        let mut proof = Proof::default();
        let ids: Vec<String> = lines(&path).iter().map(|line| proof.take(line).unwrap()).collect();
        assert_eq!(ids, ["u1.requested", "u1.approved", "u1.activated"]);
        assert_eq!(proof.chains, 1);
    }

    #[test]
    fn a_file_that_was_changed_is_not_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let name = path.to_str().unwrap();
        Audit::open(name).unwrap().record(vec![record("u1.requested"), record("u1.approved")]);
        std::fs::write(&path, lines(&path).join("\n").replace("interp", "other") + "\n").unwrap();
        assert!(matches!(Audit::open(name), Err(AuditError::Broken { .. })));
    }
}
