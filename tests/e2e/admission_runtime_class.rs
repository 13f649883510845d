use crate::support::*;
use anyhow::{Context, Result, ensure};
use cloister_api::labels;
use cloister_tests::{assert_denied, cluster, eventually};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use kube::api::Patch;
use serde_json::json;

const POLICY: &str = "runtime-class.cloister.dev";

#[tokio::test]
async fn pods_of_a_sandboxed_namespace_run_sandboxed() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    for (name, memory) in [("gvisor", "64Mi"), ("unsafe", "1Mi")] {
        let class = json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name},
            "handler": name, "overhead": {"podFixed": {"memory": memory}},
        });
        Api::<RuntimeClass>::all(admin.clone()).patch(name, &apply(), &Patch::Apply(class)).await?;
    }
    let sandboxed = json!({labels::TIER: "Sandboxed", labels::RUNTIME_CLASS: "gvisor"});
    let name = research_namespace_with(&operator, "sandboxed", sandboxed).await?;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &name);

    let pod_of = |class: &str| pod_with("pod", "default", "/runtimeClassName", json!(class));
    eventually("the RuntimeClass to be seen", async || Ok(pods.create(&dry_run(), &pod_of("gvisor")).await?)).await?;
    // The plugin that adds the overhead of a class runs before our policy, and again after it.
    let defaulted = pods.create(&create(), &pod("defaulted", "default")).await?.spec.context("a spec")?;
    assert_eq!(defaulted.runtime_class_name.as_deref(), Some("gvisor"));
    assert_eq!(defaulted.overhead.context("an overhead")?["memory"].0, "64Mi");

    eventually("the other RuntimeClass to be seen", async || {
        let result = pods.create(&dry_run(), &pod_of("unsafe")).await;
        ensure!(!format!("{result:?}").contains("not found"));
        cloister_tests::denied(result, POLICY)
    })
    .await?;

    // Another tier names none, and people choose.
    let standard: Api<Pod> = Api::namespaced(admin, &research_namespace(&operator, "standard").await?);
    let free = standard.create(&create(), &pod("free", "default")).await?.spec.context("a spec")?;
    assert_eq!(free.runtime_class_name, None);
    let chosen = standard.create(&create(), &pod_of("unsafe")).await?.spec.context("a spec")?;
    assert_eq!(chosen.runtime_class_name.as_deref(), Some("unsafe"));
    assert_denied(pods.create(&dry_run(), &pod_of("unsafe")).await, POLICY);
    Ok(())
}
