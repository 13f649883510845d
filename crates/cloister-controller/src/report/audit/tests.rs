//! The sink and its thread, with real files and with a sink that fails as it is told.

use super::{
    destination,
    error::AuditError,
    sink::{Opened, Sink},
    writer::{Due, Shared},
};
use cloister_api::GrantKind;
use cloister_core::{
    audit::{Proof, Record},
    model::child::GrantRef,
};
use cloister_index::key::Key;
use jiff::Timestamp;
use serde_json::json;
use std::{
    collections::HashSet,
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

fn record(id: &str) -> Record {
    Record {
        id: id.into(),
        r#type: "dev.cloister.grant.requested.v1".into(),
        time: Timestamp::from_second(1).unwrap(),
        subject: "StorageAccessGrant/interp/run".into(),
        data: json!({}),
    }
}

fn records(ids: &[&str]) -> Vec<Record> {
    ids.iter().map(|id| record(id)).collect()
}

fn key(name: &str) -> Key {
    Key::Review("interp".into(), name.into())
}

/// Waits until it is so, for 20 s at most.
#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// The writer on its thread.
struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn on(mut sink: Box<dyn Sink>) -> Self {
        let shared = Arc::new(Shared::new(Timestamp::MIN));
        let of_thread = shared.clone();
        let thread = std::thread::spawn(move || of_thread.write(&mut *sink));
        Running { shared, thread: Some(thread) }
    }

    fn file(path: &Path) -> Self {
        Self::on(destination::named(path.to_str().unwrap()))
    }

    fn is_fine(&self) -> bool {
        self.shared.was_opened() && self.shared.failure().is_none()
    }

    fn write(&self, ids: &[&str]) {
        until("the sink", || self.shared.was_opened());
        self.shared.hand_over(records(ids), &key("one"));
        until("records to be written", || ids.iter().all(|id| self.shared.is_written(id)));
    }

    fn end(mut self) {
        self.shared.close();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// What is in a file, which must hold.
fn read(path: &Path) -> (Proof, Vec<String>) {
    let mut proof = Proof::default();
    let text = fs::read_to_string(path).unwrap();
    let ids = text.lines().map(|line| proof.take(line).unwrap()).collect();
    (proof, ids)
}

#[test]
fn a_file_is_continued_without_doubles_and_without_a_torn_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let running = Running::file(&path);
    running.write(&["u1.requested", "u1.approved"]);
    running.end();
    let torn = fs::read_to_string(&path).unwrap() + "{\"specversion\":\"1.0\",\"id\":\"u1.acti";
    fs::write(&path, torn).unwrap();
    let again = Running::file(&path);
    again.write(&["u1.requested", "u1.approved", "u1.activated"]);
    again.end();
    let (proof, ids) = read(&path);
    assert_eq!(ids, ["u1.requested", "u1.approved", "u1.activated"]);
    assert_eq!((proof.chains, proof.resumed.len()), (1, 0));
}

#[test]
fn a_file_that_was_changed_is_left_alone_until_it_is_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let running = Running::file(&path);
    running.write(&["u1.requested", "u1.approved"]);
    running.end();
    let forged = fs::read_to_string(&path).unwrap().replace("interp", "other");
    fs::write(&path, &forged).unwrap();
    let again = Running::file(&path);
    until("the failure", || again.shared.failure().is_some());
    assert!(again.shared.failure().unwrap().contains("is not intact"));
    again.shared.hand_over(records(&["u1.activated"]), &key("one"));
    assert!(!again.shared.is_written("u1.activated"));
    assert_eq!(fs::read_to_string(&path).unwrap(), forged);
    fs::rename(&path, folder.path().join("evidence")).unwrap();
    until("the record to go on", || again.shared.is_written("u1.activated"));
    again.end();
    assert_eq!(fs::read_to_string(folder.path().join("evidence")).unwrap(), forged);
    assert_eq!(read(&path).1, ["u1.activated"]);
}

