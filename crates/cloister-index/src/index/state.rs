//! What the index holds.

use super::{
    facts::{DnsEndpoints, EndedGrant, OnNode, PodFacts, Recorder, ReviewsOf, SaidReview, ServiceEntry},
    listed::Listed,
    peers::Peers,
    pod_addresses::PodAddresses,
    requesters::Requesters,
};
use crate::{
    decode::Decoded,
    key::{Key, ObjectName},
};
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, CloisterConfig, EgressAllowlist, ResearchNamespace, Sensitivity,
    StorageResource,
};
use cloister_core::{
    cluster::{
        impersonation::{Binding, impersonates},
        known_networks::ClusterNetworks,
        node_networks::NodeNetworks as NodeBelieved,
        references::Named,
        role_facts::RoleFacts,
        settings::Settings,
    },
    egress::Installed,
    grant::{CredentialFacts, Grant, LastEnd},
    model::child::{ChildKey, Children, Fingerprint, GrantRef},
    namespace::ObservedNamespace,
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

/// The keys that a change concerns.
pub type Dirty = HashSet<Key>;

/// A kind of object that the index keeps something of.
pub trait Indexed: Sized {
    /// Whether an older object than the one that is known is passed over.
    const BY_VERSION: bool = true;

    /// Takes note of an object, unless something newer is known of it.
    fn upsert(self, index: &mut Index, dirty: &mut Dirty);
    /// The same of one in a list, at whose end [`Self::forget_unlisted`] is called.
    fn upsert_listed(self, index: &mut Index, dirty: &mut Dirty) {
        self.upsert(index, dirty);
    }
    /// Forgets an object.
    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty);
    /// The names of all objects of the kind that are known, for a list that shows which of them are gone.
    fn known(index: &Index) -> Vec<ObjectName>;
    /// Forgets the objects of a namespace, or of all, that are missing in a list.
    fn forget_unlisted(index: &mut Index, within: Option<&str>, listed: &Listed, dirty: &mut Dirty) {
        for name in Self::known(index) {
            if within.is_none_or(|namespace| *namespace == *name.namespace) && !listed.contains(&name) {
                Self::remove(index, &name, dirty);
            }
        }
    }
}

type ByName<T> = BTreeMap<Arc<str>, T>;

/// Children of one namespace, with the version that each was seen at.
#[derive(Debug, Default)]
pub struct NamespaceChildren {
    pub all: Children,
    pub versions: BTreeMap<ChildKey, u64>,
    /// What the API server made of what was written, where that is not the same.
    pub answers: BTreeMap<ChildKey, Answer>,
    /// What somebody else has changed or removed since the operator last looked at all of it.
    pub changed: BTreeSet<ChildKey>,
}

/// What the API server made of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was written.
    pub wanted: Fingerprint,
    /// What came back.
    pub came_back: Fingerprint,
}

/// The index.
#[derive(Debug)]
pub struct Index {
    /// The CloisterConfig, as it was read.
    pub config: Option<Decoded<CloisterConfig>>,
    /// The settings that are in force.
    pub settings: Arc<Settings>,
    /// What could open egress, beside NetworkPolicies.
    pub installed: Installed,
    /// The kinds of network policies that are installed and that nobody watches.
    pub unwatched: BTreeSet<String>,
    /// The cluster's own networks, as far as the API says.
    pub cluster: ClusterNetworks,
    /// What is believed of each Node.
    pub nodes: ByName<NodeBelieved>,
    /// The ranges of each ServiceCIDR.
    pub service_cidrs: ByName<BTreeSet<IpNet>>,
    /// Addresses that pods have.
    pub pod_addresses: PodAddresses,
    /// The pods that are on the network of their nodes.
    pub on_nodes: BTreeMap<ObjectName, OnNode>,
    /// The names of what only the settings name.
    pub named: BTreeSet<(Named, Arc<str>)>,
    /// The RuntimeClasses that pods can name.
    pub runtime_classes: BTreeSet<Arc<str>>,
    /// The ResearchNamespaces.
    pub research: HashMap<Arc<str>, Decoded<ResearchNamespace>>,
    /// Which of them name which as a peer.
    pub peers: Peers,
    /// Those of whose Namespace somebody else has changed the labels, or removed it, since the operator last looked at all of it.
    pub relabelled: HashSet<Arc<str>>,
    /// Since when those are known that were never enforced.
    pub first_seen: HashMap<Arc<str>, Instant>,
    /// The EgressAllowlists.
    pub allowlists: ByName<Decoded<EgressAllowlist>>,
    /// The StorageResources.
    pub storages: ByName<Decoded<StorageResource>>,
    /// The AccessPolicies.
    pub policies: ByName<Decoded<AccessPolicy>>,
    /// The AccessRoles.
    pub roles: ByName<Decoded<AccessRole>>,
    /// The grants of each namespace that are kept whole.
    pub grants: HashMap<Arc<str>, BTreeMap<GrantRef, Decoded<Grant>>>,
    /// The grants of each mount that may have opened it, by namespace and name of the mount.
    pub mounting: BTreeMap<(Arc<str>, Box<str>), BTreeSet<GrantRef>>,
    /// The grants that have ended and of which nobody needs more than a few facts.
    pub ended: HashMap<Arc<str>, BTreeMap<GrantRef, EndedGrant>>,
    /// The mounts of grants that were approved and have ended.
    pub ended_mounts: BTreeSet<(Arc<str>, Box<str>)>,
    /// The end of the grant of each mount that ended last.
    pub last_ends: HashMap<(Arc<str>, Box<str>), LastEnd>,
    /// The grants that used break-glass, of those that are kept whole.
    pub broken_glass: BTreeSet<(Arc<str>, GrantRef)>,
    /// The AccessReviews of each namespace that are kept whole.
    pub reviews: HashMap<Arc<str>, ByName<Decoded<AccessReview>>>,
    /// The reviews of those that have ended, as far as all is said of them.
    pub said: HashMap<Arc<str>, ByName<SaidReview>>,
    /// The reviews of each grant.
    pub reviews_of: HashMap<(Arc<str>, GrantRef), ReviewsOf>,
    /// Who knows what is recorded.
    pub recorder: Recorder,
    /// The ClusterRoles that grants may name.
    pub cluster_roles: ByName<RoleFacts>,
    /// The Roles that let their holders act as somebody else.
    pub impersonating_roles: HashSet<ObjectName>,
    /// All bindings, whatever they say of themselves; cluster-wide ones without a namespace.
    pub bindings: HashMap<ObjectName, Binding>,
    /// The Namespaces, each with the version that it was seen at.
    pub namespaces: HashMap<Arc<str>, (ObservedNamespace, u64)>,
    /// The children of each namespace.
    pub children: HashMap<Arc<str>, NamespaceChildren>,
    /// The pods that hold credentials.
    pub pods: HashMap<Arc<str>, ByName<PodFacts>>,
    /// All other pods, of which nothing matters but how many there are.
    pub other_pods: Listed,
    /// The Services.
    pub services: BTreeMap<ObjectName, ServiceEntry>,
    /// What is known of each Secret that a credential is kept in.
    pub credentials: HashMap<ObjectName, CredentialFacts>,
    /// The StorageResources that name each credential's Secret, and how sensitive they say they are.
    pub sources: HashMap<ObjectName, ByName<Sensitivity>>,
    /// The grants of each person that have not ended.
    pub requesters: Requesters,
    /// The endpoints of the cluster's own DNS, by EndpointSlice.
    pub dns_endpoints: BTreeMap<ObjectName, DnsEndpoints>,
}

