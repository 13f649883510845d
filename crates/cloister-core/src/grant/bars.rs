//! Which accounts are one person's, and who may not decide.

use super::{
    case::{Bar, Case},
    people::persons,
};
use cloister_api::Identity;
use std::collections::{BTreeMap, HashMap};

/// Which accounts are one person's, and which persons may not decide.
pub struct People {
    /// The person of each account, by user name.
    persons: HashMap<String, usize>,
    /// Why a person may not decide: first because they ask, then by the first of their accounts that shows it.
    barred: BTreeMap<usize, Bar>,
}

impl People {
    /// Who asks, and whoever has these accounts.
    pub fn of<'b>(case: &Case<'_>, accounts: impl IntoIterator<Item = &'b Identity>) -> Self {
        let accounts: Vec<&Identity> = accounts.into_iter().collect();
        let everybody: Vec<&Identity> = std::iter::once(case.requester).chain(accounts).collect();
        let mut people = People { persons: HashMap::new(), barred: BTreeMap::new() };
        for (at, (account, person)) in everybody.iter().zip(persons(&everybody)).enumerate() {
            people.persons.entry(account.username.clone()).or_insert(person);
            let bar = if at == 0 { Some(Bar::Requester) } else { case.bar(account) };
            if let Some(bar) = bar {
                people.barred.entry(person).or_insert(bar);
            }
        }
        people
    }

    /// The person of an account.
    pub fn person(&self, account: &Identity) -> Option<usize> {
        self.persons.get(&account.username).copied()
    }

    pub fn barred(&self, account: &Identity) -> Option<&Bar> {
        self.barred.get(&self.person(account)?)
    }
}
