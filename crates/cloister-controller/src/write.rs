//! The one way out: every request that changes something in the cluster.
//!
//! Each has a time limit and counts against the limit of requests under way. What the API server answers goes into the
//! index at once, so that the next decision knows of it before the watch does.

mod credential;

use crate::{
    alerts::Alerts,
    decode::Decoded,
    error::Error,
    index::{Answer, Dirty, HeldCopy, Indexed},
    key::{Key, ObjectName},
    looks::Looks,
    metrics::Metrics,
    requests::Requests,
    store::Store,
};
use cloister_api::{
    AccessReview, EgressGrant, GrantKind, GrantMount, GrantPhase, OnExpiry, RoleGrant, StorageAccessGrant, labels,
    plugin::{CiliumNetworkPolicy, ClusterNetworkPolicy},
};
use cloister_core::{
    child::{Child, ChildKey, ChildKind},
    grant::{GRACE, Grant, goes_with},
    namespace::{children::DEFAULT_ACCOUNT, is_owned_label},
    plan::{Action, NamespaceLabels},
};
pub use credential::Destroyed;
use either::Either;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::{LimitRange, Namespace, Pod, ResourceQuota, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::{NamespaceResourceScope, PartialObjectMeta},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

/// The object that actions are done for.
pub struct Target<K> {
    /// Its key.
    pub key: Key,
    /// The namespace that the actions are about.
    pub namespace: Arc<str>,
    /// Its own API.
    pub api: Api<Decoded<K>>,
    /// Its metadata, where there is such an object.
    pub metadata: ObjectMeta,
    /// The finalizer that the operator holds on it.
    pub finalizer: &'static str,
    /// How its status was when it was decided.
    pub found: Found,
}

/// How a status was found, where it is written in whatever version there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It does not matter, or could not be read.
    Anyhow,
    /// Nothing was said yet, of which the API server says by default that it is pending.
    Unseen,
    /// In this phase.
    In(GrantPhase),
}

impl Found {
    /// That of a grant, as far as it could be read.
    pub fn of(grant: &Decoded<Grant>) -> Self {
        match (grant.status(), &grant.object) {
            (Some(status), _) => Found::In(status.phase),
            (None, Ok(_)) => Found::Unseen,
            (None, Err(_)) => Found::Anyhow,
        }
    }

    /// The part of a JSON patch that tests it.
    fn test(self) -> Option<Value> {
        match self {
            Found::Anyhow => None,
            Found::Unseen => Found::In(GrantPhase::default()).test(),
            Found::In(phase) => Some(json!({"op": "test", "path": "/status/phase", "value": phase})),
        }
    }
}

/// What is removed when it has been kept long enough.
#[derive(Clone, Copy, Debug)]
pub enum Removal {
    /// A grant.
    Grant(GrantKind),
    /// A review.
    Review,
}

/// Makes the requests.
pub struct Writer {
    /// By which they are made.
    pub requests: Arc<Requests>,
    /// What takes note of the answers.
    pub store: Arc<Store>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What hears that a status was taken.
    pub alerts: Arc<Alerts>,
    /// The copies of credentials that are known to be gone.
    pub destroyed: Destroyed,
    /// The looks at pods that must not rest on a watch.
    looks: Looks,
}

impl Writer {
    /// A writer.
    pub fn new(requests: Arc<Requests>, store: Arc<Store>, metrics: Arc<Metrics>, alerts: Arc<Alerts>) -> Self {
        Writer { requests, store, metrics, alerts, destroyed: Destroyed::default(), looks: Looks::default() }
    }

    fn client(&self) -> Client {
        self.requests.client()
    }

    /// Does one action.
    ///
    /// # Errors
    ///
    /// The request failed, or its effect is not confirmed.
    pub async fn perform<K>(&self, target: &Target<K>, action: Action) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
    {
        let namespace = &target.namespace;
        match action {
            Action::AddFinalizer => self.finalizer(target, true).await,
            Action::DropFinalizer => self.finalizer(target, false).await,
            Action::ApplyNamespace(labels) => self.apply_namespace(&target.key, namespace, &labels).await,
            Action::MarkAdopting(since) => self.mark_adopting(&target.key, namespace, since).await,
            Action::RenewAccount { name, uid } => self.renew_account(namespace, &name, uid).await,
            Action::DeleteNamespace { uid } => self.delete_namespace(&target.key, namespace, uid).await,
            Action::Apply(child) => self.apply(&target.key, namespace, *child).await,
            Action::Delete(key) => self.delete(&target.key, namespace, &key).await,
            Action::Release(key) => self.release(&target.key, namespace, &key).await,
            Action::CopyCredential { from, to } => self.copy_credential(namespace, &from, &to).await,
            Action::DestroyCredential { name } => self.destroy_credential(namespace, &name).await,
            Action::DeletePod { name, uid } => self.delete_pod(namespace, &name, uid).await,
            Action::Unmount { name, at } => self.unmount(&target.key, namespace, &name, at).await,
            Action::ConfirmPodsGone { secret, on_expiry } => self.confirm_pods_gone(namespace, secret, on_expiry).await,
        }
    }

