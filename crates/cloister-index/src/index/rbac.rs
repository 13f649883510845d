//! The cluster's RBAC, as far as it concerns who may be bound and who may act as somebody else.

use super::{
    Dirty, Index, Indexed,
    children::{file, known, remove},
    relations,
    roots::cluster_names,
};
use crate::key::{Key, ObjectName};
use cloister_core::{
    cluster::{
        impersonation::Binding,
        role_facts::{RoleFacts, impersonates},
    },
    model::child::{Child, ChildKind, names::namespace_owned},
};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use std::sync::Arc;

impl Indexed for ClusterRole {
    // What is known of it beside itself, whether it may be bound, is kept.
    const BY_VERSION: bool = false;

    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name: Arc<str> = self.metadata.name.as_deref().unwrap_or_default().into();
        if let Some(at) = owners_of(&name) {
            return file(at, Child::ClusterRole(Box::new(self)), index, dirty);
        }
        let before = index.cluster_roles.get(&name);
        let facts = RoleFacts::of(&self, before.is_some_and(|facts| facts.bindable));
        if before == Some(&facts) {
            return;
        }
        let impersonation = facts.impersonates || before.is_some_and(|facts| facts.impersonates);
        index.cluster_roles.insert(name.clone(), facts);
        relations::enqueue_dependents_of_cluster_role(index, &name, dirty);
        if self.rules.iter().flatten().any(|rule| rule.verbs.iter().any(|verb| verb == "bind")) {
            // What the operator may bind may be another now.
            relations::enqueue_dependents_of_bindable(index, dirty);
        }
        if impersonation {
            dirty.insert(Key::Impersonation);
        }
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if let Some(at) = owners_of(&name.name) {
            return remove(index, &at, ChildKind::ClusterRole, dirty);
        }
        if index.cluster_roles.remove(&name.name).is_some() {
            relations::enqueue_dependents_of_cluster_role(index, &name.name, dirty);
            dirty.insert(Key::Impersonation);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        let mut all = cluster_names(index.cluster_roles.keys());
        all.extend(owners_roles(index, ChildKind::ClusterRole));
        all
    }
}

/// Where a ClusterRole or a ClusterRoleBinding of this name is known, if it is one of the owners of a ResearchNamespace: with
/// what is in that namespace.
fn owners_of(name: &str) -> Option<ObjectName> {
    let namespace = namespace_owned(name)?;
    Some(ObjectName { namespace: namespace.into(), name: name.into() })
}

fn owners_roles(index: &Index, kind: ChildKind) -> impl Iterator<Item = ObjectName> {
    let keys = index.children.values().flat_map(|children| children.all.keys());
    let of_kind = keys.filter(move |key| key.kind == kind);
    of_kind.map(|key| ObjectName { namespace: "".into(), name: (*key.name).into() })
}

impl Indexed for RoleBinding {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        take_binding(&self, index, dirty);
        let at = ObjectName::of(&self.metadata);
        file(at, Child::RoleBinding(self), index, dirty);
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        drop_binding(name, index, dirty);
        remove(index, name, ChildKind::RoleBinding, dirty);
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        known(index, ChildKind::RoleBinding)
    }
}

impl Indexed for Role {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        take_role(&self, index, dirty);
        let at = ObjectName::of(&self.metadata);
        file(at, Child::Role(self), index, dirty);
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        drop_role(name, index, dirty);
        remove(index, name, ChildKind::Role, dirty);
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        known(index, ChildKind::Role)
    }
}

/// Takes note of whether a Role lets its holders act as somebody else.
fn take_role(role: &Role, index: &mut Index, dirty: &mut Dirty) {
    let at = ObjectName::of(&role.metadata);
    let changed = if role.rules.iter().flatten().any(impersonates) {
        index.impersonating_roles.insert(at)
    } else {
        index.impersonating_roles.remove(&at)
    };
    if changed {
        dirty.insert(Key::Impersonation);
    }
}

/// Forgets a Role.
fn drop_role(at: &ObjectName, index: &mut Index, dirty: &mut Dirty) {
    if index.impersonating_roles.remove(at) {
        dirty.insert(Key::Impersonation);
    }
}

impl Indexed for ClusterRoleBinding {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let at = ObjectName::of(&self.metadata);
        take(at.clone(), Binding::of(&self.role_ref, self.subjects.as_deref()), index, dirty);
        if let Some(at) = owners_of(&at.name) {
            file(at, Child::ClusterRoleBinding(Box::new(self)), index, dirty);
        }
    }

    fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
        drop_binding(at, index, dirty);
        if let Some(at) = owners_of(&at.name) {
            remove(index, &at, ChildKind::ClusterRoleBinding, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.bindings.keys().filter(|at| at.namespace.is_empty()).cloned().collect()
    }
}

/// Takes note of a RoleBinding, whatever it says of itself.
fn take_binding(binding: &RoleBinding, index: &mut Index, dirty: &mut Dirty) {
    let at = ObjectName::of(&binding.metadata);
    take(at, Binding::of(&binding.role_ref, binding.subjects.as_deref()), index, dirty);
}

fn take(at: ObjectName, binding: Binding, index: &mut Index, dirty: &mut Dirty) {
    if index.bindings.get(&at) == Some(&binding) {
        return;
    }
    // Most bindings are of no interest, and the operator makes many. A role that comes later tells of itself.
    let lets = index.lets_impersonate(&at, &binding);
    let before = index.bindings.insert(at.clone(), binding);
    if lets || before.is_some_and(|before| index.lets_impersonate(&at, &before)) {
        dirty.insert(Key::Impersonation);
    }
}

/// Forgets a binding.
fn drop_binding(at: &ObjectName, index: &mut Index, dirty: &mut Dirty) {
    if index.bindings.remove(at).is_some_and(|before| index.lets_impersonate(at, &before)) {
        dirty.insert(Key::Impersonation);
    }
}

#[cfg(test)]
mod tests;
