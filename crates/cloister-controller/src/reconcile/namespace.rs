//! A research namespace.

use super::{
    asking::{Asking, remembered},
    service_named, work_off,
};
use crate::{
    alerts,
    context::Context,
    decode::Decoded,
    error::Error,
    index::Index,
    inspect::inspect,
    key::Key,
    news,
    write::{Found, Target},
};
use cloister_api::{
    GrantPhase, ResearchNamespace, ResearchNamespaceStatus, ServiceReference, StorageEndpoint, condition, labels,
};
use cloister_core::{
    child::{ChildKey, Children, GrantRef},
    egress::{Opening, ServiceFacts},
    grant::{Grant, is_open, may_hold},
    names::Host,
    namespace::{
        self, Declared, GrantedRule, Input, Inspection, OwedReview, Peer, PeerFound, egress::KnownAllowlist, failed,
        plan, wants_inspection,
    },
    ownership::is_made_for,
    plan::{About, Action, Plan},
    settings::Settings,
};
use jiff::Timestamp;
use kube::Api;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};
use tracing::info;

/// What there is to do about one namespace.
struct Work {
    target: Target<ResearchNamespace>,
    plan: Plan<ResearchNamespaceStatus>,
    /// The declaration, to say of it what failed.
    declared: Option<ResearchNamespace>,
    /// Since when it is known, where it was never enforced.
    first_seen: Option<Instant>,
    /// What of it was changed by somebody else, where it had been enforced as it is declared.
    drifted: Option<BTreeSet<ChildKey>>,
}

/// Makes the namespace what its ResearchNamespace says.
pub async fn reconcile(context: &Context, name: &Arc<str>) -> Result<(), Error> {
    let now = context.clock.now();
    let asking = Asking::new(context);
    let inspection = look(context, name, now).await;
    let work = decide(context, name, now, &asking, inspection.as_ref());
    if asking.wanted_by(&work.target.key, |_| None) {
        context.enqueue([work.target.key.clone()].into());
    }
    let Work { target, plan, declared, first_seen, drifted } = work;
    if plan.does_nothing()
        && let Some(children) = context.index_mut().children.get_mut(name)
    {
        children.changed.clear();
    }
    let worked = work_off(context, &target, plan, |planned, outcome| match &declared {
        Some(declared) => failed(declared, planned, outcome, now),
        None => planned,
    })
    .await;
    if let Some(drifted) = drifted {
        for done in &worked.outcome.done {
            match &done.about {
                About::Child(key) if drifted.contains(key) => context.metrics.drift_corrected(key.kind.as_str()),
                About::Namespace => context.metrics.drift_corrected("Namespace"),
                _ => {}
            }
        }
    }
    if let (Some(declared), Some(said)) = (&declared, &worked.said) {
        if is_newly_enforced(said, declared) {
            info!("the namespace is enforced");
            // Times in objects have no parts of a second.
            first_seen.into_iter().for_each(|since| context.metrics.enforced(since.elapsed().as_secs_f64()));
        }
        let about = alerts::namespace_reference(declared);
        let news = news::of_namespace(declared.status.as_ref(), said);
        context.alerts.tell(&target.key, &about, news, worked.outcome.failures.is_empty());
    }
    worked.result()
}

/// Takes up the names that a namespace depends on, without doing anything else about it.
pub fn ask(context: &Context, name: &Arc<str>, now: Timestamp) {
    let asking = Asking::new(context);
    let work = decide(context, name, now, &asking, None);
    let index = context.index();
    let declared = index.research.get(name).and_then(|found| found.object.as_ref().ok());
    let needs = || declared.and_then(|declared| declared.status.as_ref()).into_iter().flat_map(|status| &status.egress);
    let said = |host: &Host| remembered(needs().flat_map(|need| &need.hosts), host, index.settings(), now);
    // All objects are decided about afterwards.
    let _ = asking.wanted_by(&work.target.key, said);
}

/// Looks into a Namespace that is offered, once it is closed: at the cluster itself, since a watch may be behind.
async fn look(context: &Context, name: &Arc<str>, now: Timestamp) -> Option<Inspection> {
    let (retained, volumes) = {
        let index = context.index();
        let (namespace, _) = index.namespaces.get(name)?;
        let declared = index.research.get(name)?.object.as_ref().ok()?;
        if !wants_inspection(name, Declared::Read(declared), namespace, now) {
            return None;
        }
        (namespace.belongs_to(name), index.settings().spec.workloads.volumes.clone())
    };
    Some(inspect(context, name, retained, &volumes).await)
}

