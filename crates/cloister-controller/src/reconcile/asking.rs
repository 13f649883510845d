//! The names that decisions ask about: what a decision asks for is what its object depends on.

use super::{grant, namespace};
use crate::{context::Context, key::Key, names::Version};
use cloister_api::HostStatus;
use cloister_core::{
    names::{Answer, Host, Known},
    namespace::is_fresh,
    settings::Settings,
};
use jiff::{SignedDuration, Timestamp};
use std::{cell::RefCell, collections::BTreeMap};

/// Answers what is known of names, and notes which were asked for.
pub struct Asking<'a> {
    context: &'a Context,
    /// What was asked for, and the version that was seen first.
    seen: RefCell<BTreeMap<Host, Option<Version>>>,
}

impl<'a> Asking<'a> {
    /// Nothing was asked yet.
    pub fn new(context: &'a Context) -> Self {
        Asking { context, seen: RefCell::default() }
    }

    /// What every part of the operator shares.
    pub fn context(&self) -> &'a Context {
        self.context
    }

    /// What is known of a name.
    pub fn known(&self, host: &Host) -> Option<Known> {
        let (known, version) = self.context.names.known(host).unzip();
        self.seen.borrow_mut().entry(host.clone()).or_insert(version);
        known
    }

    /// From now on the object depends on what was asked for, and on no other name. Answers whether an answer came between the
    /// look and this, so that the object must be decided about again.
    pub fn wanted_by(self, key: &Key, remembered: impl Fn(&Host) -> Option<Known>) -> bool {
        self.context.names.want(key, self.seen.into_inner(), remembered)
    }
}

/// Takes up again the names of all objects, with the addresses that are open according to their status: what a pod
/// reaches before a restart it reaches after it.
pub fn remember_names(context: &Context) {
    let now = context.clock.now();
    let keys = context.index().all_keys();
    for key in keys {
        match &key {
            Key::Namespace(name) => namespace::ask(context, name, now),
            Key::Grant(namespace, grant) => grant::ask(context, namespace, grant, now),
            _ => {}
        }
    }
}

/// What a status says of a name, if that may still be believed.
pub fn remembered<'a>(
    hosts: impl Iterator<Item = &'a HostStatus>,
    host: &Host,
    settings: &Settings,
    now: Timestamp,
) -> Option<Known> {
    let fresh = hosts.filter(|said| said.name == host.name.to_string() && is_fresh(said, now, &settings.names));
    let said = fresh.flat_map(|said| said.addresses.iter());
    let addresses = said.filter_map(|address| Some((address.parse().ok()?, SignedDuration::ZERO)));
    let answer = Answer::believed(addresses, host.expected(), &settings.never).ok()?;
    Some(Known::remembered(&answer, now))
}
