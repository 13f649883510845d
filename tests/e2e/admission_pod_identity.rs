use crate::support::*;
use anyhow::{Context, Result, ensure};
use cloister_api::labels;
use cloister_tests::{assert_denied, cluster, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const POLICY: &str = "pod-identity.cloister.dev";
const BINDING: &str = "pod-binding.cloister.dev";

async fn namespace(prefix: &str) -> Result<(Client, Api<Pod>)> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let name = research_namespace(&operator, prefix).await?;
    service_account(&admin, &name, "trainer").await?;
    Ok((admin.clone(), Api::namespaced(admin, &name)))
}

fn labelled(account: &str) -> Value {
    json!({"metadata": {"labels": {labels::SERVICE_ACCOUNT: account}}})
}

#[tokio::test]
async fn a_pod_is_labelled_with_its_account() -> Result<()> {
    let (_, pods) = namespace("identity").await?;
    assert_eq!(label_of(&pods.create(&create(), &pod("named", "trainer")).await?), Some("trainer"));

    let mut unnamed = pod_json("unnamed", "");
    unnamed["spec"]["serviceAccountName"] = Value::Null;
    assert_eq!(label_of(&pods.create(&create(), &object(unnamed)).await?), Some("default"));

    // Server-side apply by two appliers, neither of which knows the label.
    for manager in ["first", "second"] {
        let applied = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "applied"}, "spec": pod_json("applied", "trainer")["spec"]});
        let params = PatchParams::apply(manager).force();
        assert_eq!(label_of(&pods.patch("applied", &params, &Patch::Apply(applied)).await?), Some("trainer"));
    }
    Ok(())
}

#[tokio::test]
async fn a_pod_of_a_controller_is_labelled_too() -> Result<()> {
    let (admin, pods) = namespace("identity").await?;
    let namespace = pods.namespace().context("it has one")?.to_owned();
    let deployments: Api<Deployment> = Api::namespaced(admin, &namespace);
    let template = json!({"metadata": {"labels": {"app": "work"}}, "spec": pod_json("", "trainer")["spec"]});
    let deployment = json!({
        "metadata": {"name": "work"},
        "spec": {"selector": {"matchLabels": {"app": "work"}}, "template": template},
    });
    deployments.create(&create(), &object(deployment)).await?;
    eventually("its pod", async || {
        let found = pods.list(&ListParams::default().labels("app=work,cloister.dev/service-account=trainer")).await?;
        ensure!(found.items.len() == 1, "{} pods", found.items.len());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_false_label_is_refused_on_every_way_in() -> Result<()> {
    let (_, pods) = namespace("identity").await?;
    let mut forged = pod_json("forged", "default");
    forged["metadata"]["labels"] = json!({labels::SERVICE_ACCOUNT: "trainer"});
    assert_denied(pods.create(&create(), &object(forged)).await, POLICY);

    pods.create(&create(), &pod("honest", "default")).await?;
    for false_label in [labelled("trainer"), json!({"metadata": {"labels": {labels::SERVICE_ACCOUNT: null}}})] {
        assert_denied(merge(&pods, "honest", false_label.clone()).await, POLICY);
        assert_denied(merge_at(&pods, "status", "honest", false_label.clone()).await, POLICY);
        // These do not carry labels: they are ignored.
        for subresource in ["ephemeralcontainers", "resize"] {
            let after = merge_at(&pods, subresource, "honest", false_label.clone()).await?;
            assert_eq!(label_of(&after), Some("default"), "{subresource}");
        }
    }
    // What is not a lie passes, as does another label.
    merge(&pods, "honest", labelled("default")).await?;
    merge_at(&pods, "status", "honest", json!({"metadata": {"labels": {"app": "x"}}, "status": {"message": "well"}}))
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_binding_carries_no_label_of_ours_to_a_pod() -> Result<()> {
    let (admin, pods) = namespace("identity").await?;
    let namespace = pods.namespace().context("it has one")?.to_owned();
    pods.create(&create(), &pod("bound", "default")).await?;
    let binding = |labels: Value| {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "bound", "labels": labels},
            "target": {"apiVersion": "v1", "kind": "Node", "name": "nowhere"},
        });
        binding.to_string().into_bytes()
    };
    let forged = binding(json!({labels::SERVICE_ACCOUNT: "trainer"}));
    for path in [
        format!("/api/v1/namespaces/{namespace}/pods/bound/binding"),
        format!("/api/v1/namespaces/{namespace}/bindings"),
    ] {
        let request = http_post(&path, forged.clone());
        assert_denied(admin.request::<Value>(request).await, BINDING);
    }
    // As a scheduler does it.
    let path = format!("/api/v1/namespaces/{namespace}/pods/bound/binding");
    admin.request::<Value>(http_post(&path, binding(json!({"topology.kubernetes.io/zone": "a"})))).await?;
    assert_eq!(label_of(&pods.get("bound").await?), Some("default"));
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_no_label_is_refused() -> Result<()> {
    let (admin, pods) = namespace("identity").await?;
    let long = "a".repeat(64);
    service_account(&admin, pods.namespace().context("it has one")?, &long).await?;
    let refused = pods.create(&create(), &pod("long", &long)).await;
    assert!(format!("{refused:?}").contains("too long"), "it says why: {refused:?}");
    assert_denied(refused, POLICY);
    Ok(())
}

#[tokio::test]
async fn a_mirror_pod_has_no_account_and_is_refused() -> Result<()> {
    let (_, pods) = namespace("identity").await?;
    let mut mirror = pod_json("mirror", "");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    mirror["spec"]["serviceAccountName"] = Value::Null;
    mirror["spec"]["nodeName"] = json!("nowhere");
    assert_denied(pods.create(&create(), &object(mirror)).await, POLICY);
    Ok(())
}

/// The kubelet writes the status of pods that were there before the namespace was adopted; it must not be stopped, and
/// what they said of themselves must not stand.
#[tokio::test]
async fn pods_from_before_adoption_get_the_true_label() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let name = plain_namespace(&admin, "adopted").await?;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &name);
    pods.create(&create(), &pod("bare", "default")).await?;
    let mut forged = pod_json("forged", "default");
    forged["metadata"]["labels"] = json!({labels::SERVICE_ACCOUNT: "trainer"});
    pods.create(&create(), &object(forged)).await?;

    adopt(&admin, &operator, &name).await?;
    for pod in ["bare", "forged"] {
        eventually("the true label", async || {
            let after = merge_at(&pods, "status", pod, json!({"status": {"message": "alive"}})).await?;
            ensure!(label_of(&after) == Some("default"), "{:?}", after.metadata.labels);
            Ok(())
        })
        .await?;
    }
    Ok(())
}
