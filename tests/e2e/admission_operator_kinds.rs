//! The operator's account and what people declare, ask and decide.

use crate::support::*;
use anyhow::Result;
use cloister_api::{AccessRole, labels};
use cloister_tests::{assert_denied, cluster, unique};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::Patch;
use serde_json::json;

/// It sees all that people ask and decide, and neither asks nor decides.
#[tokio::test]
async fn it_asks_and_decides_nothing() -> Result<()> {
    const POLICY: &str = "operator-kinds.cloister.dev";
    let (admin, o) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = plain_namespace(&admin, "decides").await?;
    let mistake: RoleBinding = object(json!({
        "metadata": {"name": "mistake"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "cloister-system", "name": "cloister-operator"}],
    }));
    for kind in attested() {
        let made = kind.api(&o, &ns).create(&dry_run(), &object(kind.json("one"))).await;
        assert!(
            matches!(made, Err(kube::Error::Api(status)) if status.message.contains("cannot create resource")),
            "by RBAC"
        );
    }
    Api::namespaced(admin.clone(), &ns).create(&create(), &mistake).await?;
    for kind in attested() {
        let (theirs, own) = (kind.api(&admin, &ns), kind.api(&o, &ns));
        cloister_tests::eventually("its rights", async || {
            cloister_tests::denied(own.create(&dry_run(), &object(kind.json("one"))).await, POLICY)
        })
        .await?;
        assert_denied(own.patch("one", &apply(), &Patch::Apply(kind.json("one"))).await, POLICY);

        theirs.create(&create(), &object(kind.json("one"))).await?;
        // It removes what has ended, and nothing else.
        const RETENTION: &str = "operator-retention.cloister.dev";
        assert_denied(own.delete("one", &delete()).await, RETENTION);
        assert_denied(own.delete_collection(&delete(), &Default::default()).await, RETENTION);
        // The schema refuses a changed spec before policies see it.
        let change = match kind.field {
            "reviewer" => json!({"decision": "Revoke"}),
            _ => json!({"requestedDuration": "1h"}),
        };
        assert!(merge(&own, "one", json!({"spec": change})).await.is_err());
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u"});
        assert_denied(merge(&own, "one", json!({"metadata": {"ownerReferences": [owner]}})).await, POLICY);
        // Tools prune, adopt and suspend by these.
        for change in [json!({"labels": {"x": "y"}}), json!({"annotations": {"x": "y"}})] {
            assert_denied(merge(&own, "one", json!({"metadata": change})).await, POLICY);
        }
        // Its finalizer and the status are its own.
        if kind.field == "requestedBy" {
            merge(&own, "one", json!({"metadata": {"finalizers": [labels::GRANT_FINALIZER]}})).await?;
        }
        merge_at(&own, "status", "one", json!({"status": {"observedGeneration": 1}})).await?;
        merge(&own, "one", json!({"metadata": {"finalizers": null}})).await?;
    }

    let role = |name: &str| {
        json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessRole", "metadata": {"name": name},
            "spec": {"clusterRole": "cloister:debugger", "accessPolicy": "standard"},
        })
    };
    let name = unique("debugger");
    let (theirs, own): (Api<AccessRole>, Api<AccessRole>) = (Api::all(admin), Api::all(o));
    theirs.create(&create(), &object(role(&name))).await?;
    assert_denied(merge(&own, &name, json!({"spec": {"accessPolicy": "weaker"}})).await, POLICY);
    merge(&theirs, &name, json!({"metadata": {"labels": {"x": "y"}, "annotations": {"x": "y"}}})).await?;
    for change in [json!({"labels": {"x": "z"}}), json!({"labels": null}), json!({"annotations": null})] {
        assert_denied(merge(&own, &name, json!({"metadata": change})).await, POLICY);
    }
    theirs.delete(&name, &delete()).await?;
    Ok(())
}
