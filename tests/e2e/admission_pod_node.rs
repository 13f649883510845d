use crate::support::*;
use anyhow::Result;
use cloister_tests::{assert_denied, cluster};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;

#[tokio::test]
async fn a_pod_of_a_research_namespace_names_no_node() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let (research, plain) = (research_namespace(&operator, "node").await?, plain_namespace(&admin, "node").await?);
    let there = pod_with("there", "default", "/nodeName", json!("nowhere"));
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &research);
    assert_denied(pods.create(&create(), &there).await, "pod-node.cloister.dev");
    // Nodes may be chosen by their labels, and elsewhere by name.
    let by_label = pod_with("by-label", "default", "/nodeSelector", json!({"kubernetes.io/hostname": "nowhere"}));
    pods.create(&create(), &by_label).await?;
    Api::<Pod>::namespaced(admin, &plain).create(&create(), &there).await?;
    Ok(())
}
