use crate::support::*;
use anyhow::Result;
use cloister_api::{EgressAllowlist, ResearchNamespace, labels};
use cloister_tests::{assert_denied, cluster, eventually, unique};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::{Api, Client};
use serde_json::{Value, json};

const POLICY: &str = "research-namespace-owners.cloister.dev";

fn members(owner: &str, researcher: &str) -> Value {
    json!([
        {"role": "Owner", "subjects": [{"kind": "User", "name": owner}]},
        {"role": "Researcher", "subjects": [{"kind": "User", "name": researcher}]},
    ])
}

async fn bind(admin: &Client, name: &str, role: &str, user: &str) -> Result<()> {
    let binding: ClusterRoleBinding = object(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }));
    Api::all(admin.clone()).create(&create(), &binding).await?;
    Ok(())
}

/// A ResearchNamespace, and a person who may update it alone.
async fn owned() -> Result<(String, Api<ResearchNamespace>, Api<ResearchNamespace>)> {
    let cluster = cluster().await;
    let admin = cluster.admin().await?;
    let name = unique("owned");
    let owner = format!("{name}-owner");
    let rns: ResearchNamespace = object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
        "metadata": {"name": name, "labels": {"team": "interp"}, "annotations": {"cloister.dev/note": "x"}},
        "spec": {"tier": "Sandboxed", "quota": {"pods": "3"}, "members": members(&owner, "alice")},
    }));
    let all: Api<ResearchNamespace> = Api::all(admin.clone());
    all.create(&create(), &rns).await?;
    let role: ClusterRole = object(json!({
        "metadata": {"name": format!("{name}-owner")},
        "rules": [{"apiGroups": ["cloister.dev"], "resources": ["researchnamespaces"], "resourceNames": [name], "verbs": ["get", "update", "patch"]}],
    }));
    Api::all(admin.clone()).create(&create(), &role).await?;
    bind(&admin, &owner, &owner, &owner).await?;
    let owners: Api<ResearchNamespace> = Api::all(cluster.client_for(&owner, &[]).await?);
    eventually("the owner's rights", async || Ok(owners.get(&name).await?)).await?;
    Ok((name, all, owners))
}

#[tokio::test]
async fn owners_edit_needs_and_not_limits() -> Result<()> {
    let (name, all, owners) = owned().await?;
    let limits = [
        json!({"spec": {"tier": "Standard"}}),
        json!({"spec": {"quota": {"pods": "1000"}}}),
        json!({"spec": {"quota": null}}),
        json!({"spec": {"limitRange": [{"type": "Pod", "max": {"cpu": "99"}}]}}),
        json!({"spec": {"deletionPolicy": "Delete"}}),
        json!({"spec": {"members": members("mallory", "alice")}}),
        json!({"spec": {"members": null}}),
        json!({"metadata": {"labels": {"team": "other"}}}),
        json!({"metadata": {"labels": {"new": "label"}}}),
        json!({"metadata": {"labels": null}}),
        json!({"metadata": {"labels": {"app.kubernetes.io": "x"}}}),
        json!({"metadata": {"labels": {"app.kubernetes.io/name": "x", "team": "other"}}}),
        json!({"metadata": {"annotations": {"cloister.dev/note": "y"}}}),
        json!({"metadata": {"annotations": {"cloister.dev/note": null}}}),
        // It would take back a Namespace that was retained.
        json!({"metadata": {"annotations": {labels::ADOPT: name}}}),
        // The garbage collector would delete it: the owner does not exist.
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}]}}),
    ];
    for limit in limits {
        assert_denied(merge(&owners, &name, limit.clone()).await, POLICY);
        // Those who may create them set all of it.
        all.patch(
            &name,
            &kube::api::PatchParams { dry_run: true, ..Default::default() },
            &kube::api::Patch::Merge(limit),
        )
        .await?;
    }

    for need in [
        json!({"spec": {"egress": {"allowlists": ["package-mirror"]}}}),
        json!({"spec": {"members": members(&format!("{name}-owner"), "carol")}}),
        json!({"spec": {"serviceAccounts": [{"name": "trainer"}]}}),
        json!({"metadata": {"annotations": {"example.com/x": "y"}}}),
        json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": "research", "app.kubernetes.io/managed-by": "x"}}}),
        json!({"metadata": {"labels": {"kustomize.toolkit.fluxcd.io/name": null}}}),
    ] {
        merge(&owners, &name, need).await?;
    }
    Ok(())
}

