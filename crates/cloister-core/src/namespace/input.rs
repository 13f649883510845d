//! Everything that the decision about a research namespace depends on.

use crate::{
    address::{PolicyPort, Selector},
    cluster::settings::Settings,
    dns::{Host, Names, known_name::KnownName},
    egress::{PodOnNode, ServiceFacts},
    model::{
        child::{Children, GrantRef},
        plan::NamespaceLabels,
    },
};
use cloister_api::{
    EgressAllowlist, EgressRule, EgressStatus, GrantKind, ResearchNamespace, ResearchNamespaceSpec,
    ResearchNamespaceStatus, ServiceReference, StorageEndpoint, labels,
};
use jiff::Timestamp;
use std::{collections::BTreeMap, net::IpAddr};

/// What is known of a Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedNamespace {
    /// Its uid.
    pub uid: Box<str>,
    /// Those of its labels that are the operator's to set.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// The ResearchNamespace that may take it over, by its annotation.
    pub adopt: Option<Box<str>>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What holds it up while it is being deleted, in Kubernetes' own words.
    pub held_by: Option<Box<str>>,
}

impl ObservedNamespace {
    /// What holds its deletion up, to end a sentence with.
    pub(crate) fn why_held(&self) -> String {
        self.held_by.as_ref().map(|why| format!("; Kubernetes says: {why}")).unwrap_or_default()
    }

    /// Whether it belongs to the ResearchNamespace of this name.
    pub fn belongs_to(&self, name: &str) -> bool {
        self.label(labels::RESEARCH_NAMESPACE) == Some(name)
    }

    /// Whether pods are admitted.
    pub fn is_enforced(&self) -> bool {
        self.label(labels::ENFORCED) == Some("true")
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(|value| &**value)
    }

    pub(crate) fn has(&self, wanted: &NamespaceLabels) -> bool {
        wanted.len() == self.labels.len() && wanted.iter().all(|(key, value)| self.label(key) == Some(value))
    }
}

/// Another research namespace, whose Namespace stands and is enforced.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// What it declares.
    pub spec: &'a ResearchNamespaceSpec,
}

/// What was found by the name of another research namespace.
#[derive(Clone, Debug)]
pub enum PeerFound<'a> {
    /// It is enforced.
    Enforced(Peer<'a>),
    /// There is one, and it is not enforced, or is being deleted.
    NotEnforced,
    /// There is none.
    Absent,
}

/// Everything that the decision about one namespace depends on.
pub struct Input<'a> {
    /// The name of the ResearchNamespace and of its Namespace.
    pub name: &'a str,
    /// What is declared.
    pub declared: DeclaredNamespace<'a>,
    /// The settings of the cluster.
    pub settings: &'a Settings,
    /// The allowlists, by name.
    pub allowlists: &'a BTreeMap<&'a str, KnownAllowlist<'a>>,
    /// The rules of the namespace's EgressGrants that are open now.
    pub granted: &'a [GrantedRule<'a>],
    /// The endpoints of storage that the namespace's grants have open now, each with the ServiceAccount of its pods; all pods
    /// where there is none.
    pub endpoints: &'a [(&'a StorageEndpoint, Option<&'a str>)],
    /// Finds another research namespace.
    pub peers: &'a dyn Fn(&str) -> PeerFound<'a>,
    /// Whether there is a Namespace of this name in the cluster.
    pub is_namespace: &'a dyn Fn(&str) -> bool,
    /// Finds a pod of a Namespace that a selector selects, and that is on the network of its node.
    pub pods_on_nodes: &'a dyn Fn(&str, &Selector) -> Option<PodOnNode>,
    /// Finds a Service.
    pub services: &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    /// Finds what is known of a name.
    pub hosts: &'a dyn Fn(&Host) -> Option<KnownName>,
    /// The addresses of the DNS Service.
    pub dns_addresses: &'a [IpAddr],
    /// The ports of its pods that the Service leads to: what is sent to it arrives there.
    pub dns_ports: &'a [PolicyPort],
    /// The Namespace, where there is one.
    pub namespace: Option<&'a ObservedNamespace>,
    /// What is in it.
    pub children: &'a Children,
    /// Whether there is a grant of this kind and name in it, in whatever phase.
    pub has_grant: &'a dyn Fn(&GrantRef) -> bool,
    /// What a look at the cluster itself found in it, where [`wants_inspection`](super::wants_inspection) asked for one.
    pub inspection: Option<&'a Inspection>,
    /// How many pods are in it; `None` while the operator has not listed pods.
    pub pods: Option<usize>,
    /// How many of its grants have opened something that is not yet confirmed gone.
    pub open_grants: usize,
    /// The grant in it that used break-glass and owes a review which is due last, and when that is.
    pub owed_review: Option<OwedReview<'a>>,
    /// The time.
    pub now: Timestamp,
}

