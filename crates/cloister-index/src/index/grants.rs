//! Grants of every kind, and what people decided about them.

use super::{Dirty, Index, Indexed, grant_change::GrantChange, grant_relations};
use crate::{
    decode::{Decoded, Undecodable},
    key::{Key, ObjectName},
};
use cloister_api::{GrantKind, GrantPhase, GrantStatus, Identity, grant_kinds};
use cloister_core::{
    grant::{Grant, LastEnd, has_broken_glass, may_hold, mount_named_by, owes_review, owes_review_by},
    model::child::GrantRef,
};
use std::sync::Arc;

fn upsert<K: Into<Grant>>(object: Decoded<K>, kind: GrantKind, index: &mut Index, dirty: &mut Dirty) {
    let at = ObjectName::of(&object.metadata);
    let grant = GrantRef { kind, name: at.name.clone() };
    let Decoded { metadata, object } = object;
    let object = Decoded { metadata, object: object.map(Into::into).map_err(Undecodable::read_what_can_be) };
    let old = index.grant(&at.namespace, &grant);
    if old.is_some_and(|old| !object.is_news(old, Grant::same_spec)) {
        return;
    }
    let before = index.ended(&at.namespace, &grant);
    if before.is_some_and(|before| {
        before.version >= object.version() && object.metadata.uid.as_deref() == Some(&*before.uid)
    }) {
        return;
    }
    let change = GrantChange::of(old, &object);
    if change.for_those_beside {
        grant_relations::enqueue_waiting_beside(index, &at.namespace, &object, dirty);
    }
    if let Some(mount) = old.and_then(mounts).filter(|mount| mounts(&object).as_ref() != Some(mount)) {
        // It speaks for the mount no more: what of that stands is nobody's.
        dirty.insert(Key::Mount(at.namespace.clone(), mount.into()));
    }
    let was_ended = before.is_some();
    note_end(index, &at.namespace, &object);
    if index.keep_ended(&at.namespace, &grant, &object) {
        index.take_grant(&at.namespace, &grant);
        index.settle_reviews(&at.namespace, &grant);
        if !was_ended || index.is_unfinished(&at.namespace, &grant) {
            grant_relations::enqueue_dependents_of_grant(index, &at.namespace, &grant, change, dirty);
        }
        return;
    }
    index.insert_grant(&at.namespace, &grant, object);
    grant_relations::enqueue_dependents_of_grant(index, &at.namespace, &grant, change, dirty);
}

impl Index {
    /// Keeps a grant as a whole.
    pub(super) fn insert_grant(&mut self, namespace: &Arc<str>, at: &GrantRef, grant: Decoded<Grant>) {
        let place = || (namespace.clone(), at.clone());
        let old = self.take_out(namespace, at);
        self.requesters.note(&place(), old.as_ref(), Some(&grant));
        if may_owe(&grant) {
            self.broken_glass.insert(place());
        }
        if let Some(mount) = mounts(&grant) {
            self.mounting.entry((namespace.clone(), mount)).or_default().insert(at.clone());
        }
        self.grants.entry(namespace.clone()).or_default().insert(at.clone(), grant);
    }

    /// Takes a grant out that is kept as a whole.
    pub(super) fn take_grant(&mut self, namespace: &Arc<str>, at: &GrantRef) -> Option<Decoded<Grant>> {
        let old = self.take_out(namespace, at);
        self.requesters.note(&(namespace.clone(), at.clone()), old.as_ref(), None);
        old
    }

    fn take_out(&mut self, namespace: &Arc<str>, at: &GrantRef) -> Option<Decoded<Grant>> {
        let grants = self.grants.get_mut(namespace)?;
        let old = grants.remove(at)?;
        if grants.is_empty() {
            self.grants.remove(namespace);
        }
        self.broken_glass.remove(&(namespace.clone(), at.clone()));
        if let Some(mount) = mounts(&old) {
            let place = (namespace.clone(), mount);
            if let Some(grants) = self.mounting.get_mut(&place) {
                grants.remove(at);
                if grants.is_empty() {
                    self.mounting.remove(&place);
                }
            }
        }
        Some(old)
    }

    /// The mounts that grants may have opened which have not ended, each with its namespace.
    pub fn mounts(&self) -> impl Iterator<Item = (Arc<str>, Arc<str>)> {
        self.mounting.keys().map(|(namespace, mount)| (namespace.clone(), (&**mount).into()))
    }

    /// The mounts that grants have opened which have ended, or are said to have.
    pub fn ended_mounts(&self) -> impl Iterator<Item = (Arc<str>, Arc<str>)> {
        self.ended_mounts.iter().map(|(namespace, mount)| (namespace.clone(), (&**mount).into()))
    }

    /// The grants that may have opened a mount, and have not ended.
    pub fn of_mount<'a>(
        &'a self,
        namespace: &str,
        mount: &str,
    ) -> impl Iterator<Item = (&'a GrantRef, &'a Decoded<Grant>)> + use<'a> {
        let place: (Arc<str>, Box<str>) = (namespace.into(), mount.into());
        let all = self.grants.get(namespace);
        let names = self.mounting.get(&place).into_iter().flatten();
        names.filter_map(move |at| all?.get_key_value(at))
    }
}

/// Whether a grant may owe a review: it used break-glass, whatever its status says of the review.
fn may_owe(grant: &Decoded<Grant>) -> bool {
    match &grant.object {
        Ok(grant) => has_broken_glass(grant),
        Err(_) => grant.status().is_some_and(owes_review_by),
    }
}

