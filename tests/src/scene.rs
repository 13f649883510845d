//! Short words for tests of what the operator does.

use crate::{TestCluster, eventually, world::world};
use anyhow::{Context, Result, ensure};
use cloister_api::{EgressAllowlist, EgressState, ResearchNamespace, condition::reason};
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
    /// The cluster, with the operator in it.
    pub world: &'static TestCluster,
    /// An administrator.
    pub admin: Client,
}

impl Scene {
    /// The view of this process's cluster.
    ///
    /// # Panics
    ///
    /// There is no cluster.
    pub async fn new() -> Self {
        let world = world().await;
        let admin = world.admin().await.expect("the admin's client");
        Scene { world, admin }
    }

    /// All objects of a kind.
    pub fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.admin.clone())
    }

    /// The objects of a kind in one namespace.
    pub fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// Declares a research namespace and waits until it is enforced.
    ///
    /// # Errors
    ///
    /// A request failed, or it is not so in time.
    pub async fn enforced(&self, name: &str, spec: Value) -> Result<ResearchNamespace> {
        self.declare(name, spec).await?;
        self.wait_until_enforced(name).await
    }

    /// Declares a research namespace.
    ///
    /// # Errors
    ///
    /// A request failed, or it is not so in time.
    pub async fn declare(&self, name: &str, spec: Value) -> Result<ResearchNamespace> {
        let object = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
            "metadata": {"name": name, "labels": {"team": name}}, "spec": spec,
        });
        Ok(self.all().create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    /// Waits until a namespace is enforced.
    ///
    /// # Errors
    ///
    /// A request failed, or it is not so in time.
    pub async fn wait_until_enforced(&self, name: &str) -> Result<ResearchNamespace> {
        self.until_condition(&self.all::<ResearchNamespace>(), name, "Enforced", "True").await
    }

    /// Waits until a condition speaks of the newest generation and has this status.
    ///
    /// # Errors
    ///
    /// A request failed, or it is not so in time.
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

    /// The Namespace of a research namespace.
    ///
    /// # Errors
    ///
    /// A request failed, or it is not so in time.
    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        Ok(self.all().get(name).await?)
    }

    /// The names of the NetworkPolicies, in order.
    ///
    /// # Errors
    ///
    /// A request failed, or it is not so in time.
    pub async fn policies(&self, namespace: &str) -> Result<Vec<String>> {
        let policies = self.within::<NetworkPolicy>(namespace).list(&ListParams::default()).await?;
        let mut names: Vec<String> = policies.iter().map(ResourceExt::name_any).collect();
        names.sort();
        Ok(names)
    }

    /// Publishes an allowlist.
    ///
    /// # Errors
    ///
    /// A request failed.
    pub async fn allowlist(&self, name: &str, spec: Value) -> Result<EgressAllowlist> {
        let object = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist", "metadata": {"name": name}, "spec": spec,
        });
        Ok(self.all().create(&PostParams::default(), &serde_json::from_value(object)?).await?)
    }

    /// Waits until a NetworkPolicy is there, or gone.
    ///
    /// # Errors
    ///
    /// It is not in time.
    pub async fn has_policy(&self, namespace: &str, policy: &str, wanted: bool) -> Result<()> {
        eventually(&format!("{policy} to be {}", if wanted { "there" } else { "gone" }), async || {
            let all = self.policies(namespace).await?;
            ensure!(all.iter().any(|name| name == policy) == wanted, "{namespace} has {all:?}");
            Ok(())
        })
        .await
    }

    /// What the status says of one need.
    ///
    /// # Errors
    ///
    /// It says nothing.
    pub async fn need(&self, namespace: &str, need: &str) -> Result<(EgressState, String, String)> {
        let object = self.all::<ResearchNamespace>().get(namespace).await?;
        let found = object.status.into_iter().flat_map(|status| status.egress).find(|state| state.name == need);
        let found = found.with_context(|| format!("nothing is said of {need}"))?;
        Ok((found.state, found.reason, found.message))
    }

    /// Waits until the status says this of one need.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn until_need(&self, namespace: &str, need: &str, state: EgressState, reason: &str) -> Result<()> {
        eventually(&format!("{need} to be {state:?} {reason}"), async || {
            let said = self.need(namespace, need).await?;
            ensure!((said.0, said.1.as_str()) == (state, reason), "{said:?}");
            Ok(())
        })
        .await
    }

    /// The networks that a policy opens.
    ///
    /// # Errors
    ///
    /// There is no such policy.
    pub async fn networks(&self, namespace: &str, policy: &str) -> Result<Vec<String>> {
        let policy = self.within::<NetworkPolicy>(namespace).get(policy).await?;
        let rules = policy.spec.unwrap_or_default().egress.unwrap_or_default();
        let peers = rules.into_iter().flat_map(|rule| rule.to.unwrap_or_default());
        Ok(peers.map(|peer| peer.ip_block.map_or_else(|| "not a network".to_owned(), |block| block.cidr)).collect())
    }
}

/// A condition of any object.
pub fn condition<K: serde::Serialize>(object: &K, type_: &str) -> Option<Condition> {
    let value = serde_json::to_value(object).ok()?;
    let conditions: Vec<Condition> = serde_json::from_value(value.get("status")?.get("conditions")?.clone()).ok()?;
    // What the API server says by default, nobody has said.
    let said = |condition: &Condition| condition.reason != reason::WAITING_FOR_OPERATOR;
    conditions.into_iter().find(|condition| condition.type_ == type_ && said(condition))
}

/// A pod that the restricted Pod Security Standard admits.
///
/// # Panics
///
/// Never: it is one.
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
