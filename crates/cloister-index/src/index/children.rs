//! What stands in the namespaces: a fingerprint of each policy, Role and RoleBinding, whoever wrote it and whatever it says
//! of itself, and of the other objects that carry a mark of the operator.

use super::{Dirty, Index, Indexed, relations};
use crate::{
    decode::version,
    key::{Key, ObjectName},
};
use cloister_api::{
    GrantMount,
    plugin::{CiliumNetworkPolicy, ClusterNetworkPolicy},
};
use cloister_core::model::child::{Child, ChildKey, ChildKind, names::namespace_of};
use k8s_openapi::api::{
    core::v1::{LimitRange, ResourceQuota, ServiceAccount},
    networking::v1::NetworkPolicy,
};

fn upsert(child: Child, index: &mut Index, dirty: &mut Dirty) {
    let at = ObjectName::of(child.metadata());
    file(at, child, index, dirty);
}

/// Takes note of a child of the namespace of this place.
pub(super) fn file(at: ObjectName, child: Child, index: &mut Index, dirty: &mut Dirty) {
    let version = version(child.metadata());
    let key = child.key();
    let mut observed = child.observe();
    // Of others, only what opens something matters.
    if !observed.marked && !key.kind.is_policy() && !key.kind.is_access() {
        return remove(index, &at, key.kind, dirty);
    }
    let children = index.children.entry(at.namespace.clone()).or_default();
    if children.versions.get(&key).is_some_and(|known| *known >= version) {
        return;
    }
    children.versions.insert(key.clone(), version);
    let answer = children.answers.get(&key).filter(|answer| answer.came_back == observed.fingerprint);
    observed.stands_for = answer.map(|answer| answer.wanted);
    let before = children.all.insert(key.clone(), observed.clone());
    if before.as_ref().is_some_and(|before| *before != observed) {
        children.changed.insert(key.clone());
    }
    if before.as_ref() != Some(&observed) {
        relations::enqueue_dependents_of_child(index, &at.namespace, &key, &observed, dirty);
    }
}

/// Forgets a child of the namespace of this place.
pub(super) fn remove(index: &mut Index, at: &ObjectName, kind: ChildKind, dirty: &mut Dirty) {
    let Some(children) = index.children.get_mut(&at.namespace) else { return };
    let key = ChildKey::new(kind, &at.name);
    children.versions.remove(&key);
    children.answers.remove(&key);
    let Some(before) = children.all.remove(&key) else { return };
    children.changed.insert(key.clone());
    if children.all.is_empty() {
        index.children.remove(&at.namespace);
    }
    relations::enqueue_dependents_of_child(index, &at.namespace, &key, &before, dirty);
    dirty.insert(Key::Namespace(at.namespace.clone()));
}

pub(super) fn known(index: &Index, kind: ChildKind) -> Vec<ObjectName> {
    let mut names = Vec::new();
    for (namespace, children) in &index.children {
        let of_kind = children.all.keys().filter(|key| key.kind == kind);
        names.extend(of_kind.map(|key| ObjectName { namespace: namespace.clone(), name: (*key.name).into() }));
    }
    names
}

/// Implements [`Indexed`] for a kind of child.
macro_rules! child {
    ($kind:ident, $wrap:expr) => {
        impl Indexed for $kind {
            fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
                upsert($wrap(self), index, dirty);
            }

            fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
                remove(index, name, ChildKind::$kind, dirty);
            }

            fn known(index: &Index) -> Vec<ObjectName> {
                known(index, ChildKind::$kind)
            }
        }
    };
}

child!(NetworkPolicy, Child::NetworkPolicy);
child!(CiliumNetworkPolicy, |policy| Child::CiliumNetworkPolicy(Box::new(policy)));
child!(ResourceQuota, Child::ResourceQuota);
child!(LimitRange, Child::LimitRange);
child!(ServiceAccount, Child::ServiceAccount);

child!(GrantMount, |mount| Child::GrantMount(Box::new(mount)));

/// One of ours is about the namespace in its name. Those of others are the cluster administrators' own.
impl Indexed for ClusterNetworkPolicy {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name = ObjectName::of(&self.metadata).name;
        if let Some(namespace) = namespace_of(&name) {
            let at = ObjectName { namespace: namespace.into(), name: name.clone() };
            file(at, Child::ClusterNetworkPolicy(Box::new(self)), index, dirty);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        if let Some(namespace) = namespace_of(&at.name) {
            let at = ObjectName { namespace: namespace.into(), name: at.name.clone() };
            remove(index, &at, ChildKind::ClusterNetworkPolicy, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        let all = known(index, ChildKind::ClusterNetworkPolicy);
        all.into_iter().map(|at| ObjectName { namespace: "".into(), name: at.name }).collect()
    }
}
