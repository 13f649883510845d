//! What is being deleted, and is in force until a finalizer of somebody else is taken off.

use anyhow::{Context, Result, ensure};
use cloister_api::{ResearchNamespace, RoleGrant};
use cloister_tests::{
    bare::Bare,
    eventually,
    ours::{make, ours},
    scene::condition,
    tools::is_taken_for,
};
use k8s_openapi::api::{networking::v1::NetworkPolicy, rbac::v1::RoleBinding};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
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

/// The grant `run` of a kind is in a phase, and a tool that waits by kstatus takes it for this.
async fn comes_to(bare: &Bare, kind: &str, phase: &str, status: &str) -> Result<()> {
    eventually(&format!("the {kind} to be {phase} and {status}"), async || {
        let grant = ours(&bare.admin, kind, Some("interp")).get("run").await?;
        is_taken_for(&serde_json::to_value(grant)?, phase, status)
    })
    .await
}

#[tokio::test]
async fn whoever_waits_for_a_grant_that_is_taken_away_waits_until_it_is() -> Result<()> {
    let bare = Bare::start("held-open").await?;
    let operator = bare.operator().await?;
    make(
        &bare.admin,
        "ResearchNamespace",
        None,
        "interp",
        json!({"tier": "Standard", "serviceAccounts": [{"name": "trainer"}]}),
    )
    .await?;
    let auto = json!({
        "requesters": [{"kind": "Group", "name": "system:masters"}], "maxDuration": "1h", "autoApprove": ["true"],
    });
    make(&bare.admin, "AccessPolicy", None, "egress", auto).await?;
    make(
        &bare.admin,
        "AccessRole",
        None,
        "debugger",
        json!({"clusterRole": "cloister:debugger", "accessPolicy": "egress"}),
    )
    .await?;
    let rule = json!({"name": "lab", "networks": ["203.0.113.99/32"], "ports": [{"port": 443, "protocol": "TCP"}]});
    let subjects = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
    for (kind, mut spec) in
        [("RoleGrant", json!({"role": "debugger", "subjects": subjects})), ("EgressGrant", json!({"rule": rule}))]
    {
        spec["justification"] = json!("a test");
        eventually("the Namespace", async || make(&bare.admin, kind, Some("interp"), "run", spec.clone()).await)
            .await?;
        comes_to(&bare, kind, "Active", "Current").await?;
    }

    bare.without_admission().await?;
    let bindings: Api<RoleBinding> = Api::namespaced(bare.admin.clone(), "interp");
    let policies: Api<NetworkPolicy> = Api::namespaced(bare.admin.clone(), "interp");
    let merge = PatchParams::default();
    let hold = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/stay"]}}));
    bindings.patch("cloister-role-grant.run", &merge, &hold).await?;
    policies.patch("cloister-egress-grant.run", &merge, &hold).await?;
    ours(&bare.admin, "AccessPolicy", None).delete("egress", &DeleteParams::default()).await?;
    comes_to(&bare, "RoleGrant", "Revoking", "InProgress").await?;
    comes_to(&bare, "EgressGrant", "Revoking", "InProgress").await?;
    let let_go = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    bindings.patch("cloister-role-grant.run", &merge, &let_go).await?;
    policies.patch("cloister-egress-grant.run", &merge, &let_go).await?;
    comes_to(&bare, "RoleGrant", "Revoked", "Current").await?;
    comes_to(&bare, "EgressGrant", "Revoked", "Current").await?;
    operator.stop().await?;
    bare.give_back().await
}
