//! A simulated cluster around one ResearchNamespace, which carries out plans as the controller does.

use super::{
    objects::{Failed, Objects, service},
    steps::{self, Refusals},
};
use cloister_api::*;
use cloister_core::{
    address::PolicyPort,
    cluster::settings::Settings,
    dns::KnownName,
    egress::PodOnNode,
    grant::{CredentialMountKey, mount_name},
    model::{
        child::{Child, ChildKey, ChildKind, GrantRef, build, names::DENY_ALL},
        plan::{Action, NamespaceLabels, Plan},
    },
    namespace,
    namespace::{
        DeclaredNamespace, GrantedRule, Input, Inspection, KnownAllowlist, ObservedNamespace, OwedReview, Peer,
        PeerFound, is_owned_label,
    },
    policies::network_policies,
};
use jiff::Timestamp;
use k8s_openapi::api::{networking::v1::NetworkPolicy, rbac::v1::RoleBinding};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What a grant says of the review that it owes.
pub const OWED: &str = "an approver of AccessPolicy incidents must review it by noon with an AccessReview";

pub const NAME: &str = "interp";

/// After how many seconds every API server has seen a label of a Namespace. Before that, admission refuses what the operator
/// writes into it.
const SEEN: i64 = 5;

/// The uid of an account that was made anew.
pub const RENEWED: &str = "renewed";

/// An allowlist, or nothing where it cannot be read.
pub type Allowlists = BTreeMap<String, Option<EgressAllowlist>>;

#[derive(Clone, Debug)]
pub struct World {
    pub declared: Option<ResearchNamespace>,
    /// Whether the declaration cannot be read.
    pub undecodable: bool,
    pub settings: Settings,
    pub allowlists: Allowlists,
    /// The rules of the EgressGrants that are open, by their names.
    pub granted: BTreeMap<String, EgressRule>,
    /// Why some of these stay closed all the same: reason and message.
    pub faults: BTreeMap<String, (&'static str, &'static str)>,
    /// The endpoints that storage grants have open, each for the pods of an account.
    pub endpoints: Vec<(StorageEndpoint, String)>,
    pub peers: BTreeMap<String, ResearchNamespaceSpec>,
    /// ResearchNamespaces that are not enforced.
    pub unenforced: BTreeSet<String>,
    /// The Namespaces that a gateway may be in and that are not there.
    pub absent: BTreeSet<String>,
    /// The pods of gateways that are on the network of their nodes, by their namespaces, with their labels.
    pub on_nodes: BTreeMap<String, (BTreeMap<String, String>, PodOnNode)>,
    pub dns_addresses: Vec<IpAddr>,
    pub dns_ports: Vec<PolicyPort>,
    /// What is known of names.
    pub known: BTreeMap<String, KnownName>,
    pub namespace: Option<ObservedNamespace>,
    /// When a Namespace that stood got the label of a research namespace, which admission may see later.
    pub taken_over: Option<Timestamp>,
    pub objects: Objects,
    /// The grants that are there.
    pub grants: BTreeSet<GrantRef>,
    /// What a look into the Namespace finds beside the objects.
    pub inspection: Inspection,
    pub pods: Option<usize>,
    pub open_grants: usize,
    pub now: Timestamp,
    /// When the review is due that a grant owes.
    pub owed_review: Option<Timestamp>,
    /// What the API server refuses.
    pub refusals: Refusals,
}

impl World {
    /// A cluster in which there is nothing but the declaration.
    pub fn new(declared: ResearchNamespace) -> Self {
        World {
            declared: Some(declared),
            undecodable: false,
            settings: Settings::new(None),
            allowlists: Allowlists::new(),
            granted: BTreeMap::new(),
            faults: BTreeMap::new(),
            endpoints: Vec::new(),
            peers: BTreeMap::new(),
            unenforced: BTreeSet::new(),
            absent: BTreeSet::new(),
            on_nodes: BTreeMap::new(),
            dns_addresses: vec![[10, 96, 0, 10].into()],
            dns_ports: Vec::new(),
            known: BTreeMap::new(),
            namespace: None,
            taken_over: None,
            objects: of_grants(),
            grants: [GrantRef { kind: GrantKind::StorageAccessGrant, name: "eval".into() }].into(),
            inspection: Inspection::default(),
            pods: Some(0),
            open_grants: 0,
            now: at(0),
            owed_review: None,
            refusals: Refusals::default(),
        }
    }

