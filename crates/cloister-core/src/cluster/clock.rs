//! What time it is, from a machine's clock that may be wrong and the dates of answers of which some may be wrong.
//!
//! Three things are compared. The machine's clock can be set at any time. The dates of answers come from several API
//! servers, and pass through whatever is in between. The time that has elapsed since the machine was started, sleep
//! included, cannot be set, but does not say what time it is. So a clock is expressed as its distance from the elapsed
//! time, which stays the same while the clock goes right.
//!
//! While the machine's clock and the majority of recent answers agree, the time is theirs. While they do not, the time is
//! the one at which they last agreed and what has elapsed since: so neither can end anything before its time, nor keep
//! anything open past it. No single answer decides anything.

use jiff::{SignedDuration, Timestamp};
use std::{collections::VecDeque, time::Duration};

/// How far the clocks may be apart.
pub const SKEW_LIMIT: SignedDuration = SignedDuration::from_secs(30);

/// How long an answer counts.
const WINDOW: Duration = Duration::from_secs(60);

/// Answers are counted by slots of this length, which all weigh the same: many answers at a time are no better than few.
const SLOT: Duration = Duration::from_secs(2);

/// How many answers of a slot count.
const ANSWERS_PER_SLOT: usize = 4;

/// How many answers there must be before they say anything.
const ENOUGH: usize = 3;

/// How many slots must have spoken before they overrule a machine whose clock was not set.
const LONG_ENOUGH: usize = 10;

/// How long an answer may be under way: one that took longer says too little.
const SLOW: Duration = Duration::from_secs(10);

/// A moment: what the machine's clock says, and how much time has elapsed since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The machine's clock.
    pub machine: Timestamp,
    /// The elapsed time.
    pub elapsed: Duration,
}

impl Moment {
    /// The distance of the machine's clock from the elapsed time.
    fn base(&self) -> SignedDuration {
        self.machine.as_duration() - signed(self.elapsed)
    }
}

/// What one answer says: the distance of the API server's clock from the elapsed time lies between these.
#[derive(Clone, Copy, Debug)]
struct Answer {
    least: SignedDuration,
    most: SignedDuration,
}

impl Answer {
    fn agrees_with(&self, base: SignedDuration) -> bool {
        self.least - SKEW_LIMIT <= base && base <= self.most + SKEW_LIMIT
    }
}

#[derive(Clone, Debug)]
struct Slot {
    number: u128,
    answers: Vec<Answer>,
}

/// Whether the clocks agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Too little is known yet.
    Unknown,
    /// They agree.
    Sane,
    /// They do not.
    Skewed(Skew),
}

/// How the clocks disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// How far the machine's clock is ahead of the time that counts; negative where it is behind.
    pub machine_ahead: SignedDuration,
    /// How far the API server's answers are ahead of it.
    pub server_ahead: SignedDuration,
}

/// Judges the clocks.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    slots: VecDeque<Slot>,
    /// The distance of the time that counts from the elapsed time, as it was when the clocks last agreed.
    anchor: Option<SignedDuration>,
    /// The machine's distance at the last look.
    machine: Option<SignedDuration>,
    /// The middle of what the answers say, which is not ahead of the API server's clock; while the clocks agree, of those
    /// that agree.
    server: Option<SignedDuration>,
    sane: bool,
}

impl Judge {
    /// Takes in the date of an answer, which has whole seconds, to a request that was sent at `sent` (in elapsed time).
    pub fn answer(&mut self, date: Timestamp, sent: Duration, now: Moment) {
        self.look(now);
        if now.elapsed.saturating_sub(sent) > SLOW {
            return;
        }
        let number = now.elapsed.as_nanos() / SLOT.as_nanos();
        self.slots.retain(|slot| number - slot.number.min(number) <= WINDOW.as_nanos() / SLOT.as_nanos());
        if self.slots.back().is_none_or(|slot| slot.number != number) {
            self.slots.push_back(Slot { number, answers: Vec::new() });
        }
        let date = date.as_duration();
        let answer = Answer {
            least: date - signed(now.elapsed),
            most: date + SignedDuration::from_secs(1) - signed(sent.min(now.elapsed)),
        };
        if let Some(slot) = self.slots.back_mut().filter(|slot| slot.answers.len() < ANSWERS_PER_SLOT) {
            slot.answers.push(answer);
            self.judge(now);
        }
    }

