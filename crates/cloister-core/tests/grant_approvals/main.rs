//! No reachable state has an opening without a valid approval: a million histories of people, policies, clocks, crashes
//! and restored clusters, each judged after every action by an oracle that knows nothing of the engine.

mod events;
#[path = "../common/grants.rs"]
mod grants;
mod model;
#[path = "../common/objects.rs"]
mod objects;
mod oracle;
mod starts;
#[path = "../common/steps.rs"]
mod steps;
#[path = "../common/sweep.rs"]
mod sweep;
#[path = "../common/tamper.rs"]
mod tamper;

use events::Event;
use fastrand::Rng;
use model::Model;
use std::{
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

/// One history: where it begins, and what happens.
fn history(seed: u64, starts: &[Model], length: std::ops::Range<usize>) -> (usize, Vec<Event>) {
    let mut rng = Rng::with_seed(seed);
    let start = rng.usize(..starts.len());
    let events = (0..rng.usize(length)).map(|_| Event::any(&mut rng)).collect();
    (start, events)
}

fn run(start: &Model, events: &[Event], at_rest: bool) {
    let mut model = start.clone();
    events.iter().for_each(|event| model.take(event));
    if at_rest {
        model.settle();
    }
}

fn breaks(start: &Model, events: &[Event], at_rest: bool) -> bool {
    catch_unwind(AssertUnwindSafe(|| run(start, events, at_rest))).is_err()
}

/// The same failure with as few events as can be.
fn shrunk(start: &Model, mut events: Vec<Event>, at_rest: bool) -> Vec<Event> {
    let mut at = 0;
    while at < events.len() {
        let mut fewer = events.clone();
        fewer.remove(at);
        if breaks(start, &fewer, at_rest) {
            (events, at) = (fewer, 0);
        } else {
            at += 1;
        }
    }
    events
}

/// Runs so many histories on all cores.
fn all(count: u64, length: std::ops::Range<usize>, at_rest: fn(u64) -> bool) {
    let (starts, next, first) = (starts::all(), AtomicU64::new(0), seed() << 32);
    let begun = Instant::now();
    let failed = |number: u64| {
        let (start, events) = history(first + number, &starts, length.clone());
        std::panic::set_hook(Box::new(|_| ()));
        let events = shrunk(&starts[start], events, at_rest(number));
        drop(std::panic::take_hook());
        eprintln!("history {number} of seed {}, which begins in world {start}:", seed());
        events.iter().for_each(|event| eprintln!("  {event:?}"));
        run(&starts[start], &events, at_rest(number));
    };
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break None;
            }
            let (start, events) = history(first + number, &starts, length.clone());
            if breaks(&starts[start], &events, at_rest(number)) {
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

#[test]
fn nothing_is_open_without_a_valid_approval_in_a_million_histories() {
    all(histories(1_000_000), 4..15, |number| number % 16 == 0);
}

#[test]
fn nothing_is_open_without_a_valid_approval_in_long_histories() {
    all(histories(2_000), 40..160, |_| true);
}