/// What happens to a file while it is written: what is lost is asked for again, and the new chain says why it begins.
#[test]
fn a_file_that_is_deleted_moved_replaced_or_cut_is_noticed() {
    let deleted = |path: &Path| fs::remove_file(path).unwrap();
    let moved = |path: &Path| fs::rename(path, path.with_extension("1")).unwrap();
    let cut = |path: &Path| fs::File::options().write(true).open(path).unwrap().set_len(40).unwrap();
    let emptied = |path: &Path| fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
    let replaced = |path: &Path| {
        fs::rename(path, path.with_extension("1")).unwrap();
        fs::write(path, "").unwrap();
    };
    type Change = fn(&Path);
    let cases: [(&str, Change, bool); 5] = [
        ("deleted", deleted, true),
        ("moved away", moved, false),
        ("was cut", cut, true),
        ("was cut", emptied, true),
        ("another file", replaced, false),
    ];
    for (why, change, loses) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let running = Running::file(&path);
        running.write(&["u1.requested", "u1.approved"]);
        assert_eq!(running.shared.due(false), Due::default());
        change(&path);
        // Also while there is nothing to write.
        until("it to be noticed", || !loses || !running.shared.is_written("u1.approved"));
        running.write(&["u1.requested", "u1.approved", "u1.activated"]);
        assert_eq!(running.shared.due(false).all, loses, "{why}");
        running.end();
        let (proof, ids) = read(&path);
        assert!(proof.resumed.len() == 1 && proof.resumed[0].1.contains(why), "{:?}", proof.resumed);
        let lacks: &[&str] = if loses { &["u1.requested", "u1.approved", "u1.activated"] } else { &["u1.activated"] };
        assert_eq!(ids[1..], *lacks, "{why}");
    }
}

#[test]
fn lines_of_somebody_else_stop_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let running = Running::file(&path);
    running.write(&["u1.requested"]);
    let mut other = fs::File::options().append(true).open(&path).unwrap();
    other.write_all(b"{\"id\": \"u9.approved\"}\n").unwrap();
    until("it to be noticed", || running.shared.failure().is_some_and(|why| why.contains("is not intact")));
    running.end();
}

#[test]
fn two_processes_do_not_write_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let first = Running::file(&path);
    first.write(&["u1.requested"]);
    let second = Running::file(&path);
    until("it to be noticed", || second.shared.failure().is_some_and(|why| why.contains("another process")));
    first.end();
    second.write(&["u1.requested", "u1.approved"]);
    second.end();
    assert_eq!(read(&path).1, ["u1.requested", "u1.approved"]);
}

#[test]
fn a_folder_that_is_not_there_yet_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/audit.jsonl");
    let running = Running::file(&path);
    until("the failure", || running.shared.failure().is_some());
    running.shared.hand_over(records(&["u1.requested"]), &key("one"));
    fs::create_dir(folder.path().join("later")).unwrap();
    until("the record", || running.is_fine() && running.shared.is_written("u1.requested"));
    running.end();
}

#[test]
fn a_file_that_may_not_be_written_is_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if fs::File::options().write(true).open(&path).is_ok() {
        // Root may write it all the same; a folder in its place nobody may.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }
    let running = Running::file(&path);
    until("the failure", || running.shared.failure().is_some());
    assert!(running.shared.failure().unwrap().contains("cannot be opened"));
    running.end();
}

