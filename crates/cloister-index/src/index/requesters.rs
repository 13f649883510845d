//! The grants of each person that have not ended, by all that the person is known by.

use crate::decode::Decoded;
use cloister_api::Identity;
use cloister_core::{grant::Grant, model::child::GrantRef};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

type Place = (Arc<str>, GrantRef);

/// The grants of each person, each with when it was first known: a number that grows.
#[derive(Debug, Default)]
pub struct Requesters {
    by_person: HashMap<String, BTreeMap<Place, u64>>,
    next: u64,
}

impl Requesters {
    /// Takes note of a grant in place of what was known of it.
    pub fn note(&mut self, place: &Place, before: Option<&Decoded<Grant>>, after: Option<&Decoded<Grant>>) {
        let asks = |grant: Option<&Decoded<Grant>>| -> Vec<String> {
            let grant = grant.and_then(|grant| grant.object.as_ref().ok()).filter(|grant| !grant.phase().has_ended());
            grant.and_then(|grant| grant.terms().requested_by).map(known_by).unwrap_or_default()
        };
        let uid = |grant: Option<&Decoded<Grant>>| grant.and_then(|grant| grant.metadata.uid.clone());
        let (old, new) = (asks(before), asks(after));
        if old == new && uid(before) == uid(after) {
            return;
        }
        let mut since = None;
        for person in old {
            if let Some(grants) = self.by_person.get_mut(&person) {
                since = grants.remove(place).filter(|_| uid(before) == uid(after));
                if grants.is_empty() {
                    self.by_person.remove(&person);
                }
            }
        }
        if new.is_empty() {
            return;
        }
        let since = since.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        for person in new {
            self.by_person.entry(person).or_default().insert(place.clone(), since);
        }
    }

    /// The grants of a person, and when each was first known.
    pub fn of(&self, person: &Identity) -> BTreeMap<&Place, u64> {
        let keys = known_by(person);
        keys.iter().filter_map(|key| self.by_person.get(key)).flatten().map(|(place, since)| (place, *since)).collect()
    }
}

/// All that a person is known by.
fn known_by(person: &Identity) -> Vec<String> {
    let uid = (!person.uid.is_empty()).then(|| format!("uid {}", person.uid));
    let keys = person.persons().map(|key| format!("key {key}"));
    uid.into_iter().chain(keys).chain([format!("name {}", person.username)]).collect()
}
