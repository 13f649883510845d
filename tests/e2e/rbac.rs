use crate::support::*;
use anyhow::{Context, Result};
use cloister_tests::{OPERATOR, cluster};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;
use kube::api::{DynamicObject, Patch};
use serde_json::{Value, json};
use xtask::cluster::workspace_root;
use xtask::install::load;

fn shipped(kind: &str) -> Result<Vec<DynamicObject>> {
    let all = load(&workspace_root()?.join("deploy/rbac"))?;
    Ok(all.into_iter().filter(|o| o.types.as_ref().is_some_and(|t| t.kind == kind)).collect())
}

fn rules(object: &DynamicObject) -> Result<Vec<PolicyRule>> {
    Ok(serde_json::from_value(object.data.get("rules").cloned().unwrap_or(json!([])))?)
}

#[test]
fn no_role_has_a_wildcard_or_a_way_up() -> Result<()> {
    for role in shipped("ClusterRole")?.iter().chain(&shipped("Role")?) {
        let name = role.metadata.name.as_deref().context("a name")?;
        for rule in rules(role)? {
            let all =
                [rule.api_groups.as_ref(), rule.resources.as_ref(), Some(&rule.verbs), rule.non_resource_urls.as_ref()];
            assert!(!all.into_iter().flatten().flatten().any(|s| s.contains('*')), "{name}: {rule:?}");
            assert!(!rule.verbs.iter().any(|v| v == "escalate" || v == "impersonate"), "{name}: {rule:?}");
            let binds = rule.verbs.iter().any(|v| v == "bind");
            assert!(!binds || rule.resource_names.as_ref().is_some_and(|names| !names.is_empty()), "{name}: {rule:?}");
        }
    }
    Ok(())
}

/// The roles that people get.
#[test]
fn no_person_reads_secrets_or_writes_what_closes_a_namespace() -> Result<()> {
    for role in shipped("ClusterRole")?.iter().filter(|r| r.metadata.name.as_deref() != Some("cloister:operator")) {
        let name = role.metadata.name.as_deref().context("a name")?;
        for rule in rules(role)? {
            for resource in rule.resources.iter().flatten() {
                let never = [
                    "secrets",
                    "serviceaccounts/token",
                    "pods/exec",
                    "pods/attach",
                    "pods/portforward",
                    "pods/proxy",
                    "services/proxy",
                    "pods/ephemeralcontainers",
                    "pods/binding",
                    "nodes",
                    "users",
                    "groups",
                ];
                assert!(!never.contains(&resource.as_str()), "{name}: {resource}");
                let read_only = [
                    "networkpolicies",
                    "roles",
                    "rolebindings",
                    "clusterroles",
                    "clusterrolebindings",
                    "namespaces",
                    "resourcequotas",
                    "limitranges",
                    "serviceaccounts",
                    "grantmounts",
                    "validatingadmissionpolicies",
                    "validatingadmissionpolicybindings",
                    "mutatingadmissionpolicies",
                    "mutatingadmissionpolicybindings",
                ];
                let reads = rule.verbs.iter().all(|v| ["get", "list", "watch"].contains(&v.as_str()));
                assert!(reads || !read_only.contains(&resource.as_str()), "{name}: {resource} {:?}", rule.verbs);
                assert!(!resource.ends_with("/status") || reads, "{name}: {resource}");
            }
        }
    }
    Ok(())
}

async fn may(attributes: Value) -> Result<bool> {
    let api: Api<SubjectAccessReview> = Api::all(cluster().await.admin().await?);
    let groups = ["system:serviceaccounts", "system:serviceaccounts:cloister-system", "system:authenticated"];
    let review = object(json!({"spec": {"user": OPERATOR, "groups": groups, "resourceAttributes": attributes}}));
    Ok(api.create(&create(), &review).await?.status.context("an answer")?.allowed)
}

#[tokio::test]
async fn the_operator_reads_secrets_in_one_namespace() -> Result<()> {
    for verb in ["get", "list", "watch"] {
        assert!(may(json!({"verb": verb, "resource": "secrets", "namespace": "cloister-credentials"})).await?);
        for namespace in ["", "default", "kube-system", "cloister-system"] {
            assert!(
                !may(json!({"verb": verb, "resource": "secrets", "namespace": namespace})).await?,
                "{verb} in {namespace:?}"
            );
        }
    }
    for verb in ["update", "deletecollection"] {
        assert!(!may(json!({"verb": verb, "resource": "secrets", "namespace": "default"})).await?);
    }
    let rbac = "rbac.authorization.k8s.io";
    assert!(may(json!({"verb": "bind", "group": rbac, "resource": "clusterroles", "name": "cloister:viewer"})).await?);
    for (verb, name) in [("bind", "admin"), ("bind", ""), ("escalate", "cloister:viewer"), ("patch", "cloister:viewer")]
    {
        assert!(
            !may(json!({"verb": verb, "group": rbac, "resource": "clusterroles", "name": name})).await?,
            "{verb} {name}"
        );
    }
    let policies = "admissionregistration.k8s.io";
    assert!(!may(json!({"verb": "patch", "group": policies, "resource": "validatingadmissionpolicybindings"})).await?);
    Ok(())
}

/// Binding a role asks for `bind` alone: the operator holds none of what members get.
#[tokio::test]
async fn the_operator_binds_every_role_that_it_hands_out() -> Result<()> {
    let operator = cluster().await.operator().await?;
    let ns = research_namespace(&operator, "members").await?;
    let bindings: Api<k8s_openapi::api::rbac::v1::RoleBinding> = Api::namespaced(operator, &ns);
    for role in ["owner", "researcher", "viewer", "storage-reader"] {
        let name = format!("cloister-{role}");
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("cloister:{role}")},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}],
        });
        bindings.patch(&name, &apply(), &Patch::Apply(binding)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_example_of_a_storage_role_is_aggregated() -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(cluster().await.admin().await?);
    cloister_tests::eventually("its rules", async || {
        let rules = roles.get("cloister:storage-reader").await?.rules.unwrap_or_default();
        anyhow::ensure!(!rules.is_empty());
        Ok(())
    })
    .await
}

/// The operator's Deployment must pass the Pod Security of its own namespace.
#[tokio::test]
async fn the_operator_would_be_admitted_to_its_namespace() -> Result<()> {
    let all = load(&workspace_root()?.join("deploy"))?;
    let deployment =
        all.iter().find(|o| o.types.as_ref().is_some_and(|t| t.kind == "Deployment")).context("a Deployment")?;
    let mut pod = deployment.data.pointer("/spec/template").context("a template")?.clone();
    pod["metadata"]["name"] = json!("operator");
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(cluster().await.admin().await?, "cloister-system");
    pods.create(&dry_run(), &object(pod)).await?;
    Ok(())
}
