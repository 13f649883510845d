//! The manifests in `examples/`, and how people give them to the API server.

use crate::cluster::workspace_root;
use anyhow::{Context, Result};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
    discovery::{self, Scope},
};
use serde_json::Value;

/// The objects of a file, in its order.
///
/// # Errors
///
/// The file cannot be read, or holds something that is no object.
pub fn load(file: &str) -> Result<Vec<DynamicObject>> {
    let path = workspace_root()?.join("examples").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("examples/{file} holds something that is no object"))
}

/// The objects of a text.
///
/// # Errors
///
/// It is not YAML, or holds something that is no object.
pub fn parse(text: &str) -> Result<Vec<DynamicObject>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let objects = documents.into_iter().filter(|document| !document.is_null()).map(serde_json::from_value);
    Ok(objects.collect::<Result<_, _>>()?)
}

/// Creates an object as whoever the client is.
///
/// # Errors
///
/// The API server refuses it.
pub async fn create(client: &Client, object: &DynamicObject) -> kube::Result<DynamicObject> {
    api(client, object).await?.create(&PostParams::default(), object).await
}

/// Asks whether an object would be created, and what it would be then.
///
/// # Errors
///
/// The API server would refuse it.
pub async fn dry_run(client: &Client, object: &DynamicObject) -> kube::Result<DynamicObject> {
    api(client, object).await?.create(&PostParams { dry_run: true, ..PostParams::default() }, object).await
}

/// Where objects of its kind are, in its namespace.
///
/// # Errors
///
/// The API server does not know the kind.
pub async fn api(client: &Client, object: &DynamicObject) -> kube::Result<Api<DynamicObject>> {
    let (resource, scope) = kind(client, object).await?;
    Ok(match (scope, object.namespace()) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), &namespace, &resource),
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    })
}

async fn kind(client: &Client, object: &DynamicObject) -> kube::Result<(ApiResource, Scope)> {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types.api_version.rsplit_once('/').unwrap_or(("", &types.api_version));
    let gvk = GroupVersionKind::gvk(group, version, &types.kind);
    let (resource, capabilities) = discovery::pinned_kind(client, &gvk).await?;
    Ok((resource, capabilities.scope))
}
