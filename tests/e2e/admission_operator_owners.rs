//! What the operator's token gives by ClusterRoles and ClusterRoleBindings: to owners their own ResearchNamespace, and
//! nothing to anybody else. And what of a ResearchNamespace somebody can edit who was bound without being an owner.

use crate::support::*;
use anyhow::Result;
use cloister_api::{ResearchNamespace, labels};
use cloister_tests::{assert_denied, cluster, eventually, unique};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use serde_json::{Value, json};

const POLICY: &str = "operator-owners.cloister.dev";
const RBAC: &str = "rbac.authorization.k8s.io";

fn role(namespace: &str) -> Value {
    json!({
        "metadata": {"name": format!("cloister:owner:{namespace}"), "labels": {labels::MANAGED_BY: labels::MANAGER}},
        "rules": [{
            "apiGroups": ["cloister.dev"], "resources": ["researchnamespaces"], "resourceNames": [namespace],
            "verbs": ["get", "list", "watch", "update", "patch"],
        }],
    })
}

fn binding(namespace: &str, subjects: Value) -> Value {
    let name = format!("cloister:owner:{namespace}");
    json!({
        "metadata": {"name": name, "labels": {labels::MANAGED_BY: labels::MANAGER}},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}, "subjects": subjects,
    })
}

fn user(name: &str) -> Value {
    json!({"apiGroup": RBAC, "kind": "User", "name": name})
}

fn with(mut object: Value, at: &str, value: Value) -> Value {
    *object.pointer_mut(at).expect("it is there") = value;
    object
}

fn and(mut object: Value, more: &Value) -> Value {
    json_merge(&mut object, more);
    object
}

#[tokio::test]
async fn it_gives_owners_their_own_and_nobody_anything_else() -> Result<()> {
    let operator = cluster().await.operator().await?;
    let roles: Api<ClusterRole> = Api::all(operator.clone());
    let bindings: Api<ClusterRoleBinding> = Api::all(operator);
    let name = unique("own");
    let good = role(&name);
    let of_rule = |field: &str, value: Value| with(good.clone(), &format!("/rules/0/{field}"), value);
    for bad in [
        with(good.clone(), "/metadata/name", json!("mine")),
        with(good.clone(), "/metadata/name", json!("cloister:owner")),
        with(good.clone(), "/metadata/name", json!("cloister:owner:")),
        with(good.clone(), "/metadata/name", json!("cloister:viewer")),
        // What is about another is another's.
        with(good.clone(), "/metadata/name", json!(format!("cloister:owner:{name}-b"))),
        of_rule("apiGroups", json!([""])),
        of_rule("apiGroups", json!(["cloister.dev", ""])),
        of_rule("apiGroups", json!(["*"])),
        of_rule("resources", json!(["accesspolicies"])),
        of_rule("resources", json!(["researchnamespaces", "researchnamespaces/status"])),
        of_rule("resources", json!(["*"])),
        of_rule("resourceNames", json!([])),
        of_rule("resourceNames", json!([name, "other"])),
        of_rule("resourceNames", json!(["other"])),
        of_rule("verbs", json!(["get", "delete"])),
        of_rule("verbs", json!(["create"])),
        of_rule("verbs", json!(["*"])),
        with(good.clone(), "/rules", json!([good["rules"][0], good["rules"][0]])),
        with(good.clone(), "/rules", json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}])),
        and(good.clone(), &json!({"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}})),
        and(good.clone(), &json!({"metadata": {"labels": {"cloister.dev/aggregate-to-viewer": "true"}}})),
        and(good.clone(), &json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}})),
    ] {
        let answer = roles.create(&dry_run(), &object(bad.clone())).await;
        // RBAC sees some of them first: what the operator does not have itself. Of two policies that refuse, either is named.
        let Err(kube::Error::Api(status)) = &answer else { panic!("{bad}: {answer:?}") };
        let by_others = [
            "attempting to grant RBAC permissions not currently held",
            "to use the aggregationRule",
            "'member-roles.cloister.dev'",
        ];
        if !by_others.iter().any(|words| status.message.contains(words)) {
            assert_denied(answer, POLICY);
        }
    }
    roles.create(&create(), &object(good.clone())).await?;
    let wider = json!({"rules": [{"apiGroups": ["cloister.dev"], "resources": ["researchnamespaces"], "verbs": ["get", "patch"]}]});
    assert_denied(change(&roles, &name, wider).await, POLICY);

    let good = binding(&name, json!([user("olga")]));
    for bad in [
        with(good.clone(), "/metadata/name", json!("mine")),
        with(good.clone(), "/roleRef/name", json!("cloister:researcher")),
        with(good.clone(), "/roleRef/name", json!("cloister:viewer")),
        with(good.clone(), "/subjects", json!([user("system:anonymous")])),
        with(good.clone(), "/subjects", json!([{"apiGroup": RBAC, "kind": "Group", "name": "system:authenticated"}])),
        and(good.clone(), &json!({"metadata": {"labels": {"a": "b"}}})),
    ] {
        assert_denied(bindings.create(&dry_run(), &object(bad)).await, POLICY);
    }
    bindings.create(&create(), &object(good)).await?;
    let system = json!({"subjects": [user("system:anonymous")]});
    assert_denied(change(&bindings, &name, system).await, POLICY);
    // It takes away what is its own, and nothing else.
    bindings.delete(&format!("cloister:owner:{name}"), &delete()).await?;
    roles.delete(&format!("cloister:owner:{name}"), &delete()).await?;
    for other in ["cloister:viewer", "cloister:operator", "view", "cluster-admin"] {
        assert_denied(roles.delete(other, &delete()).await, POLICY);
    }
    for other in ["cloister:operator", "cluster-admin"] {
        assert_denied(bindings.delete(other, &delete()).await, POLICY);
    }
    Ok(())
}