    pub fn plan(&self) -> Plan<ResearchNamespaceStatus> {
        let allowlists = self.allowlists.iter().map(|(name, allowlist)| {
            let known = allowlist.as_ref().map_or(KnownAllowlist::Undecodable, KnownAllowlist::Read);
            (name.as_str(), known)
        });
        let declared = match &self.declared {
            None => DeclaredNamespace::Absent,
            Some(object) if self.undecodable => DeclaredNamespace::Undecodable {
                metadata: &object.metadata,
                status: object.status.as_ref(),
                error: "unknown field",
            },
            Some(object) => DeclaredNamespace::Read(object),
        };
        let children = self.objects.observe();
        let found = Inspection { children: children.clone(), ..self.inspection.clone() };
        let asks = |namespace: &&ObservedNamespace| namespace::wants_inspection(NAME, declared, namespace, self.now);
        let fault = |grant: &String| self.faults.get(grant).copied();
        let granted = self.granted.iter().map(|(grant, rule)| GrantedRule { grant, rule, fault: fault(grant) });
        namespace::plan(&Input {
            name: NAME,
            declared,
            settings: &self.settings,
            allowlists: &allowlists.collect(),
            endpoints: &self.endpoints.iter().map(|(end, account)| (end, Some(account.as_str()))).collect::<Vec<_>>(),
            granted: &granted.collect::<Vec<_>>(),
            peers: &|peer| match self.peers.get(peer) {
                Some(spec) => PeerFound::Enforced(Peer { spec }),
                None if self.unenforced.contains(peer) => PeerFound::NotEnforced,
                None => PeerFound::Absent,
            },
            is_namespace: &|name| !self.absent.contains(name),
            pods_on_nodes: &|namespace, selector| {
                let (labels, pod) = self.on_nodes.get(namespace)?;
                selector.matches(labels).then(|| pod.clone())
            },
            services: &service,
            hosts: &|host| self.known.get(&host.name.to_string()).cloned(),
            dns_addresses: &self.dns_addresses,
            dns_ports: &self.dns_ports,
            namespace: self.namespace.as_ref(),
            children: &children,
            has_grant: &|grant| self.grants.contains(grant),
            inspection: self.namespace.as_ref().filter(asks).map(|_| &found),
            pods: self.pods,
            open_grants: self.open_grants,
            owed_review: self.owed_review.map(|due| OwedReview {
                kind: cloister_api::GrantKind::RoleGrant,
                grant: "eval",
                who: "alice",
                due,
                said: OWED,
            }),
            now: self.now,
        })
    }

