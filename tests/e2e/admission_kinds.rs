use crate::support::*;
use anyhow::{Context, Result, ensure};
use cloister_api::{AccessRole, GrantMount, StorageAccessGrant, labels, unseen::is_unseen};
use cloister_tests::{assert_denied, cluster, eventually, unique};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
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
    for kind in attested() {
        let (theirs, own) = (kind.api(&admin, &ns), kind.api(&operator, &ns));
        let status = match kind.field {
            "reviewer" => json!({"conditions": [{
                "type": "Counted", "status": "True", "reason": "Counted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]}),
            _ => {
                json!({"phase": "Approved", "approvedAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-01T04:00:00Z"})
            }
        };
        let mut forged = kind.json("one");
        forged["status"] = status.clone();
        let made = theirs.create(&create(), &object(forged.clone())).await?;
        // What there is then is the kind's default.
        let is_made = |object: &DynamicObject| object.data.get("status").is_some_and(|status| !is_unseen(status));
        assert!(!is_made(&made), "a status is not made with the object");
        // Nor written with it.
        let params = PatchParams::apply("x").force();
        let after = theirs.patch("one", &params, &Patch::Apply(forged.clone())).await?;
        assert!(!is_made(&after));

        let change = json!({"status": status});
        assert_denied(merge_at(&theirs, "status", "one", change.clone()).await, "status.cloister.dev");
        let applied = theirs.patch_subresource("status", "one", &params, &Patch::Apply(forged)).await;
        assert_denied(applied, "status.cloister.dev");
        let mut whole = serde_json::to_value(theirs.get("one").await?)?;
        json_merge(&mut whole, &change);
        let path = format!("{}/status", kind.path(&ns, "one"));
        let request = http_put(&path, whole.to_string().into_bytes());
        assert_denied(admin.request::<serde_json::Value>(request).await, "status.cloister.dev");
        merge_at(&own, "status", "one", change).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_status_of_the_catalogue_is_the_operators() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let (theirs, own): (Api<AccessRole>, Api<AccessRole>) = (Api::all(admin), Api::all(operator));
    let name = unique("role");
    let role = object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessRole", "metadata": {"name": name},
        "spec": {"clusterRole": "cloister:debugger", "accessPolicy": "standard"},
    }));
    theirs.create(&create(), &role).await?;
    let change = json!({"status": {"observedGeneration": 1}});
    assert_denied(merge_at(&theirs, "status", &name, change.clone()).await, "status.cloister.dev");
    merge_at(&own, "status", &name, change).await?;
    merge(&theirs, &name, json!({"spec": {"description": "exec"}})).await?;
    theirs.delete(&name, &delete()).await?;
    Ok(())
}

/// What stands beside the spec leaves room for the status.
#[tokio::test]
async fn an_object_is_not_padded_until_its_status_finds_no_room() -> Result<()> {
    const POLICY: &str = "sizes.cloister.dev";
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "sizes").await?;
    let many = |count: usize| -> serde_json::Map<_, _> {
        (0..count).map(|at| (format!("example.com/k{at}"), json!("v"))).collect()
    };
    let refused = |answer: kube::Result<DynamicObject>| assert_denied(answer, POLICY);
    for kind in attested() {
        let theirs = kind.api(&admin, &ns);
        let with = |metadata: serde_json::Value| {
            let mut one = kind.json("padded");
            json_merge(&mut one, &json!({"metadata": metadata}));
            object::<DynamicObject>(one)
        };
        let names: Vec<String> = (0..17).map(|at| format!("example.com/f{at}")).collect();
        let owner =
            |name: String, uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid});
        let owners: Vec<_> = (0..9).map(|at| owner("x".to_owned(), &format!("u{at}"))).collect();
        for padding in [
            json!({"labels": many(65)}),
            json!({"annotations": many(65)}),
            json!({"finalizers": names}),
            json!({"ownerReferences": owners}),
            json!({"ownerReferences": [owner("x".repeat(257), "u")]}),
            json!({"ownerReferences": [owner("x".to_owned(), &"u".repeat(65))]}),
        ] {
            refused(theirs.create(&create(), &with(padding)).await);
        }
        theirs.create(&create(), &with(json!({"labels": many(64), "annotations": many(64)}))).await?;
        refused(merge(&theirs, "padded", json!({"metadata": {"labels": {"one-more": "v"}}})).await);
        // Each manager of fields brings a list of them.
        let mut managers = 0;
        let stopped = loop {
            let params = PatchParams::apply(&format!("m{managers}")).force();
            match theirs.patch("padded", &params, &Patch::Apply(with(json!({"labels": many(64)})))).await {
                Ok(_) if managers < 40 => managers += 1,
                answer => break answer,
            }
        };
        refused(stopped);
        // What stands may shrink, and end.
        merge(&theirs, "padded", json!({"metadata": {"annotations": null}})).await?;
        theirs.delete("padded", &delete()).await?;
    }
    Ok(())
}

