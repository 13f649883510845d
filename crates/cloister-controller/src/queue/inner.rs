//! The state of the queue, whose steps take no time.

use super::{
    lane::{Group, Job, Lane, Ticket},
    turns::Turns,
};
use crate::key::Key;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// How many keys go past one of which there is only something to say.
pub const PATIENCE: u32 = 64;

/// How many keys of each lane are worked on at a time.
#[derive(Clone, Copy, Debug)]
pub struct Places([usize; 4]);

/// How many grants end at a time. What ends waits for answers of the API server most of its time.
const ENDING: usize = 64;

/// How many things are closed at a time, beside grants.
const CLOSING: usize = 32;

/// How many things are only said at a time. What is to be opened then finds the API server nearly idle.
pub const FEW: usize = 4;

impl Places {
    /// As many places for what opens as there are workers. What closes does not depend on their number.
    pub fn new(workers: usize) -> Self {
        Places([ENDING, CLOSING, workers, FEW])
    }

    fn of(&self, lane: Lane) -> usize {
        self.0[lane as usize]
    }
}

/// The state of the queue.
#[derive(Debug)]
pub struct Inner {
    places: Places,
    /// The keys that are ready, or wait for a turn.
    waiting: HashMap<Key, Waiting>,
    /// The keys that are ready, in the order in which they came.
    ready: [BTreeMap<u64, Key>; 4],
    next_number: u64,
    running: HashMap<Key, Running>,
    /// How many keys of each lane are worked on.
    busy: [usize; 4],
    turns: Turns,
    /// How many keys were taken past those of which there is only something to say.
    taken: u32,
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

#[derive(Debug)]
struct Running {
    /// The lane that it has a place of, until it gives way.
    place: Option<Lane>,
    ticket: Ticket,
}

impl Inner {
    /// An empty queue.
    pub fn new(places: Places) -> Self {
        Inner {
            places,
            waiting: HashMap::new(),
            ready: Default::default(),
            next_number: 0,
            running: HashMap::new(),
            busy: [0; 4],
            turns: Turns::default(),
            taken: 0,
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

    /// Whether nothing is ready or under way but what there is only something to say of.
    pub fn is_calm(&self) -> bool {
        let calm = |lane: &Lane| self.ready[*lane as usize].is_empty() && self.busy[*lane as usize] == 0;
        Lane::ALL.iter().filter(|lane| **lane != Lane::Status).all(calm)
    }

    /// Whether a key that is worked on is to be looked at again.
    pub fn comes_again(&self, key: &Key) -> bool {
        self.again.contains_key(key)
    }

    /// The next key to work on.
    pub fn pop(&mut self) -> Option<Job> {
        let something_to_say = !self.ready[Lane::Status as usize].is_empty();
        if something_to_say
            && (self.taken >= PATIENCE || self.is_calm())
            && let Some(job) = self.pop_from(Lane::Status)
        {
            self.taken = 0;
            return Some(job);
        }
        // While one of these is under way, what can wait would take from it what the API server can do.
        let job = [Lane::Ending, Lane::Closing, Lane::Normal].into_iter().find_map(|lane| self.pop_from(lane))?;
        self.taken = if something_to_say { self.taken + 1 } else { 0 };
        Some(job)
    }

    fn pop_from(&mut self, lane: Lane) -> Option<Job> {
        while self.busy[lane as usize] < self.places.of(lane) {
            let (_, key) = self.ready[lane as usize].pop_first()?;
            let Some(mut waiting) = self.waiting.remove(&key) else { continue };
            match self.turns.begin(&waiting.ticket.turns) {
                Ok(()) => {
                    let job = Job { key: key.clone(), age: waiting.since.elapsed(), ticket: waiting.ticket.clone() };
                    self.running.insert(key, Running { place: Some(lane), ticket: waiting.ticket });
                    self.busy[lane as usize] += 1;
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
        self.busy[ticket.lane as usize] += 1;
        let ticket = Ticket { lane: ticket.lane, turns };
        self.running.insert(key.clone(), Running { place: Some(ticket.lane), ticket: ticket.clone() });
        Job { key, age: Duration::ZERO, ticket }
    }

    /// The work on a key has come to its end.
    pub fn end(&mut self, key: &Key) {
        if let Some(ended) = self.running.remove(key) {
            self.free(ended.place);
            let called = self.turns.end(&ended.ticket.turns);
            let groups = ended.ticket.turns.into_iter().map(|(group, _)| group);
            self.called(called, groups.collect::<Vec<_>>().as_slice());
        }
        if let Some(ticket) = self.again.remove(key) {
            self.add(key.clone(), ticket);
        }
    }

    /// What is left to do for a key is only to say something, so that its place is free.
    pub fn give_way(&mut self, key: &Key) {
        let place = self.running.get_mut(key).and_then(|running| running.place.take());
        self.free(place);
    }

    fn free(&mut self, place: Option<Lane>) {
        if let Some(lane) = place {
            self.busy[lane as usize] -= 1;
        }
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