/// What owners may write is what no selector may ask for: one list, in three places.
#[tokio::test]
async fn no_allowlist_selects_by_what_owners_may_write() -> Result<()> {
    let file =
        std::fs::read_to_string(xtask::cluster::workspace_root()?.join("deploy/admission/research-namespaces.yaml"))?;
    let list = file.split("name: ofTools").nth(1).and_then(|rest| rest.split(['[', ']']).nth(1)).unwrap_or_default();
    let listed: Vec<&str> = list.split(',').map(|entry| entry.trim().trim_matches('\'')).collect();
    assert_eq!(listed, labels::OF_TOOLS);

    let all: Api<EgressAllowlist> = Api::all(cluster().await.admin().await?);
    let rules = json!([{"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443, "protocol": "TCP"}]}]);
    let made = async |selector: Value| {
        let allowlist: EgressAllowlist = object(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist", "metadata": {"name": unique("select")},
            "spec": {"description": "", "namespaceSelector": selector, "rules": rules},
        }));
        all.create(&kube::api::PostParams { dry_run: true, ..create() }, &allowlist).await
    };
    for prefix in labels::OF_TOOLS {
        let key = format!("{prefix}name");
        for selector in [
            json!({"matchLabels": {"team": "interp", key.clone(): "x"}}),
            json!({"matchExpressions": [{"key": key, "operator": "DoesNotExist"}]}),
        ] {
            let refused = made(selector).await.unwrap_err().to_string();
            assert!(refused.contains("select by a label of your own"), "{refused}");
        }
    }
    for selector in [json!({}), json!(null), json!({"matchLabels": {"team": "interp", "app.kubernetes.io": "x"}})] {
        made(selector).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_shipped_catalogue_role_sets_limits() -> Result<()> {
    let (name, _, _) = owned().await?;
    let cluster = cluster().await;
    let user = format!("{name}-admin");
    bind(&cluster.admin().await?, &user, "cloister:catalogue-admin", &user).await?;
    let api: Api<ResearchNamespace> = Api::all(cluster.client_for(&user, &[]).await?);
    eventually("their rights", async || Ok(merge(&api, &name, json!({"spec": {"tier": "Standard"}})).await?)).await?;
    merge(&api, &name, json!({"metadata": {"annotations": {labels::ADOPT: name}}})).await?;
    Ok(())
}

#[tokio::test]
async fn the_operator_holds_its_finalizer_and_no_limit() -> Result<()> {
    let (name, _, _) = owned().await?;
    let own: Api<ResearchNamespace> = Api::all(cluster().await.operator().await?);
    merge(&own, &name, json!({"metadata": {"finalizers": [labels::NAMESPACE_FINALIZER]}})).await?;
    let widened = merge(&own, &name, json!({"spec": {"egress": {"allowlists": ["everything"]}}})).await;
    assert_denied(widened, "operator-kinds.cloister.dev");
    let asked = merge(&own, &name, json!({"metadata": {"annotations": {labels::ADOPT: name}}})).await;
    // Two policies refuse it, and the API server names one of them.
    let refusal = asked.expect_err("it was taken").to_string();
    let by = ["operator-kinds.cloister.dev", "research-namespace-owners.cloister.dev"];
    assert!(by.iter().any(|policy| refusal.contains(policy)), "{refusal}");
    merge(&own, &name, json!({"metadata": {"finalizers": null}})).await?;
    Ok(())
}
