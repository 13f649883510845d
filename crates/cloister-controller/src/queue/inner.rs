//! The state of the queue, whose steps take no time.

use super::{job::Job, turns::Turns};
use cloister_index::{
    key::Key,
    lane::{Group, Lane, Ticket},
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// How many lanes there are.
const LANES: usize = Lane::ALL.len();

/// The state of the queue.
#[derive(Debug)]
pub struct Inner {
    workers: usize,
    /// The keys that are ready, or wait for a turn.
    waiting: HashMap<Key, Waiting>,
    /// The keys that are ready, in the order in which they came.
    ready: [BTreeMap<u64, Key>; LANES],
    next_number: u64,
    /// The keys that are worked on, each with its lane and the turns that it holds.
    running: HashMap<Key, Ticket>,
    /// How many keys of each lane are worked on.
    in_flight: [usize; LANES],
    turns: Turns,
    /// Keys that were added while they were worked on.
    again: HashMap<Key, Ticket>,
    later: BTreeSet<(Timestamp, Key)>,
    /// When a key is due; the keys of `later`.
    due: HashMap<Key, Timestamp>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    /// Its place in the order.
    number: u64,
    ticket: Ticket,
    at: At,
}

/// Where a key waits.
#[derive(Debug)]
enum At {
    Ready,
    /// It is ready because a turn in this group has come, which others wait for too.
    Called(Group),
    Group(Group),
}

impl Inner {
    /// An empty queue, with this concurrency of what opens.
    pub fn new(workers: usize) -> Self {
        Inner {
            workers,
            waiting: HashMap::new(),
            ready: Default::default(),
            next_number: 0,
            running: HashMap::new(),
            in_flight: [0; LANES],
            turns: Turns::default(),
            again: HashMap::new(),
            later: BTreeSet::new(),
            due: HashMap::new(),
        }
    }

    /// Adds a key. One that waits already moves up where it is more urgent than was known.
    pub fn add(&mut self, key: Key, ticket: Ticket) {
        if self.running.contains_key(&key) {
            match self.again.get_mut(&key) {
                Some(known) => known.merge(ticket),
                None => drop(self.again.insert(key, ticket)),
            }
            return;
        }
        let Some(mut waiting) = self.waiting.remove(&key) else {
            let number = self.next_number;
            self.next_number += 1;
            self.wait(key, Waiting { since: Instant::now(), number, ticket, at: At::Ready });
            return;
        };
        let mut merged = waiting.ticket.clone();
        merged.merge(ticket);
        if merged == waiting.ticket {
            self.waiting.insert(key, waiting);
            return;
        }
        let called = match &waiting.at {
            At::Group(group) => {
                self.turns.leave(group, waiting.number);
                None
            }
            At::Ready => {
                self.ready[waiting.ticket.lane as usize].remove(&waiting.number);
                None
            }
            At::Called(group) => {
                self.ready[waiting.ticket.lane as usize].remove(&waiting.number);
                Some(group.clone())
            }
        };
        waiting.ticket = merged;
        waiting.at = At::Ready;
        self.wait(key, waiting);
        // It may have another turn to wait for now.
        called.into_iter().for_each(|group| self.call(&group));
    }

    fn wait(&mut self, key: Key, waiting: Waiting) {
        self.ready[waiting.ticket.lane as usize].insert(waiting.number, key.clone());
        self.waiting.insert(key, waiting);
    }

    /// Adds a key to be looked at, at this time or before.
    pub fn add_at(&mut self, key: Key, at: Timestamp) {
        match self.due.get(&key) {
            Some(&due) if due <= at => return,
            Some(&due) => {
                self.later.remove(&(due, key.clone()));
            }
            None => {}
        }
        self.due.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    /// Takes the keys out that are due.
    pub fn fallen_due(&mut self, now: Timestamp) -> Vec<Key> {
        let mut keys = Vec::new();
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.due.remove(&key);
                keys.push(key);
            }
        }
        keys
    }

    /// When the next key is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.later.first().map(|(at, _)| *at)
    }

    /// The next key to work on. None waits for a lane other than its own.
    pub fn pop(&mut self) -> Option<Job> {
        Lane::ALL.into_iter().find_map(|lane| self.pop_from(lane))
    }

    fn pop_from(&mut self, lane: Lane) -> Option<Job> {
        while self.in_flight[lane as usize] < lane.concurrency(self.workers) {
            let (_, key) = self.ready[lane as usize].pop_first()?;
            let Some(mut waiting) = self.waiting.remove(&key) else { continue };
            match self.turns.begin(&waiting.ticket.turns) {
                Ok(()) => {
                    let job = Job { key: key.clone(), age: waiting.since.elapsed(), ticket: waiting.ticket.clone() };
                    self.running.insert(key, waiting.ticket);
                    self.in_flight[lane as usize] += 1;
                    if let At::Called(group) = waiting.at {
                        self.call(&group);
                    }
                    return Some(job);
                }
                Err(at) => {
                    let (group, mode) = waiting.ticket.turns[at].clone();
                    self.turns.wait(&group, mode, waiting.number, key.clone());
                    let called = std::mem::replace(&mut waiting.at, At::Group(group.clone()));
                    self.waiting.insert(key, waiting);
                    if let At::Called(other) = called
                        && other != group
                    {
                        self.call(&other);
                    }
                }
            }
        }
        None
    }

    /// Takes a key out of turn, to work on it now.
    pub fn take(&mut self, key: Key, ticket: Ticket) -> Job {
        // Whoever comes next waits for it; it waits for nobody.
        let turns = if self.turns.begin(&ticket.turns).is_ok() { ticket.turns } else { Vec::new() };
        self.in_flight[ticket.lane as usize] += 1;
        let ticket = Ticket { lane: ticket.lane, turns };
        self.running.insert(key.clone(), ticket.clone());
        Job { key, age: Duration::ZERO, ticket }
    }

    /// The work on a key has come to its end.
    pub fn end(&mut self, key: &Key) {
        if let Some(ended) = self.running.remove(key) {
            self.in_flight[ended.lane as usize] -= 1;
            let called = self.turns.end(&ended.turns);
            let groups = ended.turns.into_iter().map(|(group, _)| group);
            self.called(called, groups.collect::<Vec<_>>().as_slice());
        }
        if let Some(ticket) = self.again.remove(key) {
            self.add(key.clone(), ticket);
        }
    }

    /// Leaves the status of a key that is worked on to the lane of what has opened: it comes again there, with the turns that
    /// it holds. Whether that is so is returned: what is in another lane than the normal one does all at once.
    pub fn defer_status(&mut self, key: &Key) -> bool {
        let Some(running) = self.running.get(key).filter(|running| running.lane == Lane::Normal) else { return false };
        let ticket = Ticket { lane: Lane::Opened, turns: running.turns.clone() };
        self.add(key.clone(), ticket);
        true
    }

    fn call(&mut self, group: &Group) {
        let called = self.turns.call(group);
        self.called(called, std::slice::from_ref(group));
    }

    /// Makes keys ready whose turn has come in one of these groups.
    fn called(&mut self, keys: Vec<Key>, groups: &[Group]) {
        for key in keys {
            let Some(waiting) = self.waiting.get_mut(&key) else { continue };
            let of = match &waiting.at {
                At::Group(group) if groups.contains(group) => group.clone(),
                _ => continue,
            };
            waiting.at = At::Called(of);
            self.ready[waiting.ticket.lane as usize].insert(waiting.number, key);
        }
    }

    /// How many keys are ready or wait for a turn, and how many wait for their time.
    pub fn depth(&self) -> (usize, usize) {
        (self.waiting.len(), self.later.len())
    }

    /// Whether nothing is left: nothing ready, under way, or waiting for a turn.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.again.is_empty() && self.turns.is_empty()
    }
}
