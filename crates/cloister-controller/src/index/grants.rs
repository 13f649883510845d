//! Grants of every kind, and what people decided about them.

use super::{Dirty, Index, Indexed, relations};
use crate::{
    decode::Decoded,
    key::{Key, ObjectName},
};
use cloister_api::{AccessReview, EgressGrant, GrantKind, RoleGrant, StorageAccessGrant};
use cloister_core::{
    child::GrantRef,
    grant::{Grant, owes_review},
};
use std::sync::Arc;

fn upsert<K: Into<Grant>>(object: Decoded<K>, kind: GrantKind, index: &mut Index, dirty: &mut Dirty) {
    let at = ObjectName::of(&object.metadata);
    let grant = GrantRef { kind, name: at.name.clone() };
    let object = Decoded { metadata: object.metadata, object: object.object.map(Into::into) };
    let grants = index.grants.entry(at.namespace.clone()).or_default();
    if grants.get(&grant).is_some_and(|old| !is_news(old, &object)) {
        return;
    }
    let owes = object.object.as_ref().is_ok_and(owes_review);
    grants.insert(grant.clone(), object);
    let place = (at.namespace.clone(), grant.clone());
    if owes {
        index.owing.insert(place);
    } else {
        index.owing.remove(&place);
    }
    relations::of_grant(index, &at.namespace, &grant, dirty);
}

/// Whether an object says something new: it is newer, or was read by a newer definition of its kind.
fn is_news(old: &Decoded<Grant>, new: &Decoded<Grant>) -> bool {
    let same = match (&old.object, &new.object) {
        (Ok(old), Ok(new)) => old.same_spec(new),
        (Err(old), Err(new)) => old.error == new.error,
        _ => false,
    };
    new.version() > old.version() || (new.version() == old.version() && !same)
}

fn remove(at: &ObjectName, kind: GrantKind, index: &mut Index, dirty: &mut Dirty) {
    let grant = GrantRef { kind, name: at.name.clone() };
    let Some(grants) = index.grants.get_mut(&at.namespace) else { return };
    let Some(old) = grants.remove(&grant) else { return };
    if grants.is_empty() {
        index.grants.remove(&at.namespace);
    }
    index.owing.remove(&(at.namespace.clone(), grant.clone()));
    relations::of_removed_grant(index, &at.namespace, &grant, &old, dirty);
}

fn known(index: &Index, kind: GrantKind) -> Vec<ObjectName> {
    let mut names = Vec::new();
    for (namespace, grants) in &index.grants {
        let of_kind = grants.keys().filter(|grant| grant.kind == kind);
        names.extend(of_kind.map(|grant| ObjectName { namespace: namespace.clone(), name: grant.name.clone() }));
    }
    names
}

/// Implements [`Indexed`] for a kind of grant.
macro_rules! grant {
    ($kind:ident) => {
        impl Indexed for Decoded<$kind> {
            fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
                upsert(self, GrantKind::$kind, index, dirty);
            }

            fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
                remove(name, GrantKind::$kind, index, dirty);
            }

            fn known(index: &Index) -> Vec<ObjectName> {
                known(index, GrantKind::$kind)
            }
        }
    };
}

grant!(StorageAccessGrant);
grant!(EgressGrant);
grant!(RoleGrant);

/// The grant that a review names.
pub fn reviewed(review: &AccessReview) -> GrantRef {
    let named = &review.spec.request_ref;
    GrantRef { kind: named.kind, name: named.name.as_str().into() }
}

impl Indexed for Decoded<AccessReview> {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let at = ObjectName::of(&self.metadata);
        let reviews = index.reviews.entry(at.namespace.clone()).or_default();
        let old = reviews.get(&at.name);
        let was_read = old.is_some_and(|old| old.object.is_ok());
        let newest = old.map(Decoded::version);
        if newest.is_some_and(|newest| newest > self.version() || (newest == self.version() && was_read)) {
            return;
        }
        dirty.insert(Key::Review(at.namespace.clone(), at.name.clone()));
        let grant = self.object.as_ref().ok().map(reviewed);
        reviews.insert(at.name.clone(), self);
        if let Some(grant) = grant {
            // What is said of a review does not concern its grant.
            if !was_read {
                dirty.insert(Key::Grant(at.namespace.clone(), grant.clone()));
            }
            index.reviews_of.entry((at.namespace, grant)).or_default().insert(at.name);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        let Some(reviews) = index.reviews.get_mut(&at.namespace) else { return };
        let Some(old) = reviews.remove(&at.name) else { return };
        if reviews.is_empty() {
            index.reviews.remove(&at.namespace);
        }
        let Some(grant) = old.object.as_ref().ok().map(reviewed) else { return };
        let place: (Arc<str>, GrantRef) = (at.namespace.clone(), grant.clone());
        if let Some(names) = index.reviews_of.get_mut(&place) {
            names.remove(&at.name);
            if names.is_empty() {
                index.reviews_of.remove(&place);
            }
        }
        dirty.insert(Key::Grant(at.namespace.clone(), grant));
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        let names = index.reviews.iter().flat_map(|(namespace, reviews)| {
            reviews.keys().map(|name| ObjectName { namespace: namespace.clone(), name: name.clone() })
        });
        names.collect()
    }
}
