//! The keys of what is known.

use super::{Dirty, Index, relations};
use crate::key::Key;
use cloister_core::{
    grant::{is_approved, may_hold},
    model::child::{GrantRef, ObservedChild},
};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashSet};

impl Index {
    /// Every key that there is something to decide about.
    pub fn all_keys(&self) -> Dirty {
        let mut keys = Dirty::new();
        if self.config.is_some() {
            keys.insert(Key::Config);
        }
        keys.extend(self.research.keys().cloned().map(Key::Namespace));
        keys.extend(self.namespaces.keys().cloned().map(Key::Namespace));
        keys.extend(self.allowlists.keys().cloned().map(Key::Allowlist));
        keys.extend(self.storages.keys().cloned().map(Key::Storage));
        keys.extend(self.policies.keys().cloned().map(Key::Policy));
        for (namespace, grants) in &self.grants {
            keys.extend(grants.keys().map(|grant| Key::Grant(namespace.clone(), grant.clone())));
        }
        let unfinished = self.all_ended().filter(|(_, _, ended)| ended.is_held);
        keys.extend(unfinished.map(|(namespace, grant, _)| Key::Grant(namespace.clone(), grant.clone())));
        for (namespace, reviews) in &self.reviews {
            keys.extend(reviews.keys().map(|name| Key::Review(namespace.clone(), name.clone())));
        }
        keys.extend(self.roles.keys().cloned().map(Key::Role));
        keys.insert(Key::Impersonation);
        keys.insert(Key::Retention);
        for (namespace, children) in &self.children {
            keys.extend(children.all.keys().filter_map(|child| relations::mount(namespace, child)));
            let named = children.all.values().filter_map(|child| child.grant.clone());
            keys.extend(named.map(|grant| Key::Grant(namespace.clone(), grant)));
        }
        for (namespace, pods) in &self.pods {
            let held = pods.values().flat_map(|pod| &pod.copies);
            keys.extend(held.filter_map(|copy| relations::mount_of_copy(namespace, &copy.secret)));
        }
        keys
    }

    /// The keys of grants that must end, or are being taken away.
    pub fn overdue(&self, now: Timestamp) -> Vec<Key> {
        let mut keys = Vec::new();
        for (namespace, grants) in &self.grants {
            let late = grants.iter().filter(|(_, grant)| {
                // One that cannot be read is to be closed, too.
                let stays = grant.object.as_ref().is_ok_and(|grant| is_approved(grant, now));
                grant.status().is_some_and(may_hold) && !stays
            });
            keys.extend(late.map(|(grant, _)| Key::Grant(namespace.clone(), grant.clone())));
        }
        keys
    }

    /// Whether something stands in a grant's name that nobody has deleted yet.
    pub fn stands_for(&self, key: &Key) -> bool {
        let Key::Grant(namespace, grant) = key else { return false };
        self.children_of_grant(namespace, grant).any(|child| !child.terminating)
    }

    /// What stands in a grant's name.
    pub(super) fn children_of_grant<'a>(
        &'a self,
        namespace: &str,
        grant: &'a GrantRef,
    ) -> impl Iterator<Item = &'a ObservedChild> + use<'a> {
        let children = self.children.get(namespace).into_iter().flat_map(|children| children.all.values());
        children.filter(move |child| child.grant.as_ref() == Some(grant))
    }

    /// The uids of all grants and reviews.
    pub fn uids(&self) -> HashSet<&str> {
        let grants = self.all_grants().filter_map(|grant| grant.metadata.uid.as_deref());
        let reviews = self.reviews.values().flat_map(BTreeMap::values);
        let reviews = reviews.filter_map(|review| review.metadata.uid.as_deref());
        let ended = self.all_ended().map(|(_, _, ended)| &*ended.uid);
        let said = self.said.values().flat_map(BTreeMap::values).map(|said| &*said.uid);
        grants.chain(reviews).chain(ended).chain(said).collect()
    }
}
