//! Who counts for which rule: an assignment (augmenting paths: H. W. Kuhn, The Hungarian Method, 1955), so that somebody who
//! is in two groups never blocks a quorum that exists.

use cloister_api::Identity;
use std::collections::BTreeMap;

/// Somebody who agreed: the rules that they may count for, each with the account by which they may.
#[derive(Default)]
pub struct Person<'a> {
    pub rules: BTreeMap<usize, &'a str>,
}

impl<'a> Person<'a> {
    pub fn add(&mut self, account: &'a Identity, rules: Vec<usize>) {
        for rule in rules {
            self.rules.entry(rule).or_insert(&account.username);
        }
    }
}

/// The rule that each person counts for, so that as many places as can be are filled.
pub fn assign(people: &[Person<'_>], required: &[u32]) -> Vec<Option<usize>> {
    let mut assigned = vec![None; people.len()];
    for person in 0..people.len() {
        place(person, people, required, &mut assigned, &mut vec![false; required.len()]);
    }
    assigned
}

/// Finds a place for a person, where need be by finding another for somebody who has it.
fn place(
    person: usize,
    people: &[Person<'_>],
    required: &[u32],
    assigned: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for &rule in people[person].rules.keys() {
        if std::mem::replace(&mut tried[rule], true) {
            continue;
        }
        let holders: Vec<usize> = (0..people.len()).filter(|one| assigned[*one] == Some(rule)).collect();
        let free = (holders.len() as u64) < u64::from(required[rule]);
        if free || holders.into_iter().any(|one| place(one, people, required, assigned, tried)) {
            assigned[person] = Some(rule);
            return true;
        }
    }
    false
}
