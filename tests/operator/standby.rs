//! What an operator tells that stands by, while whoever holds the Lease ends nothing.

use anyhow::{Result, ensure};
use cloister_api::RoleGrant;
use cloister_tests::{bare::Bare, eventually};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn one_that_stands_by_tells_of_what_should_have_ended() -> Result<()> {
    let bare = Bare::start("standby").await?;
    bare.without_admission().await?;
    let leases: Api<Lease> = Api::namespaced(bare.admin.clone(), "cloister-system");
    let held = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "cloister-operator"},
        "spec": {"holderIdentity": "nobody-known"},
    });
    leases.patch("cloister-operator", &PatchParams::apply("test").force(), &Patch::Apply(held)).await?;
    // Each write is a renewal.
    let renewing = tokio::spawn(async move {
        for time in 0.. {
            let renewed = json!({"spec": {"leaseTransitions": time}});
            let _ = leases.patch("cloister-operator", &PatchParams::default(), &Patch::Merge(renewed)).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    });
    let grants: Api<DynamicObject> =
        Api::namespaced_with(bare.admin.clone(), "default", &ApiResource::erase::<RoleGrant>(&()));
    let grant = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "RoleGrant", "metadata": {"name": "debug"},
        "spec": {"role": "debugger", "subjects": [{"kind": "User", "name": "alice"}]},
    });
    grants.create(&PostParams::default(), &serde_json::from_value(grant)?).await?;
    let operator = bare.operator().await?;
    eventually("it to stand by", async || {
        let (code, text) = operator.get("/readyz").await?;
        ensure!(code == 200 && text == "standby: nobody-known is the leader", "{code} {text}");
        Ok(())
    })
    .await?;
    assert_eq!(operator.metric("cloister_alerts", "LeaderAbsent").await?, 0.0);

    let open = json!({"status": {
        "phase": "Active", "approvedAt": "2026-01-01T00:00:00Z", "expiresAt": "2026-01-01T04:00:00Z",
    }});
    grants.patch_status("debug", &PatchParams::default(), &Patch::Merge(open)).await?;
    eventually("it to tell", async || {
        let (code, text) = operator.get("/readyz").await?;
        ensure!(code == 200 && text.contains("1 grant is open past the end"), "{code} {text}");
        ensure!(operator.metric("cloister_alerts", "LeaderAbsent").await? >= 1.0, "no alarm");
        Ok(())
    })
    .await?;
    renewing.abort();
    operator.stop().await?;
    grants.delete("debug", &DeleteParams::default()).await?;
    let leases: Api<Lease> = Api::namespaced(bare.admin.clone(), "cloister-system");
    leases.delete("cloister-operator", &DeleteParams::default()).await?;
    bare.give_back().await
}