/// It deletes what RBAC lets it delete, and takes no finalizer off.
#[tokio::test]
async fn deleting_all_of_a_kind_is_like_deleting_each() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "collection").await?;
    let binding: RoleBinding = object(json!({
        "metadata": {"name": "cloister-researchers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:researcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "carol"}],
    }));
    Api::namespaced(operator.clone(), &ns).create(&create(), &binding).await?;
    let carol = cluster().await.client_for("carol", &[]).await?;
    for kind in attested() {
        let (theirs, own, hers) = (kind.api(&admin, &ns), kind.api(&operator, &ns), kind.api(&carol, &ns));
        eventually("her rights", async || Ok(hers.create(&create(), &object(kind.json("held"))).await?)).await?;
        hers.create(&create(), &object(kind.json("free"))).await?;
        let is_grant = kind.field == "requestedBy";
        if is_grant {
            merge(&own, "held", json!({"metadata": {"finalizers": [labels::GRANT_FINALIZER]}})).await?;
        }
        let refused = hers.delete_collection(&delete(), &Default::default()).await.err().context("she may not")?;
        assert!(
            matches!(refused, kube::Error::Api(status) if status.is_forbidden() && status.message.contains("cannot deletecollection"))
        );

        theirs.delete_collection(&delete(), &Default::default()).await?;
        assert!(theirs.get_opt("free").await?.is_none());
        if is_grant {
            let held = theirs.get("held").await?;
            assert!(held.metadata.deletion_timestamp.is_some(), "it ends, and the operator sees to it");
            merge(&own, "held", json!({"metadata": {"finalizers": null}})).await?;
        }
        assert!(theirs.get_opt("held").await?.is_none());
    }
    Ok(())
}

/// What was asked and what was decided stays as it was; a review that goes changes nothing.
#[tokio::test]
async fn requests_and_reviews_cannot_be_changed() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "changed").await?;
    for kind in attested() {
        let api = kind.api(&admin, &ns);
        api.create(&create(), &object(kind.json("one"))).await?;
        let change = match kind.field {
            "reviewer" => json!({"comment": "other"}),
            _ => json!({"justification": "other"}),
        };
        let refused = merge(&api, "one", json!({"spec": change})).await.err().context("it cannot be changed")?;
        assert!(
            matches!(refused, kube::Error::Api(status) if status.code == 422 && status.message.contains("cannot be changed"))
        );
        merge(&api, "one", json!({"metadata": {"labels": {"x": "y"}}})).await?;
        api.delete("one", &delete()).await?;
    }
    Ok(())
}

/// Also where no research namespace is yet: a mount that waits there would be injected once there is.
#[tokio::test]
async fn nobody_else_writes_a_mount() -> Result<()> {
    const POLICY: &str = "grantmount-writers.cloister.dev";
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let mount = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "GrantMount", "metadata": {"name": "w.r.trainer"},
        "spec": {"serviceAccountName": "trainer", "secretName": "cloister-grant-w.r.trainer", "volumeName": "cloister-w", "mountPath": "/w"},
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
        "spec": {"serviceAccountName": "trainer", "secretName": "cloister-grant-w.r.trainer", "volumeName": "cloister-w", "mountPath": "/w"},
    });
    mounts.patch("w.r.trainer", &apply(), &Patch::Apply(mount)).await?;
    grants.delete("grant", &delete()).await?;
    eventually("the mount to be collected", async || {
        ensure!(mounts.get_opt("w.r.trainer").await?.is_none());
        Ok(())
    })
    .await
}
