//! A simulated cluster around a few grants of one namespace, whose plans are carried out as the controller does.

use super::{
    objects::{Failed, Objects, service},
    steps::{self, Refusals},
};
use cloister_api::*;
use cloister_core::{
    cluster::{role_facts::RoleFacts, settings::Settings},
    dns,
    egress::{AllowRule, ServiceFacts},
    grant,
    grant::{
        Beside, Catalogue, CredentialFacts, CredentialMountKey, DeclaredGrant, Grant, Holder, Home, Input, Listed,
        Lookup, Other, OtherMount, SETTLING, UnreviewedBreakGlass, has_begun, is_approved, is_open, last_call,
        may_hold, mount_name, mount_named_by, owes_review, same_person, secret_name,
    },
    model::{
        child::{ChildKey, ChildKind, GrantRef},
        hold::Held,
        plan::{Action, Plan},
        suggest::closest,
    },
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Deref, DerefMut},
    sync::Arc,
};

pub const NAMESPACE: &str = "interp";

fn account(name: &str) -> ServiceAccountTemplate {
    ServiceAccountTemplate { name: name.to_owned(), annotations: BTreeMap::new(), image_pull_secrets: Vec::new() }
}

/// The metadata of an object with these annotations.
pub fn annotated(annotations: &BTreeMap<&str, &str>) -> ObjectMeta {
    let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }
}

/// What seldom changes. Copies of a world have it in common until one of them changes it.
#[derive(Clone, Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    pub fn new(value: T) -> Self {
        Shared(Arc::new(value))
    }
}

impl<T: Clone> Shared<T> {
    pub fn into_inner(self) -> T {
        Arc::unwrap_or_clone(self.0)
    }
}

