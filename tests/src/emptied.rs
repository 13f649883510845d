//! The end of Namespaces without the pauses of the namespace controller: it begins five seconds after a deletion, and looks
//! again eight seconds after it found an object that a finalizer holds.

use crate::eventually;
use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Discovery, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, PostParams},
    discovery::{ApiResource, Scope, verbs},
};
use std::collections::BTreeSet;
use xtask::cluster::{self, Cluster};

/// How long after a deletion the namespace controller has surely not begun: it waits for five seconds.
const BEFORE_IT_BEGINS: SignedDuration = SignedDuration::from_secs(4);

/// Deletes these Namespaces with all that is in them, as the namespace controller. An operator must run: it takes its
/// finalizers off.
pub(crate) async fn end_namespaces(of: &Cluster, which: impl Fn(&Namespace) -> bool) -> Result<()> {
    let controller = of.service_account_kubeconfig("kube-system", "namespace-controller").await?;
    let controller = cluster::client(controller).await?;
    let namespaces: Api<Namespace> = Api::all(controller.clone());
    let there = async || {
        let all = namespaces.list(&ListParams::default()).await?.items;
        anyhow::Ok(all.into_iter().filter(&which).map(|namespace| namespace.name_any()).collect::<BTreeSet<_>>())
    };
    let ending = there().await?;
    for name in &ending {
        namespaces.delete(name, &DeleteParams::default()).await.map(drop).or_else(unless_gone)?;
    }
    if !ending.is_empty() {
        empty(&controller, &ending).await?;
    }
    for name in &ending {
        finalize(&namespaces, name).await.with_context(|| format!("finalize Namespace {name}"))?;
    }
    eventually("test namespaces to go", async || {
        let left = there().await?;
        ensure!(left.is_empty(), "Namespaces {left:?} are still there");
        Ok(())
    })
    .await
}

/// Deletes what is in these Namespaces, in which nothing can be created any more.
async fn empty(controller: &Client, namespaces: &BTreeSet<String>) -> Result<()> {
    let mut kinds = deletable(controller).await?;
    eventually("what test namespaces contain to go", async || {
        let mut left = Vec::new();
        for kind in std::mem::take(&mut kinds) {
            let everywhere: Api<DynamicObject> = Api::all_with(controller.clone(), &kind);
            // A definition may have gone meanwhile, and its objects with it.
            let Ok(all) = everywhere.list_metadata(&ListParams::default()).await else { continue };
            let within: BTreeSet<String> = all
                .items
                .iter()
                .filter_map(|object| object.namespace())
                .filter(|name| namespaces.contains(name))
                .collect();
            for namespace in &within {
                let api: Api<DynamicObject> = Api::namespaced_with(controller.clone(), namespace, &kind);
                api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
            }
            if !within.is_empty() {
                left.push(kind);
            }
        }
        kinds = left;
        ensure!(kinds.is_empty(), "there are still {:?}", kinds.iter().map(|kind| &kind.plural).collect::<Vec<_>>());
        Ok(())
    })
    .await
}

/// The kinds whose objects are in Namespaces and can be deleted together.
async fn deletable(client: &Client) -> Result<Vec<ApiResource>> {
    let known = Discovery::new(client.clone()).run_aggregated().await?;
    let all = known.groups().flat_map(|group| group.recommended_resources());
    let ours = all.filter(|(_, can)| {
        can.scope == Scope::Namespaced
            && can.supports_operation(verbs::LIST)
            && can.supports_operation(verbs::DELETE_COLLECTION)
    });
    Ok(ours.map(|(kind, _)| kind).collect())
}

/// Says that a Namespace is empty, unless the namespace controller may have begun: it goes on to delete what is in a Namespace
/// of this name, and would delete what the next test makes. It says so itself then.
async fn finalize(namespaces: &Api<Namespace>, name: &str) -> Result<()> {
    let Some(mut namespace) = namespaces.get_opt(name).await? else { return Ok(()) };
    let deleted = namespace.metadata.deletion_timestamp.as_ref();
    if deleted.is_none_or(|deleted| Timestamp::now() >= deleted.0 + BEFORE_IT_BEGINS) {
        return Ok(());
    }
    namespace.spec.get_or_insert_default().finalizers = None;
    let done = namespaces.replace_subresource("finalize", name, &PostParams::default(), &namespace).await;
    done.map(drop).or_else(unless_gone)
}

fn unless_gone(error: kube::Error) -> Result<()> {
    match error {
        kube::Error::Api(status) if status.code == 404 => Ok(()),
        error => Err(error.into()),
    }
}
