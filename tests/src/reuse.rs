//! Clusters that several tests use, one after the other: to start an API server costs more than most tests ask of it. A test
//! that is over gives its cluster back: what it made is deleted, and what it took of `deploy/` is put back.

use crate::{emptied::end_namespaces, eventually};
use anyhow::{Context, Result, bail, ensure};
use cloister_api::{AccessPolicy, AccessRole, CloisterConfig, EgressAllowlist, ResearchNamespace, StorageResource};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node, Secret},
        rbac::v1::ClusterRole,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::{Mutex, PoisonError},
};
use tempfile::TempDir;
use xtask::{
    cluster::{Cluster, workspace_root},
    install::{self, Parts},
};

/// A cluster, and the folder that its audit log is in.
pub(crate) type Used = (Cluster, TempDir);

static CLEAN: Mutex<Vec<Used>> = Mutex::new(Vec::new());

/// One that is clean, if there is one.
pub(crate) fn take() -> Option<Used> {
    CLEAN.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// Keeps one for the next test.
pub(crate) fn keep(used: Used) {
    CLEAN.lock().unwrap_or_else(PoisonError::into_inner).push(used);
}

/// What a test changed of `deploy/`.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Whether it took the bindings of the validating admission policies.
    pub admission: bool,
    /// The definitions of kinds that it changed.
    pub definitions: BTreeSet<String>,
}

/// Replaces the definitions that were changed by those of `deploy/`.
pub(crate) async fn restore_definitions(admin: &Client, changed: &Changes) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(admin.clone());
    for name in &changed.definitions {
        let all = deployed(|object| &object.name_any() == name)?;
        let [original] = &all[..] else { bail!("deploy/ has {} objects named {name}", all.len()) };
        let mut original: CustomResourceDefinition = serde_json::from_value(serde_json::to_value(original)?)?;
        original.metadata.resource_version = definitions.get(name).await?.resource_version();
        definitions.replace(name, &PostParams::default(), &original).await?;
    }
    Ok(())
}

/// Applies the bindings of the admission policies again, if they were taken.
pub(crate) async fn restore_admission(admin: &Client, changed: &Changes) -> Result<()> {
    if !changed.admission {
        return Ok(());
    }
    let is_binding = |object: &DynamicObject| {
        object.types.as_ref().is_some_and(|types| types.kind == "ValidatingAdmissionPolicyBinding")
    };
    install::apply(admin, deployed(is_binding)?).await
}

fn deployed(which: impl Fn(&DynamicObject) -> bool) -> Result<Vec<DynamicObject>> {
    let all = install::objects(&workspace_root()?.join("deploy"), Parts::WithoutWorkloads)?;
    Ok(all.into_iter().filter(which).collect())
}

/// Deletes what a test made, while an operator runs: what it wrote goes as it does for anybody.
pub(crate) async fn clean(cluster: &Cluster, admin: &Client) -> Result<()> {
    gone::<ResearchNamespace>(admin, |_| true).await?;
    let is_of_a_test = |namespace: &Namespace| {
        let name = namespace.name_any();
        name != "default"
            && !name.starts_with("kube-")
            && !["cloister-system", "cloister-credentials"].contains(&&*name)
    };
    end_namespaces(cluster, is_of_a_test).await?;
    gone::<CloisterConfig>(admin, |_| true).await?;
    gone::<StorageResource>(admin, |_| true).await?;
    gone::<AccessRole>(admin, |_| true).await?;
    gone::<AccessPolicy>(admin, |_| true).await?;
    gone::<EgressAllowlist>(admin, |_| true).await?;
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), "cloister-credentials");
    secrets.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    gone::<Node>(admin, |_| true).await?;
    let is_bootstrapped = |role: &ClusterRole| role.labels().contains_key("kubernetes.io/bootstrapping");
    let is_deployed = |role: &ClusterRole| role.name_any().starts_with("cloister:");
    gone::<ClusterRole>(admin, |role| !is_bootstrapped(role) && !is_deployed(role)).await
}

/// Deletes these objects, and waits until they are gone.
async fn gone<K>(admin: &Client, which: impl Fn(&K) -> bool) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(admin.clone());
    let there = async || {
        let all = api.list(&ListParams::default()).await.with_context(|| format!("list {}", K::kind(&())))?;
        anyhow::Ok(all.items.into_iter().filter(&which).map(|object| object.name_any()).collect::<Vec<_>>())
    };
    for name in there().await? {
        api.delete(&name, &DeleteParams::default()).await.with_context(|| format!("delete {} {name}", K::kind(&())))?;
    }
    eventually(&format!("what is left of {} to go", K::plural(&())), async || {
        let left = there().await?;
        ensure!(left.is_empty(), "{left:?} are still there");
        Ok(())
    })
    .await
}
