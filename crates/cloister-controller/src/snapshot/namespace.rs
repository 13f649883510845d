//! What the decision about a research namespace is made from.

use super::{find::service_named, taken::Snapshot};
use cloister_api::{
    GrantPhase, ResearchNamespace, ResearchNamespaceStatus, ServiceReference, StorageEndpoint, condition,
};
use cloister_core::{
    cluster::settings::Settings,
    egress::{AllowRule, ServiceFacts},
    grant::{Grant, is_open, may_hold},
    model::{
        child::{ChildKey, GrantRef},
        ownership::is_made_for,
        plan::{Action, Plan},
    },
    namespace,
    namespace::{
        DeclaredNamespace, GrantedRule, Input, Inspection, KnownAllowlist, OwedReview, Peer, PeerFound, plan,
        wants_inspection,
    },
};
use cloister_index::{decode::Decoded, index::Index, key::Key};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

/// A namespace that was decided about.
pub struct NamespaceDecision {
    /// The metadata of its ResearchNamespace, where there is one.
    pub metadata: ObjectMeta,
    /// What is to be done.
    pub plan: Plan<ResearchNamespaceStatus>,
    /// The declaration, where there is something to do and it can be read.
    pub declared: Option<ResearchNamespace>,
    /// Since when it is known, where it was never enforced.
    pub first_seen: Option<Instant>,
    /// What of it was changed by somebody else, where it had been enforced as it is declared.
    pub drifted: Option<BTreeSet<ChildKey>>,
    /// Whether somebody else has changed the labels of its Namespace, or removed it.
    pub relabelled: bool,
}

impl Snapshot<'_> {
    /// Whether a Namespace that is offered must be looked into before it is decided about: whether it was one of ours before,
    /// and the volumes that are listed for research namespaces.
    pub fn to_inspect(&self, name: &str) -> Option<(bool, Vec<String>)> {
        let (namespace, _) = self.index.namespaces.get(name)?;
        let declared = self.index.research.get(name)?.object.as_ref().ok()?;
        wants_inspection(name, DeclaredNamespace::Read(declared), namespace, self.now)
            .then(|| (namespace.belongs_to(name), self.index.settings().spec.workloads.volumes.clone()))
    }

    /// Decides about a namespace.
    pub fn decide_namespace(&self, name: &Arc<str>, inspection: Option<&Inspection>) -> NamespaceDecision {
        let (index, now) = (&*self.index, self.now);
        let key = Key::Namespace(name.clone());
        let found = index.research.get(name);
        let broken_status: Option<ResearchNamespaceStatus> = found
            .and_then(|found| found.object.as_ref().err())
            .and_then(|broken| serde_json::from_value(broken.status.clone()).ok());
        let declared = match found {
            None => DeclaredNamespace::Absent,
            Some(Decoded { object: Ok(object), .. }) => DeclaredNamespace::Read(object),
            Some(Decoded { metadata, object: Err(broken) }) => {
                DeclaredNamespace::Undecodable { metadata, status: broken_status.as_ref(), error: &broken.error }
            }
        };
        let dns = index.dns_facts();
        // What is of a kind that cannot be seen may be there. It is looked at again when the kind is listed.
        let is_seen = |kind: &'static str| self.sources.store.park(&key, &[kind]).is_empty();
        let plan = plan(&Input {
            name,
            declared,
            settings: &self.settings(&key),
            allowlists: &allowlists(index),
            granted: &granted(index, name, now),
            endpoints: &endpoints(index, name, now),
            peers: &|peer| found_peer(index, peer),
            is_namespace: &|name| index.namespaces.contains_key(name),
            pods_on_nodes: &|namespace, selector| index.selected_on_node(namespace, selector),
            services: &|service| service_named(index, service),
            hosts: &|host| self.known_of(&key, host),
            dns_addresses: dns.addresses.as_deref().unwrap_or_default(),
            dns_ports: &dns.ports,
            namespace: index.namespaces.get(name).map(|(namespace, _)| namespace),
            children: self.children(name),
            has_grant: &|grant| index.grant(name, grant).is_some() || !is_seen(grant.kind.as_str()),
            inspection,
            pods: is_seen("Pod").then(|| index.pods_in(name)),
            open_grants: open_grants(index, name),
            owed_review: owed_review(index, name),
            now,
        });
        self.decided(&key);
        let object = found.and_then(|found| found.object.as_ref().ok());
        NamespaceDecision {
            metadata: found.map(|found| found.metadata.clone()).unwrap_or_default(),
            drifted: object
                .filter(|object| is_settled(object) && object.metadata.deletion_timestamp.is_none())
                .map(|_| drifted(index, name, &plan)),
            declared: object.filter(|_| !plan.is_empty()).cloned(),
            relabelled: index.relabelled.contains(name),
            first_seen: index.first_seen.get(name).copied(),
            plan,
        }
    }
}

