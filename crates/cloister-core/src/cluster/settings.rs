//! CloisterConfig, read once for all decisions.

use super::{known_networks::ClusterNetworks, setting_addresses};
use crate::{
    address::{NeverOpened, Refusal, Selector, Source},
    dns::{Host, KnownName, Limits, Names},
    egress::{Backend, Installed},
    model::{durations::signed, text::first_of, writers::CONFIG_WRITERS},
};
use cloister_api::{CloisterConfigSpec, ResolutionConfig, Tier, labels};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// How far ahead the time may be before which nothing counts: clocks differ, and what closes does not wait for them.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// How many namespaces are named.
const NAMESPACES: usize = 8;

/// Why pods of a tier have no RuntimeClass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRuntimeClass<'a> {
    /// The settings name none.
    NotNamed,
    /// The one that they name does not exist.
    NotFound(&'a str),
}

impl NoRuntimeClass<'_> {
    /// What is missing, what follows (such as "no pod is admitted"), and what to do.
    pub fn message(self, follows: &str) -> String {
        match self {
            NoRuntimeClass::NotNamed => format!(
                "tier Sandboxed needs a RuntimeClass, and {follows} without it; ask {CONFIG_WRITERS} to name it in \
                 runtimeClasses.Sandboxed"
            ),
            NoRuntimeClass::NotFound(class) => format!(
                "tier Sandboxed needs RuntimeClass {class} (runtimeClasses.Sandboxed of CloisterConfig), which does not exist, \
                 so {follows}; ask a platform engineer to create it, or {CONFIG_WRITERS} to name another"
            ),
        }
    }
}

/// The settings of the cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As they are in force.
    pub spec: CloisterConfigSpec,
    /// As they are written.
    pub written: CloisterConfigSpec,
    /// The networks that no rule opens: those that are the cluster's own, as the settings and the API say, among them.
    pub never: NeverOpened,
    /// How the addresses of names are held.
    pub names: Limits,
    /// The RuntimeClasses that there are, where that is known.
    pub runtime_classes: Option<BTreeSet<Arc<str>>>,
    /// What opens egress.
    pub backend: Backend,
    /// Whether more than one thing is installed that could.
    pub ambiguous: bool,
    /// What of them is not in force, because the operator may not write what it would open: the field, and why.
    pub refused: Option<String>,
    /// Entries of lists that are not in force, because they name a research namespace that stands: the field, and its name.
    pub passed_over: Vec<(&'static str, String)>,
    /// Entries of lists of addresses that are not in force, because of what is at them: why, and what to do.
    pub not_in_force: Vec<String>,
    /// Entries of them that are in force in part.
    pub narrowed: Vec<String>,
    /// What of them makes all of them unusable: the field, and what is wrong with it.
    pub unusable: Option<String>,
    /// What of them is left out, because it cannot be read: the field, and what is wrong with it.
    pub left_out: Option<String>,
    /// How long what cannot be taken back may last.
    pub residual: Residual,
    /// Whether anything may be opened: not while the settings cannot be read, because what they forbid is then unknown.
    pub usable: bool,
    /// Whether nothing may be opened for now, because the clocks disagree. What stands stays until it ends.
    pub held: bool,
}

/// How long what cannot be taken back may last after the end of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residual {
    /// A watch.
    pub watches: SignedDuration,
    /// A session that nobody uses.
    pub sessions: SignedDuration,
}

impl Settings {
    /// These settings, or the defaults where there are none, in a cluster that has NetworkPolicies alone.
    pub fn new(spec: Option<&CloisterConfigSpec>) -> Self {
        let spec = spec.cloned().unwrap_or_default();
        // A network that this version cannot read might cover anything.
        let unusable = unusable(&spec);
        let usable = unusable.is_none();
        let backend = Backend::of(spec.egress.backend, Installed::default());
        let settings = Settings {
            never: NeverOpened::new(&[]),
            names: limits(&spec.dns.resolution),
            residual: Residual {
                watches: signed(spec.residual_exposure.watches),
                sessions: signed(spec.residual_exposure.sessions),
            },
            runtime_classes: None,
            backend,
            ambiguous: false,
            refused: refused(&spec),
            passed_over: Vec::new(),
            not_in_force: Vec::new(),
            narrowed: Vec::new(),
            unusable,
            left_out: left_out(&spec),
            written: spec.clone(),
            spec,
            usable,
            held: false,
        };
        settings.around(&ClusterNetworks::default())
    }

