//! Our own kinds: kept whole, in memory as long as in the cluster.

use super::{Dirty, Index, Indexed, named, relations};
use crate::{
    decode::Decoded,
    key::{Key, ObjectName},
};
use cloister_api::{
    AccessPolicy, AccessRole, CloisterConfig, CloisterConfigSpec, CredentialSource, EgressAllowlist, ResearchNamespace,
    StorageResource, StorageRole,
};
use cloister_core::{cluster::settings::Settings, egress::Installed};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::object::HasSpec;
use std::{collections::BTreeSet, sync::Arc, time::Instant};

/// Whether what decisions depend on is the same: everything but the status.
fn same<K>(old: &Decoded<K>, new: &Decoded<K>) -> bool
where
    K: HasSpec,
    K::Spec: PartialEq,
{
    let meta = |meta: &ObjectMeta| {
        (
            meta.uid.clone(),
            meta.generation,
            meta.labels.clone(),
            // Those that are read.
            meta.annotations.clone(),
            meta.finalizers.clone(),
            meta.deletion_timestamp.clone(),
        )
    };
    meta(&old.metadata) == meta(&new.metadata) && new.reads_as(old, same_spec)
}

fn same_spec<K>(one: &K, other: &K) -> bool
where
    K: HasSpec,
    K::Spec: PartialEq,
{
    one.spec() == other.spec()
}

pub(super) fn cluster_names<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> Vec<ObjectName> {
    names.map(|name| ObjectName { namespace: "".into(), name: name.clone() }).collect()
}

fn name(metadata: &ObjectMeta) -> Arc<str> {
    metadata.name.as_deref().unwrap_or_default().into()
}

impl Indexed for Decoded<ResearchNamespace> {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name = name(&self.metadata);
        let old = index.research.get(&name);
        if old.is_some_and(|old| !self.is_news(old, same_spec)) {
            return;
        }
        dirty.insert(Key::Namespace(name.clone()));
        let stood = old.is_some_and(named::stands);
        let is_enforced =
            |object: &ResearchNamespace| object.status.as_ref().is_some_and(|said| said.enforced_at.is_some());
        if self.object.as_ref().is_ok_and(is_enforced) {
            index.first_seen.remove(&name);
        } else {
            index.first_seen.entry(name.clone()).or_insert_with(Instant::now);
        }
        relations::enqueue_open_allowlists(index, old, &self, dirty);
        if !old.is_some_and(|old| same(old, &self)) {
            relations::enqueue_dependents_of_research_namespace(index, &name, old, dirty);
            index.peers.note(&name, old, Some(&self));
            let is_new = old.is_none();
            if is_new {
                relations::enqueue_namespaces_that_miss_one(index, dirty);
            }
            index.research.insert(name.clone(), self);
            relations::enqueue_dependents_of_research_namespace(index, &name, index.research.get(&name), dirty);
        } else {
            index.research.insert(name.clone(), self);
            // What is said of it may tell that less is open there.
            relations::enqueue_grants_without_room(index, &name, dirty);
        }
        if stood != index.stands(&name) {
            enqueue_if_reserved(index, &name, dirty);
        }
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        index.first_seen.remove(&name.name);
        index.relabelled.remove(&name.name);
        if let Some(old) = index.research.remove(&name.name) {
            dirty.insert(Key::Namespace(name.name.clone()));
            relations::enqueue_dependents_of_research_namespace(index, &name.name, Some(&old), dirty);
            index.peers.note(&name.name, Some(&old), None);
            relations::enqueue_namespaces_that_miss_one(index, dirty);
            if named::stands(&old) {
                enqueue_if_reserved(index, &name.name, dirty);
            }
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        cluster_names(index.research.keys())
    }
}