impl Default for Index {
    fn default() -> Self {
        Index {
            config: None,
            settings: Arc::new(Settings::new(None).with_runtime_classes(BTreeSet::new())),
            installed: Installed::default(),
            unwatched: BTreeSet::new(),
            cluster: ClusterNetworks::default(),
            nodes: BTreeMap::new(),
            pod_addresses: PodAddresses::default(),
            service_cidrs: BTreeMap::new(),
            on_nodes: BTreeMap::new(),
            named: BTreeSet::new(),
            runtime_classes: BTreeSet::new(),
            research: HashMap::new(),
            peers: Peers::default(),
            relabelled: HashSet::new(),
            first_seen: HashMap::new(),
            allowlists: BTreeMap::new(),
            storages: BTreeMap::new(),
            policies: BTreeMap::new(),
            roles: BTreeMap::new(),
            grants: HashMap::new(),
            mounting: BTreeMap::new(),
            ended: HashMap::new(),
            ended_mounts: BTreeSet::new(),
            last_ends: HashMap::new(),
            broken_glass: BTreeSet::new(),
            reviews: HashMap::new(),
            said: HashMap::new(),
            reviews_of: HashMap::new(),
            recorder: Recorder::default(),
            cluster_roles: BTreeMap::new(),
            impersonating_roles: HashSet::new(),
            bindings: HashMap::new(),
            namespaces: HashMap::new(),
            children: HashMap::new(),
            pods: HashMap::new(),
            other_pods: Listed::default(),
            services: BTreeMap::new(),
            credentials: HashMap::new(),
            sources: HashMap::new(),
            requesters: Requesters::default(),
            dns_endpoints: BTreeMap::new(),
        }
    }
}

impl Index {
    /// Takes note that the operator itself wrote a child, or deleted it, and of the answer where it differs.
    pub fn wrote(&mut self, namespace: &str, key: &ChildKey, answer: Option<Answer>) {
        let Some(children) = self.children.get_mut(namespace) else { return };
        children.changed.remove(key);
        match answer {
            Some(answer) => drop(children.answers.insert(key.clone(), answer)),
            None => drop(children.answers.remove(key)),
        }
        if let Some(child) = children.all.get_mut(key) {
            child.stands_for = answer.filter(|one| one.came_back == child.fingerprint).map(|one| one.wanted);
        }
    }

    /// What could open egress beside NetworkPolicies.
    pub fn installed(&self) -> Installed {
        self.installed
    }

    /// The settings in force.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The grants of all namespaces.
    pub fn all_grants(&self) -> impl Iterator<Item = &Decoded<Grant>> {
        self.grants.values().flat_map(BTreeMap::values)
    }

    /// Whether a binding lets its subjects act as somebody else.
    pub fn lets_impersonate(&self, at: &ObjectName, binding: &Binding) -> bool {
        if binding.cluster_role {
            return impersonates(self.cluster_roles.get(&*binding.role));
        }
        let role = ObjectName { namespace: at.namespace.clone(), name: (*binding.role).into() };
        self.impersonating_roles.contains(&role)
    }

    /// The grant of this name.
    pub fn grant(&self, namespace: &str, grant: &GrantRef) -> Option<&Decoded<Grant>> {
        self.grants.get(namespace)?.get(grant)
    }

    /// The reviews of a grant that are kept whole and can be read, in the order in which they were made.
    pub fn reviews(&self, namespace: &Arc<str>, grant: &GrantRef) -> Vec<&AccessReview> {
        let of = self.reviews_of.get(&(namespace.clone(), grant.clone()));
        let all = self.reviews.get(namespace);
        let names = of.into_iter().flat_map(|of| &of.names);
        let whole = |name: &Arc<str>| all?.get(name)?.object.as_ref().ok();
        let said = |name: &Arc<str>| self.said(namespace, name)?.whole.as_deref();
        names.filter_map(|(_, name)| whole(name).or_else(|| said(name))).collect()
    }
}
