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
use mimalloc::MiMalloc;
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

// A history is mostly small allocations: with this allocator it takes a quarter less processor time than with glibc's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Another set of histories: `CLOISTER_SEED=7 cargo test ...`.
fn seed() -> u64 {
    std::env::var("CLOISTER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// How many histories there are, unless `CLOISTER_HISTORIES` says it.
fn histories(usual: u64) -> u64 {
    std::env::var("CLOISTER_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(usual)
}

/// In how many ways a beginning goes on that several histories have in common.
const BRANCHES: u64 = 4;

/// How histories are made and run.
#[derive(Clone)]
struct Histories<E> {
    event: fn(&mut Rng) -> E,
    length: Range<usize>,
    /// Whether the history of this number comes to rest at its end.
    at_rest: fn(u64) -> bool,
    run: fn(Model, &[E], bool),
    /// What a beginning leads to, where several histories have it in common: it is played and judged once for all of them.
    begin: Option<fn(Model, &[E]) -> Model>,
}

/// Where a history begins, what happens, and how many of these events it has in common with others.
struct History<E> {
    start: usize,
    events: Vec<E>,
    common: usize,
}

impl<E: Clone + Debug> Histories<E> {
    fn history(&self, number: u64, starts: usize) -> History<E> {
        let first = seed() << 32;
        let mut rng = Rng::with_seed(first + number - number % self.branches());
        let (start, length) = (rng.usize(..starts), rng.usize(self.length.clone()));
        let common = self.begin.map_or(0, |_| length * 2 / 3);
        let mut events: Vec<E> = (0..common).map(|_| (self.event)(&mut rng)).collect();
        let mut rng = if common == 0 { rng } else { Rng::with_seed(!(first + number)) };
        events.extend((common..length).map(|_| (self.event)(&mut rng)));
        History { start, events, common }
    }

    fn branches(&self) -> u64 {
        self.begin.map_or(1, |_| BRANCHES)
    }

    fn breaks(&self, start: Model, events: &[E], number: u64) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.run)(start, events, (self.at_rest)(number)))).is_err()
    }

    /// The first of the histories from this number on that have a beginning in common, if one of them breaks.
    fn first_broken(&self, first: u64, starts: &[Model]) -> Option<u64> {
        let last = first + self.branches() - 1;
        let mut begun: Option<Model> = None;
        for number in first..=last {
            let History { start, events, common } = self.history(number, starts.len());
            let from = match (self.begin, begun.take()) {
                (Some(begin), None) => {
                    match catch_unwind(AssertUnwindSafe(|| begin(starts[start].clone(), &events[..common]))) {
                        Ok(model) => model,
                        Err(_) => return Some(number),
                    }
                }
                (_, Some(model)) => model,
                (None, None) => starts[start].clone(),
            };
            if self.begin.is_some() && number != last {
                begun = Some(from.clone());
            }
            if self.breaks(from, &events[common..], number) {
                return Some(number);
            }
        }
        None
    }

    /// The same failure with as few events as can be.
    fn shrunk(&self, start: &Model, mut events: Vec<E>, number: u64) -> Vec<E> {
        let mut at = 0;
        while at < events.len() {
            let mut fewer = events.clone();
            fewer.remove(at);
            if self.breaks(start.clone(), &fewer, number) {
                (events, at) = (fewer, 0);
            } else {
                at += 1;
            }
        }
        events
    }

    /// Runs so many histories on all cores.
    fn all(&self, count: u64) {
        let (starts, next) = (starts::all(), AtomicU64::new(0));
        let begun = Instant::now();
        let failed = |number: u64| {
            let History { start, events, .. } = self.history(number, starts.len());
            std::panic::set_hook(Box::new(|_| ()));
            let events = self.shrunk(&starts[start], events, number);
            drop(std::panic::take_hook());
            eprintln!("history {number} of seed {}, which begins in world {start}:", seed());
            events.iter().for_each(|event| eprintln!("  {event:?}"));
            (self.run)(starts[start].clone(), &events, (self.at_rest)(number));
        };
        let work = || {
            loop {
                let number = next.fetch_add(self.branches(), Ordering::Relaxed);
                if number >= count {
                    break None;
                }
                if let Some(broken) = self.first_broken(number, &starts) {
                    next.store(count, Ordering::Relaxed);
                    break Some(broken);
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
    fn begin(mut model: Model, events: &[Event]) -> Model {
        events.iter().for_each(|event| model.take(event));
        model
    }
    let run = |start: Model, events: &[Event], at_rest: bool| {
        let mut model = begin(start, events);
        if at_rest {
            model.settle();
        }
    };
    Histories { event: Event::any, length, at_rest, run, begin: Some(begin) }
}

/// Histories of operators that take over from one another.
fn several(length: Range<usize>) -> Histories<pair::Event> {
    let run = |start: Model, events: &[pair::Event], at_rest: bool| {
        let mut pair = Pair::new(&start);
        events.iter().for_each(|event| pair.take(event));
        if at_rest {
            pair.settle();
        }
    };
    Histories { event: pair::Event::any, length, at_rest: |number| number % 4 == 0, run, begin: None }
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