impl Index {
    /// The grant of a namespace that has this uid, where it is not this one.
    pub fn of_uid_elsewhere(&self, namespace: &str, but: &GrantRef, uid: &str) -> Option<&GrantRef> {
        let has = |grant: &Decoded<Grant>| grant.metadata.uid.as_deref() == Some(uid);
        let is_this = self.grants.get(namespace).and_then(|grants| grants.get(but)).is_some_and(has)
            || self.ended(namespace, but).is_some_and(|ended| *ended.uid == *uid);
        if is_this {
            return None;
        }
        let whole = self.grants.get(namespace).into_iter().flatten().filter(|(_, grant)| has(grant)).map(|(at, _)| at);
        let ended = self.all_ended().filter(|(home, _, ended)| ***home == *namespace && *ended.uid == *uid);
        whole.chain(ended.map(|(_, at, _)| at)).next()
    }

    /// The grants that used break-glass and for which there is no review that settles it.
    pub fn owing(&self) -> impl Iterator<Item = &(Arc<str>, GrantRef)> {
        self.broken_glass.iter().filter(|(namespace, at)| {
            let grant = self.grant(namespace, at).and_then(|grant| grant.object.as_ref().ok());
            grant.is_none_or(|grant| owes_review(grant, &self.reviews(namespace, at)))
        })
    }
}

/// The mount that a grant may have opened and that has not ended. One that cannot be read tells it by its status.
fn mounts(grant: &Decoded<Grant>) -> Option<Box<str>> {
    grant.mount().filter(|_| grant.status().is_some_and(may_hold)).map(Into::into)
}

impl Decoded<Grant> {
    /// Its status, whether its spec can be read or not.
    pub fn status(&self) -> Option<&GrantStatus> {
        match &self.object {
            Ok(grant) => grant.status(),
            Err(broken) => broken.grant.as_ref()?.status.as_ref(),
        }
    }

    /// Who asked for it.
    pub fn requested_by(&self) -> Option<&Identity> {
        match &self.object {
            Ok(grant) => grant.terms().requested_by,
            Err(broken) => broken.grant.as_ref()?.requested_by.as_ref(),
        }
    }

    /// The name of the mount that it has or had.
    pub fn mount(&self) -> Option<String> {
        mount_named_by(self.object.as_ref().ok(), self.status())
    }
}

/// Takes note of the end of a grant that had a mount open: what was to become of the pods that held its credential.
fn note_end(index: &mut Index, namespace: &Arc<str>, grant: &Decoded<Grant>) {
    let Ok(Grant::Storage(object)) = &grant.object else { return };
    let Some(status) = &object.status else { return };
    if let Some(mount) = grant.mount().filter(|_| status.phase.has_ended() && status.approved_at.is_some()) {
        index.ended_mounts.insert((namespace.clone(), mount.into()));
    }
    let ended = matches!(status.phase, GrantPhase::Expired | GrantPhase::Revoked) && status.activated_at.is_some();
    let Some((at, mount)) = status.ended_at.as_ref().filter(|_| ended).zip(grant.mount()) else { return };
    let end = LastEnd { at: at.0, on_expiry: object.spec.on_expiry };
    let last = index.last_ends.entry((namespace.clone(), mount.into())).or_insert(end);
    if last.at <= end.at {
        *last = end;
    }
}

impl Index {
    /// The grant of a mount that ended last.
    pub fn last_end(&self, namespace: &Arc<str>, mount: &str) -> Option<LastEnd> {
        self.last_ends.get(&(namespace.clone(), mount.into())).copied()
    }

    /// The grants of a namespace that may have opened a mount, each with the name of the mount.
    pub fn with_mounts<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a GrantRef, &'a Decoded<Grant>)> {
        let from: (Arc<str>, Box<str>) = (namespace.into(), "".into());
        let within = self.mounting.range(from..).take_while(move |((at, _), _)| **at == *namespace);
        within.flat_map(move |((_, mount), grants)| {
            grants.iter().filter_map(move |grant| Some((&**mount, grant, self.grant(namespace, grant)?)))
        })
    }
}

fn remove(at: &ObjectName, kind: GrantKind, index: &mut Index, dirty: &mut Dirty) {
    let grant = GrantRef { kind, name: at.name.clone() };
    if index.forget_ended(&at.namespace, &grant) {
        // Somebody may wait for it, and something may stand in its name.
        grant_relations::enqueue_reviews_of_removed_grant(index, &at.namespace, &grant, dirty);
        dirty.insert(Key::Grant(at.namespace.clone(), grant));
        return;
    }
    let Some(old) = index.take_grant(&at.namespace, &grant) else { return };
    grant_relations::enqueue_dependents_of_removed_grant(index, &at.namespace, &grant, &old, dirty);
}

fn known(index: &Index, kind: GrantKind) -> Vec<ObjectName> {
    let whole = index.grants.iter().flat_map(|(namespace, grants)| grants.keys().map(move |grant| (namespace, grant)));
    let all = whole.chain(index.all_ended().map(|(namespace, grant, _)| (namespace, grant)));
    let of_kind = all.filter(|(_, grant)| grant.kind == kind);
    of_kind.map(|(namespace, grant)| ObjectName { namespace: namespace.clone(), name: grant.name.clone() }).collect()
}

/// Implements [`Indexed`] for each kind of grant.
macro_rules! indexed {
    ({} $($(#[$doc:meta])* $kind:ident as $variant:ident,)*) => {
        $(impl Indexed for Decoded<cloister_api::$kind> {
            fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
                upsert(self, GrantKind::$kind, index, dirty);
            }

            fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
                remove(name, GrantKind::$kind, index, dirty);
            }

            fn known(index: &Index) -> Vec<ObjectName> {
                known(index, GrantKind::$kind)
            }
        })*
    };
}

grant_kinds!([indexed]);
