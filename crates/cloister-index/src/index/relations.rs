//! Which keys a change concerns.

use super::{Dirty, Index, named::enqueue_dependents_of_named};
use crate::{
    decode::Decoded,
    key::{Key, ObjectName},
};
use cloister_api::{
    Attach, EgressAllowlist, EgressRule, EgressState, GrantKind, GrantPhase, ResearchNamespace, ServiceReference, Tier,
};
use cloister_core::{
    cluster::references::Named,
    egress::TOO_BROAD,
    grant::{ALREADY_OPEN, Grant, mount_of_secret},
    model::child::{ChildKey, ChildKind, GrantRef, ObservedChild},
    namespace::allowlist_of_entry,
};
use std::{collections::BTreeSet, sync::Arc};

/// A ResearchNamespace concerns those that name it, the allowlists that count their users, and its grants.
pub fn enqueue_dependents_of_research_namespace(
    index: &Index,
    name: &Arc<str>,
    object: Option<&Decoded<ResearchNamespace>>,
    dirty: &mut Dirty,
) {
    dirty.insert(Key::Namespace(name.clone()));
    dirty.extend(index.peers.naming(name).cloned().map(Key::Namespace));
    // It names people.
    dirty.insert(Key::Impersonation);
    enqueue_grants_in(index, name, dirty);
    // Of one that nobody uses it is said whether its selector selects anybody.
    let unused = |allowlist: &EgressAllowlist| allowlist.status.as_ref().is_none_or(|status| status.namespaces == 0);
    let always = index.allowlists.iter().filter(|(_, allowlist)| {
        let selects = |allowlist: &EgressAllowlist| allowlist.spec.attach == Attach::Always || unused(allowlist);
        allowlist.object.as_ref().is_ok_and(selects)
    });
    dirty.extend(always.map(|(name, _)| Key::Users(name.clone())));
    let Some(Ok(object)) = object.map(|object| &object.object) else { return };
    let spec = &object.spec;
    if spec.tier == Tier::Sandboxed && index.settings.runtime_class(spec.tier).is_err() {
        // Only now is the RuntimeClass missed.
        dirty.insert(Key::Config);
    }
    let named = spec.egress.allowlists.iter().filter_map(|name| index.allowlists.get_key_value(name.as_str()));
    dirty.extend(named.map(|(name, _)| Key::Users(name.clone())));
}

/// A ResearchNamespace that comes or goes concerns those that name one which is not there: they may have meant this one.
pub fn enqueue_namespaces_that_miss_one(index: &Index, dirty: &mut Dirty) {
    let missing = index.peers.naming_any(|peer| !index.research.contains_key(peer));
    dirty.extend(missing.cloned().map(Key::Namespace));
}

/// What is said of a ResearchNamespace concerns the allowlists that are open in it now, or no longer are, or of which something
/// else is said.
pub fn enqueue_open_allowlists(
    index: &Index,
    before: Option<&Decoded<ResearchNamespace>>,
    after: &Decoded<ResearchNamespace>,
    dirty: &mut Dirty,
) {
    let told = |research: &Decoded<ResearchNamespace>| -> BTreeSet<(String, String)> {
        let status = research.object.as_ref().ok().and_then(|research| research.status.as_ref());
        let needs = status.into_iter().flat_map(|status| &status.egress);
        let of_allowlists = needs.filter_map(|need| Some((allowlist_of_entry(&need.name)?, need)));
        let told = of_allowlists.map(|(name, need)| match need.state {
            EgressState::Active => (name.to_owned(), String::new()),
            _ => (name.to_owned(), format!("{}: {}", need.reason, need.message)),
        });
        told.collect()
    };
    let before = before.map(told).unwrap_or_default();
    let changed = told(after).symmetric_difference(&before).map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
    let known = changed.iter().filter_map(|name| index.allowlists.get_key_value(name.as_str()));
    dirty.extend(known.map(|(name, _)| Key::Users(name.clone())));
}

/// A Namespace concerns its ResearchNamespace, its grants, and those that name it as a peer.
pub fn enqueue_dependents_of_namespace(index: &Index, name: &Arc<str>, dirty: &mut Dirty) {
    dirty.insert(Key::Namespace(name.clone()));
    if let Some(object) = index.research.get(name) {
        enqueue_dependents_of_research_namespace(index, name, Some(object), dirty);
    } else {
        enqueue_grants_in(index, name, dirty);
    }
}

pub fn enqueue_grants_in(index: &Index, namespace: &Arc<str>, dirty: &mut Dirty) {
    let grants = index.grants.get(namespace).into_iter().flat_map(|grants| grants.keys());
    dirty.extend(grants.map(|grant| Key::Grant(namespace.clone(), grant.clone())));
}

