//! Short words for the tests.

use anyhow::{Context, Result, ensure};
use cloister_api::ResearchNamespace;
use cloister_tests::{TestCluster, eventually, world::world};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Pod},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// A test's view of the cluster: everything is done as an administrator, unless it says otherwise.
pub struct Scene {
    pub world: &'static TestCluster,
    pub admin: Client,
}

impl Scene {
    pub async fn new() -> Self {
        let world = world().await;
        let admin = world.admin().await.expect("the admin's client");
        Scene { world, admin }
    }

    pub fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.admin.clone())
    }

    pub fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// Declares a research namespace and waits until it is enforced.
    pub async fn enforced(&self, name: &str, spec: Value) -> Result<ResearchNamespace> {
        self.declare(name, spec).await?;
        self.wait_until_enforced(name).await
    }

    pub async fn declare(&self, name: &str, spec: Value) -> Result<ResearchNamespace> {
        let object = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
            "metadata": {"name": name, "labels": {"team": name}}, "spec": spec,
        });
        Ok(self.all().create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    pub async fn wait_until_enforced(&self, name: &str) -> Result<ResearchNamespace> {
        self.until_condition(&self.all::<ResearchNamespace>(), name, "Enforced", "True").await
    }

    /// Waits until a condition speaks of the newest generation and has this status.
    pub async fn until_condition<K>(&self, api: &Api<K>, name: &str, type_: &str, status: &str) -> Result<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + serde::Serialize,
    {
        let what = format!("{type_}={status} of {} {name}", K::kind(&()));
        eventually(&what, async || {
            let object = api.get(name).await?;
            let found = condition(&object, type_).with_context(|| format!("there is no condition {type_}"))?;
            ensure!(found.status == status, "{type_} is {}: {}: {}", found.status, found.reason, found.message);
            ensure!(found.observed_generation == object.meta().generation, "{type_} speaks of an older generation");
            Ok(object)
        })
        .await
    }

    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        Ok(self.all().get(name).await?)
    }

    /// The names of the NetworkPolicies, in order.
    pub async fn policies(&self, namespace: &str) -> Result<Vec<String>> {
        let policies = self.within::<NetworkPolicy>(namespace).list(&ListParams::default()).await?;
        let mut names: Vec<String> = policies.iter().map(ResourceExt::name_any).collect();
        names.sort();
        Ok(names)
    }
}

/// A condition of any object.
pub fn condition<K: serde::Serialize>(object: &K, type_: &str) -> Option<Condition> {
    let value = serde_json::to_value(object).ok()?;
    let conditions: Vec<Condition> = serde_json::from_value(value.get("status")?.get("conditions")?.clone()).ok()?;
    conditions.into_iter().find(|condition| condition.type_ == type_)
}

/// A pod that the restricted Pod Security Standard admits.
pub fn pod(name: &str, account: &str) -> Pod {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "serviceAccountName": account,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": "example.com/none",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    serde_json::from_value(pod).expect("a pod")
}
