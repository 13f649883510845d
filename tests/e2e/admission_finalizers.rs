//! Finalizers of Cloister's kinds: its own, and those of others.

use crate::support::*;
use anyhow::{Context, Result};
use cloister_api::{AccessRole, ResearchNamespace, labels};
use cloister_tests::{assert_denied, cluster, eventually, unique};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

const POLICY: &str = "finalizers.cloister.dev";

#[tokio::test]
async fn our_finalizers_are_taken_off_by_the_operator() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "finalizers").await?;
    for kind in grants() {
        let (theirs, own) = (kind.api(&admin, &ns), kind.api(&operator, &ns));
        let made = theirs.create(&create(), &object(kind.json("grant"))).await?;
        let finalizers = |list: &[&str]| json!({"metadata": {"finalizers": list}});
        merge(&theirs, "grant", finalizers(&["example.com/theirs"])).await?;
        merge(&own, "grant", finalizers(&[labels::GRANT_FINALIZER, "example.com/theirs"])).await?;

        assert_denied(merge(&theirs, "grant", finalizers(&["example.com/theirs"])).await, POLICY);
        assert_denied(merge(&theirs, "grant", json!({"metadata": {"finalizers": null}})).await, POLICY);
        let mut replaced: DynamicObject = object(kind.json("grant"));
        replaced.metadata.resource_version = theirs.get("grant").await?.metadata.resource_version;
        // A file knows of no finalizers, and takes none off.
        let replaced = theirs.replace("grant", &create(), &replaced).await?;
        assert_eq!(replaced.metadata.finalizers, Some(vec![labels::GRANT_FINALIZER.to_owned()]));
        let operations: json_patch::Patch = object(json!([{"op": "remove", "path": "/metadata/finalizers"}]));
        let operations = Patch::Json::<()>(operations);
        assert_denied(theirs.patch("grant", &PatchParams::default(), &operations).await, POLICY);
        merge(&theirs, "grant", finalizers(&[labels::GRANT_FINALIZER])).await?;

        // In the operator's name, which gives up what the operator applied.
        theirs.create(&create(), &object(kind.json("applied"))).await?;
        let mut applied = kind.json("applied");
        applied["metadata"]["finalizers"] = json!([labels::GRANT_FINALIZER]);
        own.patch("applied", &apply(), &Patch::Apply(applied)).await?;
        assert_denied(theirs.patch("applied", &apply(), &Patch::Apply(kind.json("applied"))).await, POLICY);

        // While it ends, too.
        theirs.delete("grant", &delete()).await?;
        assert_denied(merge(&theirs, "grant", finalizers(&[])).await, POLICY);
        assert_eq!(theirs.get("grant").await?.metadata.uid, made.metadata.uid);
        merge(&own, "grant", finalizers(&[])).await?;
        assert!(theirs.get_opt("grant").await?.is_none());
    }
    Ok(())
}

/// Where the operator holds no finalizer it takes none off: the object, and its namespace, would stay for ever.
#[tokio::test]
async fn our_finalizers_are_put_on_by_the_operator() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "finalizers").await?;
    for kind in attested() {
        let theirs = kind.api(&admin, &ns);
        let mut with = kind.json("with");
        with["metadata"]["finalizers"] = json!([labels::GRANT_FINALIZER]);
        if kind.field == "requestedBy" {
            // What was exported from another object makes one without.
            with["metadata"]["finalizers"] = json!(["example.com/theirs", labels::GRANT_FINALIZER]);
            let made = theirs.create(&create(), &object(with.clone())).await?;
            assert_eq!(made.metadata.finalizers, Some(vec!["example.com/theirs".to_owned()]));
        } else {
            assert_denied(theirs.create(&create(), &object(with.clone())).await, POLICY);
            theirs.create(&create(), &object(kind.json("with"))).await?;
        }
        let added = json!({"metadata": {"finalizers": ["cloister.dev/anything"]}});
        assert_denied(merge(&theirs, "with", added).await, POLICY);
        merge(&theirs, "with", json!({"metadata": {"finalizers": ["example.com/theirs"]}})).await?;
        // On what people decided the operator holds none.
        if kind.field != "requestedBy" {
            continue;
        }
        // What is there already may be said again.
        merge(&kind.api(&operator, &ns), "with", json!({"metadata": {"finalizers": [labels::GRANT_FINALIZER]}}))
            .await?;
        theirs.patch("with", &PatchParams::apply("x").force(), &Patch::Apply(with)).await?;
        merge(&kind.api(&operator, &ns), "with", json!({"metadata": {"finalizers": null}})).await?;
    }
    Ok(())
}

/// Nor on what is in no namespace: an owner would keep a research namespace for ever.
#[tokio::test]
async fn our_finalizers_are_put_on_no_definition() -> Result<()> {
    let roles: Api<AccessRole> = Api::all(cluster().await.admin().await?);
    let name = unique("held");
    let mut role = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessRole", "metadata": {"name": name, "finalizers": ["cloister.dev/forever"]},
        "spec": {"clusterRole": "cloister:debugger", "accessPolicy": "standard"},
    });
    assert_denied(roles.create(&create(), &object(role.clone())).await, POLICY);
    role["metadata"]["finalizers"] = json!(null);
    roles.create(&create(), &object(role)).await?;
    assert_denied(merge(&roles, &name, json!({"metadata": {"finalizers": ["cloister.dev/forever"]}})).await, POLICY);
    roles.delete(&name, &delete()).await?;
    Ok(())
}

const THEIRS: &str = "example.com/theirs";
const MORE: &str = "example.com/more";

fn finalizers(list: &[&str]) -> Value {
    json!({"metadata": {"finalizers": list}})
}