    /// Does one action.
    pub fn perform(&mut self, action: &Action) -> Result<(), Failed> {
        match action {
            Action::AddFinalizer => self.finalizers().push(labels::NAMESPACE_FINALIZER.to_owned()),
            Action::DropFinalizer => self.finalizers().retain(|held| held != labels::NAMESPACE_FINALIZER),
            Action::ApplyNamespace(labels) => self.label(labels),
            Action::MarkAdopting(since) => {
                let labels = &mut self.namespace.as_mut().expect("there is a Namespace").labels;
                match since {
                    Some(since) => drop(labels.insert(labels::ADOPTING.into(), since.as_second().to_string().into())),
                    None => drop(labels.remove(labels::ADOPTING)),
                }
            }
            Action::RenewAccount { name, uid } => {
                let account = self.inspection.accounts.iter_mut().find(|account| account.name == *name);
                let account = account.filter(|account| account.uid == *uid).expect("there is this account");
                account.uid = RENEWED.to_owned();
            }
            Action::DeleteNamespace { uid } => {
                if let Some(namespace) = self.namespace.as_mut().filter(|namespace| *namespace.uid == **uid) {
                    namespace.terminating = true;
                }
            }
            Action::Apply(child) => {
                let since = self.taken_over.map_or(i64::MAX, |since| self.now.as_second() - since.as_second());
                assert!(since >= SEEN, "{} is written {since} s after the takeover", child.key());
                self.objects.apply(child)?;
            }
            Action::Delete(key) => self.objects.delete(key)?,
            Action::Release(key) => self.objects.edit(key, |metadata| {
                metadata.finalizers.get_or_insert_default().retain(|held| held != labels::ENFORCED_FINALIZER);
            }),
            Action::CopyCredential { .. }
            | Action::Unmount { .. }
            | Action::ConfirmPodsGone { .. }
            | Action::DestroyCredential { .. }
            | Action::DeletePod { .. } => {
                panic!("a grant's matter: {action:?}")
            }
        }
        Ok(())
    }

    fn finalizers(&mut self) -> &mut Vec<String> {
        self.declared.as_mut().expect("there is an object").metadata.finalizers.get_or_insert_default()
    }

    fn label(&mut self, wanted: &NamespaceLabels) {
        let stood = self.namespace.as_ref().map(|namespace| namespace.labels.contains_key(labels::RESEARCH_NAMESPACE));
        self.taken_over = match stood {
            None => None,
            Some(true) => self.taken_over,
            Some(false) => Some(self.now),
        };
        let namespace = self.namespace.get_or_insert_with(|| ObservedNamespace {
            uid: "u".into(),
            labels: BTreeMap::new(),
            adopt: None,
            terminating: false,
            created: None,
            held_by: None,
        });
        assert!(wanted.keys().all(|key| is_owned_label(key)), "{wanted:?}");
        namespace.labels = wanted.iter().map(|(key, value)| ((*key).into(), value.as_str().into())).collect();
    }

    /// Carries out a plan, or only so many of its actions; what may run together in this rotation. `check` sees the
    /// cluster and each action before it is done, and the cluster once more at the end.
    pub fn carry_out(
        &mut self,
        plan: &Plan<ResearchNamespaceStatus>,
        mut budget: usize,
        rotation: usize,
        check: &mut dyn FnMut(&World, Option<&Action>),
    ) {
        let mut crashed = false;
        let outcome = steps::carry_out(plan, rotation, |action| {
            crashed |= budget == 0;
            if crashed {
                return Err(Failed::ForNow);
            }
            budget -= 1;
            self.refusals.of(action)?;
            check(self, Some(action));
            self.perform(action)
        });
        if crashed {
            return check(self, None);
        }
        if !outcome.failures.is_empty() {
            // The controller writes down what failed.
            if let Some(object) = self.declared.as_mut().filter(|_| !self.undecodable) {
                let failed = namespace::failed(object, plan.status.clone(), &outcome.reported(|_| true), self.now);
                object.status = failed.or(object.status.take());
            }
            self.environment();
            return check(self, None);
        }
        if let (Some(object), Some(status), true) = (&mut self.declared, &plan.status, budget > 0) {
            object.status = Some(status.clone());
        }
        self.environment();
        check(self, None);
    }

    /// What others in the cluster do by themselves.
    pub fn environment(&mut self) {
        let gone = |object: &ResearchNamespace| {
            let held = object.metadata.finalizers.as_deref().unwrap_or_default();
            object.metadata.deletion_timestamp.is_some() && held.is_empty()
        };
        self.declared = self.declared.take().filter(|object| !gone(object));
        if self.namespace.as_ref().is_some_and(|namespace| namespace.terminating) {
            let keys: Vec<ChildKey> = self.objects.0.keys().cloned().collect();
            // What is about the namespace and not in it does not go with it.
            let inside = keys.iter().filter(|key| key.kind != ChildKind::ClusterNetworkPolicy);
            let held = inside.filter(|key| self.objects.delete(key).is_err()).count();
            if held == 0 && self.pods == Some(0) {
                self.namespace = None;
            }
        }
    }

