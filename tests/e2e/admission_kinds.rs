use crate::support::*;
use anyhow::{Result, ensure};
use cloister_api::{GrantMount, StorageAccessGrant, labels};
use cloister_tests::{assert_denied, cluster, eventually};
use kube::Api;
use kube::api::Patch;
use serde_json::json;

fn grant(name: &str) -> StorageAccessGrant {
    object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant", "metadata": {"name": name},
        "spec": {"storage": "weights", "role": "reader", "subjects": [{"kind": "User", "name": "alice"}]},
    }))
}

#[tokio::test]
async fn the_status_is_the_operators() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "status").await?;
    let theirs: Api<StorageAccessGrant> = Api::namespaced(admin, &ns);
    let own: Api<StorageAccessGrant> = Api::namespaced(operator, &ns);
    let mut forged = grant("grant");
    forged.status = object(json!({"phase": "Active"}));
    let made = theirs.create(&create(), &forged).await?;
    assert_eq!(made.status, None, "a status is not made with the object");

    let active = json!({"status": {"phase": "Active"}});
    assert_denied(merge_at(&theirs, "status", "grant", active.clone()).await, "status.cloister.dev");
    let mut whole = serde_json::to_value(theirs.get("grant").await?)?;
    json_merge(&mut whole, &active);
    let path = format!("/apis/cloister.dev/v1alpha1/namespaces/{ns}/storageaccessgrants/grant/status");
    let request = http_put(&path, whole.to_string().into_bytes());
    assert_denied(theirs.clone().into_client().request::<serde_json::Value>(request).await, "status.cloister.dev");
    merge_at(&own, "status", "grant", active).await?;
    Ok(())
}

#[tokio::test]
async fn our_finalizers_are_taken_off_by_the_operator() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "finalizers").await?;
    let theirs: Api<StorageAccessGrant> = Api::namespaced(admin, &ns);
    let own: Api<StorageAccessGrant> = Api::namespaced(operator, &ns);
    theirs.create(&create(), &grant("grant")).await?;
    let finalizers = |list: &[&str]| json!({"metadata": {"finalizers": list}});
    merge(&own, "grant", finalizers(&[labels::GRANT_FINALIZER, "example.com/theirs"])).await?;

    assert_denied(merge(&theirs, "grant", finalizers(&["example.com/theirs"])).await, "finalizers.cloister.dev");
    assert_denied(merge(&theirs, "grant", json!({"metadata": {"finalizers": null}})).await, "finalizers.cloister.dev");
    merge(&theirs, "grant", finalizers(&[labels::GRANT_FINALIZER])).await?;

    // While it ends, too.
    theirs.delete("grant", &delete()).await?;
    assert_denied(merge(&theirs, "grant", finalizers(&[])).await, "finalizers.cloister.dev");
    merge(&own, "grant", finalizers(&[])).await?;
    assert!(theirs.get_opt("grant").await?.is_none());
    Ok(())
}

/// Also where no research namespace is yet: a mount that waits there would be injected once there is.
#[tokio::test]
async fn nobody_else_writes_a_mount() -> Result<()> {
    const POLICY: &str = "grantmount-writers.cloister.dev";
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let mount = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "GrantMount", "metadata": {"name": "w.r.trainer"},
        "spec": {"serviceAccountName": "trainer", "secretName": "cloister-grant-w.r.trainer", "volumeName": "w", "mountPath": "/w"},
    });
    let plain: Api<GrantMount> = Api::namespaced(admin.clone(), &plain_namespace(&admin, "plain").await?);
    assert_denied(plain.create(&create(), &object(mount.clone())).await, POLICY);

    let ns = research_namespace(&operator, "mount").await?;
    let theirs: Api<GrantMount> = Api::namespaced(admin, &ns);
    let own: Api<GrantMount> = Api::namespaced(operator, &ns);
    own.patch("w.r.trainer", &apply(), &Patch::Apply(mount)).await?;
    assert_denied(merge(&theirs, "w.r.trainer", json!({"spec": {"mountPath": "/x"}})).await, POLICY);
    assert_denied(merge(&theirs, "w.r.trainer", json!({"metadata": {"labels": {"x": "y"}}})).await, POLICY);
    assert_denied(theirs.delete("w.r.trainer", &delete()).await, POLICY);
    assert_denied(theirs.delete_collection(&delete(), &Default::default()).await, POLICY);
    own.delete("w.r.trainer", &delete()).await?;
    Ok(())
}

/// A mount goes with the grant that owns it.
#[tokio::test]
async fn the_garbage_collector_takes_a_mount() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "garbage").await?;
    let grants: Api<StorageAccessGrant> = Api::namespaced(admin, &ns);
    let mounts: Api<GrantMount> = Api::namespaced(operator, &ns);
    let owner = grants.create(&create(), &grant("grant")).await?;
    let reference = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant", "name": "grant", "uid": owner.metadata.uid});
    let mount = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "GrantMount",
        "metadata": {"name": "w.r.trainer", "ownerReferences": [reference]},
        "spec": {"serviceAccountName": "trainer", "secretName": "cloister-grant-w.r.trainer", "volumeName": "w", "mountPath": "/w"},
    });
    mounts.patch("w.r.trainer", &apply(), &Patch::Apply(mount)).await?;
    grants.delete("grant", &delete()).await?;
    eventually("the mount to be collected", async || {
        ensure!(mounts.get_opt("w.r.trainer").await?.is_none());
        Ok(())
    })
    .await
}