    /// Writes the status of an object, whole, in the version that was read.
    ///
    /// A replacement costs the API server less than a patch: it need not write the object out to apply one.
    ///
    /// # Errors
    ///
    /// The request failed, also because the object is no longer what was read. That it is gone is no failure.
    pub async fn status<K, S>(&self, target: &Target<K>, status: &S) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
        S: Serialize,
    {
        let ObjectMeta { name, namespace, uid, resource_version, .. } = &target.metadata;
        let body = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": resource_version},
            "status": status,
        });
        let name = name.as_deref().unwrap_or_default();
        let request = kube::core::Request::new(target.api.resource_url())
            .replace_subresource("status", name, &create_params(), body.to_string().into_bytes())
            .map_err(kube::Error::BuildRequest);
        let client = self.client();
        self.metrics.wrote("update", target.key.kind());
        let request = async move { client.request(request?).await };
        self.said(target, self.requests.request(|| format!("write the status of {}", target.key), request).await)
    }

    /// Writes the status of an object, whole, in whatever version it is: its finalizer is written too. One that is in another
    /// phase by now has moved on without this operator, which may have been stopped for long: it stays as it is.
    ///
    /// # Errors
    ///
    /// The request failed, also because the object has moved on. That it is gone is no failure.
    pub async fn status_of_any_version<K, S>(&self, target: &Target<K>, status: &S) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
        S: Serialize,
    {
        let name = target.metadata.name.as_deref().unwrap_or_default();
        let mut patch = vec![json!({"op": "test", "path": "/metadata/uid", "value": target.metadata.uid})];
        patch.extend(target.found.test());
        patch.push(json!({"op": "add", "path": "/status", "value": status}));
        let patch: json_patch::Patch = serde_json::from_value(json!(patch)).unwrap_or_default();
        let params = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Json::<()>(patch);
        self.metrics.wrote("patch", target.key.kind());
        let request = target.api.patch_status(name, &params, &patch);
        self.said(target, self.requests.request(|| format!("write the status of {}", target.key), request).await)
    }

    fn said<K>(&self, target: &Target<K>, answer: Result<Decoded<K>, Error>) -> Result<(), Error>
    where
        Decoded<K>: Indexed,
    {
        match answer {
            Ok(object) => {
                self.alerts.status_written();
                self.note_of(target, object);
                Ok(())
            }
            Err(error) if error.category() == "not_found" => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes an ended grant or one of its reviews, if it still is the one with this uid.
    ///
    /// # Errors
    ///
    /// The request failed. That it is gone, or another by now, is no failure.
    pub async fn remove(&self, what: Removal, namespace: &str, name: &str, uid: &str) -> Result<(), Error> {
        match what {
            Removal::Grant(kind @ GrantKind::StorageAccessGrant) => {
                self.remove_one::<StorageAccessGrant>(kind.as_str(), namespace, name, uid).await
            }
            Removal::Grant(kind @ GrantKind::EgressGrant) => {
                self.remove_one::<EgressGrant>(kind.as_str(), namespace, name, uid).await
            }
            Removal::Grant(kind @ GrantKind::RoleGrant) => {
                self.remove_one::<RoleGrant>(kind.as_str(), namespace, name, uid).await
            }
            Removal::Review => self.remove_one::<AccessReview>("AccessReview", namespace, name, uid).await,
        }
    }

    async fn remove_one<K>(&self, kind: &'static str, namespace: &str, name: &str, uid: &str) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<PartialObjectMeta<K>> = Api::namespaced(self.client(), namespace);
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams::default().preconditions(preconditions);
        let what = || format!("remove {kind} {namespace}/{name}, which has been kept long enough");
        self.metrics.wrote("delete", kind);
        match self.requests.request(what, api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn finalizer<K>(&self, target: &Target<K>, add: bool) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
    {
        let name = target.metadata.name.as_deref().unwrap_or_default();
        let held = target.metadata.finalizers.iter().flatten().map(String::as_str);
        let finalizers: Vec<&str> =
            held.filter(|held| *held != target.finalizer).chain(add.then_some(target.finalizer)).collect();
        // Not by version: the first status is written at the same time.
        let mut patch = vec![json!({"op": "test", "path": "/metadata/uid", "value": target.metadata.uid})];
        if let Some(held) = target.metadata.finalizers.as_ref().filter(|held| !held.is_empty()) {
            patch.push(json!({"op": "test", "path": "/metadata/finalizers", "value": held}));
        }
        patch.push(json!({"op": "add", "path": "/metadata/finalizers", "value": finalizers}));
        let patch: json_patch::Patch = serde_json::from_value(json!(patch)).unwrap_or_default();
        let patch = Patch::Json::<()>(patch);
        let verb = if add { "put the finalizer on" } else { "take the finalizer off" };
        let params = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
        self.metrics.wrote("patch", target.key.kind());
        let result =
            self.requests.request(|| format!("{verb} {}", target.key), target.api.patch(name, &params, &patch)).await;
        match result {
            Ok(object) if object.metadata.deletion_timestamp.is_some() && finalizers.is_empty() => {
                self.forget::<Decoded<K>>(&target.key, &ObjectName::of(&object.metadata));
                Ok(())
            }
            Ok(object) => {
                self.note_of(target, object);
                Ok(())
            }
            Err(error) if !add && error.category() == "not_found" => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn apply_namespace(&self, key: &Key, name: &str, labels: &NamespaceLabels) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.client());
        let known = self.store.index().namespaces.get(name).map(|(observed, _)| observed.clone());
        let what = || format!("write Namespace {name}");
        let namespace = match known {
            None => {
                let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
                let metadata =
                    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
                let namespace = Namespace { metadata, ..Namespace::default() };
                self.metrics.wrote("create", "Namespace");
                self.requests.request(what, api.create(&create_params(), &namespace)).await?
            }
            Some(observed) => {
                let gone = observed.labels.keys().filter(|key| is_owned_label(key) && !labels.contains_key(&***key));
                let gone = gone.map(|key| (key.to_string(), serde_json::Value::Null));
                let wanted = labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
                let all: serde_json::Map<_, _> = gone.chain(wanted).collect();
                let patch = json!({"metadata": {"labels": all, "uid": observed.uid}});
                let params = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
                self.metrics.wrote("patch", "Namespace");
                self.requests.request(what, api.patch(name, &params, &Patch::Merge(&patch))).await?
            }
        };
        self.note(key, namespace);
        Ok(())
    }

    async fn mark_adopting(&self, key: &Key, name: &str, since: Option<Timestamp>) -> Result<(), Error> {
        let Some(uid) = self.store.index().namespaces.get(name).map(|(observed, _)| observed.uid.clone()) else {
            return Ok(());
        };
        let api: Api<Namespace> = Api::all(self.client());
        let since = since.map(|since| since.as_second().to_string());
        let patch = json!({"metadata": {"labels": {labels::ADOPTING: since}, "uid": uid}});
        let params = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
        self.metrics.wrote("patch", "Namespace");
        let what = || format!("write label {} of Namespace {name}", labels::ADOPTING);
        let namespace = self.requests.request(what, api.patch(name, &params, &Patch::Merge(&patch))).await?;
        self.note(key, namespace);
        Ok(())
    }

    /// Deletes an account. The watch tells that it is gone, and the plan after that makes it anew where Kubernetes does not.
    async fn renew_account(&self, namespace: &str, name: &str, uid: String) -> Result<(), Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let params = DeleteParams::default().preconditions(Preconditions { uid: Some(uid), resource_version: None });
        let what = || format!("delete ServiceAccount {namespace}/{name}, so that old tokens of it are worth nothing");
        self.metrics.wrote("delete", "ServiceAccount");
        match self.requests.request(what, api.delete(name, &params)).await {
            Ok(Either::Left(account)) if !account.metadata.finalizers.as_deref().unwrap_or_default().is_empty() => {
                Err(Error::NotGone { what: format!("ServiceAccount {namespace}/{name}") })
            }
            Ok(_) => Ok(()),
            // Gone, or another by now.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete_namespace(&self, key: &Key, name: &str, uid: String) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.client());
        let params = DeleteParams::default().preconditions(Preconditions { uid: Some(uid), resource_version: None });
        self.metrics.wrote("delete", "Namespace");
        match self.requests.request(|| format!("delete Namespace {name}"), api.delete(name, &params)).await {
            Ok(Either::Left(namespace)) => self.note(key, namespace),
            Ok(Either::Right(_)) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn apply(&self, key: &Key, namespace: &str, child: Child) -> Result<(), Error> {
        let known = {
            let index = self.store.index();
            index.children.get(namespace).and_then(|children| children.versions.get(&child.key()).copied())
        };
        match child {
            Child::NetworkPolicy(object) => self.put(key, namespace, object, known, Child::NetworkPolicy).await,
            Child::CiliumNetworkPolicy(object) => {
                self.put(key, namespace, *object, known, |policy| Child::CiliumNetworkPolicy(Box::new(policy))).await
            }
            Child::ClusterNetworkPolicy(object) => {
                self.put(key, namespace, *object, known, |policy| Child::ClusterNetworkPolicy(Box::new(policy))).await
            }
            Child::ResourceQuota(object) => self.put(key, namespace, object, known, Child::ResourceQuota).await,
            Child::LimitRange(object) => self.put(key, namespace, object, known, Child::LimitRange).await,
            Child::RoleBinding(object) => self.put(key, namespace, object, known, Child::RoleBinding).await,
            Child::Role(object) => self.put(key, namespace, object, known, Child::Role).await,
            Child::ClusterRole(object) => {
                self.put(key, namespace, *object, known, |role| Child::ClusterRole(Box::new(role))).await
            }
            Child::ClusterRoleBinding(object) => {
                self.put(key, namespace, *object, known, |binding| Child::ClusterRoleBinding(Box::new(binding))).await
            }
            Child::GrantMount(object) => {
                self.put(key, namespace, *object, known, |mount| Child::GrantMount(Box::new(mount))).await
            }
            // Others write to an account too: its tokens and pull secrets are left alone.
            Child::ServiceAccount(object) => self.merge(key, namespace, object).await,
        }
    }

    /// Creates an object, or replaces it whole where it is known to be there. Nobody else has a say in it.
    async fn put<C>(
        &self,
        key: &Key,
        namespace: &str,
        mut object: C,
        known: Option<u64>,
        child: impl Fn(C) -> Child,
    ) -> Result<(), Error>
    where
        C: ChildObject,
    {
        let api = C::api(self.client(), namespace);
        let name = object.meta().name.clone().unwrap_or_default();
        let kind = C::kind(&());
        let what = || format!("write {kind} {namespace}/{name}");
        let written = match known {
            None => {
                self.metrics.wrote("create", child(object.clone()).kind().as_str());
                match self.requests.request(what, api.create(&create_params(), &object)).await {
                    Err(error) if error.category() == "already_exists" => {
                        // It is there after all, and not yet known. Nobody else has a say in what has this name.
                        let there = self.requests.request(what, api.get(&name)).await?;
                        object.meta_mut().resource_version = there.meta().resource_version.clone();
                        self.replace(&api, what, object.clone(), &child).await?
                    }
                    result => result?,
                }
            }
            Some(version) => {
                object.meta_mut().resource_version = Some(version.to_string());
                self.replace(&api, what, object.clone(), &child).await?
            }
        };
        let (wanted, came_back) = (child(object), child(written.clone()));
        self.note(key, written);
        self.answered(namespace, &wanted, &came_back)
    }

    /// Takes note of what the API server made of a write. It rounds quantities, and what it makes of them is in force; all
    /// else must come back as it was written.
    fn answered(&self, namespace: &str, wanted: &Child, came_back: &Child) -> Result<(), Error> {
        let key = wanted.key();
        let answer = Answer { wanted: wanted.fingerprint(), came_back: came_back.fingerprint() };
        let mut index = self.store.index_mut();
        if answer.wanted == answer.came_back {
            index.wrote(namespace, &key, None);
            return Ok(());
        }
        let before = index.children.get(namespace).and_then(|children| children.answers.get(&key).copied());
        // What comes back different each time is changed by somebody.
        let keeps_changing = before.is_some_and(|before| before.wanted == answer.wanted && before != answer);
        if wanted.differs_in_quantities_alone(came_back) {
            index.wrote(namespace, &key, Some(answer));
            if !keeps_changing {
                return Ok(());
            }
        }
        Err(Error::NotAsWritten { what: format!("{} {namespace}/{}", key.kind.as_str(), key.name) })
    }

    /// Replaces an object that is there, whole.
    async fn replace<C>(
        &self,
        api: &Api<C>,
        what: impl Fn() -> String,
        mut object: C,
        child: impl Fn(C) -> Child,
    ) -> Result<C, Error>
    where
        C: ChildObject,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let kind = child(object.clone()).kind();
        self.metrics.wrote("update", kind.as_str());
        match self.requests.request(&what, api.replace(&name, &create_params(), &object)).await {
            Err(error) if error.category() == "invalid" => {
                object.meta_mut().resource_version = None;
                let is_anothers = match kind {
                    // What a binding refers to cannot be changed.
                    ChildKind::RoleBinding | ChildKind::ClusterRoleBinding => true,
                    // Nor can what a quota counts. What bounds is better old than gone.
                    ChildKind::ResourceQuota => self.is_in_the_way(api, &what, &object).await,
                    _ => false,
                };
                if !is_anothers {
                    return Err(error);
                }
                self.requests.request(&what, api.delete(&name, &DeleteParams::default())).await?;
                self.requests.request(&what, api.create(&create_params(), &object)).await
            }
            result => result,
        }
    }

    /// Whether nothing stands against making an object but what has its name.
    async fn is_in_the_way<T>(&self, api: &Api<T>, what: impl Fn() -> String, object: &T) -> bool
    where
        T: Clone + Debug + DeserializeOwned + Serialize,
    {
        let only_ask = PostParams { dry_run: true, ..create_params() };
        let answer = self.requests.request(what, api.create(&only_ask, object)).await;
        answer.is_err_and(|error| error.category() == "already_exists")
    }

    async fn merge(&self, key: &Key, namespace: &str, account: ServiceAccount) -> Result<(), Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let name = account.metadata.name.clone().unwrap_or_default();
        let what = || format!("write ServiceAccount {namespace}/{name}");
        self.metrics.wrote("patch", "ServiceAccount");
        let params = PatchParams::apply(labels::MANAGER).force();
        let mut written = self.requests.request(what, api.patch(&name, &params, &Patch::Apply(&account))).await?;
        // What is somebody else's is left as it is by applying one's own.
        let others = of_others(&account, &written);
        if others != json!({}) {
            let params = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
            self.metrics.wrote("patch", "ServiceAccount");
            written = self.requests.request(what, api.patch(&name, &params, &Patch::Merge(&others))).await?;
        }
        let came_back = Child::ServiceAccount(written.clone());
        self.note(key, written);
        self.answered(namespace, &Child::ServiceAccount(account), &came_back)
    }

    async fn delete(&self, key: &Key, namespace: &str, child: &ChildKey) -> Result<(), Error> {
        match child.kind {
            ChildKind::NetworkPolicy => self.delete_one::<NetworkPolicy>(key, namespace, child).await,
            ChildKind::CiliumNetworkPolicy => self.delete_one::<CiliumNetworkPolicy>(key, namespace, child).await,
            ChildKind::ClusterNetworkPolicy => self.delete_one::<ClusterNetworkPolicy>(key, namespace, child).await,
            ChildKind::ResourceQuota => self.delete_one::<ResourceQuota>(key, namespace, child).await,
            ChildKind::LimitRange => self.delete_one::<LimitRange>(key, namespace, child).await,
            ChildKind::ServiceAccount => self.delete_one::<ServiceAccount>(key, namespace, child).await,
            ChildKind::RoleBinding => self.delete_one::<RoleBinding>(key, namespace, child).await,
            ChildKind::Role => self.delete_one::<Role>(key, namespace, child).await,
            ChildKind::ClusterRole => self.delete_one::<ClusterRole>(key, namespace, child).await,
            ChildKind::ClusterRoleBinding => self.delete_one::<ClusterRoleBinding>(key, namespace, child).await,
            ChildKind::GrantMount => self.delete_one::<GrantMount>(key, namespace, child).await,
        }
    }

    async fn delete_one<C: ChildObject>(&self, key: &Key, namespace: &str, child: &ChildKey) -> Result<(), Error> {
        let api = C::api(self.client(), namespace);
        let what = || format!("delete {} {namespace}/{}", child.kind.as_str(), child.name);
        self.metrics.wrote("delete", child.kind.as_str());
        match self.requests.request(what, api.delete(&child.name, &DeleteParams::default())).await {
            Ok(Either::Left(object)) if !object.meta().finalizers.as_deref().unwrap_or_default().is_empty() => {
                self.note(key, object);
                self.store.index_mut().wrote(namespace, child, None);
                return Err(Error::NotGone { what: format!("{} {namespace}/{}", child.kind.as_str(), child.name) });
            }
            Ok(_) => {}
            Err(error) if error.category() == "not_found" => {}
            Err(error) => return Err(error),
        }
        self.forget::<C>(key, &ObjectName { namespace: namespace.into(), name: (*child.name).into() });
        self.store.index_mut().wrote(namespace, child, None);
        Ok(())
    }

    async fn release(&self, key: &Key, namespace: &str, child: &ChildKey) -> Result<(), Error> {
        // Only policies are held.
        let api: Api<NetworkPolicy> = Api::namespaced(self.client(), namespace);
        let what = || format!("take the finalizer off {child} in {namespace}");
        let policy = match self.requests.request(what, api.get(&child.name)).await {
            Ok(policy) => policy,
            Err(error) if error.category() == "not_found" => return Ok(()),
            Err(error) => return Err(error),
        };
        let held = policy.metadata.finalizers.iter().flatten().filter(|held| *held != labels::ENFORCED_FINALIZER);
        let left: Vec<&String> = held.collect();
        let patch = json!({"metadata": {"finalizers": left, "resourceVersion": policy.metadata.resource_version}});
        let params = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
        self.metrics.wrote("patch", child.kind.as_str());
        self.requests.request(what, api.patch(&child.name, &params, &Patch::Merge(&patch))).await?;
        if left.is_empty() {
            self.forget::<NetworkPolicy>(key, &ObjectName { namespace: namespace.into(), name: (*child.name).into() });
        }
        Ok(())
    }

    /// Takes the version off a mount, whatever else it says: admission puts it into no pod then.
    ///
    /// # Errors
    ///
    /// The request failed. That it is gone is no failure.
    pub async fn unmount(&self, key: &Key, namespace: &str, name: &str, at: Timestamp) -> Result<(), Error> {
        let api: Api<GrantMount> = Api::namespaced(self.client(), namespace);
        let annotations = json!({labels::CREDENTIAL_VERSION: "", labels::UNMOUNTED_AT: at.to_string()});
        let patch = json!({"metadata": {"annotations": annotations}});
        let params = PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() };
        self.metrics.wrote("patch", "GrantMount");
        let what = || format!("write GrantMount {namespace}/{name}");
        match self.requests.request(what, api.patch(name, &params, &Patch::Merge(&patch))).await {
            Ok(mount) => self.note(key, mount),
            Err(error) if error.category() == "not_found" => {
                self.forget::<GrantMount>(key, &ObjectName { namespace: namespace.into(), name: name.into() });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Looks at the pods as the API server has them now.
    async fn confirm_pods_gone(&self, namespace: &Arc<str>, secret: String, on_expiry: OnExpiry) -> Result<(), Error> {
        /// How many pods are named.
        const NAMED: usize = 8;
        let namespace_name = namespace.to_string();
        let seen = match self.looks.at(&self.requests, &self.store, namespace).await {
            Ok(seen) => seen,
            Err(source) => return Err(Error::Unseen { namespace: namespace_name, secret, source }),
        };
        let goes = |held: &HeldCopy| *held.secret == *secret && goes_with(on_expiry, held.emptied);
        let left = seen.iter().filter(|pod| pod.copies.iter().any(goes)).map(|pod| pod.name.to_string());
        let pods: Vec<String> = left.take(NAMED).collect();
        if pods.is_empty() { Ok(()) } else { Err(Error::StillHeld { namespace: namespace_name, secret, pods }) }
    }

    async fn delete_pod(&self, namespace: &str, name: &str, uid: String) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let params = DeleteParams::default()
            .grace_period(GRACE)
            .preconditions(Preconditions { uid: Some(uid), resource_version: None });
        self.metrics.wrote("delete", "Pod");
        match self.requests.request(|| format!("delete Pod {namespace}/{name}"), api.delete(name, &params)).await {
            Ok(_) => Ok(()),
            // Gone, or another pod by now.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes note of the object that was decided about. Where the answer shows it as somebody else has made it meanwhile, it
    /// must be decided about again: the watch will tell nothing that is not known already.
    fn note_of<K>(&self, target: &Target<K>, object: Decoded<K>)
    where
        Decoded<K>: Indexed,
    {
        let changed = is_another(&target.metadata, &object.metadata);
        self.note(&target.key, object);
        if changed {
            self.store.enqueue([target.key.clone()].into());
        }
    }

    fn note<T: Indexed>(&self, own: &Key, object: T) {
        let mut dirty = Dirty::new();
        object.upsert(&mut self.store.index_mut(), &mut dirty);
        dirty.remove(own);
        self.store.enqueue(dirty);
    }

    fn forget<T: Indexed>(&self, own: &Key, name: &ObjectName) {
        let mut dirty = Dirty::new();
        T::remove(&mut self.store.index_mut(), name, &mut dirty);
        dirty.remove(own);
        self.store.enqueue(dirty);
    }
}

/// What takes off an account what others have put on it, of what gives its pods something: annotations, and ways to images.
/// The account that Kubernetes makes may have ways to images of others.
fn of_others(wanted: &ServiceAccount, written: &ServiceAccount) -> Value {
    let annotations = wanted.metadata.annotations.as_ref();
    let others = written.metadata.annotations.iter().flatten().map(|(annotation, _)| annotation);
    let others: BTreeMap<&String, ()> =
        others.filter(|one| annotations.is_none_or(|all| !all.contains_key(*one))).map(|one| (one, ())).collect();
    let mut patch = serde_json::Map::new();
    if !others.is_empty() {
        patch.insert("metadata".to_owned(), json!({"annotations": others}));
    }
    let pull = |account: &ServiceAccount| -> BTreeSet<String> {
        account.image_pull_secrets.iter().flatten().map(|secret| secret.name.clone()).collect()
    };
    let is_default = wanted.metadata.name.as_deref() == Some(DEFAULT_ACCOUNT);
    if !is_default && pull(written) != pull(wanted) {
        patch.insert("imagePullSecrets".to_owned(), json!(wanted.image_pull_secrets));
    }
    Value::Object(patch)
}

/// Whether what decisions depend on is another than it was.
fn is_another(decided: &ObjectMeta, answered: &ObjectMeta) -> bool {
    (decided.generation, &decided.labels) != (answered.generation, &answered.labels)
        || decided.deletion_timestamp.is_some() != answered.deletion_timestamp.is_some()
}

/// A child as the API knows it.
trait ChildObject: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Indexed {
    /// Where it is written, about this namespace.
    fn api(client: Client, namespace: &str) -> Api<Self>;
}

/// Implements [`ChildObject`] for kinds that are in a namespace.
macro_rules! within_a_namespace {
    ($($kind:ident),*) => {
        $(impl ChildObject for $kind {
            fn api(client: Client, namespace: &str) -> Api<Self> {
                Api::namespaced(client, namespace)
            }
        })*
    };
}

within_a_namespace!(
    NetworkPolicy,
    CiliumNetworkPolicy,
    ResourceQuota,
    LimitRange,
    ServiceAccount,
    RoleBinding,
    Role,
    GrantMount
);

/// Implements [`ChildObject`] for kinds that are in none.
macro_rules! cluster_wide {
    ($($kind:ident),*) => {
        $(impl ChildObject for $kind {
            fn api(client: Client, _: &str) -> Api<Self> {
                Api::all(client)
            }
        })*
    };
}

cluster_wide!(ClusterNetworkPolicy, ClusterRole, ClusterRoleBinding);

fn create_params() -> PostParams {
    PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_shows_another_object_is_no_answer_to_what_was_decided() {
        let meta = |more: serde_json::Value| -> ObjectMeta {
            let mut all = json!({"name": "lab", "generation": 3, "labels": {"team": "lab"}, "resourceVersion": "7"});
            all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            serde_json::from_value(all).unwrap()
        };
        let decided = meta(json!({}));
        for same in [json!({}), json!({"resourceVersion": "9"}), json!({"finalizers": ["cloister.dev/namespace"]})] {
            assert!(!is_another(&decided, &meta(same.clone())), "{same}");
        }
        for other in
            [json!({"generation": 4}), json!({"labels": {}}), json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})]
        {
            assert!(is_another(&decided, &meta(other.clone())), "{other}");
        }
    }
}
