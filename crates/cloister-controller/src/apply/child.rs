//! Writes what stands in a research namespace, and takes it away.

use super::writer::{Writer, create_params, patch_params};
use crate::error::Error;
use cloister_api::{
    GrantMount, labels,
    plugin::{CiliumNetworkPolicy, ClusterNetworkPolicy},
};
use cloister_core::model::child::{Child, ChildKey, ChildKind};
use cloister_index::{
    index::{Answer, Indexed},
    key::{Key, ObjectName},
};
use either::Either;
use k8s_openapi::api::{
    core::v1::{LimitRange, ResourceQuota, ServiceAccount},
    networking::v1::NetworkPolicy,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::fmt::Debug;

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

impl Writer {
    pub(super) async fn apply(&self, key: &Key, namespace: &str, child: Child) -> Result<(), Error> {
        let known = {
            let index = self.store.index();
            index.children.get(namespace).and_then(|children| children.versions.get(&child.key()).copied())
        };
        match child {
            Child::NetworkPolicy(object) => {
                self.create_or_replace(key, namespace, object, known, Child::NetworkPolicy).await
            }
            Child::CiliumNetworkPolicy(object) => {
                self.create_or_replace(key, namespace, *object, known, |policy| {
                    Child::CiliumNetworkPolicy(Box::new(policy))
                })
                .await
            }
            Child::ClusterNetworkPolicy(object) => {
                self.create_or_replace(key, namespace, *object, known, |policy| {
                    Child::ClusterNetworkPolicy(Box::new(policy))
                })
                .await
            }
            Child::ResourceQuota(object) => {
                self.create_or_replace(key, namespace, object, known, Child::ResourceQuota).await
            }
            Child::LimitRange(object) => self.create_or_replace(key, namespace, object, known, Child::LimitRange).await,
            Child::RoleBinding(object) => {
                self.create_or_replace(key, namespace, object, known, Child::RoleBinding).await
            }
            Child::Role(object) => self.create_or_replace(key, namespace, object, known, Child::Role).await,
            Child::ClusterRole(object) => {
                self.create_or_replace(key, namespace, *object, known, |role| Child::ClusterRole(Box::new(role))).await
            }
            Child::ClusterRoleBinding(object) => {
                self.create_or_replace(key, namespace, *object, known, |binding| {
                    Child::ClusterRoleBinding(Box::new(binding))
                })
                .await
            }
            Child::GrantMount(object) => {
                self.create_or_replace(key, namespace, *object, known, |mount| Child::GrantMount(Box::new(mount))).await
            }
            // Others write to an account too: its tokens and pull secrets are left alone.
            Child::ServiceAccount(object) => self.server_side_apply(key, namespace, object).await,
        }
    }

    /// Creates an object, or replaces all of it if it is known to exist. No other writer owns any of its fields.
    async fn create_or_replace<C>(
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
                        // It exists, but the index does not have it yet. No other writer may use this name.
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
    pub(super) fn answered(&self, namespace: &str, wanted: &Child, came_back: &Child) -> Result<(), Error> {
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
    pub(super) async fn is_in_the_way<T>(&self, api: &Api<T>, what: impl Fn() -> String, object: &T) -> bool
    where
        T: Clone + Debug + DeserializeOwned + Serialize,
    {
        let only_ask = PostParams { dry_run: true, ..create_params() };
        let answer = self.requests.request(what, api.create(&only_ask, object)).await;
        answer.is_err_and(|error| error.category() == "already_exists")
    }

    pub(super) async fn delete(&self, key: &Key, namespace: &str, child: &ChildKey) -> Result<(), Error> {
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

    pub(super) async fn release(&self, key: &Key, namespace: &str, child: &ChildKey) -> Result<(), Error> {
        // Only policies are held.
        let api: Api<NetworkPolicy> = Api::namespaced(self.client(), namespace);
        let what = || format!("remove the finalizer of {child} in {namespace}");
        let policy = match self.requests.request(what, api.get(&child.name)).await {
            Ok(policy) => policy,
            Err(error) if error.category() == "not_found" => return Ok(()),
            Err(error) => return Err(error),
        };
        let held = policy.metadata.finalizers.iter().flatten().filter(|held| *held != labels::ENFORCED_FINALIZER);
        let left: Vec<&String> = held.collect();
        let patch = json!({"metadata": {"finalizers": left, "resourceVersion": policy.metadata.resource_version}});
        let params = patch_params();
        self.metrics.wrote("patch", child.kind.as_str());
        self.requests.request(what, api.patch(&child.name, &params, &Patch::Merge(&patch))).await?;
        if left.is_empty() {
            self.forget::<NetworkPolicy>(key, &ObjectName { namespace: namespace.into(), name: (*child.name).into() });
        }
        Ok(())
    }
}
