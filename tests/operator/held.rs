//! What is being deleted, and is in force until a finalizer of somebody else is taken off.

use anyhow::{Context, Result, ensure};
use cloister_api::{ResearchNamespace, RoleGrant};
use cloister_tests::{bare::Bare, eventually, scene::condition};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::json;

#[tokio::test]
async fn a_binding_in_a_grants_name_that_is_held_is_told_of_and_let_go_by_an_administrator() -> Result<()> {
    let bare = Bare::start("held").await?;
    let operator = bare.operator().await?;
    let admin = &bare.admin;
    let declared: Api<ResearchNamespace> = Api::all(admin.clone());
    let research = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": "interp"},
        "spec": {"tier": "Standard"},
    });
    declared.create(&PostParams::default(), &serde_json::from_value(research)?).await?;
    let ready = async |wanted: &str| {
        eventually("what the namespace says", async || {
            let object = declared.get("interp").await?;
            let ready = condition(&object, "Ready").context("nothing is said of it")?;
            ensure!(ready.reason == wanted, "{}: {}", ready.reason, ready.message);
            Ok(object.status.unwrap_or_default().foreign_objects)
        })
        .await
    };
    ready("Reconciled").await?;
    let grants: Api<DynamicObject> =
        Api::namespaced_with(admin.clone(), "interp", &ApiResource::erase::<RoleGrant>(&()));
    let subjects = json!([{"kind": "User", "name": "alice"}]);
    let grant = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "RoleGrant", "metadata": {"name": "debug"},
        "spec": {"role": "debugger", "subjects": subjects, "justification": "a test"},
    });
    let grant = grants.create(&PostParams::default(), &serde_json::from_value(grant)?).await?;

    // From before admission bounded what the operator's token can write.
    bare.without_admission().await?;
    let owner = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "RoleGrant", "name": "debug", "uid": grant.metadata.uid,
    });
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {
            "name": "cloister-role-grant.debug", "finalizers": ["example.com/stay"], "ownerReferences": [owner],
            "labels": {
                "app.kubernetes.io/managed-by": "cloister", "cloister.dev/grant": "debug", "cloister.dev/grant-kind": "RoleGrant",
            },
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:debugger"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
    }))?;
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), "interp");
    bindings.create(&PostParams::default(), &binding).await?;
    assert_eq!(ready("ForeignObjects").await?, ["RoleBinding/cloister-role-grant.debug"]);
    assert!((operator.metric("cloister_alerts", "ForeignObjects").await? - 1.0).abs() < f64::EPSILON);

    let let_go = json!({"metadata": {"finalizers": null}});
    bindings.patch("cloister-role-grant.debug", &PatchParams::default(), &Patch::Merge(let_go)).await?;
    ready("Reconciled").await?;
    operator.stop().await?;
    bare.give_back().await
}
