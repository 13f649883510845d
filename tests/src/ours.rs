//! Objects of our kinds, by the name of the kind.

use anyhow::Result;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

/// The objects of a kind of ours, in a namespace or, without one, of the cluster.
pub fn ours(client: &Client, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cloister.dev", "v1alpha1", kind));
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Makes one of them.
///
/// # Errors
///
/// The API server refuses it.
pub async fn make(client: &Client, kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> Result<()> {
    let object = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    ours(client, kind, namespace).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}
