//! Laws of the queue, over any order of what may happen to it.

use super::inner::Inner;
use cloister_index::{
    key::Key,
    lane::{Group, Lane, Mode, Ticket},
};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

#[derive(Clone, Debug)]
enum Step {
    Add(u8, Ticket),
    Pop,
    End(prop::sample::Index),
    Defer(prop::sample::Index),
}

fn key(number: u8) -> Key {
    Key::Namespace(number.to_string().into())
}

fn ticket() -> impl Strategy<Value = Ticket> {
    let lane = prop::sample::select(Lane::ALL.to_vec());
    let mode = prop::sample::select(vec![Mode::Open, Mode::End, Mode::Alone]);
    let turns = prop::collection::btree_map(0_u8..3, mode, 0..3);
    (lane, turns).prop_map(|(lane, turns)| {
        let group = |number: u8| Group::Mount("a".into(), number.to_string().into());
        Ticket { lane, turns: turns.into_iter().map(|(number, mode)| (group(number), mode)).collect() }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..24, ticket()).prop_map(|(number, ticket)| Step::Add(number, ticket)),
        4 => Just(Step::Pop),
        3 => any::<prop::sample::Index>().prop_map(Step::End),
        1 => any::<prop::sample::Index>().prop_map(Step::Defer),
    ]
}

/// The queue, and what must be true of it.
struct Model {
    inner: Inner,
    workers: usize,
    running: Vec<(Key, Ticket)>,
    /// Added, and not worked on since.
    owed: HashSet<Key>,
}

impl Model {
    fn pop(&mut self) -> Option<Key> {
        let job = self.inner.pop()?;
        assert!(self.owed.remove(&job.key), "{} was not asked for", job.key);
        assert!(self.running.iter().all(|(key, _)| *key != job.key), "{} is worked on twice at a time", job.key);
        self.running.push((job.key.clone(), job.ticket));
        self.exclusion_holds();
        for lane in Lane::ALL {
            assert!(self.in_flight(lane) <= lane.concurrency(self.workers), "too many of {lane:?} are in flight");
        }
        Some(job.key)
    }

    fn in_flight(&self, lane: Lane) -> usize {
        self.running.iter().filter(|(_, ticket)| ticket.lane == lane).count()
    }

    fn add(&mut self, key: Key, ticket: Ticket) {
        self.inner.add(key.clone(), ticket);
        self.owed.insert(key);
    }

    fn end(&mut self, at: usize) {
        let (key, _) = self.running.swap_remove(at);
        self.inner.end(&key);
    }

    fn exclusion_holds(&self) {
        let mut modes: HashMap<&Group, Vec<Mode>> = HashMap::new();
        for (group, mode) in self.running.iter().flat_map(|(_, ticket)| &ticket.turns) {
            modes.entry(group).or_default().push(*mode);
        }
        for (group, modes) in modes {
            let alike = modes.iter().all(|mode| *mode == modes[0]);
            let fits = modes.len() == 1 || (alike && modes[0] != Mode::Alone);
            assert!(fits, "{group:?} is worked on as {modes:?}");
        }
    }
}

fn played(steps: Vec<Step>, workers: usize) -> Model {
    let mut model = Model { inner: Inner::new(workers), workers, running: Vec::new(), owed: HashSet::new() };
    for step in steps {
        match step {
            Step::Add(number, ticket) => model.add(key(number), ticket),
            Step::Pop => drop(model.pop()),
            Step::End(at) if !model.running.is_empty() => model.end(at.index(model.running.len())),
            Step::Defer(at) if !model.running.is_empty() => {
                let (key, ticket) = model.running[at.index(model.running.len())].clone();
                let deferred = model.inner.defer_status(&key);
                assert_eq!(deferred, ticket.lane == Lane::Normal);
                model.owed.extend(deferred.then_some(key));
            }
            Step::End(_) | Step::Defer(_) => {}
        }
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever was added is worked on after it was added, and the queue is empty in the end.
    #[test]
    fn nothing_is_lost(steps in prop::collection::vec(step(), 0..120), workers in 1_usize..5) {
        let mut model = played(steps, workers);
        for _ in 0..1000 {
            while model.pop().is_some() {}
            if model.running.is_empty() {
                break;
            }
            model.end(0);
        }
        prop_assert!(model.owed.is_empty(), "never worked on: {:?}", model.owed);
        prop_assert!(model.inner.is_idle());
    }

    /// Whatever the load, a grant that must end is the next that is taken, if it does not share a group with one that is
    /// worked on.
    #[test]
    fn what_must_end_is_next(steps in prop::collection::vec(step(), 0..120), workers in 1_usize..5) {
        let without_ends = steps.into_iter().map(|step| match step {
            Step::Add(number, mut ticket) if ticket.lane == Lane::Ending => {
                ticket.lane = Lane::Closing;
                Step::Add(number, ticket)
            }
            step => step,
        });
        let mut model = played(without_ends.collect(), workers);
        let urgent = Key::Config;
        model.add(urgent.clone(), Ticket::of(Lane::Ending));
        prop_assert_eq!(model.pop(), Some(urgent));
    }

    /// Whatever the number of workers, and whatever is ready in the other lanes or under way there without an end: as many
    /// keys of a lane as it has places for are worked on, and the others of it as soon as one of them ends.
    #[test]
    fn no_lane_starves(
        steps in prop::collection::vec(step(), 0..120),
        workers in prop_oneof![1_usize..5, 5_usize..=1024],
        lane in prop::sample::select(Lane::ALL.to_vec()),
    ) {
        let mut model = played(steps, workers);
        // None of these shares a group with what never ends.
        let wanted: HashSet<Key> = (100..200).map(key).collect();
        wanted.iter().for_each(|key| model.add(key.clone(), Ticket::of(lane)));
        while model.pop().is_some() {}
        for _ in 0..1000 {
            let free = lane.concurrency(workers) - model.in_flight(lane);
            let waiting = model.owed.intersection(&wanted).count();
            prop_assert!(free == 0 || waiting == 0, "{waiting} of {lane:?} wait beside {free} free places");
            let Some(at) = model.running.iter().position(|(_, ticket)| ticket.lane == lane) else { break };
            model.end(at);
            while model.pop().is_some() {}
        }
        prop_assert!(model.owed.is_disjoint(&wanted), "never worked on: {:?}", model.owed.intersection(&wanted));
    }
}