    /// The same in a cluster with these networks of its own, whether they are written down or not.
    pub fn around(mut self, cluster: &ClusterNetworks) -> Self {
        let written = self.written.cluster_networks.iter().filter_map(|network| network.parse().ok());
        let written = written.map(|network| (network, Source::ClusterNetworks));
        self.never = NeverOpened::of(cluster.all().chain(written));
        let found = setting_addresses::in_force(&self.written, &self.never);
        self.spec.access_networks = if self.refused.is_some() { Vec::new() } else { found.access };
        self.spec.dns.node_local_addresses = found.caches;
        (self.not_in_force, self.narrowed) = (found.refused, found.narrowed);
        self
    }

    /// The same in a cluster that has this.
    pub fn with(self, installed: Installed) -> Self {
        let ambiguous = installed.cilium && installed.cluster.is_some();
        Settings { backend: Backend::of(self.spec.egress.backend, installed), ambiguous, ..self }
    }

    /// The same beside the research namespaces that stand. An entry that names one of them is not in force: otherwise whoever
    /// writes the settings would close a namespace in which people work, or make its pods members of others.
    pub fn beside(mut self, stands: impl Fn(&str) -> bool) -> Self {
        let spec = &mut self.spec;
        let controllers = spec.workloads.controller_namespaces.extract_if(.., |name| stands(name));
        let controllers = controllers.map(|name| ("workloads.controllerNamespaces", name));
        let credentials = spec.credential_namespaces.extract_if(.., |name| stands(name));
        let credentials = credentials.map(|name| ("credentialNamespaces", name));
        let gateways = spec.gateways.extract_if(.., |gateway| stands(&gateway.namespace));
        let gateways = gateways.map(|gateway| ("gateways", gateway.namespace));
        self.passed_over = credentials.chain(controllers).chain(gateways).collect();
        self
    }

    /// Whether a name can stand for all names below it. Where what would open it is missing, that is said instead.
    pub fn opens_wildcards(&self) -> bool {
        self.backend.sees_names() || matches!(self.backend, Backend::Missing(_))
    }

    /// The same in a cluster that has these RuntimeClasses.
    pub fn with_runtime_classes(self, there: BTreeSet<Arc<str>>) -> Self {
        Settings { runtime_classes: Some(there), ..self }
    }