/// Whoever may only ask or decide would hold a Namespace that others delete, or let go what a tool holds.
#[tokio::test]
async fn who_asks_or_decides_changes_no_finalizers_of_others() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "finalizers").await?;
    let dora = format!("{ns}-dora");
    let binding: RoleBinding = object(json!({
        "metadata": {"name": "cloister-researchers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:researcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": dora}],
    }));
    Api::namespaced(operator.clone(), &ns).create(&create(), &binding).await?;
    let dora = cluster().await.client_for(&dora, &[]).await?;
    for kind in attested() {
        let (theirs, hers) = (kind.api(&admin, &ns), kind.api(&dora, &ns));
        let mut with = kind.json("with");
        with["metadata"]["finalizers"] = json!([THEIRS]);
        eventually("her rights", async || Ok(hers.create(&dry_run(), &object(kind.json("with"))).await?)).await?;
        assert_denied(hers.create(&create(), &object(with.clone())).await, POLICY);
        theirs.create(&create(), &object(with)).await?;
        if kind.field == "requestedBy" {
            for change in [&[][..], &[THEIRS, MORE], &[MORE]] {
                assert_denied(merge(&hers, "with", finalizers(change)).await, POLICY);
            }
            let given = PatchParams::apply("x").force();
            let mut applied = kind.json("with");
            applied["metadata"]["finalizers"] = json!([MORE]);
            assert_denied(hers.patch("with", &given, &Patch::Apply(applied)).await, POLICY);
            merge(&hers, "with", json!({"metadata": {"labels": {"x": "y"}}})).await?;
            hers.delete("with", &delete()).await?;
            assert_denied(merge(&hers, "with", finalizers(&[])).await, POLICY);
        } else {
            theirs.delete("with", &delete()).await?;
        }
        // Who runs the cluster takes it off, also while it ends.
        merge(&theirs, "with", finalizers(&[])).await?;
        assert!(theirs.get_opt("with").await?.is_none());
    }
    Ok(())
}

async fn may(admin: &Client, name: &str, user: &str, resources: &[&str], verbs: &[&str]) -> Result<()> {
    let role: ClusterRole = object(json!({
        "metadata": {"name": name}, "rules": [{"apiGroups": ["cloister.dev"], "resources": resources, "verbs": verbs}],
    }));
    Api::all(admin.clone()).create(&create(), &role).await?;
    let binding: ClusterRoleBinding = object(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": user}],
    }));
    Api::all(admin.clone()).create(&create(), &binding).await?;
    Ok(())
}

/// An owner of a ResearchNamespace neither makes nor deletes it, so they do not hold it either.
#[tokio::test]
async fn owners_change_no_finalizers_of_others() -> Result<()> {
    let admin = cluster().await.admin().await?;
    let name = unique("owned");
    let owner = format!("{name}-owner");
    let all: Api<ResearchNamespace> = Api::all(admin.clone());
    let file = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": name},
        "spec": {"tier": "Standard", "members": [{"role": "Owner", "subjects": [{"kind": "User", "name": owner}]}]},
    });
    let mut held = file.clone();
    held["metadata"]["finalizers"] = json!([THEIRS]);
    all.create(&create(), &object(held)).await?;
    may(&admin, &owner, &owner, &["researchnamespaces"], &["get", "update", "patch"]).await?;
    let owners: Api<ResearchNamespace> = Api::all(cluster().await.client_for(&owner, &[]).await?);
    eventually("the owner's rights", async || Ok(owners.get(&name).await?)).await?;
    for change in [&[][..], &[THEIRS, MORE], &[MORE]] {
        assert_denied(merge(&owners, &name, finalizers(change)).await, POLICY);
    }
    // A file knows of none, and takes none off.
    let mut replaced: ResearchNamespace = object(file);
    replaced.metadata.resource_version = all.get(&name).await?.metadata.resource_version;
    replaced.spec.egress.allowlists = vec!["package-mirror".to_owned()];
    let replaced = owners.replace(&name, &create(), &replaced).await?;
    assert_eq!(replaced.metadata.finalizers, Some(vec![THEIRS.to_owned()]));

    // Who publishes the catalogue holds what a tool of theirs looks after.
    let publisher = format!("{name}-publisher");
    let binding: ClusterRoleBinding = object(json!({
        "metadata": {"name": publisher},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:catalogue-admin"},
        "subjects": [{"kind": "User", "name": publisher}],
    }));
    Api::all(admin.clone()).create(&create(), &binding).await?;
    let publishers: Api<ResearchNamespace> = Api::all(cluster().await.client_for(&publisher, &[]).await?);
    eventually("their rights", async || Ok(publishers.get(&name).await?)).await?;
    merge(&publishers, &name, finalizers(&[MORE])).await?;
    merge(&publishers, &name, finalizers(&[])).await?;
    Ok(())
}

/// What ends in the foreground is held by the API server and let go by the garbage collector, whoever deletes it.
#[tokio::test]
async fn the_garbage_collector_lets_go_what_it_holds() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "foreground").await?;
    let roles: Api<AccessRole> = Api::all(admin.clone());
    let name = unique("foreground");
    let role = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessRole", "metadata": {"name": name},
        "spec": {"clusterRole": "cloister:debugger", "accessPolicy": "standard"},
    });
    roles.create(&create(), &object(role)).await?;
    roles.delete(&name, &kube::api::DeleteParams::foreground()).await?;
    for kind in attested() {
        let all = kind.api(&admin, &ns);
        all.create(&create(), &object(kind.json("one"))).await?;
        all.delete("one", &kube::api::DeleteParams::foreground()).await?;
        eventually("it to be gone", async || all.get_opt("one").await?.is_none().then_some(()).context("it is there"))
            .await?;
    }
    eventually("it to be gone", async || roles.get_opt(&name).await?.is_none().then_some(()).context("it is there"))
        .await
}