    /// The time.
    pub fn now(&mut self, now: Moment) -> Timestamp {
        self.look(now);
        let time = signed(now.elapsed) + self.base(now);
        Timestamp::UNIX_EPOCH.checked_add(time).unwrap_or(now.machine)
    }

    /// Whether the clocks agree.
    pub fn agreement(&mut self, now: Moment) -> Agreement {
        self.look(now);
        if self.sane {
            return Agreement::Sane;
        }
        if self.anchor.is_none() && self.count() < ENOUGH {
            return Agreement::Unknown;
        }
        let base = self.base(now);
        let server = self.server.unwrap_or(base);
        Agreement::Skewed(Skew { machine_ahead: now.base() - base, server_ahead: server - base })
    }

    /// The distance of the time that counts.
    fn base(&self, now: Moment) -> SignedDuration {
        match (self.sane, self.anchor, self.server) {
            // What has ended by either clock has ended.
            (true, _, Some(server)) => now.base().max(server),
            (false, Some(anchor), _) => anchor,
            (false, None, Some(server)) if self.count() >= ENOUGH => server,
            _ => now.base(),
        }
    }

    /// Notices that the machine's clock was set.
    fn look(&mut self, now: Moment) {
        let base = now.base();
        let before = self.machine.replace(base);
        if before.is_some_and(|before| (base - before).abs() > SKEW_LIMIT) {
            // The elapsed time may have stood still too, as when a virtual machine is paused; only new answers can tell.
            self.slots.clear();
            self.server = None;
            self.sane = false;
        } else if self.sane {
            self.anchor = Some(self.base(now));
        }
    }

    fn judge(&mut self, now: Moment) {
        if self.count() < ENOUGH {
            return;
        }
        let base = now.base();
        let agreeing = self.weight(|answer| answer.agrees_with(base));
        // A machine that agreed is believed until most of what was said for long enough speaks against it.
        let overruled = self.slots.len() >= LONG_ENOUGH && agreeing * 3.0 <= 1.0;
        self.sane = if self.sane { !overruled } else { agreeing * 2.0 > 1.0 };
        let sane = self.sane;
        self.server = self.middle(|answer| !sane || answer.agrees_with(base));
        if self.sane {
            self.anchor = Some(self.base(now));
        }
    }

    fn count(&self) -> usize {
        self.slots.iter().map(|slot| slot.answers.len()).sum()
    }

    /// The part of the answers of which this holds, each slot weighing the same.
    fn weight(&self, holds: impl Fn(&Answer) -> bool) -> f64 {
        let part = |slot: &Slot| {
            let count = slot.answers.iter().filter(|answer| holds(answer)).count();
            count as f64 / slot.answers.len().max(1) as f64
        };
        self.slots.iter().map(part).sum::<f64>() / self.slots.len().max(1) as f64
    }

    /// The middle of what those answers say at the least of which this holds, each slot weighing the same.
    fn middle(&self, holds: impl Fn(&Answer) -> bool) -> Option<SignedDuration> {
        let mut all: Vec<(SignedDuration, f64)> = Vec::new();
        for slot in &self.slots {
            let weight = 1.0 / slot.answers.len().max(1) as f64;
            all.extend(slot.answers.iter().filter(|answer| holds(answer)).map(|answer| (answer.least, weight)));
        }
        all.sort_by_key(|(middle, _)| *middle);
        let half = all.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
        let mut sum = 0.0;
        let middle = all.iter().find(|(_, weight)| {
            sum += weight;
            sum >= half
        });
        middle.map(|(middle, _)| *middle)
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
