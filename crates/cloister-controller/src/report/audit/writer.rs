//! What is to be recorded, and the thread that does it. The thread alone touches the sink, which may block for ever;
//! everybody else hands records over, asks how it stands, and goes on.

use super::{
    error::AuditError,
    record_ids::RecordIds,
    sink::{Opened, Sink},
};
use cloister_core::audit::Record;
use cloister_index::key::Key;
use jiff::Timestamp;
use std::{
    collections::{HashSet, VecDeque},
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tracing::{error, info};

/// How many bytes of records may wait in memory. What does not fit is made again from the statuses.
const WAITING_BYTES: usize = 4 * 1024 * 1024;

/// How many records are written together, and forced to the disk by one request.
const BATCH: usize = 512;

/// How long one write may take before the sink counts as blocked.
const BLOCKED: Duration = Duration::from_secs(5);

/// How long reading back may take before nothing is opened for it.
const READING: Duration = Duration::from_secs(30);

/// How long to wait before a sink that failed is tried again, at least and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How often a sink is looked at while there is nothing to write.
const LOOK: Duration = Duration::from_secs(2);

/// How the sink stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Stand {
    /// It was not opened yet.
    #[default]
    Opening,
    /// It takes records.
    Fine,
    /// It does not, for this reason.
    Failing(String),
}

/// What waits.
#[derive(Default)]
struct State {
    stand: Stand,
    /// What is in the record.
    known: RecordIds,
    /// What waits to be written.
    handed: RecordIds,
    queue: VecDeque<(Record, Key, usize)>,
    bytes: usize,
    /// Objects of which records may be missing from both.
    behind: HashSet<Key>,
    /// Whether that may be any object.
    all_behind: bool,
    /// Objects that wait until what was said of them is in the record.
    waiting: HashSet<Key>,
    /// Objects to look at again.
    due: HashSet<Key>,
    /// Since when the sink is written or read.
    busy: Option<Instant>,
    closing: bool,
    /// What happened before is not recorded: it was, by an operator before this one.
    since: Timestamp,
    written: u64,
}

/// What the thread and everybody else share.
pub struct Shared {
    state: Mutex<State>,
    handed_over: Condvar,
    /// Notified when something was written, or failed.
    pub news: Notify,
}

/// What has to be looked at again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// These objects.
    pub keys: HashSet<Key>,
    /// All grants and reviews.
    pub all: bool,
}

