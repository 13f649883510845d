//! The raw loop: the same requests as the operator's, with the same client and concurrency, and no logic.
//!
//! What it writes is not written down here a second time: it carries out plans of `cloister-core` that were made
//! beforehand. Only which request an action becomes is repeated, and the audit log tells if that is no longer so.

use anyhow::{Result, bail};
use cloister_api::{GrantMount, SecretReference, labels, plugin::CiliumNetworkPolicy};
use cloister_core::model::{
    carry_out::{Failure, carry_out},
    child::{Child, ChildKey, ChildKind, build::object_meta},
    plan::{Action, Plan},
};
use futures::future::try_join_all;
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Secret, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::RoleBinding,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Config, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    future::Future,
    sync::Mutex,
};
use tokio::sync::Semaphore;

/// How many requests are under way at a time; the operator's default.
pub const REQUESTS: usize = 32;

/// How many objects are worked on at a time; the operator's default.
pub const WORKERS: usize = 64;

/// The object that a plan is for.
#[derive(Debug)]
pub struct ObjectTarget<K> {
    /// Its API.
    pub api: Api<K>,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// The namespace that the plan is about.
    pub namespace: String,
    /// The operator's finalizer on it.
    pub finalizer: &'static str,
}

/// Carries out plans.
pub struct Raw {
    client: Client,
    requests: Semaphore,
    workers: Semaphore,
    namespaces: Mutex<HashSet<String>>,
    /// The versions of the mounts that stand, by namespace and name.
    mounts: Mutex<HashMap<(String, String), String>>,
}

impl Raw {
    /// A raw loop with the operator's rights, and a client that is set up as the operator's is.
    ///
    /// # Errors
    ///
    /// It cannot connect.
    pub async fn connect(kubeconfig: Kubeconfig) -> Result<Self> {
        crate::cluster::install_crypto();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        Ok(Raw {
            client: Client::try_from(config)?,
            requests: Semaphore::new(REQUESTS),
            workers: Semaphore::new(WORKERS),
            namespaces: Mutex::default(),
            mounts: Mutex::default(),
        })
    }

