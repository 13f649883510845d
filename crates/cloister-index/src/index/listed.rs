//! Names in so little memory that tens of thousands cost next to nothing: of each a number is kept.
//!
//! The numbers are drawn anew by each process, so that nobody can choose two names of one number.

use crate::key::ObjectName;
use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
};

static NUMBERS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

pub(super) fn number(name: &str) -> u64 {
    NUMBERS.hash_one(name)
}

/// Names of objects, by namespace.
#[derive(Debug, Default)]
pub struct Listed(HashMap<Arc<str>, HashSet<u64>>);

impl Listed {
    /// Takes note of a name.
    pub fn insert(&mut self, at: &ObjectName) {
        match self.0.get_mut(&at.namespace) {
            Some(names) => drop(names.insert(number(&at.name))),
            None => drop(self.0.insert(at.namespace.clone(), [number(&at.name)].into())),
        }
    }

    /// Forgets a name. Whether it was there is returned.
    pub fn remove(&mut self, at: &ObjectName) -> bool {
        let Some(names) = self.0.get_mut(&at.namespace) else { return false };
        let was_there = names.remove(&number(&at.name));
        if names.is_empty() {
            self.0.remove(&at.namespace);
        }
        was_there
    }

    /// Whether a name is there.
    pub fn contains(&self, at: &ObjectName) -> bool {
        self.0.get(&at.namespace).is_some_and(|names| names.contains(&number(&at.name)))
    }

    /// Whether the name of this number is there.
    pub(super) fn has(&self, namespace: &str, number: u64) -> bool {
        self.0.get(namespace).is_some_and(|names| names.contains(&number))
    }

    /// How many there are in a namespace.
    pub fn within(&self, namespace: &str) -> usize {
        self.0.get(namespace).map_or(0, HashSet::len)
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.0.values().map(HashSet::len).sum()
    }

    /// Forgets all but those that are in another list. Returns the namespaces where some were forgotten.
    pub fn retain(&mut self, listed: &Listed) -> Vec<Arc<str>> {
        let mut changed = Vec::new();
        self.0.retain(|namespace, names| {
            let before = names.len();
            let still = listed.0.get(namespace);
            names.retain(|number| still.is_some_and(|still| still.contains(number)));
            if names.len() < before {
                changed.push(namespace.clone());
            }
            !names.is_empty()
        });
        changed
    }
}
