//! Whether the process still does its work: a thread of its own looks, because what is stuck cannot say so.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::time::interval;
use tracing::error;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);

/// How long the index may be out of reach within one look.
const TRIES: (u32, Duration) = (40, Duration::from_millis(20));

/// After how many looks in a row that found it stuck `/livez` says so.
const DEAD: u32 = 15;

/// After how many the process ends by itself, where nobody else ends it.
const GIVEN_UP: u32 = 60;

/// What must go on beating.
#[derive(Debug, Default)]
pub struct Pulse {
    beats: AtomicU64,
    begun: AtomicBool,
}

impl Pulse {
    /// Beats as long as this future is making its rounds, and until it ends.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut tick = interval(LOOK / 2);
        self.begun.store(true, Ordering::Relaxed);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = tick.tick() => {
                    self.beats.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        self.begun.store(false, Ordering::Relaxed);
        result
    }

    /// How often it has beaten, if it is to beat.
    fn beats(&self) -> Option<u64> {
        self.begun.load(Ordering::Relaxed).then(|| self.beats.load(Ordering::Relaxed))
    }
}

/// What keeps the process from its work, if anything does.
#[derive(Debug, Default)]
pub struct Liveness {
    /// Of the runtime.
    pub runtime: Pulse,
    /// Of the dispatcher, which hands out what is to be done.
    pub dispatcher: Pulse,
    looks: AtomicU32,
}

impl Liveness {
    /// Whether it has been stuck for so long that it is taken for dead.
    pub fn is_dead(&self) -> bool {
        self.looks.load(Ordering::Relaxed) >= DEAD
    }

    fn note(&self, alive: bool) -> u32 {
        let looks = if alive { 0 } else { self.looks.load(Ordering::Relaxed) + 1 };
        self.looks.store(looks, Ordering::Relaxed);
        looks
    }
}

/// Looks until the process ends, on a thread that needs nothing of what it looks at; `is_free` says whether the index can be
/// read at once.
///
/// # Errors
///
/// There can be no thread.
pub fn watch(liveness: Arc<Liveness>, is_free: impl Fn() -> bool + Send + 'static) -> std::io::Result<()> {
    let look = move || {
        let mut before = (None, None);
        loop {
            thread::sleep(LOOK);
            let index = is_within_reach(&is_free);
            let now = (liveness.runtime.beats(), liveness.dispatcher.beats());
            let beats = |now: Option<u64>, before: Option<u64>| now.is_none() || now != before;
            let (runtime, dispatcher) = (beats(now.0, before.0), beats(now.1, before.1));
            before = now;
            // Looks are counted, not time: a process that was stopped was not stuck.
            let looks = liveness.note(index && runtime && dispatcher);
            if looks == DEAD {
                error!(index, runtime, dispatcher, "stuck; /livez says so");
            }
            if looks >= GIVEN_UP {
                error!(index, runtime, dispatcher, "stuck for too long; the process stops, and must be restarted");
                std::process::exit(70);
            }
        }
    };
    thread::Builder::new().name("liveness".to_owned()).spawn(look).map(drop)
}

/// Whether the index can be read, though perhaps not at once.
fn is_within_reach(is_free: impl Fn() -> bool) -> bool {
    let (tries, wait) = TRIES;
    (0..tries).any(|_| {
        let free = is_free();
        if !free {
            thread::sleep(wait);
        }
        free
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_makes_its_rounds_beats_and_what_is_stuck_does_not() {
        let pulse = Pulse::default();
        assert_eq!(pulse.beats(), None, "nothing is expected of what has not begun");
        let seen = pulse
            .during(async {
                let first = pulse.beats();
                tokio::time::sleep(LOOK * 3).await;
                let second = pulse.beats();
                // Without a round there is no beat.
                (first, second, pulse.beats())
            })
            .await;
        assert!(seen.0 < seen.1 && seen.1 == seen.2, "{seen:?}");
        assert_eq!(pulse.beats(), None, "it ended, and was not stuck");
    }

    #[test]
    fn it_is_dead_after_some_looks_in_a_row() {
        let liveness = Liveness::default();
        for _ in 1..DEAD {
            liveness.note(false);
        }
        assert!(!liveness.is_dead());
        liveness.note(true);
        for _ in 0..DEAD {
            liveness.note(false);
        }
        assert!(liveness.is_dead());
        liveness.note(true);
        assert!(!liveness.is_dead());
    }
}