    /// The RuntimeClass that pods of this tier name, where they name one.
    ///
    /// # Errors
    ///
    /// They need one that is not there.
    pub fn runtime_class(&self, tier: Tier) -> Result<Option<&str>, NoRuntimeClass<'_>> {
        let class = self.spec.runtime_class(tier).map_err(|_| NoRuntimeClass::NotNamed)?;
        match (class, &self.runtime_classes) {
            (Some(class), Some(there)) if !there.contains(class) => Err(NoRuntimeClass::NotFound(class)),
            (class, _) => Ok(class),
        }
    }

    /// That no credential is kept in a namespace, where that is so, and which are for them.
    pub fn keeps_no_credentials(&self, namespace: &str) -> Option<String> {
        let listed = &self.spec.credential_namespaces;
        (!listed.iter().any(|one| one == namespace)).then(|| match listed.is_empty() {
            true => "which list none".to_owned(),
            false => format!("which are {}", first_of(listed, NAMESPACES, ", ")),
        })
    }

    /// Settings that cannot be read: nothing is opened.
    pub fn unreadable() -> Self {
        Settings { usable: false, ..Settings::new(None) }
    }

    /// The time before which nothing that was asked or approved counts, where that is before it. One that is far ahead is not
    /// in force: nothing that is asked could ever count.
    pub fn invalidates(&self, at: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let before = self.spec.invalidate_grants_before.as_ref().map(|before| before.0);
        before.filter(|before| at < *before && before.duration_since(now) <= AHEAD)
    }

    /// When that time comes into force, where it is far ahead.
    pub fn invalidates_later(&self, now: Timestamp) -> Option<Timestamp> {
        let before = self.spec.invalidate_grants_before.as_ref().map(|before| before.0);
        before.filter(|before| before.duration_since(now) > AHEAD).map(|before| before - AHEAD)
    }

    /// What is known of names at a time, as these settings hold them.
    pub fn names_at<'a>(&'a self, known: &'a dyn Fn(&Host) -> Option<KnownName>, now: Timestamp) -> Names<'a> {
        Names { known, limits: &self.names, never: &self.never, now }
    }

    /// Why this name cannot be a research namespace, if it cannot.
    pub fn reserved(&self, name: &str) -> Option<&'static str> {
        if name == "default" || name.starts_with("kube-") {
            Some("it belongs to Kubernetes")
        } else if name == labels::SYSTEM_NAMESPACE {
            Some("it is the operator's own")
        } else if self.spec.credential_namespaces.iter().any(|reserved| reserved == name) {
            Some("credentials are kept in it (credentialNamespaces of CloisterConfig)")
        } else if self.spec.workloads.controller_namespaces.iter().any(|reserved| reserved == name) {
            Some("accounts of it are members of research namespaces (workloads.controllerNamespaces of CloisterConfig)")
        } else if self.spec.gateways.iter().any(|gateway| gateway.namespace == name) {
            Some("a gateway to research namespaces is in it (gateways of CloisterConfig)")
        } else if name == self.spec.dns.namespace {
            Some("the cluster's DNS is in it (dns.namespace of CloisterConfig)")
        } else {
            None
        }
    }
}

/// Why the access networks cannot be opened, if they cannot: together they are everything, or one of them cannot be read.
/// Admission lets nobody open everything, the operator included (operator-networkpolicies.cloister.dev).
fn refused(spec: &CloisterConfigSpec) -> Option<String> {
    let networks: Vec<IpNet> = spec.access_networks.iter().filter_map(|network| network.parse().ok()).collect();
    if networks.len() < spec.access_networks.len() {
        return Some("spec.accessNetworks contains an entry that is not a network".to_owned());
    }
    let everything = IpNet::aggregate(&networks).into_iter().find(|network| network.prefix_len() == 0)?;
    Some(format!(
        "spec.accessNetworks covers {everything}, which is every address; name the networks that people connect from"
    ))
}

/// What cannot be read of the settings that say what is never opened.
fn unusable(spec: &CloisterConfigSpec) -> Option<String> {
    let network = spec.cluster_networks.iter().find(|network| network.parse::<IpNet>().is_err());
    let network = network.map(|network| format!("spec.clusterNetworks contains {network}, which is not a network"));
    let selector = Selector::parse(Some(&spec.dns.pod_selector)).err().map(Refusal::from);
    network.or(selector.map(|why| format!("spec.dns.podSelector cannot be used: {why}")))
}

/// What cannot be read of the settings that say where names are looked up. It is left out.
fn left_out(spec: &CloisterConfigSpec) -> Option<String> {
    let servers = spec.dns.servers.iter().filter(|server| server.parse::<SocketAddr>().is_err()).map(|server| {
        format!(
            "spec.dns.servers contains {server}, which is not an address with a port and is not queried; write it like \
             192.0.2.53:53 or [2001:db8::53]:53"
        )
    });
    let caches = spec.dns.node_local_addresses.iter().filter(|address| address.parse::<IpAddr>().is_err());
    let caches = caches.map(|address| {
        format!("spec.dns.nodeLocalAddresses contains {address}, which is not an address and is not opened; correct it")
    });
    let all: Vec<String> = servers.chain(caches).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn limits(config: &ResolutionConfig) -> Limits {
    let minimum_ttl = signed(config.minimum_ttl);
    Limits {
        minimum_ttl,
        maximum_ttl: Limits::default().maximum_ttl.max(minimum_ttl),
        grace: signed(config.grace),
        stale: signed(config.stale),
        addresses: config.maximum_addresses as usize,
        ..Limits::default()
    }
}
