//! The ids of records, in a few bytes each: there are some for every grant and review that ever was and is still there.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
};

/// A set of ids. Of each it keeps a hash of the object's uid and one of the rest, which names what happened.
#[derive(Debug, Default)]
pub struct RecordIds(HashMap<u128, Vec<u32>>);

impl RecordIds {
    /// Whether an id is in it.
    pub fn contains(&self, id: &str) -> bool {
        let (uid, what) = parts(id);
        self.0.get(&uid).is_some_and(|known| known.contains(&what))
    }

    /// Puts an id in, and answers whether it is new.
    pub fn insert(&mut self, id: &str) -> bool {
        let (uid, what) = parts(id);
        match self.0.entry(uid) {
            Entry::Occupied(mut known) => {
                let is_new = !known.get().contains(&what);
                if is_new {
                    known.get_mut().push(what);
                }
                is_new
            }
            Entry::Vacant(place) => {
                place.insert(vec![what]);
                true
            }
        }
    }

    /// Takes an id out.
    pub fn remove(&mut self, id: &str) {
        let (uid, what) = parts(id);
        if let Entry::Occupied(mut known) = self.0.entry(uid) {
            known.get_mut().retain(|one| *one != what);
            if known.get().is_empty() {
                known.remove();
            }
        }
    }

    /// Puts all ids of another set in.
    pub fn extend(&mut self, other: RecordIds) {
        for (uid, whats) in other.0 {
            let known = self.0.entry(uid).or_default();
            whats.into_iter().for_each(|what| {
                if !known.contains(&what) {
                    known.push(what);
                }
            });
        }
    }

    /// Of how many objects it has ids.
    pub fn objects(&self) -> usize {
        self.0.len()
    }

    /// Forgets all objects but these.
    pub fn retain<'a>(&mut self, uids: impl Iterator<Item = &'a str>) {
        let uids: HashSet<u128> = uids.map(wide).collect();
        self.0.retain(|uid, _| uids.contains(uid));
    }
}

/// The uid that an id begins with, and the rest.
fn parts(id: &str) -> (u128, u32) {
    let (uid, what) = id.split_once('.').unwrap_or((id, ""));
    (wide(uid), (hash(what) & u64::from(u32::MAX)) as u32)
}

fn wide(uid: &str) -> u128 {
    (u128::from(hash(uid)) << 64) | u128::from(hash((uid, "and again")))
}

fn hash(of: impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::new().hash_one(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_what_was_put_in_and_forgets_whole_objects() {
        let mut known = RecordIds::default();
        let whats = ["requested", "approved", "activated", "expired", "revoked", "denied", "timedout", "reviewed"];
        for uid in ["u1", "u2"] {
            for what in whats {
                assert!(known.insert(&format!("{uid}.{what}")));
                assert!(!known.insert(&format!("{uid}.{what}")));
            }
        }
        assert!(!known.contains("u1.counted.Counted") && !known.contains("u3.requested"));
        known.remove("u1.denied");
        assert!(!known.contains("u1.denied") && known.contains("u1.timedout"));
        known.retain(["u2"].into_iter());
        assert!(known.objects() == 1 && !known.contains("u1.requested") && known.contains("u2.requested"));
    }
}