fn decide(
    context: &Context,
    name: &Arc<str>,
    now: Timestamp,
    asking: &Asking<'_>,
    inspection: Option<&Inspection>,
) -> Work {
    static NOTHING: Children = Children::new();
    let index = context.index();
    let found = index.research.get(name);
    let broken_status: Option<ResearchNamespaceStatus> = found
        .and_then(|found| found.object.as_ref().err())
        .and_then(|broken| serde_json::from_value(broken.status.clone()).ok());
    let declared = match found {
        None => Declared::Absent,
        Some(Decoded { object: Ok(object), .. }) => Declared::Read(object),
        Some(Decoded { metadata, object: Err(broken) }) => {
            Declared::Undecodable { metadata, status: broken_status.as_ref(), error: &broken.error }
        }
    };
    let settings = in_force(context, &index, Key::Namespace(name.clone()));
    let dns = index.dns_facts();
    let plan = plan(&Input {
        name,
        declared,
        settings: &settings,
        allowlists: &allowlists(&index),
        granted: &granted(&index, name, now),
        endpoints: &endpoints(&index, name, now),
        peers: &|peer| found_peer(&index, peer),
        is_namespace: &|name| index.namespaces.contains_key(name),
        services: &|service| service_named(&index, service),
        hosts: &|host| asking.known(host),
        dns_addresses: dns.addresses.as_deref().unwrap_or_default(),
        dns_ports: &dns.ports,
        namespace: index.namespaces.get(name).map(|(namespace, _)| namespace),
        children: index.children.get(name).map_or(&NOTHING, |children| &children.all),
        // One of a kind that cannot be seen may be there.
        has_grant: &|grant| {
            index.grant(name, grant).is_some() || !context.synced.missing(Some(&[grant.kind.as_str()])).is_empty()
        },
        inspection,
        // Those that cannot be seen may be there.
        pods: if context.synced.missing(Some(&["Pod"])).is_empty() { index.pods_in(name) } else { 1 },
        open_grants: open_grants(&index, name),
        owed_review: owed_review(&index, name),
        now,
    });
    let object = found.and_then(|found| found.object.as_ref().ok());
    Work {
        target: Target {
            key: Key::Namespace(name.clone()),
            namespace: name.clone(),
            api: Api::all(context.client.clone()),
            metadata: found.map(|found| found.metadata.clone()).unwrap_or_default(),
            finalizer: labels::NAMESPACE_FINALIZER,
            found: Found::Anyhow,
        },
        drifted: object
            .filter(|object| is_settled(object) && object.metadata.deletion_timestamp.is_none())
            .map(|_| drifted(&index, name, &plan)),
        declared: object.filter(|_| !plan.is_empty()).cloned(),
        first_seen: index.first_seen.get(name).copied(),
        plan,
    }
}

/// The settings, with which nothing more is opened for this object while the clocks disagree. It is then looked at again
/// when they agree.
pub fn in_force(context: &Context, index: &Index, key: Key) -> Arc<Settings> {
    if context.clock.is_sane() {
        return index.settings().clone();
    }
    context.hold(key);
    Arc::new(Settings { held: true, ..Settings::clone(index.settings()) })
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
pub fn agreed(index: &Index, name: &str, settings: &Settings, now: Timestamp) -> Vec<Opening> {
    of_allowlists(index, name, |declared, allowlists, services| {
        namespace::agreed(declared, allowlists, services, settings, now)
    })
}

/// The Services that the allowlists name which a research namespace may use.
pub fn named_services(index: &Index, name: &str, settings: &Settings, now: Timestamp) -> BTreeSet<ServiceReference> {
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

/// The grant that broke the glass and owes a review which is due last.
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

/// Whether this status says that the namespace is enforced for the first time.
fn is_newly_enforced(said: &ResearchNamespaceStatus, declared: &ResearchNamespace) -> bool {
    let before = declared.status.as_ref().and_then(|status| status.enforced_at.as_ref());
    before.is_none() && said.enforced_at.is_some()
}
