//! What comes to members by the labels of ClusterRoles.

use crate::support::*;
use anyhow::{Result, ensure};
use cloister_tests::{assert_denied, cluster, eventually, unique};
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};

const POLICY: &str = "member-roles.cloister.dev";

fn role(name: &str, to: &str, rules: &Value) -> ClusterRole {
    let labels = json!({format!("cloister.dev/aggregate-to-{to}"): "true"});
    object(json!({"metadata": {"name": name, "labels": labels}, "rules": rules}))
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!([{"apiGroups": [group], "resources": [resource], "verbs": verbs}])
}

#[tokio::test]
async fn members_get_by_label_what_is_harmless_and_nothing_that_is_kept_closed() -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(cluster().await.admin().await?);
    let name = unique("labelled");
    let all = ["get", "list", "watch", "create", "update", "patch", "delete"];
    for harmless in [
        rule("ray.io", "rayclusters", &all),
        rule("kubeflow.org", "pytorchjobs", &all),
        rule("batch", "jobs", &all),
        rule("", "configmaps", &all),
        rule("", "serviceaccounts", &["get"]),
        rule("cloister.dev", "egressgrants", &["create"]),
    ] {
        for to in ["researcher", "owner"] {
            roles.create(&dry_run(), &role(&name, to, &harmless)).await?;
        }
    }
    for closed in [
        rule("", "secrets", &["get"]),
        rule("", "secrets", &["list"]),
        rule("", "serviceaccounts/token", &["create"]),
        rule("", "serviceaccounts", &["create"]),
        rule("", "serviceaccounts", &["impersonate"]),
        rule("", "users", &["impersonate"]),
        rule("authentication.k8s.io", "uids", &["impersonate:user-info"]),
        rule("", "pods/exec", &["create"]),
        rule("", "pods/exec", &["get"]),
        rule("", "pods/attach", &["create"]),
        rule("", "pods/portforward", &["create"]),
        rule("", "pods/ephemeralcontainers", &["patch"]),
        rule("", "pods/binding", &["create"]),
        rule("", "pods/eviction", &["create"]),
        rule("", "services/proxy", &["get"]),
        rule("", "nodes/proxy", &["get"]),
        rule("", "namespaces", &["patch"]),
        rule("", "resourcequotas", &["delete"]),
        rule("", "endpoints", &["update"]),
        rule("", "*", &["get"]),
        rule("*", "pods", &["get"]),
        rule("", "pods", &["*"]),
        rule("", "pods/*", &["get"]),
        rule("apps", "daemonsets", &["create"]),
        rule("policy", "poddisruptionbudgets", &["create"]),
        rule("rbac.authorization.k8s.io", "rolebindings", &["create"]),
        rule("rbac.authorization.k8s.io", "clusterroles", &["bind"]),
        rule("networking.k8s.io", "networkpolicies", &["delete"]),
        rule("networking.k8s.io", "ingresses", &["create"]),
        rule("policy.example.com", "globalnetworkpolicies", &["create"]),
        rule("gateway.networking.k8s.io", "httproutes", &["create"]),
        rule("networking.istio.io", "virtualservices", &["create"]),
        rule("discovery.k8s.io", "endpointslices", &["create"]),
        rule("external-secrets.io", "externalsecrets", &["create"]),
        rule("certificates.k8s.io", "certificatesigningrequests", &["create"]),
        rule("admissionregistration.k8s.io", "validatingadmissionpolicies", &["delete"]),
        rule("cloister.dev", "accessreviews", &["delete"]),
        rule("cloister.dev", "accesspolicies", &["create"]),
        rule("cloister.dev", "grantmounts", &["create"]),
        rule("cloister.dev", "storageaccessgrants/status", &["patch"]),
        json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]),
    ] {
        for to in ["researcher", "owner", "viewer"] {
            assert_denied(roles.create(&dry_run(), &role(&name, to, &closed)).await, POLICY);
        }
        // Without the label it is nobody's business, until it is labelled.
        let plain = object(json!({"metadata": {"name": name}, "rules": closed}));
        roles.create(&create(), &plain).await?;
        let label = json!({"metadata": {"labels": {"cloister.dev/aggregate-to-researcher": "true"}}});
        assert_denied(merge(&roles, &name, label).await, POLICY);
        roles.delete(&name, &delete()).await?;
    }
    assert_denied(roles.create(&dry_run(), &role(&name, "viewer", &rule("ray.io", "rayclusters", &all))).await, POLICY);
    // Nor straight away, where the label would have been.
    for shipped in ["cloister:viewer", "cloister:researcher", "cloister:owner", "cloister:members:researcher"] {
        let more = json!({"rules": rule("", "secrets", &["get"])});
        assert_denied(merge(&roles, shipped, more).await, POLICY);
    }
    Ok(())
}

#[tokio::test]
async fn researchers_make_what_a_labelled_role_lets_them_make() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "ray").await?;
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    let binding: RoleBinding = object(json!({
        "metadata": {"name": "cloister-owners"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:owner"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": ns}],
    }));
    Api::namespaced(operator, &ns).create(&create(), &binding).await?;
    let client = cluster().await.client_for(&ns, &[]).await?;
    let leases =
        kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease"));
    let leases: Api<DynamicObject> = Api::namespaced_with(client, &ns, &leases);
    let lease = object::<DynamicObject>(
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}}),
    );
    ensure!(leases.create(&dry_run(), &lease).await.is_err(), "nobody gave it to them");
    let more = role(&ns, "researcher", &rule("coordination.k8s.io", "leases", &["create"]));
    roles.create(&create(), &more).await?;
    eventually("the role to come to owners", async || Ok(leases.create(&dry_run(), &lease).await?)).await?;
    roles.delete(&ns, &delete()).await?;
    eventually("it to go again", async || {
        ensure!(leases.create(&dry_run(), &lease).await.is_err());
        Ok(())
    })
    .await
}