/// The device that is always full.
#[test]
fn a_full_disk_fails_and_nobody_waits_for_it() {
    let running = Running::file(Path::new("/dev/full"));
    until("the sink", || running.shared.was_opened());
    let began = Instant::now();
    running.shared.hand_over(records(&["u1.requested"]), &key("one"));
    until("the failure", || running.shared.failure().is_some());
    assert!(running.shared.failure().unwrap().contains("cannot be written"));
    // As many as come, and no more of them are kept than fit.
    for at in 0..30_000 {
        let mut large = record(&format!("u{at}.requested"));
        large.data = json!({"justification": "x".repeat(1000)});
        running.shared.hand_over(vec![large], &key(&format!("review-{at}")));
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(running.shared.counts().0 < 5000, "{:?}", running.shared.counts());
    running.end();
}

/// A sink that does what it is told.
struct Scripted {
    orders: mpsc::Receiver<Order>,
    written: mpsc::Sender<Vec<String>>,
    order: Order,
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Work,
    Fail,
    /// Until another order comes.
    Block,
}

impl Scripted {
    fn new() -> (Self, mpsc::Sender<Order>, mpsc::Receiver<Vec<String>>) {
        let (order, orders) = mpsc::channel();
        let (written, read) = mpsc::channel();
        (Scripted { orders, written, order: Order::Work }, order, read)
    }
}

impl Sink for Scripted {
    fn ready(&mut self) -> Result<Option<Opened>, AuditError> {
        Ok(None)
    }

    fn append(&mut self, records: &[Record]) -> Result<(), AuditError> {
        self.order = self.orders.try_iter().last().unwrap_or(self.order);
        while self.order == Order::Block {
            self.order = self.orders.recv().unwrap_or(Order::Work);
        }
        if self.order == Order::Fail {
            return Err(AuditError::Stdout(std::io::ErrorKind::StorageFull.into()));
        }
        let _ = self.written.send(records.iter().map(|record| record.id.clone()).collect());
        Ok(())
    }
}

#[test]
fn whoever_waits_for_a_record_is_told_when_it_is_written_and_when_it_cannot_be() {
    let (sink, order, written) = Scripted::new();
    let running = Running::on(Box::new(sink));
    until("the sink", || running.shared.was_opened());
    let ids = ["u1.approved".to_owned()];
    assert!(!running.shared.has_written(&ids, &key("one")));
    assert!(running.shared.due(false).keys.is_empty(), "it is not written yet");
    running.shared.hand_over(records(&["u1.approved"]), &key("one"));
    written.recv().unwrap();
    until("it to be told", || running.shared.due(false).keys == HashSet::from([key("one")]));
    assert!(running.shared.has_written(&ids, &key("one")));

    order.send(Order::Fail).unwrap();
    let ids = ["u1.activated".to_owned()];
    assert!(!running.shared.has_written(&ids, &key("one")));
    running.shared.hand_over(records(&["u1.activated"]), &key("one"));
    until("the failure", || running.shared.failure().is_some());
    assert_eq!(running.shared.due(true).keys, HashSet::from([key("one")]));
    assert!(!running.shared.has_written(&ids, &key("one")));
    order.send(Order::Work).unwrap();
    assert_eq!(written.recv().unwrap(), ["u1.activated"], "it was not lost");
    until("it to be told", || running.shared.due(false).keys == HashSet::from([key("one")]));
    assert_eq!(running.shared.failure(), None);
    running.end();
}

/// A sink that says once that what was in it is lost.
struct Lost {
    sink: Scripted,
    is_lost: Arc<AtomicBool>,
}

impl Sink for Lost {
    fn ready(&mut self) -> Result<Option<Opened>, AuditError> {
        let lost = Opened { may_lack: true, ..Opened::default() };
        Ok(self.is_lost.swap(false, Relaxed).then_some(lost))
    }

    fn append(&mut self, records: &[Record]) -> Result<(), AuditError> {
        self.sink.append(records)
    }
}

#[test]
fn where_a_record_begins_anew_no_grant_is_told_from_its_middle() {
    let (sink, order, written) = Scripted::new();
    let is_lost = Arc::new(AtomicBool::new(false));
    let running = Running::on(Box::new(Lost { sink, is_lost: is_lost.clone() }));
    until("the sink", || running.shared.was_opened());
    let grant = GrantRef { kind: GrantKind::RoleGrant, name: "one".into() };
    let grant = Key::Grant("interp".into(), grant);
    running.shared.hand_over(records(&["u1.approved"]), &grant);
    assert_eq!(written.recv().unwrap(), ["u1.approved"]);
    order.send(Order::Fail).unwrap();
    running.shared.hand_over(records(&["u1.activated"]), &grant);
    until("the failure", || running.shared.failure().is_some());
    running.shared.hand_over(records(&["u2.reviewed"]), &key("two"));
    is_lost.store(true, Relaxed);
    order.send(Order::Work).unwrap();
    assert_eq!(written.recv().unwrap(), ["u2.reviewed"], "of the grant, what was before comes first");
    until("all to be looked at again", || running.shared.due(false).all);
    running.shared.hand_over(records(&["u1.approved", "u1.activated"]), &grant);
    assert_eq!(written.recv().unwrap(), ["u1.approved", "u1.activated"]);
    running.end();
}

#[test]
fn a_sink_that_blocks_counts_as_failed_and_holds_up_nobody() {
    let (sink, order, written) = Scripted::new();
    let running = Running::on(Box::new(sink));
    until("the sink", || running.shared.was_opened());
    order.send(Order::Block).unwrap();
    let began = Instant::now();
    for at in 0..1000 {
        running.shared.hand_over(records(&[&format!("u{at}.requested")]), &key("one"));
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    until("it to be noticed", || running.shared.failure().is_some_and(|why| why.contains("blocked")));
    order.send(Order::Work).unwrap();
    until("it to go on", || running.shared.failure().is_none() && running.shared.counts().0 == 0);
    assert_eq!(written.try_iter().flatten().count(), 1000);
    running.end();
}

#[test]
fn what_does_not_fit_into_memory_is_asked_for_again() {
    let (sink, order, _written) = Scripted::new();
    let running = Running::on(Box::new(sink));
    until("the sink", || running.shared.was_opened());
    order.send(Order::Fail).unwrap();
    let names: Vec<String> = (0..100).map(|at| format!("review-{at}")).collect();
    let hand_over = |at: usize| {
        let mut large = record(&format!("u{at}.requested"));
        large.data = json!({"justification": "x".repeat(100_000)});
        running.shared.hand_over(vec![large], &key(&names[at]));
    };
    (0..100).for_each(hand_over);
    let is_known = |at: usize| running.shared.has(&format!("u{at}.requested"));
    assert!(is_known(0) && !is_known(99));
    order.send(Order::Work).unwrap();
    // Those that do not fit are asked for until they do.
    until("all to be written", || {
        let again = running.shared.due(false).keys;
        (0..100).filter(|at| again.contains(&key(&names[*at]))).for_each(hand_over);
        (0..100).all(|at| running.shared.is_written(&format!("u{at}.requested")))
    });
    running.end();
}

#[test]
fn before_it_is_known_what_is_in_the_record_nothing_is_handed_over_and_all_comes_again() {
    let shared = Shared::new(Timestamp::MIN);
    assert!(!shared.takes(&key("one")));
    assert!(shared.due(false).keys.is_empty());
    let (mut sink, _order, _written) = Scripted::new();
    shared.close();
    shared.write(&mut sink);
    assert!(shared.takes(&key("two")));
    assert_eq!(shared.due(false).keys, HashSet::from([key("one")]));
}

#[test]
fn a_pipe_is_not_read_back_and_says_what_may_have_been_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let status = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    let running = Running::file(&path);
    let mut reader = fs::File::open(&path).unwrap();
    running.write(&["u1.requested"]);
    let mut text = vec![0; 4096];
    let length = reader.read(&mut text).unwrap();
    let first = String::from_utf8_lossy(&text[..length]).into_owned();
    drop(reader);
    running.shared.hand_over(records(&["u1.approved"]), &key("one"));
    until("the failure", || running.shared.failure().is_some_and(|why| why.contains("cannot be written")));
    let reader = fs::File::open(&path).unwrap();
    until("it to go on", || running.shared.is_written("u1.approved"));
    running.end();
    let mut rest = String::new();
    std::io::BufReader::new(reader).read_to_string(&mut rest).unwrap();
    let mut proof = Proof::default();
    let ids: Vec<String> = (first + &rest).lines().map(|line| proof.take(line).unwrap()).collect();
    assert_eq!((ids.len(), proof.chains, proof.resumed.len()), (3, 2, 1));
    assert_eq!(ids[2], "u1.approved");
}