/// The grants that wait until less is open in their namespace, or something of theirs is closed; and those that people are
/// asked for although it may be open by now.
pub fn enqueue_grants_without_room(index: &Index, namespace: &Arc<str>, dirty: &mut Dirty) {
    let grants = index.grants.get(namespace).into_iter().flatten();
    let asks = |grant: &GrantRef, phase| grant.kind == GrantKind::EgressGrant && phase == GrantPhase::Pending;
    let waiting = grants.filter(|(grant, found)| {
        found
            .status()
            .is_some_and(|status| [TOO_BROAD, ALREADY_OPEN].contains(&&*status.reason) || asks(grant, status.phase))
    });
    dirty.extend(waiting.map(|(grant, _)| Key::Grant(namespace.clone(), grant.clone())));
}

/// The grants of which this holds.
fn enqueue_grants_that(index: &Index, holds: impl Fn(&Grant) -> bool, dirty: &mut Dirty) {
    for (namespace, grants) in &index.grants {
        for (grant, object) in grants {
            if object.object.as_ref().is_ok_and(&holds) {
                dirty.insert(Key::Grant(namespace.clone(), grant.clone()));
            }
        }
    }
}

/// An allowlist concerns the namespaces that name it, that have rules of their own which it may cover, and, where it
/// always attaches, all.
pub fn enqueue_dependents_of_allowlist(
    index: &Index,
    name: &Arc<str>,
    object: Option<&Decoded<EgressAllowlist>>,
    dirty: &mut Dirty,
) {
    let attach = object.and_then(|object| object.object.as_ref().ok()).map(|object| object.spec.attach);
    for (namespace, research) in &index.research {
        let Ok(research) = &research.object else { continue };
        let egress = &research.spec.egress;
        let concerned = attach == Some(Attach::Always)
            || !egress.rules.is_empty()
            // One that names what is not there may have meant this one.
            || egress.allowlists.iter().any(|named| **named == **name || !index.allowlists.contains_key(named.as_str()));
        if concerned {
            dirty.insert(Key::Namespace(namespace.clone()));
        }
    }
}

/// A StorageResource concerns its grants, and their namespaces where those mind what grants open.
pub fn enqueue_dependents_of_storage(index: &Index, name: &Arc<str>, dirty: &mut Dirty) {
    let names = |grant: &Grant| matches!(grant, Grant::Storage(grant) if *grant.spec.storage == **name);
    let mut grants = Dirty::new();
    enqueue_grants_that(index, names, &mut grants);
    if index.settings.backend.needs_grant_egress() {
        dirty.extend(grants.iter().filter_map(|grant| match grant {
            Key::Grant(namespace, _) => Some(Key::Namespace(namespace.clone())),
            _ => None,
        }));
    }
    dirty.extend(grants);
}

/// An endpoint that is another concerns the requests for egress: whoever decides about those is told that they lead to storage.
pub fn enqueue_requests_for_egress(index: &Index, dirty: &mut Dirty) {
    let asks_for_egress = |grant: &Grant| matches!(grant, Grant::Egress(_)) && grant.phase() == GrantPhase::Pending;
    enqueue_grants_that(index, asks_for_egress, dirty);
}

/// An AccessRole concerns its grants.
pub fn enqueue_dependents_of_role(index: &Index, name: &Arc<str>, dirty: &mut Dirty) {
    enqueue_grants_that(index, |grant| matches!(grant, Grant::Role(grant) if *grant.spec.role == **name), dirty);
}

/// An AccessPolicy concerns the storage and the roles that name it, and all grants that it decides. It names people, too.
pub fn enqueue_dependents_of_policy(index: &Index, name: &Arc<str>, dirty: &mut Dirty) {
    dirty.insert(Key::Impersonation);
    enqueue_dependents_of_named(index, Named::AccessPolicy, name, dirty);
    // What names one that is not there may have meant this one.
    let is_meant = |named: &str| *named == **name || !index.policies.contains_key(named);
    for (storage, object) in &index.storages {
        let Ok(object) = &object.object else { continue };
        if object.spec.roles.iter().any(|role| is_meant(&role.access_policy)) {
            dirty.insert(Key::Storage(storage.clone()));
            enqueue_dependents_of_storage(index, storage, dirty);
        }
    }
    for (role, object) in &index.roles {
        if object.object.as_ref().is_ok_and(|object| is_meant(&object.spec.access_policy)) {
            dirty.insert(Key::Role(role.clone()));
            enqueue_dependents_of_role(index, role, dirty);
        }
    }
    if *index.settings.spec.egress.access_policy == **name {
        enqueue_grants_that(index, |grant| matches!(grant, Grant::Egress(_)), dirty);
    }
}

/// A ClusterRole concerns the storage and the roles that name it, and their grants.
pub fn enqueue_dependents_of_cluster_role(index: &Index, name: &Arc<str>, dirty: &mut Dirty) {
    // What names one that is not there may have meant this one.
    let is_meant = |named: &str| *named == **name || !index.cluster_roles.contains_key(named);
    for (storage, object) in &index.storages {
        let Ok(object) = &object.object else { continue };
        if object.spec.roles.iter().any(|role| role.cluster_role.as_deref().is_some_and(is_meant)) {
            dirty.insert(Key::Storage(storage.clone()));
            enqueue_dependents_of_storage(index, storage, dirty);
        }
    }
    for (role, object) in &index.roles {
        if object.object.as_ref().is_ok_and(|object| is_meant(&object.spec.cluster_role)) {
            dirty.insert(Key::Role(role.clone()));
            enqueue_dependents_of_role(index, role, dirty);
        }
    }
}

