//! What the operator knows of the cluster: plain maps, filled by the watches and by the answers to its own writes.
//!
//! Every method is synchronous and does no more than keep the maps and tell which keys a change concerns. Only what a
//! decision needs is kept: of our kinds the objects, of everything else a fingerprint or a few facts.

mod children;
mod cluster;
mod relations;
mod roots;

pub use cluster::{GatedPod, PodFacts, Secret, ServiceEntry};

use crate::{
    decode::Decoded,
    key::{Key, ObjectName},
};
use cloister_api::{
    AccessPolicy, CloisterConfig, EgressAllowlist, ResearchNamespace, StorageAccessGrant, StorageResource,
};
use cloister_core::{
    child::{ChildKey, Children},
    namespace::ObservedNamespace,
    settings::Settings,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// The keys that a change concerns.
pub type Dirty = HashSet<Key>;

/// A kind of object that the index keeps something of.
pub trait Indexed: Sized {
    /// Takes note of an object, unless something newer is known of it.
    fn upsert(self, index: &mut Index, dirty: &mut Dirty);
    /// Forgets an object.
    fn remove(index: &mut Index, name: &ObjectName, dirty: &mut Dirty);
    /// The names of all objects of the kind that are known, for a list that shows which of them are gone.
    fn known(index: &Index) -> Vec<ObjectName>;
}

type ByName<T> = BTreeMap<Arc<str>, T>;

/// Children of one namespace, with the version that each was seen at.
#[derive(Debug, Default)]
pub(crate) struct NamespaceChildren {
    pub(crate) all: Children,
    pub(crate) versions: BTreeMap<ChildKey, u64>,
}

/// The index.
#[derive(Debug)]
pub struct Index {
    pub(crate) config: Option<Decoded<CloisterConfig>>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) research: HashMap<Arc<str>, Decoded<ResearchNamespace>>,
    pub(crate) allowlists: ByName<Decoded<EgressAllowlist>>,
    pub(crate) storages: ByName<Decoded<StorageResource>>,
    pub(crate) policies: ByName<Decoded<AccessPolicy>>,
    pub(crate) grants: HashMap<Arc<str>, ByName<Decoded<StorageAccessGrant>>>,
    pub(crate) namespaces: HashMap<Arc<str>, (ObservedNamespace, u64)>,
    pub(crate) children: HashMap<Arc<str>, NamespaceChildren>,
    pub(crate) pods: HashMap<Arc<str>, ByName<PodFacts>>,
    pub(crate) services: BTreeMap<ObjectName, ServiceEntry>,
    pub(crate) credentials: HashMap<ObjectName, Box<str>>,
}

impl Default for Index {
    fn default() -> Self {
        Index {
            config: None,
            settings: Arc::new(Settings::new(None)),
            research: HashMap::new(),
            allowlists: BTreeMap::new(),
            storages: BTreeMap::new(),
            policies: BTreeMap::new(),
            grants: HashMap::new(),
            namespaces: HashMap::new(),
            children: HashMap::new(),
            pods: HashMap::new(),
            services: BTreeMap::new(),
            credentials: HashMap::new(),
        }
    }
}

impl Index {
    /// Every key that there is something to decide about.
    pub fn all_keys(&self) -> Dirty {
        let mut keys = Dirty::new();
        if self.config.is_some() {
            keys.insert(Key::Config);
        }
        keys.extend(self.research.keys().cloned().map(Key::Namespace));
        keys.extend(self.namespaces.keys().cloned().map(Key::Namespace));
        keys.extend(self.allowlists.keys().cloned().map(Key::Allowlist));
        keys.extend(self.storages.keys().cloned().map(Key::Storage));
        keys.extend(self.policies.keys().cloned().map(Key::Policy));
        for (namespace, grants) in &self.grants {
            keys.extend(grants.keys().map(|name| Key::Grant(namespace.clone(), name.clone())));
        }
        for (namespace, children) in &self.children {
            keys.extend(children.all.keys().filter_map(|child| relations::mount(namespace, child)));
        }
        keys
    }

    /// How many objects of each kind are known.
    pub fn sizes(&self) -> [(&'static str, usize); 10] {
        [
            ("ResearchNamespace", self.research.len()),
            ("EgressAllowlist", self.allowlists.len()),
            ("StorageResource", self.storages.len()),
            ("AccessPolicy", self.policies.len()),
            ("StorageAccessGrant", self.grants.values().map(BTreeMap::len).sum()),
            ("Namespace", self.namespaces.len()),
            ("Child", self.children.values().map(|children| children.all.len()).sum()),
            ("Pod", self.pods.values().map(BTreeMap::len).sum()),
            ("Service", self.services.len()),
            ("Credential", self.credentials.len()),
        ]
    }

    /// The settings in force.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The grants of all namespaces.
    pub fn all_grants(&self) -> impl Iterator<Item = &Decoded<StorageAccessGrant>> {
        self.grants.values().flat_map(BTreeMap::values)
    }
}