impl<T: FromIterator<I>, I> FromIterator<I> for Shared<T> {
    fn from_iter<A: IntoIterator<Item = I>>(all: A) -> Self {
        Shared::new(all.into_iter().collect())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

/// An object of the catalogue.
#[derive(Clone, Debug)]
pub enum Shelf<T> {
    Absent,
    Undecodable,
    Read(Shared<T>),
}

impl<T> Shelf<T> {
    fn known(&self) -> Lookup<'_, T> {
        match self {
            Shelf::Absent => Lookup::Absent,
            Shelf::Undecodable => Lookup::Undecodable,
            Shelf::Read(object) => Lookup::Read(object),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    pub secrets: BTreeSet<String>,
    /// Whether the operator has deleted it.
    pub terminating: bool,
    /// Whether its owner has deleted it, with a grace that has no end.
    pub lingers: bool,
    /// Whether it holds them in a form that the kubelet does not empty.
    pub lasting: bool,
    pub created: Option<Timestamp>,
}

/// How the one Service is.
#[derive(Clone, Debug, Default)]
pub struct ServiceState {
    pub is_absent: bool,
    /// How often it was made anew.
    pub made: u32,
}

#[derive(Clone, Debug)]
pub struct World {
    /// By key: the name of a StorageAccessGrant, or that of another grant after `egress/` or `role/`.
    pub grants: BTreeMap<String, Grant>,
    /// Those that cannot be read.
    pub undecodable: BTreeSet<String>,
    pub storage: Shelf<StorageResource>,
    /// Others than that one, by name.
    pub storages: Shared<BTreeMap<String, StorageResource>>,
    /// What allowlists open in the namespace.
    pub agreed: Shared<Vec<AllowRule>>,
    /// The Services that allowlists of its namespace name.
    pub named_services: Shared<BTreeSet<ServiceReference>>,
    pub role: Shelf<AccessRole>,
    pub policy: Shelf<AccessPolicy>,
    pub cluster_roles: Shared<BTreeMap<String, RoleFacts>>,
    /// The version of the credential's Secret.
    pub credential: Option<u32>,
    /// What the credential's Secret says of itself.
    pub annotations: Shared<BTreeMap<&'static str, &'static str>>,
    /// How the Service is.
    pub service: ServiceState,
    pub settings: Shared<Settings>,
    /// What is known of names.
    pub known: Shared<BTreeMap<String, dns::KnownName>>,
    /// Why nothing is opened.
    pub held: Option<Held>,
    /// Whether the record holds all that was said.
    pub recorded: bool,
    pub home: Home,
    pub members: Vec<Member>,
    pub accounts: Shared<Vec<ServiceAccountTemplate>>,
    /// The egress rules that the namespace declares.
    pub rules: Shared<Vec<EgressRule>>,
    pub reviews: Vec<AccessReview>,
    pub objects: Objects,
    /// The copies of credentials.
    pub secrets: BTreeSet<String>,
    pub pods: BTreeMap<String, Pod>,
    /// The pods as the operator knows them, while their watch is silent.
    pub stale: Option<BTreeMap<String, Pod>>,
    pub now: Timestamp,
    /// What the API server refuses.
    pub refusals: Refusals,
}

impl World {
    pub fn new(storage: StorageResource, policy: AccessPolicy) -> Self {
        let bindable = ["cloister:storage-reader", "cloister:debugger"];
        World {
            grants: BTreeMap::new(),
            undecodable: BTreeSet::new(),
            storage: Shelf::Read(Shared::new(storage)),
            storages: Shared::default(),
            agreed: Shared::default(),
            named_services: Shared::default(),
            role: Shelf::Read(Shared::new(debugger())),
            policy: Shelf::Read(Shared::new(policy)),
            cluster_roles: Shared::new(bindable.map(|name| (name.to_owned(), role_facts(&["pods/exec"], true))).into()),
            credential: Some(1),
            annotations: Shared::new([(labels::STORAGE_RESOURCES, "weights, weights-2")].into()),
            service: ServiceState::default(),
            settings: Shared::new(Settings::new(Some(&settings()))),
            known: Shared::default(),
            held: None,
            recorded: true,
            home: Home::Enforced,
            members: Vec::new(),
            accounts: Shared::new(["trainer", "eval"].map(account).to_vec()),
            rules: Shared::default(),
            reviews: Vec::new(),
            objects: Objects::default(),
            secrets: BTreeSet::new(),
            pods: BTreeMap::new(),
            stale: None,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            refusals: Refusals::default(),
        }
    }

    /// Declares a ServiceAccount, or does so no more.
    pub fn declare(&mut self, name: &str, is_declared: bool) {
        self.accounts.retain(|account| account.name != name);
        self.accounts.extend(is_declared.then(|| account(name)));
    }

    pub fn can_read(&self, key: &str) -> bool {
        !self.undecodable.contains(key)
    }

    /// The pods that hold the Secret of a mount, as far as the operator knows.
    pub fn holders(&self, mount: &str) -> Vec<Holder> {
        holding(self.stale.as_ref().unwrap_or(&self.pods), mount)
    }

    /// The pods that hold the Secret of a mount.
    pub fn true_holders(&self, mount: &str) -> Vec<Holder> {
        holding(&self.pods, mount)
    }

    /// The mount of a grant, by its spec or, where that cannot be read, by its status.
    pub fn mount_of(&self, key: &str) -> Option<String> {
        let grant = &self.grants[key];
        mount_named_by(Some(grant).filter(|_| self.can_read(key)), grant.status())
    }

    /// Whether the pods that start now get what is behind a mount: admission takes a moment to notice that they should not.
    pub fn is_injected(&self, mount: &ChildKey) -> bool {
        let seen = self.objects.seen(mount);
        let since = seen.as_ref().and_then(|seen| seen.mount.as_ref()?.unmounted_at);
        seen.is_some_and(|seen| seen.version.is_some_and(|version| !version.is_empty()))
            || since.is_some_and(|since| self.now < since + SETTLING && since <= self.now)
    }

    /// Lets admission notice what was unmounted, and answers whether it had to.
    pub fn let_admission_notice(&mut self) -> bool {
        let mounts: Vec<ChildKey> =
            self.objects.0.keys().filter(|key| key.kind == ChildKind::GrantMount).cloned().collect();
        let unsettled = |mount: &ChildKey| {
            let seen = self.objects.seen(mount);
            seen.is_some_and(|seen| seen.version.is_none_or(|version| version.is_empty())) && self.is_injected(mount)
        };
        let has_to = mounts.iter().any(unsettled);
        if has_to {
            self.now += SETTLING;
        }
        has_to
    }

    /// Whether another grant than this one speaks for a mount: it may have opened it, and takes it away itself.
    pub fn is_claimed_by_another(&self, but: &str, mount: &str) -> bool {
        self.grants.iter().filter(|(key, _)| *key != but).any(|(key, grant)| {
            let begun = !self.can_read(key) || has_begun(grant, self.now);
            grant.status().is_some_and(may_hold) && begun && self.mount_of(key).as_deref() == Some(mount)
        })
    }

    fn endpoints(&self) -> Vec<(&str, &StorageEndpoint)> {
        let others = self.storages.iter().map(|(name, storage)| (name.as_str(), storage));
        let one = match self.storage.known() {
            Lookup::Read(storage) => Some(("weights", storage)),
            Lookup::Absent | Lookup::Undecodable => None,
        };
        others.chain(one).filter_map(|(name, storage)| Some((name, storage.spec.endpoint.as_ref()?))).collect()
    }

    /// What is known when it is decided about a grant.
    pub fn with_input<T>(&self, key: &str, decide: impl FnOnce(&Input<'_>) -> T) -> T {
        let object = &self.grants[key];
        let mount = self.mount_of(key).unwrap_or_default();
        let others = self.grants.iter().filter(|(other, _)| *other != key && self.can_read(other));
        let others: Vec<(&Grant, String, &Mount)> = others
            .filter(|(_, other)| is_approved(other, self.now))
            .filter_map(|(_, other)| Some((other, mount_of(other)?, mounted(other)?)))
            .filter(|(_, _, at)| {
                mounted(object).is_none_or(|mount| mount.service_account_name == at.service_account_name)
            })
            .collect();
        let other_mounts: Vec<OtherMount<'_>> = others
            .iter()
            .map(|(other, mount, at)| OtherMount {
                name: other.name(),
                mount,
                mount_path: &at.mount_path,
                is_open: is_open(other, self.now),
                last_call: other.status().and_then(last_call),
            })
            .collect();
        let declared = if self.can_read(key) {
            DeclaredGrant::Read(object)
        } else {
            DeclaredGrant::Undecodable { metadata: object.metadata(), status: object.status(), error: "unknown field" }
        };
        let reference = reference(key);
        let named = |review: &&AccessReview| {
            let named = &review.spec.request_ref;
            named.kind == reference.kind && *named.name == *reference.name
        };
        let reviews: Vec<&AccessReview> = self.reviews.iter().filter(named).collect();
        decide(&Input {
            namespace: NAMESPACE,
            grant: reference.clone(),
            declared,
            catalogue: Catalogue {
                storages: &|name| match self.storages.get(name) {
                    Some(storage) => Lookup::Read(storage),
                    None if name.starts_with("weights") => self.storage.known(),
                    None => Lookup::Absent,
                },
                roles: &|name| if name == "debugger" { self.role.known() } else { Lookup::Absent },
                policies: &|name| match &self.policy {
                    Shelf::Read(policy) if policy.metadata.name.as_deref() != Some(name) => Lookup::Absent,
                    policy => policy.known(),
                },
                endpoints: &|| self.endpoints(),
                meant: &|listed, name| {
                    let there = match listed {
                        Listed::Storage => "weights",
                        Listed::Role => "debugger",
                        Listed::Policy => "standard",
                        Listed::ClusterRole => "cloister:debugger",
                    };
                    closest(name, [there].into_iter()).map(str::to_owned)
                },
                cluster_roles: &|name| self.cluster_roles.get(name),
                services: &|reference| {
                    service(reference)
                        .filter(|_| !self.service.is_absent)
                        .map(|facts| ServiceFacts { uid: format!("{}{}", facts.uid, self.service.made), ..facts })
                },
                hosts: &|host| self.known.get(&host.name.to_string()).cloned(),
                credentials: &|_| self.credential.map(|version| self.facts(version)),
                others: &|requester| self.others(key, requester),
                unreviewed_break_glass: &|requester| self.unreviewed_break_glass(key, requester),
            },
            settings: &self.settings,
            held: self.held,
            recorded: self.recorded,
            home: self.home,
            members: &self.members,
            accounts: &self.accounts,
            rules: &self.rules,
            role_holders: &self.role_holders(key),
            beside: Beside {
                agreed: &|| self.agreed.to_vec(),
                services: &|| BTreeSet::clone(&self.named_services),
                grants: &|| {
                    let others = self.grants.iter().filter(|(other, _)| *other != key && self.can_read(other));
                    others.map(|(_, grant)| grant).collect()
                },
            },
            reviews: &reviews,
            children: &self.objects.observe(),
            mount_is_claimed: self.is_claimed_by_another(key, &mount),
            other_mounts: &other_mounts,
            holders: &self.holders(&mount),
            now: self.now,
        })
    }

    pub fn plan(&self, key: &str) -> Plan<GrantStatus> {
        self.with_input(key, grant::plan)
    }

    /// What is known of the credential: a version that is 0 is of one that was emptied.
    fn facts(&self, version: u32) -> CredentialFacts {
        let content = (version > 0).then(|| version.to_string().into());
        CredentialFacts::of(&annotated(&self.annotations), content)
    }

    /// The other grants of somebody that have not ended.
    fn others(&self, but: &str, requester: &Identity) -> Vec<Other<'_>> {
        let theirs = |grant: &Grant| grant.terms().requested_by.is_some_and(|other| same_person(other, requester));
        let grants = self.grants.iter().filter(|(key, _)| *key != but && self.can_read(key));
        let open = grants.filter(|(_, grant)| !grant.phase().has_ended() && theirs(grant));
        open.map(|(key, grant)| Other { grant, is_earlier: **key < *but }).collect()
    }

    /// Who has a role by another grant.
    fn role_holders(&self, but: &str) -> Vec<&Subject> {
        let others = self.grants.iter().filter(|(key, _)| *key != but && self.can_read(key));
        let roles = others.filter_map(|(_, grant)| match grant {
            Grant::Role(role) if role.status.as_ref().is_some_and(may_hold) => Some(&role.spec.subjects),
            _ => None,
        });
        roles.flatten().collect()
    }

    /// Another grant by which somebody used break-glass, and which is not reviewed.
    fn unreviewed_break_glass(&self, but: &str, requester: &Identity) -> Option<UnreviewedBreakGlass> {
        let theirs = |grant: &Grant| grant.terms().requested_by.is_some_and(|other| same_person(other, requester));
        let mut owing = self.grants.iter().filter(|(key, grant)| {
            let reviews: Vec<&AccessReview> = self.reviews.iter().collect();
            *key != but && owes_review(grant, &reviews) && theirs(grant)
        });
        owing.next().map(|(key, grant)| UnreviewedBreakGlass::of(reference(key).to_string(), grant.status()))
    }

    /// Does one action for a grant.
    pub fn perform(&mut self, key: &str, action: &Action) -> Result<(), Failed> {
        match action {
            Action::AddFinalizer => self.finalizers(key).push(labels::GRANT_FINALIZER.to_owned()),
            Action::DropFinalizer => self.finalizers(key).retain(|held| held != labels::GRANT_FINALIZER),
            Action::Apply(child) => self.objects.apply(child)?,
            Action::Delete(key) => self.objects.delete(key)?,
            Action::CopyCredential { to, .. } => {
                if self.credential.is_none() {
                    return Err(Failed::ForNow);
                }
                self.secrets.insert(to.clone());
            }
            Action::Unmount { name, at } => {
                let mount = ChildKey::new(ChildKind::GrantMount, name);
                self.objects.edit(&mount, |metadata| {
                    let annotations = metadata.annotations.get_or_insert_default();
                    annotations.insert(labels::CREDENTIAL_VERSION.to_owned(), String::new());
                    annotations.insert(labels::UNMOUNTED_AT.to_owned(), at.to_string());
                });
            }
            Action::ConfirmPodsGone { secret, on_expiry } => {
                // What was seen is known from then on.
                if let Some(stale) = &mut self.stale {
                    stale.clone_from(&self.pods);
                }
                let mount = secret.strip_prefix(labels::GRANT_SECRET_PREFIX).expect("the name of a copy");
                if self.true_holders(mount).iter().any(|holder| holder.must_go(*on_expiry)) {
                    return Err(Failed::ForNow);
                }
            }
            Action::DestroyCredential { name } => drop(self.secrets.remove(name)),
            Action::DeletePod { name, uid } => {
                assert_eq!(name, uid);
                if let Some(pod) = self.pods.get_mut(name) {
                    pod.terminating = true;
                }
            }
            Action::ApplyNamespace(_)
            | Action::MarkAdopting(_)
            | Action::RenewAccount { .. }
            | Action::DeleteNamespace { .. }
            | Action::Release(_) => {
                panic!("a namespace's matter: {action:?}")
            }
        }
        Ok(())
    }

    fn finalizers(&mut self, key: &str) -> &mut Vec<String> {
        self.grants.get_mut(key).expect("there is a grant").metadata_mut().finalizers.get_or_insert_default()
    }

    /// Carries out a plan, or only so many of its actions, and says whether it is done. `check` sees the cluster and
    /// each action before it is done.
    pub fn carry_out(
        &mut self,
        key: &str,
        plan: &Plan<GrantStatus>,
        mut budget: usize,
        check: &mut dyn FnMut(&World, &str, &Action),
    ) -> bool {
        let mut crashed = false;
        let mut found = false;
        let outcome = steps::carry_out(plan, budget % 7, |action| {
            crashed |= budget == 0;
            if crashed {
                return Err(Failed::ForNow);
            }
            budget -= 1;
            self.refusals.of(action)?;
            check(self, key, action);
            let result = self.perform(key, action);
            found |= result.is_err() && matches!(action, Action::ConfirmPodsGone { .. });
            result
        });
        if crashed {
            return false;
        }
        if found {
            // It was decided by what was known before: it is decided anew.
            return false;
        }
        if !outcome.failures.is_empty() {
            // The controller writes down what failed.
            if let Some(grant) = self.grants.get_mut(key).filter(|_| !self.undecodable.contains(key)) {
                let failed = grant::failed(
                    grant.metadata(),
                    grant.status(),
                    plan.status.clone().or(plan.if_failed.clone()),
                    &outcome.reported(|_| true),
                    self.now,
                );
                *grant.status_mut() = failed.or(grant.status_mut().take());
            }
            return false;
        }
        let grant = self.grants.get_mut(key).filter(|_| budget > 0);
        if let (Some(grant), Some(status)) = (grant, &plan.status) {
            *grant.status_mut() = Some(status.clone());
        }
        budget > 0
    }

    /// What others in the cluster do by themselves.
    pub fn environment(&mut self) {
        self.answer_reviews_of_deleted_grants();
        let held = |grant: &Grant| !grant.metadata().finalizers.as_deref().unwrap_or_default().is_empty();
        self.grants.retain(|_, grant| grant.metadata().deletion_timestamp.is_none() || held(grant));
        let uids: BTreeSet<&String> = self.grants.values().filter_map(|grant| grant.metadata().uid.as_ref()).collect();
        let there: BTreeSet<GrantRef> = self.grants.keys().map(|key| reference(key)).collect();
        // What stands in the name of a grant that is not there, the plan of the namespace takes away.
        let orphans: Vec<ChildKey> = self.objects.0.keys().cloned().collect();
        for key in orphans {
            if self.objects.seen(&key).and_then(|seen| seen.grant).is_some_and(|grant| !there.contains(&grant)) {
                let _ = self.objects.delete(&key);
            }
        }
        // Garbage collection.
        self.objects.0.retain(|_, child| {
            let mut owners = child.metadata().owner_references.iter().flatten();
            child.metadata().owner_references.is_none() || owners.any(|owner| uids.contains(&owner.uid))
        });
    }

    /// What the controller does about reviews, as far as a grant waits for it.
    fn answer_reviews_of_deleted_grants(&mut self) {
        let deleted = self.grants.iter().filter(|(_, grant)| grant.metadata().deletion_timestamp.is_some());
        for key in deleted.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            let said: Vec<_> = self.with_input(&key, |input| {
                let names = |review: &AccessReview| review.metadata.name.clone();
                let all = input.reviews.iter();
                all.map(|review| (names(review), grant::review(review, Some(input), None, self.now))).collect()
            });
            for (name, status) in said {
                let review = self.reviews.iter_mut().find(|review| review.metadata.name == name);
                if let (Some(review), Some(status)) = (review, status) {
                    review.status = Some(status);
                }
            }
        }
    }

    /// Makes a new request under this key, unless there is one.
    pub fn ask(&mut self, key: &str, spec: Spec, uid: String) {
        let metadata = ObjectMeta {
            name: Some(reference(key).name.to_string()),
            namespace: Some(NAMESPACE.to_owned()),
            uid: Some(uid),
            creation_timestamp: Some(Time(self.now)),
            ..ObjectMeta::default()
        };
        self.grants.entry(key.to_owned()).or_insert_with(|| spec.made(metadata));
    }

    /// What stands in the name of a grant.
    pub fn children_of(&self, key: &str) -> usize {
        let reference = reference(key);
        let grants = self.objects.0.keys().filter_map(|key| self.objects.seen(key)?.grant);
        grants.filter(|grant| *grant == reference).count()
    }

    /// Whether a credential is there: in new pods, or in its Secret.
    pub fn has_mount(&self, mount: &str) -> bool {
        let seen = self.objects.seen(&ChildKey::new(ChildKind::GrantMount, mount));
        seen.is_some_and(|seen| seen.version.is_some_and(|version| !version.is_empty()))
            || self.secrets.contains(&secret_of(mount))
    }
}

/// What a grant of some kind asks for.
#[derive(Clone, Debug)]
pub enum Spec {
    Storage(Box<StorageAccessGrantSpec>),
    Egress(Box<EgressGrantSpec>),
    Role(Box<RoleGrantSpec>),
}

impl Spec {
    fn made(self, metadata: ObjectMeta) -> Grant {
        match self {
            Spec::Storage(spec) => Grant::Storage(StorageAccessGrant { metadata, spec: *spec, status: None }),
            Spec::Egress(spec) => Grant::Egress(EgressGrant { metadata, spec: *spec, status: None }),
            Spec::Role(spec) => Grant::Role(RoleGrant { metadata, spec: *spec, status: None }),
        }
    }

    /// The spec of the grant of this key.
    pub fn of(key: &str, spec: serde_json::Value) -> Self {
        match reference(key).kind {
            GrantKind::StorageAccessGrant => Spec::Storage(Box::new(serde_json::from_value(spec).unwrap())),
            GrantKind::EgressGrant => Spec::Egress(Box::new(serde_json::from_value(spec).unwrap())),
            GrantKind::RoleGrant => Spec::Role(Box::new(serde_json::from_value(spec).unwrap())),
        }
    }
}

/// The kind and the name of the grant of a key.
pub fn reference(key: &str) -> GrantRef {
    match key.split_once('/') {
        None => GrantRef { kind: GrantKind::StorageAccessGrant, name: key.into() },
        Some(("egress", name)) => GrantRef { kind: GrantKind::EgressGrant, name: name.into() },
        Some(("role", name)) => GrantRef { kind: GrantKind::RoleGrant, name: name.into() },
        Some(_) => panic!("{key} is no key of a grant"),
    }
}

/// One policy is enough.
fn settings() -> CloisterConfigSpec {
    CloisterConfigSpec {
        egress: EgressConfig { access_policy: "standard".to_owned(), ..EgressConfig::default() },
        ..CloisterConfigSpec::default()
    }
}

pub fn debugger() -> AccessRole {
    let spec = AccessRoleSpec {
        description: String::new(),
        cluster_role: "cloister:debugger".to_owned(),
        access_policy: "standard".to_owned(),
    };
    AccessRole::new("debugger", spec)
}

/// A ClusterRole that lets create these.
pub fn role_facts(resources: &[&str], bindable: bool) -> RoleFacts {
    let rule = serde_json::json!({"apiGroups": [""], "resources": resources, "verbs": ["create"]});
    RoleFacts::of(&serde_json::from_value(serde_json::json!({"rules": [rule]})).unwrap(), bindable)
}

pub fn mounted(grant: &Grant) -> Option<&Mount> {
    match grant {
        Grant::Storage(grant) => grant.spec.mount.as_ref(),
        _ => None,
    }
}

pub fn mount_of(grant: &Grant) -> Option<String> {
    CredentialMountKey::of(grant).map(|key| {
        assert_eq!(secret_name(&key), secret_of(&mount_name(&key)));
        mount_name(&key)
    })
}

fn holding(pods: &BTreeMap<String, Pod>, mount: &str) -> Vec<Holder> {
    let secret = secret_of(mount);
    let holding = pods.iter().filter(|(_, pod)| pod.secrets.contains(&secret));
    holding
        .map(|(name, pod)| Holder {
            name: name.clone(),
            uid: name.clone(),
            grace: if pod.terminating { Some(1) } else { pod.lingers.then_some(i64::MAX) },
            emptied: !pod.lasting,
            created: pod.created,
        })
        .collect()
}

pub fn secret_of(mount: &str) -> String {
    format!("{}{mount}", labels::GRANT_SECRET_PREFIX)
}
