//! Whom a grant concerns.

use super::{
    Dirty, Index,
    grant_change::{GrantChange, gives_role},
    relations::{enqueue_grants_in, enqueue_grants_without_room},
};
use crate::{decode::Decoded, key::Key};
use cloister_api::{GrantKind, GrantPhase};
use cloister_core::{
    grant::{Grant, bears_on},
    model::child::GrantRef,
};
use std::sync::Arc;

/// A grant concerns itself, what is said of its reviews where that may be another, and a namespace that waits for its end
/// or whose rule it covers.
pub fn enqueue_dependents_of_grant(
    index: &Index,
    namespace: &Arc<str>,
    grant: &GrantRef,
    change: GrantChange,
    dirty: &mut Dirty,
) {
    dirty.insert(Key::Grant(namespace.clone(), grant.clone()));
    if change.for_reviews {
        enqueue_reviews(index, namespace, grant, dirty);
    }
    if change.for_deciders {
        enqueue_grants_in(index, namespace, dirty);
    }
    if change.for_endpoints {
        enqueue_grants_without_room(index, namespace, dirty);
    }
    let is_closing = index.research.get(namespace).is_some_and(|home| home.metadata.deletion_timestamp.is_some());
    let opens_networks = match grant.kind {
        GrantKind::EgressGrant => true,
        // What is open by address must not be denied elsewhere.
        GrantKind::StorageAccessGrant => index.settings.backend.needs_grant_egress(),
        GrantKind::RoleGrant => false,
    };
    if grant.kind == GrantKind::EgressGrant && !index.policies.contains_key(&*index.settings.spec.egress.access_policy)
    {
        // Only now is the AccessPolicy missed.
        dirty.insert(Key::Config);
    }
    if is_closing || (opens_networks && change.for_namespace) {
        dirty.insert(Key::Namespace(namespace.clone()));
    }
}

/// The requests that wait for the same, or mount beside it: something else is to be said of them before people decide.
pub fn enqueue_waiting_beside(index: &Index, namespace: &Arc<str>, found: &Decoded<Grant>, dirty: &mut Dirty) {
    let Ok(object) = &found.object else { return };
    let others = index.grants.get(namespace).into_iter().flatten();
    let beside = others.filter(|(_, other)| {
        let other = other.object.as_ref();
        other.is_ok_and(|other| other.phase() == GrantPhase::Pending && bears_on(other, object))
    });
    dirty.extend(beside.map(|(other, _)| Key::Grant(namespace.clone(), other.clone())));
}

/// The reviews of a grant of which there may be something else to say.
fn enqueue_reviews(index: &Index, namespace: &Arc<str>, grant: &GrantRef, dirty: &mut Dirty) {
    let of = index.reviews_of.get(&(namespace.clone(), grant.clone()));
    let names = of.into_iter().flat_map(|of| &of.names);
    let whole = names.filter(|(_, name)| index.said(namespace, name).is_none());
    dirty.extend(whole.map(|(_, name)| Key::Review(namespace.clone(), name.clone())));
}

/// All reviews of a grant that is gone, but where they go with it.
pub fn enqueue_reviews_of_removed_grant(index: &Index, namespace: &Arc<str>, grant: &GrantRef, dirty: &mut Dirty) {
    if index.is_ending(namespace) {
        return;
    }
    let of = index.reviews_of.get(&(namespace.clone(), grant.clone()));
    let names = of.into_iter().flat_map(|of| &of.names);
    dirty.extend(names.map(|(_, name)| Key::Review(namespace.clone(), name.clone())));
}

/// A grant that is gone concerns its reviews, the mount that it may have left, and the namespace that may wait for its
/// end.
pub fn enqueue_dependents_of_removed_grant(
    index: &Index,
    namespace: &Arc<str>,
    grant: &GrantRef,
    object: &Decoded<Grant>,
    dirty: &mut Dirty,
) {
    dirty.insert(Key::Grant(namespace.clone(), grant.clone()));
    enqueue_reviews_of_removed_grant(index, namespace, grant, dirty);
    enqueue_waiting_beside(index, namespace, object, dirty);
    dirty.insert(Key::Namespace(namespace.clone()));
    if gives_role(object) {
        enqueue_grants_in(index, namespace, dirty);
    }
    enqueue_grants_without_room(index, namespace, dirty);
    if let Some(mount) = object.mount() {
        dirty.insert(Key::Mount(namespace.clone(), mount.into()));
    }
}
