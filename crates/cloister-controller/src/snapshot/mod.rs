//! What a decision is made from: the index as it stands, and what else is known at the time.
//!
//! What a decision asks for is what its object depends on. An object is made to depend on a name, on the audit record or on
//! the clocks before it is told what is known of them, so that it hears of whatever changes afterwards.

mod catalogue;
mod grant;
mod inspect;
mod mount;
mod namespace;

pub use catalogue::Said;
pub use grant::{GrantDecision, reference_of};
pub use inspect::inspect;
pub use namespace::NamespaceDecision;

use crate::{
    decode::Decoded,
    dns::Names,
    guard::Reading,
    index::Index,
    key::{Key, ObjectName},
    report::Audit,
    store::Store,
};
use cloister_api::{AccessPolicy, HostStatus, Identity, SecretReference, ServiceReference};
use cloister_core::{
    child::{Children, GrantRef},
    egress::ServiceFacts,
    grant::{CredentialFacts, Known, Listed, Other, same_person},
    names::{self, Answer, Host},
    namespace::is_fresh,
    settings::Settings,
    suggest::closest,
};
use jiff::{SignedDuration, Timestamp};
use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

static NO_CHILDREN: Children = Children::new();

/// Where snapshots are taken from.
pub struct Sources {
    /// What is known of the cluster.
    pub store: Arc<Store>,
    /// What is known of names.
    pub names: Arc<Names>,
    /// What is recorded.
    pub audit: Arc<Audit>,
}

/// What one decision is made from.
pub struct Snapshot<'a> {
    sources: &'a Sources,
    /// What is known of the cluster; it changes for nobody while this is held.
    pub index: Reading<'a, Index>,
    /// The time.
    pub now: Timestamp,
    purpose: Purpose,
    asked: RefCell<BTreeSet<Host>>,
}

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A decision about an object, which depends on what it asks for.
    Decision,
    /// The same at the start, when the status of the object may know more of names than anybody else.
    Start,
    /// A look: nothing depends on it.
    Look,
}

impl<'a> Snapshot<'a> {
    /// For a decision about an object.
    pub fn take(sources: &'a Sources) -> Self {
        Self::of(sources, Purpose::Decision)
    }

    /// For a decision that is not carried out, after which an object depends on the names that it asked for; what is open
    /// according to its status stays so until somebody answers.
    pub fn at_the_start(sources: &'a Sources) -> Self {
        Self::of(sources, Purpose::Start)
    }

    /// For a look at an object, which does not have to be told of anything.
    pub fn look(sources: &'a Sources) -> Self {
        Self::of(sources, Purpose::Look)
    }

    fn of(sources: &'a Sources, purpose: Purpose) -> Self {
        let index = sources.store.index();
        Snapshot { sources, index, now: sources.store.clock.now(), purpose, asked: RefCell::default() }
    }

    /// What is known of a name for a decision about this object.
    fn known_of(&self, key: &Key, host: &Host) -> Option<names::Known> {
        if self.purpose == Purpose::Look {
            return self.sources.names.known(host);
        }
        self.asked.borrow_mut().insert(host.clone());
        Some(
            self.sources
                .names
                .want(key, host, || (self.purpose == Purpose::Start).then(|| self.remembered(key, host))?),
        )
    }

    /// What the status of an object says of a name.
    fn remembered(&self, key: &Key, host: &Host) -> Option<names::Known> {
        let (settings, now) = (self.index.settings(), self.now);
        match key {
            Key::Namespace(name) => {
                let status = self.index.research.get(name)?.object.as_ref().ok()?.status.as_ref()?;
                remembered(status.egress.iter().flat_map(|need| &need.hosts), host, settings, now)
            }
            Key::Grant(namespace, grant) => {
                let status = self.index.grant(namespace, grant)?.object.as_ref().ok()?.status()?;
                remembered(status.hosts.iter(), host, settings, now)
            }
            _ => None,
        }
    }