fn allowlists(index: &Index) -> BTreeMap<&str, KnownAllowlist<'_>> {
    let live = index.allowlists.iter().filter(|(_, allowlist)| allowlist.metadata.deletion_timestamp.is_none());
    live.map(|(name, allowlist)| {
        let known = match &allowlist.object {
            Ok(allowlist) => KnownAllowlist::Read(allowlist),
            Err(_) => KnownAllowlist::Undecodable,
        };
        (&**name, known)
    })
    .collect()
}

/// What allowlists open in a research namespace.
pub(super) fn agreed(index: &Index, name: &str, settings: &Settings, now: Timestamp) -> Vec<AllowRule> {
    of_allowlists(index, name, |declared, allowlists, services| {
        namespace::agreed(declared, allowlists, services, settings, now)
    })
}

/// The Services that the allowlists name which a research namespace may use.
pub(super) fn named_services(
    index: &Index,
    name: &str,
    settings: &Settings,
    now: Timestamp,
) -> BTreeSet<ServiceReference> {
    of_allowlists(index, name, |declared, allowlists, services| {
        namespace::named_services(declared, allowlists, services, settings, now)
    })
}

/// Asks what the allowlists give a research namespace that can be read.
fn of_allowlists<T: Default>(
    index: &Index,
    name: &str,
    ask: impl FnOnce(
        &ResearchNamespace,
        &BTreeMap<&str, KnownAllowlist<'_>>,
        &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    ) -> T,
) -> T {
    let research = index.research.get(name).and_then(|found| found.object.as_ref().ok());
    let services = |service: &ServiceReference| service_named(index, service);
    research.map(|declared| ask(declared, &allowlists(index), &services)).unwrap_or_default()
}

/// The rules of a namespace's EgressGrants that are open now: also of one that has ended, while its policies stand.
fn granted<'a>(index: &'a Index, namespace: &str, now: Timestamp) -> Vec<GrantedRule<'a>> {
    let rule = |grant: &'a Grant| {
        let Grant::Egress(egress) = grant else { return None };
        let conditions = grant.status().into_iter().flat_map(|status| &status.conditions);
        let mut faults = conditions.filter(|one| one.type_ == condition::READY && one.status == "False");
        let fault = faults.next().map(|one| (one.reason.as_str(), one.message.as_str()));
        Some(GrantedRule { grant: grant.name(), rule: &egress.spec.rule, fault })
    };
    let stands = |grant: &Grant| {
        let this = GrantRef { kind: grant.kind(), name: grant.name().into() };
        let uid = grant.metadata().uid.as_deref().unwrap_or_default();
        let children = index.children.get(namespace).into_iter().flat_map(|children| &children.all);
        children.into_iter().any(|(_, child)| is_made_for(child, &this, uid))
    };
    let counts = |grant: &&Grant| is_active(grant, now) || (grant.status().is_some_and(may_hold) && stands(grant));
    readable(index, namespace).filter(counts).filter_map(rule).collect()
}