/// What the operator may bind concerns all storage and roles.
pub fn enqueue_dependents_of_bindable(index: &Index, dirty: &mut Dirty) {
    dirty.extend(index.storages.keys().cloned().map(Key::Storage));
    dirty.extend(index.roles.keys().cloned().map(Key::Role));
}

/// A child concerns the grant or the namespace that wants it, and the namespace where it is being deleted and held. A mount
/// concerns every grant that shares it.
pub fn enqueue_dependents_of_child(
    index: &Index,
    namespace: &Arc<str>,
    key: &ChildKey,
    child: &ObservedChild,
    dirty: &mut Dirty,
) {
    if let Some(mount) = mount(namespace, key) {
        // Those that share it, and those that it stood in the way of.
        let concerned = index.with_mounts(namespace);
        dirty.extend(concerned.map(|(_, grant, _)| Key::Grant(namespace.clone(), grant.clone())));
        dirty.insert(mount);
        return;
    }
    match &child.grant {
        Some(grant) if index.grant(namespace, grant).is_some() => {
            dirty.insert(Key::Grant(namespace.clone(), grant.clone()));
            if child.terminating {
                dirty.insert(Key::Namespace(namespace.clone()));
            }
        }
        // What stands in the name of a grant that is not there belongs to nothing.
        _ => {
            dirty.insert(Key::Namespace(namespace.clone()));
        }
    }
}

/// The key of a child that is a mount.
pub fn mount(namespace: &Arc<str>, key: &ChildKey) -> Option<Key> {
    (key.kind == ChildKind::GrantMount).then(|| Key::Mount(namespace.clone(), (*key.name).into()))
}

/// The key of the mount that a copy stands behind.
pub fn mount_of_copy(namespace: &Arc<str>, secret: &str) -> Option<Key> {
    mount_of_secret(secret).map(|mount| Key::Mount(namespace.clone(), mount.into()))
}

/// A pod that holds a copy, or did, concerns the grants that may wait for it, and whoever looks after copies that are
/// nobody's.
pub fn enqueue_dependents_of_copy(index: &Index, namespace: &Arc<str>, secret: &str, dirty: &mut Dirty) {
    let mount = mount_of_secret(secret);
    let speaking = mount.into_iter().flat_map(|mount| index.of_mount(namespace, mount));
    dirty.extend(speaking.map(|(grant, _)| Key::Grant(namespace.clone(), grant.clone())));
    dirty.extend(mount_of_copy(namespace, secret));
}

/// A Service concerns the namespaces and grants with a rule that names it; the DNS Service concerns all.
pub fn enqueue_dependents_of_service(index: &Index, at: &ObjectName, dirty: &mut Dirty) {
    let dns = &index.settings.spec.dns;
    if *at.namespace == *dns.namespace && *at.name == *dns.service {
        dirty.insert(Key::Config);
        dirty.extend(index.research.keys().cloned().map(Key::Namespace));
        return;
    }
    let names = |service: &Option<ServiceReference>| {
        service.as_ref().is_some_and(|service| *service.namespace == *at.namespace && *service.name == *at.name)
    };
    let rules = |rules: &[EgressRule]| rules.iter().any(|rule| names(&rule.service));
    for (name, object) in &index.allowlists {
        if object.object.as_ref().is_ok_and(|object| rules(&object.spec.rules)) {
            dirty.insert(Key::Allowlist(name.clone()));
            enqueue_dependents_of_allowlist(index, name, Some(object), dirty);
        }
    }
    for (name, object) in &index.research {
        if object.object.as_ref().is_ok_and(|object| rules(&object.spec.egress.rules)) {
            dirty.insert(Key::Namespace(name.clone()));
        }
    }
    for (name, object) in &index.storages {
        let endpoint = object.object.as_ref().ok().and_then(|object| object.spec.endpoint.as_ref());
        if endpoint.is_some_and(|endpoint| names(&endpoint.service)) {
            dirty.insert(Key::Storage(name.clone()));
            enqueue_dependents_of_storage(index, name, dirty);
        }
    }
    let covers = |grant: &Grant| matches!(grant, Grant::Egress(grant) if names(&grant.spec.rule.service));
    enqueue_grants_that(index, covers, dirty);
}

/// A credential's Secret concerns the storage that names it, and its grants.
pub fn enqueue_dependents_of_credential(index: &Index, at: &ObjectName, dirty: &mut Dirty) {
    for name in index.sources.get(at).into_iter().flat_map(|named| named.keys()) {
        dirty.insert(Key::Storage(name.clone()));
        enqueue_dependents_of_storage(index, name, dirty);
    }
}