/// The operator replaces, and does not patch.
async fn change<K>(api: &Api<K>, namespace: &str, change: Value) -> kube::Result<K>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let name = format!("cloister:owner:{namespace}");
    let mut whole = serde_json::to_value(api.get(&name).await?).map_err(kube::Error::SerdeError)?;
    json_merge(&mut whole, &change);
    api.replace(&name, &create(), &object(whole)).await
}

/// The operator's token binds mallory: she reads, and edits nothing.
#[tokio::test]
async fn who_is_bound_and_is_no_owner_edits_nothing() -> Result<()> {
    const OWNERS: &str = "research-namespace-owners.cloister.dev";
    let cluster = cluster().await;
    let (admin, operator) = (cluster.admin().await?, cluster.operator().await?);
    let name = unique("theirs");
    let (olga, mallory, leads) = (format!("olga-{name}"), format!("mallory-{name}"), format!("leads-{name}"));
    let owners = json!([
        {"kind": "User", "name": olga}, {"kind": "Group", "name": leads},
        {"kind": "ServiceAccount", "name": "sync", "namespace": "default"}, {"kind": "ServiceAccount", "name": "default"},
    ]);
    let rns: ResearchNamespace = object(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": name},
        "spec": {"tier": "Standard", "members": [
            {"role": "Owner", "subjects": owners},
            {"role": "Researcher", "subjects": [{"kind": "User", "name": mallory}]},
        ]},
    }));
    Api::all(admin.clone()).create(&create(), &rns).await?;
    Api::<ClusterRole>::all(operator.clone()).create(&create(), &object(role(&name))).await?;
    let subjects = json!([user(&olga), user(&mallory), {"apiGroup": RBAC, "kind": "Group", "name": leads}]);
    Api::<ClusterRoleBinding>::all(operator).create(&create(), &object(binding(&name, subjects))).await?;

    let change = |to: &str| json!({"spec": {"egress": {"allowlists": [to]}}});
    let as_person = async |user: &str, groups: &[&str]| -> Result<Api<ResearchNamespace>> {
        let api: Api<ResearchNamespace> = Api::all(cluster.client_for(user, groups).await?);
        eventually("their rights", async || Ok(api.get(&name).await?)).await?;
        Ok(api)
    };
    let hers = as_person(&mallory, &[]).await?;
    assert_denied(merge(&hers, &name, change("everything")).await, OWNERS);
    let own = as_person(&olga, &[]).await?;
    merge(&own, &name, change("package-mirror")).await?;
    assert!(own.delete(&name, &delete()).await.is_err(), "owners do not delete it");
    assert!(own.get("another").await.is_err_and(|error| error.to_string().contains("cannot get")));
    let lead = as_person(&format!("lea-{name}"), &[&leads]).await?;
    merge(&lead, &name, change("time")).await?;
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_denied(merge(&lead, &name, labels).await, OWNERS);
    Ok(())
}
