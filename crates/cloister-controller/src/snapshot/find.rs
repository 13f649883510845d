//! Finds what decisions ask for.

use cloister_api::{AccessPolicy, AccessRole, Identity, SecretReference, ServiceReference};
use cloister_core::{
    egress::ServiceFacts,
    grant::{CredentialFacts, Listed, Lookup, Other, UnreviewedBreakGlass, same_person},
    model::{child::GrantRef, suggest::closest},
};
use cloister_index::{decode::Decoded, index::Index, key::ObjectName};
use std::sync::Arc;

pub(super) fn policy_named<'a>(index: &'a Index, name: &str) -> Lookup<'a, AccessPolicy> {
    known(index.policies.get(name))
}

/// What is being deleted is as good as gone.
pub(super) fn known<K>(found: Option<&Decoded<K>>) -> Lookup<'_, K> {
    match found.filter(|found| found.metadata.deletion_timestamp.is_none()) {
        None => Lookup::Absent,
        Some(Decoded { object: Ok(object), .. }) => Lookup::Read(object),
        Some(Decoded { object: Err(_), .. }) => Lookup::Undecodable,
    }
}

pub(super) fn service_named(index: &Index, service: &ServiceReference) -> Option<ServiceFacts> {
    let at = object_name(&service.namespace, &service.name);
    let facts = &index.services.get(&at)?.facts;
    Some(ServiceFacts { on_node: index.pod_on_node(&at, &facts.selector), ..facts.clone() })
}

/// What is known of a credential: what its Secret says, and who else names it.
pub(super) fn credential(index: &Index, secret: &SecretReference) -> Option<CredentialFacts> {
    let at = object_name(&secret.namespace, &secret.name);
    let mut facts = index.credentials.get(&at)?.clone();
    for (storage, sensitivity) in index.sources.get(&at).into_iter().flatten() {
        facts.named_by(storage, *sensitivity);
    }
    Some(facts)
}

/// The other grants of a person that have not ended.
pub(super) fn others<'a>(index: &'a Index, but: &(Arc<str>, GrantRef), person: &Identity) -> Vec<Other<'a>> {
    let all = index.requesters.of(person);
    let own = all.get(but).copied().unwrap_or(u64::MAX);
    let others = all.into_iter().filter(|(place, _)| *place != but);
    let read = others.filter_map(|((namespace, grant), since)| {
        let grant = index.grant(namespace, grant)?.object.as_ref().ok()?;
        Some(Other { grant, is_earlier: since < own })
    });
    read.collect()
}

pub(super) fn object_name(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.into(), name: name.into() }
}

/// Another grant by which this person used break-glass, and which nobody has reviewed yet.
pub(super) fn unreviewed_break_glass(
    index: &Index,
    but: &(Arc<str>, GrantRef),
    person: &Identity,
) -> Option<UnreviewedBreakGlass> {
    let owing = index.owing().filter(|place| *place != but);
    let mut theirs = owing.filter(|(namespace, grant)| {
        let requester = index.grant(namespace, grant).and_then(Decoded::requested_by);
        requester.is_some_and(|requester| same_person(requester, person))
    });
    theirs.next().map(|(namespace, grant)| {
        let status = index.grant(namespace, grant).and_then(Decoded::status);
        UnreviewedBreakGlass::of(format!("{} {namespace}/{}", grant.kind.as_str(), grant.name), status)
    })
}

/// The first AccessRole that gives a ClusterRole, which was named instead of it.
fn giving<'a>(index: &'a Index, cluster_role: &str) -> Option<&'a str> {
    let gives =
        |role: &Decoded<AccessRole>| role.object.as_ref().is_ok_and(|role| role.spec.cluster_role == cluster_role);
    index.roles.iter().filter(|(_, role)| gives(role)).map(|(name, _)| &**name).min()
}

/// The name in the catalogue that was meant by one that is not there.
pub(super) fn meant(index: &Index, listed: Listed, name: &str) -> Option<String> {
    let found = match listed {
        Listed::Storage => closest(name, index.storages.keys().map(|name| &**name)),
        Listed::Role => closest(name, index.roles.keys().map(|name| &**name)).or_else(|| giving(index, name)),
        Listed::Policy => closest(name, index.policies.keys().map(|name| &**name)),
        // Of the many of a cluster, those that may be offered are told, and no others.
        Listed::ClusterRole => {
            let offered = index.cluster_roles.iter().filter(|(_, facts)| facts.bindable);
            closest(name, offered.map(|(name, _)| &**name))
        }
    };
    found.map(str::to_owned)
}
