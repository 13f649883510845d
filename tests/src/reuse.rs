//! Clusters that several tests use, one after the other: to start an API server costs more than most tests ask of it. A test
//! that took nothing of `deploy/` away gives its cluster back, and what it made is deleted.

use crate::eventually;
use anyhow::{Context, Result, ensure};
use cloister_api::{AccessPolicy, AccessRole, CloisterConfig, EgressAllowlist, ResearchNamespace, StorageResource};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde::de::DeserializeOwned;
use std::{
    fmt::Debug,
    sync::{Mutex, PoisonError},
};
use tempfile::TempDir;
use xtask::cluster::Cluster;

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

/// Deletes what a test made, while an operator runs: what it wrote goes as it does for anybody.
pub(crate) async fn clean(admin: &Client) -> Result<()> {
    gone::<ResearchNamespace>(admin, |_| true).await?;
    let is_of_a_test = |namespace: &Namespace| {
        let name = namespace.name_any();
        name != "default"
            && !name.starts_with("kube-")
            && !["cloister-system", "cloister-credentials"].contains(&&*name)
    };
    gone(admin, is_of_a_test).await?;
    gone::<CloisterConfig>(admin, |_| true).await?;
    gone::<StorageResource>(admin, |_| true).await?;
    gone::<AccessRole>(admin, |_| true).await?;
    gone::<AccessPolicy>(admin, |_| true).await?;
    gone::<EgressAllowlist>(admin, |_| true).await?;
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), "cloister-credentials");
    secrets.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    Ok(())
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