    /// Plans and carries out until there is nothing left to do, and says how many rounds it took.
    pub fn settle(&mut self, check: &mut dyn FnMut(&World, Option<&Action>)) -> usize {
        for round in 0..12 {
            let plan = self.plan();
            if plan.is_empty() {
                // Only the time that a Namespace takes to be closed is waited for.
                match plan.next.filter(|next| *next > self.now && self.is_adopting()) {
                    Some(next) if !self.is_refused() => self.now = next,
                    _ => return round,
                }
                continue;
            }
            self.carry_out(&plan, usize::MAX, round, check);
        }
        panic!("does not come to rest: {:#?}", self.plan());
    }

    /// Whether the Namespace is closed because it is offered for adoption.
    pub fn is_adopting(&self) -> bool {
        self.namespace.as_ref().is_some_and(|namespace| namespace.labels.contains_key(labels::ADOPTING))
    }

    /// Whether it is said that somebody must change something first.
    fn is_refused(&self) -> bool {
        let status = self.declared.as_ref().and_then(|declared| declared.status.as_ref());
        status.is_some_and(|status| status.conditions.iter().any(|condition| condition.type_ == "Stalled"))
    }

    pub fn deny_stands(&self) -> bool {
        self.objects.0.contains_key(&deny_all())
    }

    pub fn is_enforced(&self) -> bool {
        self.namespace.as_ref().is_some_and(ObservedNamespace::is_enforced)
    }

    /// The names of the children of a kind.
    pub fn names(&self, kind: ChildKind) -> Vec<&str> {
        self.objects.0.keys().filter(|key| key.kind == kind).map(|key| &*key.name).collect()
    }
}

pub fn deny_all() -> ChildKey {
    ChildKey::new(ChildKind::NetworkPolicy, DENY_ALL)
}

/// Whether it belongs to a grant, as [`World::new`] has put it there.
pub fn is_of_grant(key: &ChildKey) -> bool {
    key.kind == ChildKind::GrantMount || key.name.starts_with("cloister-grant.")
}

/// What grants have opened.
fn of_grants() -> Objects {
    let mut objects = Objects::default();
    let mut metadata = build::object_meta(NAME, "cloister-grant.eval");
    let of_grant = metadata.labels.get_or_insert_default();
    of_grant.insert(labels::GRANT.to_owned(), "eval".to_owned());
    of_grant.insert(labels::GRANT_KIND.to_owned(), GrantKind::StorageAccessGrant.as_str().to_owned());
    let spec = network_policies::own_pods(NAME).spec;
    let policy = NetworkPolicy { metadata: metadata.clone(), spec };
    let binding = build::role_binding(metadata, "cloister:storage-reader", NAME, &[]);
    let key = CredentialMountKey { storage: "weights".into(), role: "reader".into(), account: "trainer".into() };
    let spec = GrantMountSpec {
        service_account_name: key.account.clone(),
        secret_name: "s".into(),
        volume_name: "v".into(),
        mount_path: "/mnt/weights".into(),
    };
    let mount = GrantMount { metadata: build::object_meta(NAME, &mount_name(&key)), spec };
    for child in [
        Child::NetworkPolicy(policy),
        Child::RoleBinding(RoleBinding { subjects: None, ..binding }),
        Child::GrantMount(Box::new(mount)),
    ] {
        objects.apply(&child).unwrap();
    }
    objects
}

/// Whether applying it lets something through or somebody in.
pub fn opens(child: &Child) -> bool {
    let bound = ChildKey::new(ChildKind::ClusterNetworkPolicy, "cloister.interp.deny");
    let kind = child.kind();
    let decides = kind.is_policy() || kind.is_access() || kind == ChildKind::ClusterNetworkPolicy;
    decides && child.key() != deny_all() && child.key() != bound
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}