impl Indexed for Decoded<EgressAllowlist> {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name = name(&self.metadata);
        let old = index.allowlists.get(&name);
        if old.is_some_and(|old| !self.is_news(old, same_spec)) {
            return;
        }
        dirty.insert(Key::Allowlist(name.clone()));
        let pins = |allowlist: &Self| {
            let status = allowlist.object.as_ref().ok().and_then(|allowlist| allowlist.status.as_ref());
            status.map(|status| (status.observed_generation, status.services.clone()))
        };
        if !old.is_some_and(|old| same(old, &self) && pins(old) == pins(&self)) {
            relations::enqueue_dependents_of_allowlist(index, &name, old, dirty);
            relations::enqueue_dependents_of_allowlist(index, &name, Some(&self), dirty);
        }
        index.allowlists.insert(name, self);
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if let Some(old) = index.allowlists.remove(&name.name) {
            relations::enqueue_dependents_of_allowlist(index, &name.name, Some(&old), dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        cluster_names(index.allowlists.keys())
    }
}

impl Indexed for Decoded<StorageResource> {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name = name(&self.metadata);
        let old = index.storages.get(&name);
        if old.is_some_and(|old| !self.is_news(old, same_spec)) {
            return;
        }
        dirty.insert(Key::Storage(name.clone()));
        if !old.is_some_and(|old| same(old, &self)) {
            relations::enqueue_dependents_of_storage(index, &name, dirty);
            relations::enqueue_requests_for_egress(index, dirty);
            let old = index.storages.insert(name.clone(), self);
            take_sources(index, &name, old.as_ref(), dirty);
        } else {
            index.storages.insert(name, self);
        }
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if let Some(old) = index.storages.remove(&name.name) {
            relations::enqueue_dependents_of_storage(index, &name.name, dirty);
            relations::enqueue_requests_for_egress(index, dirty);
            take_sources(index, &name.name, Some(&old), dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        cluster_names(index.storages.keys())
    }
}

impl Indexed for Decoded<AccessPolicy> {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name = name(&self.metadata);
        let old = index.policies.get(&name);
        if old.is_some_and(|old| !self.is_news(old, same_spec)) {
            return;
        }
        dirty.insert(Key::Policy(name.clone()));
        if !old.is_some_and(|old| same(old, &self)) {
            relations::enqueue_dependents_of_policy(index, &name, dirty);
        }
        index.policies.insert(name, self);
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if index.policies.remove(&name.name).is_some() {
            relations::enqueue_dependents_of_policy(index, &name.name, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        cluster_names(index.policies.keys())
    }
}

impl Indexed for Decoded<AccessRole> {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let name = name(&self.metadata);
        let old = index.roles.get(&name);
        if old.is_some_and(|old| !self.is_news(old, same_spec)) {
            return;
        }
        dirty.insert(Key::Role(name.clone()));
        if !old.is_some_and(|old| same(old, &self)) {
            relations::enqueue_dependents_of_role(index, &name, dirty);
        }
        index.roles.insert(name, self);
    }

    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty) {
        if index.roles.remove(&name.name).is_some() {
            relations::enqueue_dependents_of_role(index, &name.name, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        cluster_names(index.roles.keys())
    }
}

impl Indexed for Decoded<CloisterConfig> {
    fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
        let old = index.config.as_ref();
        if old.is_some_and(|old| !self.is_news(old, same_spec)) {
            return;
        }
        dirty.insert(Key::Config);
        let changed = !old.is_some_and(|old| same(old, &self));
        index.config = Some(self);
        if changed {
            take_settings(index, dirty);
        }
    }

    fn remove(index: &mut Index, _: &ObjectName, dirty: &mut Dirty) {
        if index.config.take().is_some() {
            dirty.insert(Key::Config);
            take_settings(index, dirty);
        }
    }

    fn known(index: &Index) -> Vec<ObjectName> {
        index.config.iter().map(|config| ObjectName::of(&config.metadata)).collect()
    }
}

impl Index {
    /// What could open egress beside NetworkPolicies is installed, or gone.
    pub fn install(&mut self, installed: Installed, dirty: &mut Dirty) {
        if self.installed != installed {
            self.installed = installed;
            take_settings(self, dirty);
            // Also where there is no CloisterConfig: who follows the settings must know.
            dirty.insert(Key::Config);
        }
    }

    /// These kinds of network policies are installed, and watched by nobody.
    pub fn unwatched(&mut self, kinds: BTreeSet<String>, dirty: &mut Dirty) {
        if self.unwatched != kinds {
            self.unwatched = kinds;
            dirty.insert(Key::Config);
        }
    }
}

/// The settings concern every decision.
pub(super) fn take_settings(index: &mut Index, dirty: &mut Dirty) {
    renew_settings(index);
    dirty.extend(index.all_keys());
}

/// A research namespace stands now, or no longer does: an entry of the settings that names it is not in force meanwhile.
fn enqueue_if_reserved(index: &mut Index, name: &str, dirty: &mut Dirty) {
    let config = index.config.as_ref().and_then(|config| config.object.as_ref().ok());
    if config.is_some_and(|config| Settings::new(Some(&config.spec)).reserved(name).is_some()) {
        take_settings(index, dirty);
    }
}

/// Puts the settings together anew.
pub(super) fn renew_settings(index: &mut Index) {
    let settings = match index.config.as_ref().map(|config| &config.object) {
        None => Settings::new(None),
        Some(Ok(config)) => Settings::new(Some::<&CloisterConfigSpec>(&config.spec)),
        Some(Err(_)) => Settings::unreadable(),
    };
    let settings = settings.beside(|name| index.stands(name)).around(&index.cluster).with(index.installed);
    index.settings = Arc::new(settings.with_runtime_classes(index.runtime_classes.clone()));
}

/// Takes note of the Secrets that a StorageResource names. Whoever else names one is as sensitive as the most sensitive of
/// them, and is concerned.
fn take_sources(index: &mut Index, name: &Arc<str>, old: Option<&Decoded<StorageResource>>, dirty: &mut Dirty) {
    let before = sources(old);
    let now = index.storages.get(name);
    let sensitivity = now.and_then(|now| now.object.as_ref().ok()).map(|now| now.spec.sensitivity);
    let after = sources(now);
    for at in &before {
        if let Some(named) = index.sources.get_mut(at) {
            named.remove(name);
            if named.is_empty() {
                index.sources.remove(at);
            }
        }
    }
    if let Some(sensitivity) = sensitivity {
        for at in &after {
            index.sources.entry(at.clone()).or_default().insert(name.clone(), sensitivity);
        }
    }
    before.union(&after).for_each(|at| relations::enqueue_dependents_of_credential(index, at, dirty));
}

/// The Secrets that a StorageResource names.
fn sources(storage: Option<&Decoded<StorageResource>>) -> BTreeSet<ObjectName> {
    let roles =
        storage.and_then(|storage| storage.object.as_ref().ok()).into_iter().flat_map(|storage| &storage.spec.roles);
    let kept = roles.filter_map(StorageRole::credential_source);
    kept.map(|CredentialSource::Secret(kept)| ObjectName {
        namespace: kept.namespace.as_str().into(),
        name: kept.name.as_str().into(),
    })
    .collect()
}