    /// Opens the connections that its requests will need.
    ///
    /// # Errors
    ///
    /// The API server does not answer.
    pub async fn warm_up(&self) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client());
        let one = ListParams::default().limit(1);
        try_join_all((0..REQUESTS).map(|_| api.list(&one))).await?;
        Ok(())
    }

    /// Learns the versions of the mounts that stand, as the operator knows them from its watch.
    ///
    /// # Errors
    ///
    /// The API server does not answer.
    pub async fn learn_mounts(&self) -> Result<()> {
        let all = Api::<GrantMount>::all(self.client()).list(&ListParams::default()).await?;
        let versions = all.items.into_iter().filter_map(|mount| {
            let metadata = mount.metadata;
            Some(((metadata.namespace?, metadata.name?), metadata.resource_version?))
        });
        self.mounts.lock().map_err(|_| anyhow::anyhow!("a task has panicked"))?.extend(versions);
        Ok(())
    }

    /// Its client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Carries out a plan, then writes its status.
    ///
    /// # Errors
    ///
    /// The API server refuses something.
    pub async fn carry_out<K, S>(&self, target: &ObjectTarget<K>, plan: Plan<S>) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        S: Serialize,
    {
        let _worker = self.workers.acquire().await;
        let announce = async {
            match &plan.announce {
                Some(status) => self.status(target, status).await,
                None => Ok(()),
            }
        };
        let execute = |action| async { self.execute(target, action).await.map_err(Refused) };
        let work = carry_out(plan.close, plan.open, plan.last, execute);
        let (announced, outcome) = futures::join!(announce, work);
        announced?;
        if let Some(failed) = outcome.failures.into_iter().next() {
            return Err(failed.error.0);
        }
        // What the operator says a moment later is said, too.
        match plan.status.as_ref().or(plan.if_failed.as_ref()) {
            Some(status) => self.status(target, status).await,
            None => Ok(()),
        }
    }

    async fn execute<K>(&self, target: &ObjectTarget<K>, action: Action) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let namespace = &target.namespace;
        match action {
            Action::AddFinalizer => {
                let finalizers = json!([
                    {"op": "test", "path": "/metadata/uid", "value": target.metadata.uid},
                    {"op": "add", "path": "/metadata/finalizers", "value": [target.finalizer]},
                ]);
                let patch = Patch::Json::<()>(serde_json::from_value(finalizers)?);
                let name = target.metadata.name.as_deref().unwrap_or_default();
                self.request(target.api.patch(name, &manager(), &patch)).await
            }
            Action::ApplyNamespace(labels) => self.namespace(namespace, &labels).await,
            Action::Apply(child) => self.create(namespace, *child).await,
            Action::Delete(child) => self.delete(namespace, &child).await,
            Action::CopyCredential { from, to } => self.copy(namespace, &from, &to).await,
            Action::DestroyCredential { name } => {
                let api: Api<Secret> = Api::namespaced(self.client(), namespace);
                let empty = json!({"data": null});
                self.request(api.patch(&name, &manager(), &Patch::Merge(&empty))).await?;
                self.request(api.delete(&name, &DeleteParams::default())).await
            }
            Action::Unmount { name, at } => {
                let api: Api<GrantMount> = Api::namespaced(self.client(), namespace);
                let annotations = json!({labels::CREDENTIAL_VERSION: "", labels::UNMOUNTED_AT: at.to_string()});
                let patch = json!({"metadata": {"annotations": annotations}});
                self.request(api.patch(&name, &manager(), &Patch::Merge(&patch))).await
            }
            other => bail!("the raw loop does not know {other:?}"),
        }
    }

    async fn namespace(&self, name: &str, labels: &cloister_core::model::plan::NamespaceLabels) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client());
        let first = self.namespaces.lock().is_ok_and(|mut known| known.insert(name.to_owned()));
        if !first {
            let patch = json!({"metadata": {"labels": labels}});
            return self.request(api.patch(name, &manager(), &Patch::Merge(&patch))).await;
        }
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let metadata = ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        self.request(api.create(&params(), &namespace)).await
    }

    async fn create(&self, namespace: &str, child: Child) -> Result<()> {
        match child {
            Child::NetworkPolicy(object) => self.post(namespace, &object).await,
            Child::CiliumNetworkPolicy(object) => self.post(namespace, &*object).await,
            Child::ClusterNetworkPolicy(object) => bail!("the raw loop does not write {:?}", object.metadata.name),
            Child::ResourceQuota(object) => self.post(namespace, &object).await,
            Child::LimitRange(object) => self.post(namespace, &object).await,
            Child::RoleBinding(object) => self.post(namespace, &object).await,
            Child::Role(object) => self.post(namespace, &object).await,
            Child::ClusterRole(object) => self.request(Api::all(self.client()).create(&params(), &*object)).await,
            Child::ClusterRoleBinding(object) => {
                self.request(Api::all(self.client()).create(&params(), &*object)).await
            }
            Child::GrantMount(object) => self.mount(namespace, *object).await,
            Child::ServiceAccount(object) => {
                let name = object.metadata.name.clone().unwrap_or_default();
                let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
                let params = PatchParams::apply(labels::MANAGER).force();
                self.request(api.patch(&name, &params, &Patch::Apply(&object))).await
            }
        }
    }

    /// Creates a mount, or replaces it where it is known.
    async fn mount(&self, namespace: &str, mut mount: GrantMount) -> Result<()> {
        let name = mount.metadata.name.clone().unwrap_or_default();
        let version =
            self.mounts.lock().ok().and_then(|known| known.get(&(namespace.to_owned(), name.clone())).cloned());
        if version.is_none() {
            return self.post(namespace, &mount).await;
        }
        mount.metadata.resource_version = version;
        let api: Api<GrantMount> = Api::namespaced(self.client(), namespace);
        self.request(api.replace(&name, &params(), &mount)).await
    }

    /// Creates an object in a namespace.
    ///
    /// # Errors
    ///
    /// The API server refuses it.
    pub async fn post<C>(&self, namespace: &str, object: &C) -> Result<()>
    where
        C: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + Clone + Debug + DeserializeOwned,
    {
        self.request(Api::namespaced(self.client(), namespace).create(&params(), object)).await
    }

    async fn delete(&self, namespace: &str, child: &ChildKey) -> Result<()> {
        async fn one<C>(raw: &Raw, namespace: &str, name: &str) -> Result<()>
        where
            C: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        {
            let api: Api<C> = Api::namespaced(raw.client(), namespace);
            raw.request(api.delete(name, &DeleteParams::default())).await
        }
        match child.kind {
            ChildKind::NetworkPolicy => one::<NetworkPolicy>(self, namespace, &child.name).await,
            ChildKind::CiliumNetworkPolicy => one::<CiliumNetworkPolicy>(self, namespace, &child.name).await,
            ChildKind::RoleBinding => one::<RoleBinding>(self, namespace, &child.name).await,
            ChildKind::GrantMount => one::<GrantMount>(self, namespace, &child.name).await,
            _ => bail!("the raw loop does not delete {child}"),
        }
    }

    async fn copy(&self, namespace: &str, from: &SecretReference, to: &str) -> Result<()> {
        let source: Api<Secret> = Api::namespaced(self.client(), &from.namespace);
        let kept = source.get(&from.name).await?;
        let copy = Secret { metadata: object_meta(namespace, to), data: kept.data, ..Secret::default() };
        let api: Api<Secret> = Api::namespaced(self.client(), namespace);
        self.request(api.patch(to, &PatchParams::apply(labels::MANAGER).force(), &Patch::Apply(&copy))).await
    }

    /// Writes the status of an object.
    ///
    /// # Errors
    ///
    /// The API server refuses it.
    pub async fn status<K, S>(&self, target: &ObjectTarget<K>, status: &S) -> Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        S: Serialize,
    {
        let patch: json_patch::Patch = serde_json::from_value(json!([
            {"op": "test", "path": "/metadata/uid", "value": target.metadata.uid},
            {"op": "add", "path": "/status", "value": status},
        ]))?;
        let name = target.metadata.name.as_deref().unwrap_or_default();
        self.request(target.api.patch_status(name, &manager(), &Patch::Json::<()>(patch))).await
    }

    async fn request<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<()> {
        let _permit = self.requests.acquire().await;
        request.await?;
        Ok(())
    }
}

/// A request of the raw loop failed, which ends the benchmark.
struct Refused(anyhow::Error);

impl Failure for Refused {
    fn is_final(&self) -> bool {
        false
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() }
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(labels::MANAGER.to_owned()), ..PatchParams::default() }
}