    /// The object was decided about: it depends on the names that were asked for and on no others.
    fn decided(&self, key: &Key) {
        if self.purpose != Purpose::Look {
            self.sources.names.want_only(key, &self.asked.borrow());
        }
    }

    /// The settings in force for this object.
    fn settings(&self, key: &Key) -> Arc<Settings> {
        self.sources.store.settings_for(&self.index, || key.clone())
    }

    fn children(&self, namespace: &str) -> &Children {
        self.index.children.get(namespace).map_or(&NO_CHILDREN, |children| &children.all)
    }
}

/// What a status says of a name, if that may still be believed.
fn remembered<'a>(
    hosts: impl Iterator<Item = &'a HostStatus>,
    host: &Host,
    settings: &Settings,
    now: Timestamp,
) -> Option<names::Known> {
    let fresh = hosts.filter(|said| said.name == host.name.to_string() && is_fresh(said, now, &settings.names));
    let said = fresh.flat_map(|said| said.addresses.iter());
    let addresses = said.filter_map(|address| Some((address.parse().ok()?, SignedDuration::ZERO)));
    let answer = Answer::believed(addresses, host.expected(), &settings.never).ok()?;
    Some(names::Known::remembered(&answer, now))
}

fn policy_named<'a>(index: &'a Index, name: &str) -> Known<'a, AccessPolicy> {
    known(index.policies.get(name))
}

/// What is being deleted is as good as gone.
fn known<K>(found: Option<&Decoded<K>>) -> Known<'_, K> {
    match found.filter(|found| found.metadata.deletion_timestamp.is_none()) {
        None => Known::Absent,
        Some(Decoded { object: Ok(object), .. }) => Known::Read(object),
        Some(Decoded { object: Err(_), .. }) => Known::Undecodable,
    }
}

fn service_named(index: &Index, service: &ServiceReference) -> Option<ServiceFacts> {
    let at = object_name(&service.namespace, &service.name);
    let facts = &index.services.get(&at)?.facts;
    Some(ServiceFacts { on_node: index.pod_on_node(&at, &facts.selector), ..facts.clone() })
}

/// What is known of a credential: what its Secret says, and who else names it.
fn credential(index: &Index, secret: &SecretReference) -> Option<CredentialFacts> {
    let at = object_name(&secret.namespace, &secret.name);
    let mut facts = index.credentials.get(&at)?.clone();
    for (storage, sensitivity) in index.sources.get(&at).into_iter().flatten() {
        facts.named_by(storage, *sensitivity);
    }
    Some(facts)
}

/// The other grants of a person that have not ended.
fn others<'a>(index: &'a Index, but: &(Arc<str>, GrantRef), person: &Identity) -> Vec<Other<'a>> {
    let all = index.requesters.of(person);
    let own = all.get(but).copied().unwrap_or(u64::MAX);
    let others = all.into_iter().filter(|(place, _)| *place != but);
    let read = others.filter_map(|((namespace, grant), since)| {
        let grant = index.grant(namespace, grant)?.object.as_ref().ok()?;
        Some(Other { grant, is_earlier: since < own })
    });
    read.collect()
}

fn object_name(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.into(), name: name.into() }
}

/// Another grant by which this person broke the glass, and which nobody has reviewed yet.
fn debt(index: &Index, but: &(Arc<str>, GrantRef), person: &Identity) -> Option<String> {
    let owing = index.owing().filter(|place| *place != but);
    let mut theirs = owing.filter(|(namespace, grant)| {
        let requester = index.grant(namespace, grant).and_then(Decoded::requested_by);
        requester.is_some_and(|requester| same_person(requester, person))
    });
    theirs.next().map(|(namespace, grant)| format!("{} {namespace}/{}", grant.kind.as_str(), grant.name))
}

/// The name in the catalogue that was meant by one that is not there.
fn meant(index: &Index, listed: Listed, name: &str) -> Option<String> {
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
