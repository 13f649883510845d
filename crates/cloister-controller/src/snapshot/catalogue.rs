//! What is said of the catalogue's objects, of the settings and of reviews, and what that is made from.

use super::{
    find::{credential, meant, policy_named, service_named},
    taken::Snapshot,
};
use crate::dns;
use cloister_api::{AccessReview, CloisterConfig, EgressAllowlist, ServiceReference};
use cloister_core::{
    catalogue,
    catalogue::{Input, Users, config_status, config_status::Around},
    cluster::references::Named,
    grant,
    model::{child::GrantRef, condition::conditions},
};
use cloister_index::{
    decode::Decoded,
    index::{Index, reviewed},
    key::Key,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What there is to say of an object.
#[derive(Default)]
pub struct Said {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Its new status, where it differs.
    pub status: Option<Value>,
    /// When it must be looked at again.
    pub next: Option<Timestamp>,
    /// Of an allowlist: whether there is nothing new to say but who uses it.
    pub only_counts: bool,
    /// Of the settings: their conditions before and after it.
    pub changed: Option<(Vec<Condition>, Vec<Condition>)>,
}

impl Snapshot<'_> {
    /// What there is to say of an AccessRole.
    pub fn role(&self, name: &str) -> Option<Said> {
        let found = self.index.roles.get(name)?;
        Some(self.said(found, |role| with_input(&self.index, |input| catalogue::role(role, input, self.now))))
    }

    /// What there is to say of a StorageResource.
    pub fn storage(&self, name: &str) -> Option<Said> {
        let found = self.index.storages.get(name)?;
        Some(self.said(found, |storage| with_input(&self.index, |input| catalogue::storage(storage, input, self.now))))
    }

    /// What there is to say of an AccessPolicy.
    pub fn policy(&self, name: &str) -> Option<Said> {
        let found = self.index.policies.get(name)?;
        Some(self.said(found, |policy| catalogue::policy(policy, self.now)))
    }

    /// What there is to say of an allowlist.
    pub fn allowlist(&self, name: &str) -> Option<Said> {
        let (index, now) = (&*self.index, self.now);
        let found = index.allowlists.get(name)?;
        let said = self.said(found, |allowlist: &EgressAllowlist| {
            let services = |service: &ServiceReference| service_named(index, service);
            catalogue::allowlist(allowlist, &users(index, name, allowlist, now), &services, index.settings(), now)
        });
        let object = found.object.as_ref().ok();
        let end = object.and_then(|allowlist| allowlist.spec.expires_at.as_ref()).map(|end| end.0);
        let before = object.and_then(|allowlist| allowlist.status.as_ref());
        let only_counts = before.is_some_and(|status| status.observed_generation == found.metadata.generation);
        Some(Said { next: end.filter(|end| *end > now), only_counts, ..said })
    }

    /// What there is to say of the settings.
    pub fn config(&self) -> Option<Said> {
        let (index, now) = (&*self.index, self.now);
        let found = index.config.as_ref()?;
        let store = &self.sources.store;
        let record = self.sources.audit.failure();
        // What cannot be listed yet is not gone.
        let missing = store.park(&Key::Config, &Named::ALL.map(Named::as_str));
        let unreadable = store.synced.late_in("Secret");
        let mut there = index.there(Named::ALL.into_iter().filter(|kind| !missing.contains(&kind.as_str())));
        there.unreadable = unreadable.iter().map(|namespace| &**namespace).collect();
        let around = Around {
            record: record.as_deref(),
            networks: &index.cluster_networks(),
            unlisted: &store.park(&Key::Config, &["Node", "ServiceCIDR"]),
            dns: &index.dns_facts(),
            there: &there,
            stands: &|name| index.stands(name),
            silent_servers: &self.sources.names.silent_among(&dns::servers(index)),
            unwatched: &index.unwatched,
        };
        let mut changed = None;
        let said = self.said(found, |config: &CloisterConfig| {
            let status = config_status::config(config, index.settings(), &around, now)?;
            let before = config.status.as_ref().map(|before| before.conditions.clone()).unwrap_or_default();
            changed = Some((before, status.conditions.clone()));
            Some(status)
        });
        Some(Said { next: index.settings().invalidates_later(now), changed, ..said })
    }

    /// The grant that a review is about, of which only a few facts are kept, because it has ended.
    pub fn ended_of_review(&self, namespace: &Arc<str>, name: &str) -> Option<GrantRef> {
        let found = self.index.reviews.get(namespace)?.get(name)?;
        let grant = reviewed(found.object.as_ref().ok()?);
        self.index.ended(namespace, &grant).is_some().then_some(grant)
    }

    /// What there is to say of a review.
    pub fn review(&self, namespace: &Arc<str>, name: &str) -> Option<Said> {
        let index = &*self.index;
        let found = index.reviews.get(namespace)?.get(name)?;
        if index.is_ending(namespace) && found.object.as_ref().is_ok_and(grant::is_answered) {
            // It goes with its Namespace, as its grant does.
            return None;
        }
        Some(self.said(found, |review: &AccessReview| {
            let named = reviewed(review);
            let elsewhere = index.of_uid_elsewhere(namespace, &named, &review.spec.request_ref.uid);
            let of_grant =
                self.with_grant(namespace, &named, |input| grant::review(review, Some(input), elsewhere, self.now));
            of_grant.unwrap_or_else(|| grant::review(review, None, elsewhere, self.now))
        }))
    }

    fn said<K, S: Serialize>(&self, found: &Decoded<K>, decide: impl FnOnce(&K) -> Option<S>) -> Said {
        let status = status_of(found, self.now, decide);
        Said { metadata: found.metadata.clone(), status, ..Said::default() }
    }
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

/// The status to write: what is decided, or that the object cannot be read.
fn status_of<K, S: Serialize>(
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
