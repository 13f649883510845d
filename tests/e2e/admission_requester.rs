use crate::support::*;
use anyhow::{Context, Result};
use cloister_api::{Identity, StorageAccessGrant};
use cloister_tests::{assert_denied, cluster, eventually};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const POLICY: &str = "requester.cloister.dev";

fn grant_json(name: &str) -> Value {
    json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant", "metadata": {"name": name},
        "spec": {"storage": "weights", "role": "reader", "subjects": [{"kind": "User", "name": "alice"}]},
    })
}

fn requester(grant: StorageAccessGrant) -> Result<Identity> {
    grant.spec.requested_by.context("it says who asked")
}

/// A namespace, and alice, who is in its group of administrators, and twice in another.
async fn namespace() -> Result<(String, Client)> {
    let cluster = cluster().await;
    let ns = research_namespace(&cluster.operator().await?, "requester").await?;
    let binding: ClusterRoleBinding = object(json!({
        "metadata": {"name": ns},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": ns},
            {"kind": "ServiceAccount", "namespace": ns, "name": "gitops"},
        ],
    }));
    Api::all(cluster.admin().await?).create(&create(), &binding).await?;
    let alice = cluster.client_for("alice", &[&ns, "researchers", "researchers"]).await?;
    let grants: Api<StorageAccessGrant> = Api::namespaced(alice.clone(), &ns);
    eventually("her rights", async || Ok(grants.list(&Default::default()).await?)).await?;
    Ok((ns, alice))
}

#[tokio::test]
async fn the_api_server_says_who_asked() -> Result<()> {
    let (ns, alice) = namespace().await?;
    let grants: Api<StorageAccessGrant> = Api::namespaced(alice, &ns);
    let by = requester(grants.create(&create(), &object(grant_json("mine"))).await?)?;
    assert_eq!((by.username.as_str(), by.uid.as_str()), ("alice", ""));
    let mut groups = by.groups.clone();
    groups.sort();
    assert_eq!(groups, [ns.as_str(), "researchers", "system:authenticated"], "each group once");

    let mut generated = grant_json("");
    generated["metadata"] = json!({"generateName": "mine-"});
    assert_eq!(requester(grants.create(&create(), &object(generated)).await?)?.username, "alice");

    // A ServiceAccount has a uid.
    let cluster = cluster().await;
    let admin = cluster.admin().await?;
    service_account(&admin, &ns, "gitops").await?;
    let grants: Api<StorageAccessGrant> = Api::namespaced(cluster.service_account(&ns, "gitops").await?, &ns);
    let by = requester(grants.create(&dry_run(), &object(grant_json("theirs"))).await?)?;
    assert_eq!(by.username, format!("system:serviceaccount:{ns}:gitops"));
    assert!(!by.uid.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_forged_requester_is_refused() -> Result<()> {
    let (ns, alice) = namespace().await?;
    let grants: Api<StorageAccessGrant> = Api::namespaced(alice, &ns);
    let truth = [ns.as_str(), "researchers", "system:authenticated"];
    for forged in [
        json!({"username": "bob"}),
        json!({"username": "bob", "uid": "", "groups": truth}),
        json!({"username": "alice", "uid": "u1", "groups": truth}),
        json!({"username": "alice", "uid": "", "groups": []}),
        json!({"username": "alice", "uid": "", "groups": ["researchers", "system:authenticated"]}),
        json!({"username": "alice", "uid": "", "groups": [ns, "researchers", "system:authenticated", "security"]}),
    ] {
        let mut grant = grant_json("forged");
        grant["spec"]["requestedBy"] = forged;
        assert_denied(grants.create(&create(), &object(grant.clone())).await, POLICY);
        assert_denied(grants.patch("forged", &PatchParams::apply("x"), &Patch::Apply(grant)).await, POLICY);
    }
    // In any namespace: it may become a research namespace.
    let mut grant = grant_json("forged");
    grant["spec"]["requestedBy"] = json!({"username": "bob"});
    let elsewhere: Api<StorageAccessGrant> = Api::namespaced(grants.into_client(), "default");
    assert_denied(elsewhere.create(&dry_run(), &object(grant)).await, POLICY);
    Ok(())
}

#[tokio::test]
async fn a_later_write_leaves_the_requester() -> Result<()> {
    let (ns, alice) = namespace().await?;
    let bob = cluster().await.client_for("bob", &[&ns]).await?;
    let (alices, bobs): (Api<StorageAccessGrant>, Api<StorageAccessGrant>) =
        (Api::namespaced(alice, &ns), Api::namespaced(bob, &ns));
    for (api, manager) in [(&alices, "one"), (&alices, "one"), (&alices, "two"), (&bobs, "three")] {
        let params = PatchParams::apply(manager).force();
        let after = api.patch("grant", &params, &Patch::Apply(grant_json("grant"))).await?;
        assert_eq!(requester(after)?.username, "alice");
    }
    // As kubectl replace does it, with the file that was applied.
    let version = alices.get("grant").await?.metadata.resource_version;
    let mut replaced: StorageAccessGrant = object(grant_json("grant"));
    replaced.metadata.resource_version = version;
    assert_eq!(requester(bobs.replace("grant", &PostParams::default(), &replaced).await?)?.username, "alice");

    // The schema refuses a changed spec before policies see it, and so this too.
    let change = merge(&bobs, "grant", json!({"spec": {"requestedBy": {"username": "bob"}}})).await;
    assert!(change.is_err());
    // Away is not away.
    let after = merge(&bobs, "grant", json!({"spec": {"requestedBy": null}})).await?;
    assert_eq!(requester(after)?.username, "alice");
    Ok(())
}
