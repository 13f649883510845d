//! The marks of Cloister are the operator's to set, wherever it is.

use crate::support::*;
use anyhow::Result;
use cloister_tests::{assert_denied, cluster};
use k8s_openapi::api::{
    core::v1::{LimitRange, ResourceQuota, Secret, ServiceAccount},
    networking::v1::NetworkPolicy,
    rbac::v1::{Role, RoleBinding},
};
use kube::{Api, Client, Resource, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;

const POLICY: &str = "reserved-marks.cloister.dev";

/// Every mark, as metadata has it.
fn marks() -> Vec<Value> {
    let owner = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "RoleGrant", "name": "ops", "uid": "7"});
    vec![
        json!({"labels": {"app.kubernetes.io/managed-by": "cloister"}}),
        json!({"labels": {"cloister.dev/grant": "ghost", "cloister.dev/grant-kind": "RoleGrant"}}),
        json!({"labels": {"cloister.dev/anything": ""}}),
        json!({"annotations": {"cloister.dev/credential-version": "1"}}),
        json!({"finalizers": ["cloister.dev/enforced"]}),
        json!({"ownerReferences": [owner]}),
    ]
}

/// None of the marks can be set on a kind, by creation or change; what carries none is nobody's business; and every mark
/// can be taken off again.
async fn is_reserved<K>(admin: &Client, namespace: &str, content: Value, annotations: bool) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let api: Api<K> = Api::namespaced(admin.clone(), namespace);
    let named = |metadata: Value| {
        let mut json = content.clone();
        json["metadata"] = json!({"name": "theirs"});
        json_merge(&mut json["metadata"], &metadata);
        object::<K>(json)
    };
    let is_mark = |mark: &Value| annotations || mark.get("annotations").is_none();
    for mark in marks().into_iter().filter(is_mark) {
        assert_denied(api.create(&dry_run(), &named(mark)).await, POLICY);
    }
    for name in ["cloister-grant-s.r.a", "cloister-grant.ops", "cloister-egress-grant.ops", "cloister-role-grant.ops"] {
        assert_denied(api.create(&dry_run(), &named(json!({"name": name}))).await, POLICY);
        let generated = json!({"name": null, "generateName": name});
        assert_denied(api.create(&dry_run(), &named(generated)).await, POLICY);
    }
    let other = json!({"labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/part-of": "cloister"}});
    api.create(&create(), &named(other)).await?;
    for mark in marks().into_iter().filter(is_mark) {
        assert_denied(merge(&api, "theirs", json!({"metadata": mark})).await, POLICY);
    }
    merge(&api, "theirs", json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null, "x": "y"}}})).await?;
    api.delete("theirs", &delete()).await?;
    Ok(())
}

#[tokio::test]
async fn nobody_sets_a_mark_in_any_namespace() -> Result<()> {
    let admin = cluster().await.admin().await?;
    let ns = plain_namespace(&admin, "reserved").await?;
    let a = &admin;
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    is_reserved::<NetworkPolicy>(a, &ns, json!({"spec": {"podSelector": {}}}), true).await?;
    is_reserved::<RoleBinding>(a, &ns, json!({"roleRef": role_ref}), true).await?;
    is_reserved::<Role>(a, &ns, json!({"rules": []}), true).await?;
    is_reserved::<ServiceAccount>(a, &ns, json!({}), true).await?;
    is_reserved::<ResourceQuota>(a, &ns, json!({"spec": {"hard": {"pods": "3"}}}), true).await?;
    is_reserved::<LimitRange>(a, &ns, json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}), true)
        .await?;
    // Whoever keeps a credential says by annotations what it is for.
    is_reserved::<Secret>(a, &ns, json!({}), false).await?;
    Ok(())
}
