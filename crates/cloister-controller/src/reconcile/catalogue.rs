//! The objects of the catalogue, of which there is only something to say.

use super::{credential, policy_named, service_named, tell};
use crate::{
    alerts::settings_reference,
    context::Context,
    decode::Decoded,
    error::Error,
    index::{Index, Indexed},
    key::Key,
    names::silent_servers,
    news::of_settings,
    write::{Found, Target},
};
use cloister_api::{
    AccessPolicy, AccessRole, CloisterConfig, EgressAllowlist, Identity, ServiceReference, StorageResource,
};
use cloister_core::{
    catalogue::{self, Input, Users},
    child::GrantRef,
    condition::conditions,
    config_status::{self, Around},
    grant::{Debt, Listed, same_person},
    references::Named,
    suggest::closest,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{Api, Resource, core::ClusterResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fmt::Debug, sync::Arc};

/// Another grant by which this person broke the glass, and which nobody has reviewed yet.
pub fn debt(index: &Index, but: &(Arc<str>, GrantRef), person: &Identity) -> Option<Debt> {
    let owing = index.owing().filter(|place| *place != but);
    let mut theirs = owing.filter(|(namespace, grant)| {
        let requester = index.grant(namespace, grant).and_then(Decoded::requested_by);
        requester.is_some_and(|requester| same_person(requester, person))
    });
    theirs.next().map(|(namespace, grant)| {
        let status = index.grant(namespace, grant).and_then(Decoded::status);
        Debt::of(format!("{} {namespace}/{}", grant.kind.as_str(), grant.name), status)
    })
}

/// Says whether an AccessRole can be asked for.
pub async fn role(context: &Context, name: &Arc<str>) -> Result<(), Error> {
    let now = context.clock.now();
    let (metadata, status) = {
        let index = context.index();
        let Some(found) = index.roles.get(name) else { return Ok(()) };
        let status = said(found, now, |role| with_input(&index, |input| catalogue::role(role, input, now)));
        (found.metadata.clone(), status)
    };
    write::<AccessRole>(context, Key::Role(name.clone()), metadata, status).await
}

/// Says how an allowlist is used.
pub async fn allowlist(context: &Context, name: &Arc<str>) -> Result<(), Error> {
    let now = context.clock.now();
    let (metadata, status) = {
        let index = context.index();
        let Some(found) = index.allowlists.get(name) else { return Ok(()) };
        if let Ok(allowlist) = &found.object
            && let Some(end) = allowlist.spec.expires_at.as_ref().filter(|end| end.0 > now)
        {
            context.queue.add_at(Key::Allowlist(name.clone()), end.0);
        }
        let status = said(found, now, |allowlist: &EgressAllowlist| {
            let services = |service: &ServiceReference| service_named(&index, service);
            catalogue::allowlist(allowlist, &users(&index, name, allowlist, now), &services, index.settings(), now)
        });
        if status.is_some()
            && only_counts(found)
            && let Err(later) = context.may_count(name, now)
        {
            context.queue.add_at(Key::Allowlist(name.clone()), later);
            return Ok(());
        }
        (found.metadata.clone(), status)
    };
    write::<EgressAllowlist>(context, Key::Allowlist(name.clone()), metadata, status).await
}

/// Whether there is nothing new to say of an allowlist but who uses it.
fn only_counts(found: &Decoded<EgressAllowlist>) -> bool {
    let status = found.object.as_ref().ok().and_then(|allowlist| allowlist.status.as_ref());
    status.is_some_and(|status| status.observed_generation == found.metadata.generation)
}

/// Who uses an allowlist.
fn users<'a>(index: &'a Index, name: &str, allowlist: &EgressAllowlist, now: Timestamp) -> Users<'a> {
    let declared = index.research.iter().filter_map(|(name, research)| Some((&**name, research.object.as_ref().ok()?)));
    catalogue::users(name, allowlist, declared, now)
}

