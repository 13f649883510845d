//! A snapshot, and what an object comes to depend on by it.

use crate::{dns::Names, guard::Reading, report::Audit, store::Store};
use cloister_api::HostStatus;
use cloister_core::{
    cluster::settings::Settings,
    dns,
    dns::{Answer, Host},
    model::child::Children,
    namespace::is_fresh,
};
use cloister_index::{index::Index, key::Key};
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
    pub(super) sources: &'a Sources,
    /// What is known of the cluster; it changes for nobody while this is held.
    pub index: Reading<'a, Index>,
    /// The time.
    pub now: Timestamp,
    pub(super) purpose: Purpose,
    asked: RefCell<BTreeSet<Host>>,
}

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
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
    pub(super) fn known_of(&self, key: &Key, host: &Host) -> Option<dns::KnownName> {
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
    fn remembered(&self, key: &Key, host: &Host) -> Option<dns::KnownName> {
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
    pub(super) fn decided(&self, key: &Key) {
        if self.purpose != Purpose::Look {
            self.sources.names.want_only(key, &self.asked.borrow());
        }
    }

    /// The settings in force for this object.
    pub(super) fn settings(&self, key: &Key) -> Arc<Settings> {
        self.sources.store.settings_for(&self.index, || key.clone())
    }

    pub(super) fn children(&self, namespace: &str) -> &Children {
        self.index.children.get(namespace).map_or(&NO_CHILDREN, |children| &children.all)
    }
}

/// What a status says of a name, if that may still be believed.
fn remembered<'a>(
    hosts: impl Iterator<Item = &'a HostStatus>,
    host: &Host,
    settings: &Settings,
    now: Timestamp,
) -> Option<dns::KnownName> {
    let fresh = hosts.filter(|said| said.name == host.name.to_string() && is_fresh(said, now, &settings.names));
    let said = fresh.flat_map(|said| said.addresses.iter());
    let addresses = said.filter_map(|address| Some((address.parse().ok()?, SignedDuration::ZERO)));
    let answer = Answer::believed(addresses, host.expected(), &settings.never).ok()?;
    Some(dns::KnownName::remembered(&answer, now))
}
