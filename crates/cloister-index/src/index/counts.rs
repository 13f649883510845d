//! How many there are, for metrics and logs.

use super::Index;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

impl Index {
    /// How many objects of each kind are known.
    pub fn sizes(&self) -> [(&'static str, usize); 14] {
        [
            ("ResearchNamespace", self.research.len()),
            ("EgressAllowlist", self.allowlists.len()),
            ("StorageResource", self.storages.len()),
            ("AccessPolicy", self.policies.len()),
            ("AccessRole", self.roles.len()),
            ("Grant", count(&self.grants) + count(&self.ended)),
            ("AccessReview", count(&self.reviews) + count(&self.said)),
            ("ClusterRole", self.cluster_roles.len()),
            ("Binding", self.bindings.len()),
            ("Namespace", self.namespaces.len()),
            ("Child", self.children.values().map(|children| children.all.len()).sum()),
            ("Pod", count(&self.pods) + self.other_pods.total()),
            ("Service", self.services.len()),
            ("Credential", self.credentials.len()),
        ]
    }

    /// How many pods of a namespace have not run to their end.
    pub fn pods_in(&self, namespace: &str) -> usize {
        self.pods.get(namespace).map_or(0, BTreeMap::len) + self.other_pods.within(namespace)
    }

    /// How many research namespaces somebody else has opened, as their statuses say.
    pub fn defeated(&self) -> usize {
        let all = self.research.values().filter_map(|research| research.object.as_ref().ok()?.status.as_ref());
        all.filter(|status| !status.deny_defeated_by.is_empty()).count()
    }

    /// How many research namespaces hold Roles or RoleBindings of others, as their statuses say.
    pub fn intruded(&self) -> usize {
        let all = self.research.values().filter_map(|research| research.object.as_ref().ok()?.status.as_ref());
        all.filter(|status| !status.foreign_objects.is_empty()).count()
    }
}

fn count<K, V>(all: &HashMap<Arc<str>, BTreeMap<K, V>>) -> usize {
    all.values().map(BTreeMap::len).sum()
}
