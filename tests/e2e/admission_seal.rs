use crate::support::*;
use anyhow::Result;
use cloister_api::labels;
use cloister_tests::{assert_denied, cluster, denied, eventually};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use serde_json::json;

const POLICY: &str = "seal.cloister.dev";

#[tokio::test]
async fn a_namespace_admits_pods_only_while_it_is_enforced() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let name = research_namespace_with(&operator, "seal", json!({labels::ENFORCED: null})).await?;
    let pods: Api<Pod> = Api::namespaced(admin, &name);
    let namespaces: Api<Namespace> = Api::all(operator);

    assert_denied(pods.create(&create(), &pod("early", "default")).await, POLICY);

    merge(&namespaces, &name, json!({"metadata": {"labels": {labels::ENFORCED: "true"}}})).await?;
    eventually("pods to be admitted", async || Ok(pods.create(&dry_run(), &pod("one", "default")).await?)).await?;

    merge(&namespaces, &name, json!({"metadata": {"labels": {labels::ENFORCED: "false"}}})).await?;
    eventually("the seal", async || denied(pods.create(&dry_run(), &pod("two", "default")).await, POLICY)).await?;
    Ok(())
}

#[tokio::test]
async fn a_retained_namespace_admits_no_pods() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let name = research_namespace_with(&operator, "retained", json!({labels::RETAINED: "true"})).await?;
    let pods: Api<Pod> = Api::namespaced(admin, &name);
    assert_denied(pods.create(&create(), &pod("late", "default")).await, POLICY);
    Ok(())
}

#[tokio::test]
async fn other_namespaces_are_left_alone() -> Result<()> {
    let admin = cluster().await.admin().await?;
    let name = plain_namespace(&admin, "plain").await?;
    let pods: Api<Pod> = Api::namespaced(admin, &name);
    let made = pods.create(&create(), &pod("free", "default")).await?;
    assert_eq!(label_of(&made), None);
    Ok(())
}
