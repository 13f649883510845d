//! What is known of a domain name: the addresses that it had of late, and when to ask again.

use super::{
    answer::{self, Answer, Rebinding, Where},
    name_state::NameState,
};
use crate::address::NeverOpened;
use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeMap, net::IpAddr};

/// How names are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An answer is good for at least this long, whatever its TTL: nothing is asked more often.
    pub minimum_ttl: SignedDuration,
    /// An answer is good for at most this long, whatever its TTL.
    pub maximum_ttl: SignedDuration,
    /// How long an address stays open after the last answer with it has run out.
    pub grace: SignedDuration,
    /// How many addresses a name may have at a time.
    pub addresses: usize,
    /// How long the last answer counts while nobody answers.
    pub stale: SignedDuration,
    /// How soon a name is asked again that has just shown an address for the first time.
    pub probe: SignedDuration,
    /// How many times in a row a name must show nothing new before it is asked but once per TTL.
    pub quiet: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            minimum_ttl: SignedDuration::from_secs(5),
            maximum_ttl: SignedDuration::from_mins(5),
            grace: SignedDuration::from_mins(5),
            addresses: 64,
            stale: SignedDuration::from_hours(1),
            probe: SignedDuration::from_millis(500),
            quiet: 40,
        }
    }
}

/// How a look-up ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Addresses. None is an answer too: the name is there, and has none.
    Answered(Answer),
    /// All servers say that there is no such name.
    NoSuchName,
    /// An answer that no such name gives, in any family.
    Refused(Rebinding),
    /// Nobody could say: no server answered, or not all agree that there is none.
    Failed(String),
}

impl Outcome {
    /// Why an answer was refused, or a family of it.
    pub fn refused(&self) -> Option<&Rebinding> {
        match self {
            Outcome::Answered(answer) => answer.refused(),
            Outcome::Refused(why) => Some(why),
            Outcome::NoSuchName | Outcome::Failed(_) => None,
        }
    }
}

/// What is known of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownName {
    addresses: BTreeMap<IpAddr, Seen>,
    /// When it was last asked.
    asked: Option<Timestamp>,
    /// When to ask again.
    due: Option<Timestamp>,
    /// The shortest life of what the last answer said.
    ttl: Option<SignedDuration>,
    /// Since when nobody answers, and what was said last.
    failing: Option<(Timestamp, String)>,
    /// How many answers in a row showed nothing new.
    calm: u32,
    /// When it last had more addresses at a time than may be held.
    overflowed: Option<Timestamp>,
    /// What the last answer was refused for, or a family of it.
    refused: Option<Rebinding>,
}

/// An address, and how long it is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// When an answer last had it.
    last: Timestamp,
    /// Until when that answer was good.
    until: Timestamp,
}

impl KnownName {
    /// What an earlier life of the operator had open: it stays so for the grace, until somebody answers.
    pub fn remembered(answer: &Answer, now: Timestamp) -> Self {
        let addresses = answer.addresses().map(|(address, _)| (address, Seen { last: now, until: now })).collect();
        KnownName { addresses, ..KnownName::default() }
    }

    /// Where the last answer led it that it must not lead to.
    pub fn refused(&self) -> Option<&Rebinding> {
        self.refused.as_ref()
    }

    /// Whether it was ever looked up.
    pub fn was_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Takes in how a look-up ended.
    pub fn learn(&mut self, outcome: Outcome, now: Timestamp, limits: &Limits) {
        self.asked = Some(now);
        self.refused = None;
        match outcome {
            Outcome::Answered(answer) => self.answered(&answer, now, limits),
            Outcome::NoSuchName => {
                self.failing = None;
                self.calm = 0;
                self.due = Some(now + limits.minimum_ttl);
            }
            Outcome::Refused(why) => {
                // Whoever gave this answer may have given those before it.
                self.addresses.clear();
                self.failing = None;
                self.calm = 0;
                self.refused = Some(why);
                self.due = Some(now + limits.minimum_ttl);
            }
            Outcome::Failed(why) => {
                let since = self.failing.take().map_or(now, |(since, _)| since);
                self.failing = Some((since, why));
                self.due = Some(now + limits.minimum_ttl);
            }
        }
        self.forget(now, limits);
    }

    fn answered(&mut self, answer: &Answer, now: Timestamp, limits: &Limits) {
        self.failing = None;
        if let Some(why) = answer.refused() {
            // As where all of it is refused: of that family, nothing from before is believed.
            self.addresses.retain(|address, _| !why.is_of_family_of(*address));
            self.refused = Some(why.clone());
        }
        let mut is_new = false;
        for (address, ttl) in answer.addresses() {
            let until = now + self.life(ttl, limits);
            is_new |= self.addresses.insert(address, Seen { last: now, until }).is_none();
        }
        let shortest = answer.addresses().map(|(_, ttl)| ttl).min().unwrap_or_default();
        let life = self.life(shortest, limits);
        self.ttl = Some(life);
        self.calm = if is_new { 0 } else { self.calm.saturating_add(1) };
        // One that has just shown something new may have more to show: it is asked often until it has not for a while.
        let rotates = self.addresses.len() > answer.addresses().count();
        let wait = if (is_new || rotates) && self.calm < limits.quiet { limits.probe } else { life };
        let wait = if self.refused.is_some() { wait.min(limits.minimum_ttl) } else { wait };
        self.due = Some(now + wait);
        if self.held(now, limits).count() > limits.addresses {
            self.overflowed = Some(now);
        }
    }

