//! Reviews, and which grant each of them names.

use super::{
    Dirty, Index, Indexed,
    facts::{SaidReview, created, reviewed},
};
use crate::{
    decode::Decoded,
    key::{Key, ObjectName},
};
use cloister_api::{AccessReview, Decision};
use cloister_core::{grant::is_answered, model::child::GrantRef};
use jiff::Timestamp;
use std::sync::Arc;

impl Indexed for Decoded<AccessReview> {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let at = ObjectName::of(&self.metadata);
        let same = |said: &&SaidReview| self.metadata.uid.as_deref() == Some(&*said.uid);
        if index.said(&at.namespace, &at.name).filter(same).is_some_and(|said| said.version >= self.version()) {
            return;
        }
        let old = index.reviews.get(&at.namespace).and_then(|reviews| reviews.get(&at.name));
        let was_read = old.is_some_and(|old| old.object.is_ok());
        let answered = |review: &Decoded<AccessReview>| review.object.as_ref().is_ok_and(is_answered);
        let is_answer = answered(&self) && !old.is_some_and(answered);
        let newest = old.map(Decoded::version);
        if newest.is_some_and(|newest| newest > self.version() || (newest == self.version() && was_read)) {
            return;
        }
        index.forget_said(&at.namespace, &at.name);
        let of = self.object.as_ref().ok().map(|review| (reviewed(review), review.spec.decision));
        let made = created(&self.metadata);
        index.reviews.entry(at.namespace.clone()).or_default().insert(at.name.clone(), self);
        if let Some((grant, decision)) = of {
            // What is said of a review does not concern its grant, unless that waits for it to be gone.
            let waits = || {
                let grant = index.grants.get(&at.namespace).and_then(|grants| grants.get(&grant));
                grant.is_some_and(|grant| grant.metadata.deletion_timestamp.is_some())
            };
            if !was_read || (is_answer && waits()) {
                dirty.insert(Key::Grant(at.namespace.clone(), grant.clone()));
            }
            let of = index.reviews_of.entry((at.namespace.clone(), grant)).or_default();
            of.names.insert((made, at.name.clone()));
            if decision == Decision::Revoke {
                of.revokes.insert(at.name.clone());
            }
        }
        index.settle_review(&at.namespace, &at.name);
        if index.said(&at.namespace, &at.name).is_none() {
            dirty.insert(Key::Review(at.namespace, at.name));
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        if let Some(said) = index.forget_said(&at.namespace, &at.name) {
            forget_name(index, at, &said.grant, said.created);
            if index.lose_review(&at.namespace, &said.grant) {
                dirty.insert(Key::Grant(at.namespace.clone(), said.grant));
            }
            return;
        }
        let Some(reviews) = index.reviews.get_mut(&at.namespace) else { return };
        let Some(old) = reviews.remove(&at.name) else { return };
        if reviews.is_empty() {
            index.reviews.remove(&at.namespace);
        }
        let Some(grant) = old.object.as_ref().ok().map(reviewed) else { return };
        forget_name(index, at, &grant, created(&old.metadata));
        dirty.insert(Key::Grant(at.namespace.clone(), grant));
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        let whole = index.reviews.iter().flat_map(|(namespace, all)| all.keys().map(move |name| (namespace, name)));
        let said = index.said.iter().flat_map(|(namespace, all)| all.keys().map(move |name| (namespace, name)));
        let names = whole.chain(said);
        names.map(|(namespace, name)| ObjectName { namespace: namespace.clone(), name: name.clone() }).collect()
    }
}

fn forget_name(index: &mut Index, at: &ObjectName, grant: &GrantRef, made: Option<Timestamp>) {
    let place: (Arc<str>, GrantRef) = (at.namespace.clone(), grant.clone());
    if let Some(of) = index.reviews_of.get_mut(&place) {
        of.names.remove(&(made, at.name.clone()));
        of.revokes.remove(&at.name);
        if of.names.is_empty() {
            index.reviews_of.remove(&place);
        }
    }
}