/// Decides by what the catalogue depends on.
fn with_input<T>(index: &Index, decide: impl FnOnce(&Input<'_>) -> T) -> T {
    decide(&Input {
        policies: &|policy| policy_named(index, policy),
        cluster_roles: &|role| index.cluster_roles.get(role),
        credentials: &|secret| credential(index, secret),
        services: &|service| service_named(index, service),
        meant: &|listed, name| meant(index, listed, name),
        settings: index.settings(),
    })
}

/// Says whether a storage resource can be asked for.
pub async fn storage(context: &Context, name: &Arc<str>) -> Result<(), Error> {
    let now = context.clock.now();
    let (metadata, status) = {
        let index = context.index();
        let Some(found) = index.storages.get(name) else { return Ok(()) };
        let status = said(found, now, |storage| with_input(&index, |input| catalogue::storage(storage, input, now)));
        (found.metadata.clone(), status)
    };
    write::<StorageResource>(context, Key::Storage(name.clone()), metadata, status).await
}

/// Says whether a policy can be used.
pub async fn policy(context: &Context, name: &Arc<str>) -> Result<(), Error> {
    let now = context.clock.now();
    let (metadata, status) = {
        let index = context.index();
        let Some(found) = index.policies.get(name) else { return Ok(()) };
        (found.metadata.clone(), said(found, now, |policy| catalogue::policy(policy, now)))
    };
    write::<AccessPolicy>(context, Key::Policy(name.clone()), metadata, status).await
}

/// Says whether the settings are in force.
pub async fn config(context: &Context) -> Result<(), Error> {
    let now = context.clock.now();
    let mut news = None;
    let (metadata, status) = {
        let index = context.index();
        let Some(found) = &index.config else { return Ok(()) };
        if let Some(later) = index.settings().invalidates_later(now) {
            context.queue.add_at(Key::Config, later);
        }
        let record = context.audit.failure();
        // What cannot be listed yet is not gone.
        let missing = context.park(&Key::Config, &Named::ALL.map(Named::as_str));
        let unreadable = context.synced.late_in("Secret");
        let mut there = index.there(Named::ALL.into_iter().filter(|kind| !missing.contains(&kind.as_str())));
        there.unreadable = unreadable.iter().map(|namespace| &**namespace).collect();
        let around = Around {
            record: record.as_deref(),
            networks: &index.cluster_networks(),
            unlisted: &context.synced.missing(Some(&["Node", "ServiceCIDR"])),
            dns: &index.dns_facts(),
            there: &there,
            stands: &|name| index.stands(name),
            silent_servers: &silent_servers(context, &index),
            unwatched: &index.unwatched,
        };
        let status = said(found, now, |config| {
            let status = config_status::config(config, index.settings(), &around, now);
            let before = config.status.as_ref().map(|before| before.conditions.as_slice()).unwrap_or_default();
            news = status.as_ref().and_then(|after| of_settings(before, &after.conditions));
            status
        });
        (found.metadata.clone(), status)
    };
    write::<CloisterConfig>(context, Key::Config, metadata, status).await?;
    news.into_iter().for_each(|news| context.alerts.raise(settings_reference(), news));
    Ok(())
}

/// The status to write: what is decided, or that the object cannot be read.
pub fn said<K, S: Serialize>(
    found: &Decoded<K>,
    now: Timestamp,
    decide: impl FnOnce(&K) -> Option<S>,
) -> Option<Value> {
    if found.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let broken = match &found.object {
        Ok(object) => return decide(object).and_then(|status| serde_json::to_value(status).ok()),
        Err(broken) => broken,
    };
    let before: Vec<Condition> = broken
        .status
        .get("conditions")
        .cloned()
        .and_then(|before| serde_json::from_value(before).ok())
        .unwrap_or_default();
    let after = conditions(&before, catalogue::undecodable(&broken.error), found.metadata.generation, now);
    (before != after).then(|| {
        let mut status = broken.status.clone();
        if !status.is_object() {
            status = json!({});
        }
        status["conditions"] = json!(after);
        status["observedGeneration"] = json!(found.metadata.generation);
        status
    })
}

async fn write<K>(context: &Context, key: Key, metadata: ObjectMeta, status: Option<Value>) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
    Decoded<K>: Indexed,
{
    let target: Target<K> = Target {
        key,
        namespace: "".into(),
        api: Api::all(context.client.clone()),
        metadata,
        finalizer: "",
        found: Found::Anyhow,
    };
    tell(context, &target, status).await
}

/// The name in the catalogue that was meant by one that is not there.
pub fn meant(index: &Index, listed: Listed, name: &str) -> Option<String> {
    let found = match listed {
        Listed::Storage => closest(name, index.storages.keys().map(|name| &**name)),
        Listed::Role => closest(name, index.roles.keys().map(|name| &**name)),
        Listed::Policy => closest(name, index.policies.keys().map(|name| &**name)),
        // Of the many of a cluster, those that may be offered are told, and no others.
        Listed::ClusterRole => {
            let offered = index.cluster_roles.iter().filter(|(_, facts)| facts.bindable);
            closest(name, offered.map(|(name, _)| &**name))
        }
    };
    found.map(str::to_owned)
}
