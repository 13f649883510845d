//! What allowlists give a research namespace, asked for without the rest of it.

use super::{DeclaredNamespace, Input, PeerFound, input::KnownAllowlist, needs::Needs, usable};
use crate::{
    cluster::settings::Settings,
    egress::{AllowRule, ServiceFacts},
    model::child::Children,
};
use cloister_api::{ResearchNamespace, ServiceReference};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What allowlists open in a research namespace.
pub fn agreed(
    namespace: &ResearchNamespace,
    allowlists: &BTreeMap<&str, KnownAllowlist<'_>>,
    services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    settings: &Settings,
    now: Timestamp,
) -> Vec<AllowRule> {
    alone(namespace, allowlists, services, settings, now, |input| Needs::agreed(namespace, input))
}

/// The Services that the allowlists name which a research namespace may use.
pub fn named_services(
    namespace: &ResearchNamespace,
    allowlists: &BTreeMap<&str, KnownAllowlist<'_>>,
    services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    settings: &Settings,
    now: Timestamp,
) -> BTreeSet<ServiceReference> {
    alone(namespace, allowlists, services, settings, now, |input| usable::named_services(namespace, input))
}

/// Asks about a namespace of which nothing but its declaration is known.
fn alone<T>(
    namespace: &ResearchNamespace,
    allowlists: &BTreeMap<&str, KnownAllowlist<'_>>,
    services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    settings: &Settings,
    now: Timestamp,
    ask: impl FnOnce(&Input<'_>) -> T,
) -> T {
    static NOTHING: Children = Children::new();
    ask(&Input {
        name: namespace.metadata.name.as_deref().unwrap_or_default(),
        declared: DeclaredNamespace::Read(namespace),
        settings,
        allowlists,
        granted: &[],
        endpoints: &[],
        peers: &|_| PeerFound::NotEnforced,
        is_namespace: &|_| false,
        pods_on_nodes: &|_, _| None,
        services,
        hosts: &|_| None,
        dns_addresses: &[],
        dns_ports: &[],
        namespace: None,
        children: &NOTHING,
        has_grant: &|_| false,
        inspection: None,
        pods: Some(0),
        open_grants: 0,
        owed_review: None,
        now,
    })
}