/// The review that a grant owes which used break-glass.
#[derive(Clone, Copy, Debug)]
pub struct OwedReview<'a> {
    /// The kind of the grant.
    pub kind: GrantKind,
    /// Its name.
    pub grant: &'a str,
    /// Who used break-glass.
    pub who: &'a str,
    /// When the review is due.
    pub due: Timestamp,
    /// Who must make it, as the grant says.
    pub said: &'a str,
}

impl Input<'_> {
    pub(crate) fn names(&self) -> Names<'_> {
        self.settings.names_at(self.hosts, self.now)
    }

    /// What was said of the needs before.
    pub(crate) fn said(&self) -> &[EgressStatus] {
        match self.declared {
            DeclaredNamespace::Read(declared) => declared.status.as_ref().map(|status| status.egress.as_slice()),
            _ => None,
        }
        .unwrap_or_default()
    }
}

/// What a look into a Namespace found.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// The objects of the kinds that the operator writes too, and Roles.
    pub children: Children,
    /// The ServiceAccounts.
    pub accounts: Vec<Account>,
    /// What else must not stand there, by kind and name.
    pub others: Vec<String>,
    /// What could not be looked at, and why.
    pub unseen: Vec<Unseen>,
}

/// What a look could not see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// The API server does not let the operator do it, until somebody gives it the right.
    Forbidden {
        /// What it would do, as RBAC calls it.
        verb: &'static str,
        /// With what: the plural of the kind, and its group.
        resource: String,
        /// What the API server says, where it says more than that the right is missing.
        said: Option<String>,
    },
    /// It failed, and may succeed later.
    Failed(String),
}

/// A ServiceAccount that was there before the takeover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// An allowlist as it was read: the object, or that it cannot be understood.
#[derive(Clone, Copy, Debug)]
pub enum KnownAllowlist<'a> {
    /// It can be read.
    Read(&'a EgressAllowlist),
    /// It cannot be read by this version, so it opens nothing.
    Undecodable,
}

impl<'a> KnownAllowlist<'a> {
    /// The allowlist, where it can be read.
    pub fn read(&self) -> Option<&'a EgressAllowlist> {
        match self {
            KnownAllowlist::Read(allowlist) => Some(allowlist),
            KnownAllowlist::Undecodable => None,
        }
    }
}

/// The rule of an EgressGrant that is open now.
#[derive(Clone, Copy, Debug)]
pub struct GrantedRule<'a> {
    /// The name of the grant.
    pub grant: &'a str,
    /// What it opens.
    pub rule: &'a EgressRule,
    /// Why it stays closed all the same, where the grant says so of itself: the reason, and the message.
    pub fault: Option<(&'a str, &'a str)>,
}

/// What a ResearchNamespace says, as far as it can be read.
#[derive(Clone, Copy, Debug)]
pub enum DeclaredNamespace<'a> {
    /// It can be read.
    Read(&'a ResearchNamespace),
    /// It is there, but this version of the operator cannot read it.
    Undecodable {
        /// Its metadata.
        metadata: &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
        /// Its status, if that much can be read.
        status: Option<&'a ResearchNamespaceStatus>,
        /// What is wrong with it.
        error: &'a str,
    },
    /// There is none.
    Absent,
}
