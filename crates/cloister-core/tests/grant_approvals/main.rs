//! No reachable state has an opening without a valid approval: a million histories of people, policies, clocks, crashes
//! and restored clusters, each judged after every action by an oracle that knows nothing of the engine.

mod events;
mod facts;
#[path = "../common/grants.rs"]
mod grants;
mod model;
#[path = "../common/objects.rs"]
mod objects;
mod oracle;
mod pair;
mod starts;
#[path = "../common/steps.rs"]
mod steps;
mod stock;
#[path = "../common/sweep.rs"]
mod sweep;
#[path = "../common/tamper.rs"]
mod tamper;
#[path = "../common/two.rs"]
mod two;

use events::Event;
use fastrand::Rng;
use model::Model;
use pair::Pair;
use std::{
    fmt::Debug,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

/// Another set of histories: `CLOISTER_SEED=7 cargo test ...`.
fn seed() -> u64 {
    std::env::var("CLOISTER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// How many histories there are, unless `CLOISTER_HISTORIES` says it.
fn histories(usual: u64) -> u64 {
    std::env::var("CLOISTER_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

/// How histories are made and run.
#[derive(Clone)]
struct Histories<E> {
    event: fn(&mut Rng) -> E,
    length: Range<usize>,
    /// Whether the history of this number comes to rest at its end.
    at_rest: fn(u64) -> bool,
    run: fn(&Model, &[E], bool),
}

impl<E: Clone + Debug> Histories<E> {
    /// One history: where it begins, and what happens.
    fn history(&self, seed: u64, starts: &[Model]) -> (usize, Vec<E>) {
        let mut rng = Rng::with_seed(seed);
        let start = rng.usize(..starts.len());
        let events = (0..rng.usize(self.length.clone())).map(|_| (self.event)(&mut rng)).collect();
        (start, events)
    }

    fn breaks(&self, start: &Model, events: &[E], number: u64) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.run)(start, events, (self.at_rest)(number)))).is_err()
    }

    /// The same failure with as few events as can be.
    fn shrunk(&self, start: &Model, mut events: Vec<E>, number: u64) -> Vec<E> {
        let mut at = 0;
        while at < events.len() {
            let mut fewer = events.clone();
            fewer.remove(at);
            if self.breaks(start, &fewer, number) {
                (events, at) = (fewer, 0);
            } else {
                at += 1;
            }
        }
        events
    }

    /// Runs so many histories on all cores.
    fn all(&self, count: u64) {
        let (starts, next, first) = (starts::all(), AtomicU64::new(0), seed() << 32);
        let begun = Instant::now();
        let failed = |number: u64| {
            let (start, events) = self.history(first + number, &starts);
            std::panic::set_hook(Box::new(|_| ()));
            let events = self.shrunk(&starts[start], events, number);
            drop(std::panic::take_hook());
            eprintln!("history {number} of seed {}, which begins in world {start}:", seed());
            events.iter().for_each(|event| eprintln!("  {event:?}"));
            (self.run)(&starts[start], &events, (self.at_rest)(number));
        };
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break None;
                }
                let (start, events) = self.history(first + number, &starts);
                if self.breaks(&starts[start], &events, number) {
                    next.store(count, Ordering::Relaxed);
                    break Some(number);
                }
            }
        };
        let workers = thread::available_parallelism().map_or(2, usize::from);
        let found: Vec<Option<u64>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        found.into_iter().flatten().for_each(failed);
        eprintln!("{count} histories in {:.1} s", begun.elapsed().as_secs_f64());
    }
}

/// Histories of one operator that sees all.
fn alone(length: Range<usize>, at_rest: fn(u64) -> bool) -> Histories<Event> {
    let run = |start: &Model, events: &[Event], at_rest: bool| {
        let mut model = start.clone();
        events.iter().for_each(|event| model.take(event));
        if at_rest {
            model.settle();
        }
    };
    Histories { event: Event::any, length, at_rest, run }
}

/// Histories of operators that take over from one another.
fn several(length: Range<usize>) -> Histories<pair::Event> {
    let run = |start: &Model, events: &[pair::Event], at_rest: bool| {
        let mut pair = Pair::new(start);
        events.iter().for_each(|event| pair.take(event));
        if at_rest {
            pair.settle();
        }
    };
    Histories { event: pair::Event::any, length, at_rest: |number| number % 4 == 0, run }
}

#[test]
fn nothing_is_open_without_a_valid_approval_in_a_million_histories() {
    alone(4..15, |number| number % 16 == 0).all(histories(1_000_000));
}

#[test]
fn nothing_is_open_without_a_valid_approval_in_long_histories() {
    alone(40..160, |_| true).all(histories(2_000));
}

#[test]
fn an_operator_that_was_stopped_and_goes_on_after_another_took_over_undoes_nothing() {
    several(4..20).all(histories(50_000));
}