/// The endpoints of storage that a namespace's grants have open now, each with the account of its pods.
fn endpoints<'a>(index: &'a Index, namespace: &str, now: Timestamp) -> Vec<(&'a StorageEndpoint, Option<&'a str>)> {
    let endpoint = |grant: &'a Grant| {
        let Grant::Storage(grant) = grant else { return None };
        let storage = index.storages.get(grant.spec.storage.as_str())?.object.as_ref().ok()?;
        let account = grant.spec.mount.as_ref().map(|mount| mount.service_account_name.as_str());
        Some((storage.spec.endpoint.as_ref()?, account))
    };
    readable(index, namespace).filter(|grant| is_active(grant, now)).filter_map(endpoint).collect()
}

fn readable<'a>(index: &'a Index, namespace: &str) -> impl Iterator<Item = &'a Grant> {
    let grants = index.grants.get(namespace).into_iter().flat_map(BTreeMap::values);
    grants.filter_map(|grant| grant.object.as_ref().ok())
}

fn is_active(grant: &Grant, now: Timestamp) -> bool {
    grant.phase() == GrantPhase::Active && is_open(grant, now)
}

fn found_peer<'a>(index: &'a Index, name: &str) -> PeerFound<'a> {
    if !index.research.contains_key(name) {
        return PeerFound::Absent;
    }
    enforced_peer(index, name).map_or(PeerFound::NotEnforced, PeerFound::Enforced)
}

fn enforced_peer<'a>(index: &'a Index, name: &str) -> Option<Peer<'a>> {
    let (namespace, _) = index.namespaces.get(name)?;
    let peer = index.research.get(name).filter(|peer| peer.metadata.deletion_timestamp.is_none())?;
    let spec = &peer.object.as_ref().ok()?.spec;
    (namespace.belongs_to(name) && namespace.is_enforced()).then_some(Peer { spec })
}

/// The grant that used break-glass and owes a review which is due last.
fn owed_review<'a>(index: &'a Index, namespace: &Arc<str>) -> Option<OwedReview<'a>> {
    let owing = index.owing().filter(|(home, _)| home == namespace);
    let owed = owing.filter_map(|(home, grant)| {
        let found = index.grant(home, grant)?.object.as_ref().ok()?;
        let status = found.status()?;
        let said = status.conditions.iter().find(|said| said.type_ == condition::REVIEWED);
        Some(OwedReview {
            kind: grant.kind,
            grant: &grant.name,
            who: found.terms().requested_by.map_or("somebody", |who| &who.username),
            due: status.break_glass.as_ref()?.review_due_at.0,
            said: said.map_or("an approver of its policy must review it", |said| &said.message),
        })
    });
    owed.max_by_key(|owed| owed.due)
}

fn open_grants(index: &Index, namespace: &str) -> usize {
    let grants = index.grants.get(namespace).into_iter().flat_map(BTreeMap::values);
    // One that cannot be read counts by what was written down of it.
    grants.filter(|grant| grant.status().is_some_and(may_hold)).count()
}

fn is_settled(declared: &ResearchNamespace) -> bool {
    declared.status.as_ref().is_some_and(|status| {
        status.enforced_at.is_some() && status.observed_generation == declared.metadata.generation
    })
}

/// The children that somebody else has changed, of a namespace that had been enforced as it is declared: what is put right
/// of them is drift, and not a change of the declaration or of a name's addresses.
fn drifted(index: &Index, name: &str, plan: &Plan<ResearchNamespaceStatus>) -> BTreeSet<ChildKey> {
    let Some(children) = index.children.get(name) else { return BTreeSet::new() };
    let foreign = |key: &&ChildKey| children.all.get(*key).is_some_and(|child| !child.marked);
    let deleted = plan.actions().filter_map(|action| match action {
        Action::Delete(key) => Some(key),
        _ => None,
    });
    children.changed.iter().chain(deleted.filter(foreign)).cloned().collect()
}
