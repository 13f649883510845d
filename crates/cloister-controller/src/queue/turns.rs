//! Turns: who is at work in each group, and who waits for it. None of those who wait has a place that others need.

use cloister_index::{
    key::Key,
    lane::{Group, Mode},
};
use std::collections::{BTreeMap, HashMap};

/// The groups that somebody is at work in or waits for.
#[derive(Debug, Default)]
pub struct Turns(HashMap<Group, State>);

#[derive(Debug, Default)]
struct State {
    /// How those at work share it. Of no meaning while there are none.
    mode: Option<Mode>,
    at_work: usize,
    /// Those who wait, in their order.
    waiting: BTreeMap<u64, (Key, Mode)>,
    /// How many of them wait for something to end.
    ends: usize,
}

impl State {
    fn admits(&self, mode: Mode) -> bool {
        match (self.at_work, self.mode, mode) {
            (0, _, _) | (_, Some(Mode::End), Mode::End) => true,
            // Those that end are not held up by more and more that open.
            (_, Some(Mode::Open), Mode::Open) => self.ends == 0,
            _ => false,
        }
    }
}

impl Turns {
    /// Begins all of these turns, or none.
    ///
    /// # Errors
    ///
    /// One of them must be waited for: its position.
    pub fn begin(&mut self, turns: &[(Group, Mode)]) -> Result<(), usize> {
        let taken = |(group, mode): &(Group, Mode)| self.0.get(group).is_some_and(|state| !state.admits(*mode));
        if let Some(at) = turns.iter().position(taken) {
            return Err(at);
        }
        for (group, mode) in turns {
            let state = self.0.entry(group.clone()).or_default();
            state.mode = Some(*mode);
            state.at_work += 1;
        }
        Ok(())
    }

    /// Ends these turns. Returns who may try now.
    pub fn end(&mut self, turns: &[(Group, Mode)]) -> Vec<Key> {
        for (group, _) in turns {
            if let Some(state) = self.0.get_mut(group) {
                state.at_work = state.at_work.saturating_sub(1);
            }
        }
        turns.iter().flat_map(|(group, _)| self.call(group)).collect()
    }

    /// Waits for a turn.
    pub fn wait(&mut self, group: &Group, mode: Mode, number: u64, key: Key) {
        let state = self.0.entry(group.clone()).or_default();
        state.waiting.insert(number, (key, mode));
        state.ends += usize::from(mode == Mode::End);
    }

    /// Waits no longer.
    pub fn leave(&mut self, group: &Group, number: u64) {
        if let Some(state) = self.0.get_mut(group) {
            let mode = state.waiting.remove(&number).map(|(_, mode)| mode);
            state.ends -= usize::from(mode == Some(Mode::End));
            if state.waiting.is_empty() && state.at_work == 0 {
                self.0.remove(group);
            }
        }
    }

    /// Takes those out who may try now, where nobody is at work: all that end, or else all that open, or else one.
    pub fn call(&mut self, group: &Group) -> Vec<Key> {
        let Some(state) = self.0.get_mut(group).filter(|state| state.at_work == 0) else { return Vec::new() };
        let first = state.waiting.values().next().map(|(_, mode)| *mode);
        let wanted = if state.ends > 0 { Some(Mode::End) } else { first };
        let called: Vec<u64> = match wanted {
            None => Vec::new(),
            Some(Mode::Alone) => state.waiting.keys().next().copied().into_iter().collect(),
            Some(wanted) => {
                state.waiting.iter().filter(|(_, (_, mode))| *mode == wanted).map(|(number, _)| *number).collect()
            }
        };
        let keys: Vec<Key> =
            called.iter().filter_map(|number| state.waiting.remove(number)).map(|(key, _)| key).collect();
        if wanted == Some(Mode::End) {
            state.ends = 0;
        }
        if state.waiting.is_empty() {
            self.0.remove(group);
        }
        keys
    }

    /// Whether somebody is at work in any group, or waits for one.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