impl Shared {
    /// Nothing waits. What happened before `since` is not recorded.
    pub fn new(since: Timestamp) -> Self {
        let state = State { since, busy: Some(Instant::now()), ..State::default() };
        Shared { state: Mutex::new(state), handed_over: Condvar::new(), news: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a record need not be handed over.
    pub fn has(&self, id: &str) -> bool {
        let state = self.state();
        state.known.contains(id) || state.handed.contains(id)
    }

    /// Whether a record is in the sink.
    pub fn is_written(&self, id: &str) -> bool {
        self.state().known.contains(id)
    }

    /// Whether the sink was opened once, so that it is known what is in it.
    pub fn was_opened(&self) -> bool {
        self.state().stand != Stand::Opening
    }

    /// Whether records may be handed over. Before the sink was read back nobody knows which; the object comes again.
    pub fn takes(&self, key: &Key) -> bool {
        let mut state = self.state();
        let takes = state.stand != Stand::Opening;
        if !takes {
            state.behind.insert(key.clone());
        }
        takes
    }

    /// Hands records of an object over. Never waits for the sink. Whether there was room for all of them is returned; where
    /// there was not, the object is looked at again.
    pub fn hand_over(&self, records: Vec<Record>, key: &Key) -> bool {
        let mut state = self.state();
        for record in records {
            if record.time < state.since {
                state.known.insert(&record.id);
            } else if !state.known.contains(&record.id) && !state.handed.contains(&record.id) {
                let size = record.id.len() + record.subject.len() + record.data.to_string().len();
                if state.bytes + size > WAITING_BYTES {
                    state.behind.insert(key.clone());
                    return false;
                }
                state.bytes += size;
                state.handed.insert(&record.id);
                state.queue.push_back((record, key.clone(), size));
            }
        }
        drop(state);
        self.handed_over.notify_one();
        true
    }

    /// Whether these records are in the sink. Where they are not, the object is told when they are.
    pub fn has_written(&self, ids: &[String], key: &Key) -> bool {
        let mut state = self.state();
        let all = ids.iter().all(|id| state.known.contains(id));
        if !all {
            state.waiting.insert(key.clone());
        }
        all
    }

    /// Has an object told when the sink stands otherwise than now.
    pub fn tell(&self, key: &Key) {
        self.state().waiting.insert(key.clone());
    }

    /// Why nothing can be recorded now, if that is so.
    pub fn failure(&self) -> Option<String> {
        let state = self.state();
        let busy = state.busy.map(|since| since.elapsed()).unwrap_or_default();
        match &state.stand {
            Stand::Failing(why) => Some(why.clone()),
            Stand::Fine if busy > BLOCKED => Some(format!(
                "the audit record is blocked: a write did not finish within {} s; check what reads the record, and the disk",
                BLOCKED.as_secs()
            )),
            Stand::Opening if busy > READING => {
                Some(format!("the audit record could not be opened within {} s", READING.as_secs()))
            }
            Stand::Fine | Stand::Opening => None,
        }
    }

    /// What has to be looked at again. With `changed`, the sink stands otherwise than before.
    pub fn due(&self, changed: bool) -> Due {
        let mut state = self.state();
        let mut keys = mem::take(&mut state.due);
        if changed {
            keys.extend(mem::take(&mut state.waiting));
        }
        let mut all = false;
        // There must be room, or the same would come again and again.
        if state.stand == Stand::Fine && state.bytes < WAITING_BYTES / 2 {
            keys.extend(mem::take(&mut state.behind));
            all = mem::take(&mut state.all_behind);
        }
        Due { keys, all }
    }

    /// How many records wait, and how many were written.
    pub fn counts(&self) -> (usize, u64) {
        let state = self.state();
        (state.queue.len(), state.written)
    }

    /// Of how many objects something is remembered.
    pub fn objects(&self) -> usize {
        self.state().known.objects()
    }

    /// Forgets what is in the sink of all objects but these.
    pub fn retain<'a>(&self, uids: impl Iterator<Item = &'a str>) {
        self.state().known.retain(uids);
    }

    /// Tells the thread to write what waits and to end.
    pub fn close(&self) {
        self.state().closing = true;
        self.handed_over.notify_one();
    }

    /// Whether nothing waits, or nothing can be done about it.
    pub fn is_at_rest(&self) -> bool {
        let state = self.state();
        state.queue.is_empty() || matches!(state.stand, Stand::Failing(_))
    }

    /// Writes what is handed over, until told to end. This is the thread.
    pub fn write(&self, sink: &mut dyn Sink) {
        let mut pause = AGAIN.0;
        loop {
            match self.turn(sink) {
                Ok(true) => pause = AGAIN.0,
                Ok(false) => return,
                Err(error) => {
                    self.failed(&error);
                    if self.wait(pause) {
                        return;
                    }
                    pause = (pause * 2).min(AGAIN.1);
                }
            }
        }
    }

    /// Writes once. False where it is told to end and nothing waits.
    fn turn(&self, sink: &mut dyn Sink) -> Result<bool, AuditError> {
        self.state().busy.get_or_insert_with(Instant::now);
        if let Some(opened) = sink.ready()? {
            self.opened(opened);
        }
        let batch = self.batch();
        if !batch.is_empty() {
            sink.append(&batch)?;
        }
        self.wrote(batch.len());
        let mut state = self.state();
        if state.queue.is_empty() && !state.closing {
            state = self.handed_over.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(!(state.closing && state.queue.is_empty()))
    }

    /// Waits before the next try. True where it is told to end.
    fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.closing || left.is_zero() {
                return state.closing;
            }
            state = self.handed_over.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn opened(&self, opened: Opened) {
        let mut state = self.state();
        let state = &mut *state;
        if opened.may_lack {
            state.known = opened.ids;
            state.all_behind = true;
        } else {
            state.known.extend(opened.ids);
        }
        // Of a write that failed some may be there. What a grant comes to is told in order: where what was recorded of it before
        // is lost, all of it comes again.
        let (known, bytes, handed) = (&state.known, &mut state.bytes, &mut state.handed);
        state.queue.retain(|(record, key, size)| {
            let comes_again = opened.may_lack && matches!(key, Key::Grant(..));
            let waits = !comes_again && !known.contains(&record.id);
            if !waits {
                *bytes -= size;
                handed.remove(&record.id);
            }
            waits
        });
        info!(records_of = state.known.objects(), may_lack = opened.may_lack, "the audit record is open");
    }

    fn batch(&self) -> Vec<Record> {
        self.state().queue.iter().take(BATCH).map(|(record, ..)| record.clone()).collect()
    }

    fn wrote(&self, count: usize) {
        let mut state = self.state();
        for _ in 0..count {
            let Some((record, key, size)) = state.queue.pop_front() else { break };
            state.bytes -= size;
            state.handed.remove(&record.id);
            state.known.insert(&record.id);
            if state.waiting.remove(&key) {
                state.due.insert(key);
            }
        }
        state.written += count as u64;
        state.busy = None;
        let has_changed =
            state.stand != Stand::Fine || state.all_behind || !state.due.is_empty() || !state.behind.is_empty();
        state.stand = Stand::Fine;
        drop(state);
        if has_changed {
            self.news.notify_one();
        }
    }

    fn failed(&self, why: &AuditError) {
        let mut state = self.state();
        let stand = Stand::Failing(why.to_string());
        state.busy = None;
        if state.stand == stand {
            return;
        }
        state.stand = stand;
        drop(state);
        error!(error = %why, category = why.category(), "the audit record cannot be written; nothing is opened until it can");
        self.news.notify_one();
    }
}
