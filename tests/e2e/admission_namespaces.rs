use crate::support::*;
use anyhow::{Context, Result, ensure};
use cloister_api::labels;
use cloister_tests::{assert_denied, cluster, eventually};
use k8s_openapi::api::core::v1::{LimitRange, Namespace, Pod, ResourceQuota, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::Patch;
use serde_json::{Value, json};

const POLICY: &str = "namespaces.cloister.dev";

fn label(key: &str, value: Value) -> Value {
    json!({"metadata": {"labels": {key: value}}})
}

fn annotation(key: &str, value: &str) -> Value {
    json!({"metadata": {"annotations": {key: value}}})
}

async fn both() -> Result<(Api<Namespace>, Api<Namespace>)> {
    let cluster = cluster().await;
    Ok((Api::all(cluster.admin().await?), Api::all(cluster.operator().await?)))
}

#[tokio::test]
async fn nobody_takes_a_namespace_out_of_the_policies() -> Result<()> {
    let (theirs, own) = both().await?;
    let name = research_namespace(&own.clone().into_client(), "held").await?;
    let changes = [
        label(labels::RESEARCH_NAMESPACE, Value::Null),
        label(labels::RESEARCH_NAMESPACE, json!("other")),
        label(labels::ENFORCED, json!("yes")),
        label(labels::RETAINED, json!("true")),
        label(labels::RUNTIME_CLASS, json!("runc")),
        label("cloister.dev/anything", json!("new")),
        label("pod-security.kubernetes.io/enforce", json!("privileged")),
        label("pod-security.kubernetes.io/enforce", Value::Null),
        label("pod-security.kubernetes.io/warn", json!("baseline")),
        annotation("cloister.dev/anything", "new"),
        annotation("pod-security.kubernetes.io/anything", "new"),
        // All at once.
        json!({"metadata": {"labels": null}}),
    ];
    for change in changes {
        assert_denied(merge(&theirs, &name, change.clone()).await, POLICY);
        assert_denied(merge_at(&theirs, "status", &name, change.clone()).await, POLICY);
        let mut whole = serde_json::to_value(theirs.get(&name).await?)?;
        json_merge(&mut whole, &change);
        let path = format!("/api/v1/namespaces/{name}/finalize");
        let client = theirs.clone().into_client();
        assert_denied(client.request::<Value>(http_put(&path, whole.to_string().into_bytes())).await, POLICY);
    }
    // Nor takes Kubernetes' part, with the labels as they are.
    let forged = json!({"status": {"conditions": [{"type": "Forged", "status": "True"}]}});
    assert_denied(merge_at(&theirs, "status", &name, forged).await, POLICY);
    let mut finalized = serde_json::to_value(theirs.get(&name).await?)?;
    finalized["spec"]["finalizers"] = json!([]);
    let request = http_put(&format!("/api/v1/namespaces/{name}/finalize"), finalized.to_string().into_bytes());
    assert_denied(theirs.clone().into_client().request::<Value>(request).await, POLICY);
    // Other labels and annotations are theirs.
    merge(&theirs, &name, label("team", json!("interp"))).await?;
    merge(&theirs, &name, annotation("example.com/note", "x")).await?;
    merge(&theirs, &name, annotation(labels::ADOPT, &name)).await?;
    // The operator changes its own.
    merge(&own, &name, label(labels::TIER, json!("Sandboxed"))).await?;
    merge(&own, &name, label("pod-security.kubernetes.io/warn", json!("restricted"))).await?;
    Ok(())
}

#[tokio::test]
async fn nobody_else_makes_a_namespace_look_like_one_of_ours() -> Result<()> {
    let (theirs, own) = both().await?;
    let name = cloister_tests::unique("squatted");
    let labelled = |labels: Value| object::<Namespace>(json!({"metadata": {"name": name, "labels": labels}}));
    assert_denied(theirs.create(&create(), &labelled(json!({labels::RESEARCH_NAMESPACE: name}))).await, POLICY);
    assert_denied(theirs.create(&create(), &labelled(json!({labels::ENFORCED: "true"}))).await, POLICY);
    // Who declares it could take it back.
    let kept = json!({labels::RESEARCH_NAMESPACE: name, labels::RETAINED: "true"});
    for labels in [kept.clone(), json!({labels::RETAINED: "true"})] {
        assert_denied(theirs.create(&create(), &labelled(labels)).await, POLICY);
    }

    theirs.create(&create(), &labelled(json!({"pod-security.kubernetes.io/enforce": "baseline"}))).await?;
    assert_denied(merge(&theirs, &name, label(labels::RESEARCH_NAMESPACE, json!(name))).await, POLICY);
    assert_denied(merge_at(&theirs, "status", &name, label(labels::RESEARCH_NAMESPACE, json!(name))).await, POLICY);
    for labels in [kept, json!({labels::RETAINED: "true"})] {
        let change = json!({"metadata": {"labels": labels}});
        assert_denied(merge(&theirs, &name, change.clone()).await, POLICY);
        // Nor does the operator, of what nobody has offered.
        assert_denied(merge(&own, &name, change).await, "operator-namespaces.cloister.dev");
    }
    // It is an ordinary one, with whatever Pod Security its people want.
    merge(&theirs, &name, label("pod-security.kubernetes.io/enforce", json!("privileged"))).await?;

    // Its people open it to adoption; the operator cannot do that itself, but may take the annotation away afterwards.
    assert!(merge(&own, &name, annotation(labels::ADOPT, &name)).await.is_err());
    merge(&theirs, &name, annotation(labels::ADOPT, &name)).await?;
    merge(&own, &name, json!({"metadata": {"labels": namespace_labels(&name)}})).await?;
    assert_denied(merge(&own, &name, annotation(labels::ADOPT, "other")).await, POLICY);
    merge(&own, &name, json!({"metadata": {"annotations": {labels::ADOPT: null}}})).await?;
    theirs.get(&name).await?;
    Ok(())
}

#[tokio::test]
async fn a_research_namespace_is_deleted_by_the_operator_or_once_retained() -> Result<()> {
    let (theirs, own) = both().await?;
    let (admin, operator) = (theirs.clone().into_client(), own.clone().into_client());
    let kept = research_namespace(&operator, "kept").await?;
    assert_denied(theirs.delete(&kept, &delete()).await, POLICY);
    merge(&own, &kept, label(labels::RETAINED, json!("true"))).await?;
    theirs.delete(&kept, &delete()).await?;
    wait_until_gone(&admin, &kept).await?;

    let plain = plain_namespace(&admin, "plain").await?;
    theirs.delete(&plain, &delete()).await?;
    wait_until_gone(&admin, &plain).await
}

/// With everything in it that the policies hold: Kubernetes' own controllers must get through.
#[tokio::test]
async fn a_full_research_namespace_ends() -> Result<()> {
    let (theirs, own) = both().await?;
    let (admin, operator) = (theirs.into_client(), own.clone().into_client());
    let ns = research_namespace(&operator, "full").await?;
    wait_for_root_ca(&admin, &ns).await?;
    let managed = |name: &str| json!({"name": name, "labels": {labels::MANAGED_BY: labels::MANAGER}});
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:viewer"});
    let o = operator.clone();
    Api::<NetworkPolicy>::namespaced(o.clone(), &ns)
        .create(&create(), &object(json!({"metadata": managed("cloister-deny"), "spec": {"podSelector": {}}})))
        .await?;
    Api::<RoleBinding>::namespaced(o.clone(), &ns)
        .create(&create(), &object(json!({"metadata": managed("cloister-viewers"), "roleRef": role_ref})))
        .await?;
    Api::<ResourceQuota>::namespaced(o.clone(), &ns)
        .create(&create(), &object(json!({"metadata": managed("cloister"), "spec": {"hard": {"pods": "9"}}})))
        .await?;
    Api::<LimitRange>::namespaced(o.clone(), &ns)
        .create(&create(), &object(json!({"metadata": managed("cloister"), "spec": {"limits": []}})))
        .await?;
    Api::<ServiceAccount>::namespaced(o.clone(), &ns)
        .create(&create(), &object(json!({"metadata": managed("trainer")})))
        .await?;
    // It cannot read Secrets, and so makes them by server-side apply.
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": managed("cloister-grant-w.r.trainer")});
    Api::<Secret>::namespaced(o.clone(), &ns)
        .patch_metadata("cloister-grant-w.r.trainer", &apply(), &Patch::Apply(secret))
        .await
        .context("a Secret by server-side apply")?;
    let mount = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "GrantMount", "metadata": managed("w.r.trainer"),
        "spec": {"serviceAccountName": "trainer", "secretName": "cloister-grant-w.r.trainer", "volumeName": "cloister-w", "mountPath": "/w"},
    });
    Api::<cloister_api::GrantMount>::namespaced(o, &ns).create(&create(), &object(mount)).await?;
    Api::<Pod>::namespaced(admin.clone(), &ns).create(&create(), &pod("pod", "default")).await?;
    // What was asked and decided: a grant's finalizer is the operator's to take off, and nothing else holds the end up.
    for kind in attested() {
        kind.api(&admin, &ns).create(&create(), &object(kind.json("free"))).await?;
        kind.api(&admin, &ns).create(&create(), &object(kind.json("held"))).await?;
    }
    let finalizer = |held: Value| json!({"metadata": {"finalizers": held}});
    for kind in grants() {
        merge(&kind.api(&operator, &ns), "held", finalizer(json!([labels::GRANT_FINALIZER]))).await?;
    }

    own.delete(&ns, &delete()).await?;
    for kind in grants() {
        let grants = kind.api(&admin, &ns);
        eventually("the namespace's controller to delete the grants", async || {
            ensure!(grants.get_opt("free").await?.is_none());
            ensure!(grants.get("held").await?.metadata.deletion_timestamp.is_some());
            Ok(())
        })
        .await?;
        merge(&kind.api(&operator, &ns), "held", finalizer(Value::Null)).await?;
    }
    wait_until_gone(&admin, &ns).await
}
