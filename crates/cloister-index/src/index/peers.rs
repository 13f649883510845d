//! Which research namespaces name which as a peer.

use crate::decode::Decoded;
use cloister_api::ResearchNamespace;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Those that name each peer, whether there is such a peer or not.
#[derive(Debug, Default)]
pub struct Peers(BTreeMap<Arc<str>, BTreeSet<Arc<str>>>);

impl Peers {
    /// Notes whom a namespace names now, in place of whom it named before.
    pub fn note(
        &mut self,
        name: &Arc<str>,
        before: Option<&Decoded<ResearchNamespace>>,
        now: Option<&Decoded<ResearchNamespace>>,
    ) {
        for peer in named(before) {
            if let Some(by) = self.0.get_mut(peer) {
                by.remove(name);
                if by.is_empty() {
                    self.0.remove(peer);
                }
            }
        }
        for peer in named(now) {
            match self.0.get_mut(peer) {
                Some(by) => drop(by.insert(name.clone())),
                None => drop(self.0.insert(peer.into(), [name.clone()].into())),
            }
        }
    }

    /// Those that name this one.
    pub fn naming(&self, peer: &str) -> impl Iterator<Item = &Arc<str>> {
        self.0.get(peer).into_iter().flatten()
    }

    /// Those that name one of which this holds.
    pub fn naming_any(&self, holds: impl Fn(&str) -> bool) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().filter(move |(peer, _)| holds(peer)).flat_map(|(_, by)| by)
    }
}

/// The peers that a namespace names.
fn named(namespace: Option<&Decoded<ResearchNamespace>>) -> impl Iterator<Item = &str> {
    let spec = namespace.and_then(|namespace| namespace.object.as_ref().ok()).map(|object| &object.spec);
    let all = spec
        .into_iter()
        .flat_map(|spec| spec.egress.to_research_namespaces.iter().chain(&spec.ingress.from_research_namespaces));
    all.map(String::as_str)
}