    fn life(&self, ttl: SignedDuration, limits: &Limits) -> SignedDuration {
        ttl.clamp(limits.minimum_ttl, limits.maximum_ttl)
    }

    /// Drops what no longer counts, so that a name that goes on changing takes no more than its share of memory.
    fn forget(&mut self, now: Timestamp, limits: &Limits) {
        let failing = self.failing.is_some();
        self.addresses.retain(|_, seen| counts(seen, failing, now, limits));
        let most = limits.addresses * 2;
        while self.addresses.len() > most {
            let oldest = self.addresses.iter().min_by_key(|(address, seen)| (seen.last, **address)).map(|(a, _)| *a);
            let Some(oldest) = oldest else { break };
            self.addresses.remove(&oldest);
        }
    }

    fn held<'a>(&'a self, now: Timestamp, limits: &'a Limits) -> impl Iterator<Item = IpAddr> + 'a {
        let failing = self.failing.is_some();
        let held = self.addresses.iter().filter(move |(_, seen)| counts(seen, failing, now, limits));
        held.map(|(address, _)| *address)
    }

    fn has_overflowed(&self, now: Timestamp, limits: &Limits) -> bool {
        self.overflowed.is_some_and(|at| at + limits.stale > now)
    }

    /// The addresses to open, in their order; none where the name cannot be held by addresses. Of a name that is led astray,
    /// those of the other family.
    pub fn addresses(&self, now: Timestamp, limits: &Limits) -> Vec<IpAddr> {
        if self.has_overflowed(now, limits) { Vec::new() } else { self.held(now, limits).collect() }
    }

    /// Whether it has addresses to open, and if not, or not of each family, why.
    pub fn state(&self, now: Timestamp, limits: &Limits) -> NameState {
        self.state_where(self.refused.clone(), now, limits)
    }

    /// The same where the last answer is refused for this.
    fn state_where(&self, refused: Option<Rebinding>, now: Timestamp, limits: &Limits) -> NameState {
        if let Some(why) = refused {
            return NameState::Rebound(why);
        }
        if self.has_overflowed(now, limits) {
            return NameState::TooMany(limits.addresses);
        }
        if self.held(now, limits).next().is_some() {
            return NameState::Held;
        }
        match (&self.failing, self.asked) {
            (Some((_, why)), _) => NameState::Unanswered(why.clone()),
            (None, None) => NameState::Unknown,
            (None, Some(_)) => NameState::NoAddress,
        }
    }

    /// How it stands and what to open, where what may be opened is newer than the answers: the last of them is judged as a
    /// look-up would judge it now, each family by itself. What was refused and would not be now is waited for, because nothing
    /// of it was kept.
    pub fn judged(
        &self,
        expected: Where<'_>,
        never: &NeverOpened,
        now: Timestamp,
        limits: &Limits,
    ) -> (NameState, Vec<IpAddr>) {
        let refused = self.refused.as_ref().and_then(|why| answer::check(why.address(), expected, never).err());
        let state = match self.state_where(refused.clone(), now, limits) {
            NameState::NoAddress if self.refused.is_some() => NameState::Unknown,
            NameState::Held | NameState::Rebound(_) => NameState::Held,
            other => other,
        };
        if state != NameState::Held {
            return (state, Vec::new());
        }
        let astray: Vec<Rebinding> = refused.into_iter().chain(self.last_answer_astray(never)).collect();
        let mut open = self.addresses(now, limits);
        open.retain(|address| !astray.iter().any(|why| why.is_of_family_of(*address)));
        (astray.into_iter().next().map_or(NameState::Held, NameState::Rebound), open)
    }

    /// Why the last answer would not be believed now. Where its addresses must be has not changed: the name is known by that.
    fn last_answer_astray(&self, never: &NeverOpened) -> impl Iterator<Item = Rebinding> {
        let last = self.addresses.values().map(|seen| seen.last).max();
        let of_last =
            self.addresses.iter().filter(move |(_, seen)| Some(seen.last) == last).map(|(address, _)| *address);
        of_last.filter_map(|address| answer::check_never(address, never).err())
    }

    /// When to ask again, or for the first time.
    pub fn due(&self) -> Timestamp {
        self.due.unwrap_or(Timestamp::MIN)
    }

    /// When what is open changes next if nothing new is learned: an address has run out.
    pub fn changes_at(&self, now: Timestamp, limits: &Limits) -> Option<Timestamp> {
        let failing = self.failing.is_some();
        let ends = self.addresses.values().map(|seen| end(seen, failing, limits));
        ends.chain(self.overflowed.map(|at| at + limits.stale)).filter(|at| *at > now).min()
    }

    /// How long the last answer was good, and when it was given.
    pub fn last_answer(&self) -> Option<(Timestamp, SignedDuration)> {
        Some((self.asked?, self.ttl?))
    }
}

/// Whether an address is still open.
fn counts(seen: &Seen, failing: bool, now: Timestamp, limits: &Limits) -> bool {
    end(seen, failing, limits) > now
}

/// Until when an address is open: until its answer has run out and the grace is over; longer, while nobody answers.
fn end(seen: &Seen, failing: bool, limits: &Limits) -> Timestamp {
    let after = if failing { limits.grace.max(limits.stale) } else { limits.grace };
    seen.until + after
}

#[cfg(test)]
mod tests;
