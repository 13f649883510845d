use crate::support::*;
use anyhow::{Context, Result, ensure};
use cloister_api::labels;
use cloister_tests::{assert_denied, cluster, denied, eventually};
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Pod, ResourceQuota, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ListParams, Patch};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

const POLICY: &str = "managed-objects.cloister.dev";

trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize
{
}
impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize
{
}

/// One object that the operator keeps: nobody else may make, change, relabel or delete it, or delete all of its kind.
async fn is_held<K: Object>(
    admin: &Client,
    operator: &Client,
    namespace: &str,
    name: &str,
    content: Value,
) -> Result<()> {
    let theirs: Api<K> = Api::namespaced(admin.clone(), namespace);
    let own: Api<K> = Api::namespaced(operator.clone(), namespace);
    let mut json = content;
    json["apiVersion"] = json!(K::api_version(&()));
    json["kind"] = json!(K::kind(&()));
    json["metadata"] = json!({"name": name, "labels": {labels::MANAGED_BY: labels::MANAGER}});
    let kind = K::kind(&());

    assert_denied(theirs.create(&create(), &object(json.clone())).await, POLICY);
    own.patch(name, &apply(), &Patch::Apply(json)).await.with_context(|| format!("the operator makes the {kind}"))?;
    assert_denied(merge(&theirs, name, json!({"metadata": {"annotations": {"x": "y"}}})).await, POLICY);
    assert_denied(merge(&theirs, name, json!({"metadata": {"labels": {labels::MANAGED_BY: null}}})).await, POLICY);
    assert_denied(merge(&theirs, name, json!({"metadata": {"finalizers": ["example.com/x"]}})).await, POLICY);
    assert_denied(theirs.delete(name, &delete()).await, POLICY);
    let of_operator = ListParams::default().labels("app.kubernetes.io/managed-by=cloister");
    assert_denied(theirs.delete_collection(&delete(), &of_operator).await, POLICY);
    assert!(own.get_metadata_or_none(operator, name).await, "the {kind} is gone");
    own.delete(name, &delete()).await.with_context(|| format!("the operator deletes the {kind}"))?;
    Ok(())
}

trait Look {
    async fn get_metadata_or_none(&self, client: &Client, name: &str) -> bool;
}

impl<K: Object> Look for Api<K> {
    /// The operator cannot read Secrets, and is believed when it deletes.
    async fn get_metadata_or_none(&self, _: &Client, name: &str) -> bool {
        K::kind(&()) == "Secret" || self.get_opt(name).await.is_ok_and(|found| found.is_some())
    }
}

#[tokio::test]
async fn what_the_operator_keeps_is_held() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let (a, o) = (&admin, &operator);
    let ns = research_namespace(o, "managed").await?;
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:viewer"});
    is_held::<NetworkPolicy>(
        a,
        o,
        &ns,
        "cloister-default-deny",
        json!({"spec": {"podSelector": {}, "policyTypes": ["Egress"]}}),
    )
    .await?;
    is_held::<RoleBinding>(a, o, &ns, "cloister-viewers", json!({"roleRef": role_ref})).await?;
    is_held::<ResourceQuota>(a, o, &ns, "cloister", json!({"spec": {"hard": {"pods": "3"}}})).await?;
    is_held::<LimitRange>(a, o, &ns, "cloister", json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}))
        .await?;
    is_held::<ServiceAccount>(a, o, &ns, "trainer", json!({})).await?;
    is_held::<Secret>(a, o, &ns, "cloister-grant-weights.reader.trainer", json!({"stringData": {"k": "v"}})).await?;
    Ok(())
}

/// One that somebody's finalizer holds is in force until it is let go, which opens nothing.
#[tokio::test]
async fn a_foreign_finalizer_is_taken_off_what_is_being_deleted() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = plain_namespace(&admin, "held").await?;
    let (theirs, own): (Api<RoleBinding>, Api<RoleBinding>) =
        (Api::namespaced(admin.clone(), &ns), Api::namespaced(operator.clone(), &ns));
    // It is from before there was anybody to reserve it.
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:viewer"});
    let alice = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"}]);
    let finalizers = json!(["example.com/stay", "example.com/too"]);
    let held = json!({"metadata": {"name": "held", "finalizers": finalizers}, "roleRef": role_ref, "subjects": alice});
    theirs.create(&create(), &object(held)).await?;
    adopt(&admin, &operator, &ns).await?;
    let change = |json: Value| json!({"metadata": {"finalizers": json}});
    let touched = json!({"metadata": {"annotations": {"seen": "yet"}}});
    eventually("the label to be seen", async || denied(merge(&theirs, "held", touched.clone()).await, POLICY)).await?;
    assert_denied(merge(&theirs, "held", change(json!([]))).await, POLICY);

    own.delete("held", &delete()).await?;
    let mut wider = change(json!([]));
    wider["subjects"] = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "all"}]);
    let mut told = change(json!([]));
    told["metadata"]["annotations"] = json!({"x": "y"});
    for refused in [wider, told] {
        assert_denied(merge(&theirs, "held", refused).await, POLICY);
    }
    merge(&theirs, "held", change(json!(["example.com/too"]))).await?;
    merge(&theirs, "held", change(json!(null))).await?;
    assert!(theirs.get_opt("held").await?.is_none());
    Ok(())
}

/// These add up with the operator's own, so there is no second one of any name.
#[tokio::test]
async fn nobody_opens_a_second_way() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let allow_all: NetworkPolicy =
        object(json!({"metadata": {"name": "allow-all"}, "spec": {"podSelector": {}, "egress": [{}]}}));
    let role: Role = object(
        json!({"metadata": {"name": "all"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}),
    );
    let binding: RoleBinding = object(json!({
        "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
    }));
    let ns = research_namespace(&operator, "second").await?;
    assert_denied(Api::namespaced(admin.clone(), &ns).create(&create(), &allow_all).await, POLICY);
    assert_denied(Api::namespaced(admin.clone(), &ns).create(&create(), &role).await, POLICY);
    assert_denied(Api::namespaced(admin.clone(), &ns).create(&create(), &binding).await, POLICY);

    let plain = plain_namespace(&admin, "plain").await?;
    Api::namespaced(admin.clone(), &plain).create(&create(), &allow_all).await?;
    Api::namespaced(admin.clone(), &plain).create(&create(), &role).await?;
    Api::namespaced(admin.clone(), &plain).create(&create(), &binding).await?;
    Ok(())
}

#[tokio::test]
async fn a_credentials_name_cannot_be_squatted() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "squat").await?;
    let secrets: Api<Secret> = Api::namespaced(admin, &ns);
    let named = |metadata: Value| object::<Secret>(json!({"metadata": metadata}));
    assert_denied(secrets.create(&create(), &named(json!({"name": "cloister-grant-a.b.c"}))).await, POLICY);
    assert_denied(secrets.create(&create(), &named(json!({"generateName": "cloister-grant-a.b.c"}))).await, POLICY);
    Ok(())
}

#[tokio::test]
async fn what_is_not_the_operators_is_left_alone() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "free").await?;
    async fn all<K: Object>(admin: &Client, ns: &str, content: Value) -> Result<()> {
        let api: Api<K> = Api::namespaced(admin.clone(), ns);
        let mut json = content;
        json["metadata"] = json!({"name": "mine"});
        api.create(&create(), &object(json)).await?;
        merge(&api, "mine", json!({"metadata": {"labels": {"x": "y"}}})).await?;
        api.delete("mine", &delete()).await?;
        Ok(())
    }
    all::<Secret>(&admin, &ns, json!({})).await?;
    all::<ServiceAccount>(&admin, &ns, json!({})).await?;
    all::<ConfigMap>(&admin, &ns, json!({})).await?;
    all::<ResourceQuota>(&admin, &ns, json!({"spec": {"hard": {"pods": "3"}}})).await?;
    all::<LimitRange>(&admin, &ns, json!({"spec": {"limits": []}})).await?;
    all::<Pod>(&admin, &ns, json!({"spec": pod_json("mine", "default")["spec"]})).await?;
    Ok(())
}

#[tokio::test]
async fn the_default_account_is_the_operators() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "account").await?;
    let theirs: Api<ServiceAccount> = Api::namespaced(admin, &ns);
    let own: Api<ServiceAccount> = Api::namespaced(operator, &ns);
    let unmarked = json!({"automountServiceAccountToken": false});
    assert_denied(merge(&own, "default", unmarked).await, "operator-objects.cloister.dev");
    let marked = json!({"metadata": {"labels": {labels::MANAGED_BY: labels::MANAGER}}});
    merge(&own, "default", marked).await?;
    assert_denied(merge(&theirs, "default", json!({"automountServiceAccountToken": true})).await, POLICY);
    assert_denied(theirs.delete("default", &delete()).await, POLICY);

    // Kubernetes' own controller brings it back.
    own.delete("default", &delete()).await?;
    eventually("the default ServiceAccount", async || Ok(theirs.get("default").await?)).await?;
    Ok(())
}

/// Both the API server itself and the quota controller write how much is used.
#[tokio::test]
async fn kubernetes_counts_the_quota_and_nobody_else() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "quota").await?;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "cloister", "labels": {labels::MANAGED_BY: labels::MANAGER}},
        "spec": {"hard": {"pods": "2", "count/configmaps": "10"}},
    });
    let own: Api<ResourceQuota> = Api::namespaced(operator, &ns);
    own.patch("cloister", &apply(), &Patch::Apply(quota)).await?;
    let used = async |what: &str| -> Result<String> {
        let status = own.get("cloister").await?.status.context("no status")?;
        Ok(status.used.context("nothing used")?.get(what).context("not counted")?.0.clone())
    };
    // The controller's first count.
    eventually("the quota's status", async || {
        ensure!(used("count/configmaps").await? == "1");
        Ok(())
    })
    .await?;

    let pods: Api<Pod> = Api::namespaced(admin.clone(), &ns);
    // The API server counts when it admits: where it may not write that, it admits nothing. The controller may write what it
    // counted before, and then counts again.
    pods.create(&create(), &pod("one", "default")).await?;
    eventually("the pod to be counted", async || {
        ensure!(used("pods").await? == "1");
        Ok(())
    })
    .await?;
    pods.delete("one", &delete()).await?;
    eventually("the controller to count again", async || {
        ensure!(used("pods").await? == "0");
        Ok(())
    })
    .await?;

    let theirs: Api<ResourceQuota> = Api::namespaced(admin, &ns);
    let forged = json!({"status": {"hard": {"pods": "1000"}}});
    assert_denied(merge_at(&theirs, "status", "cloister", forged).await, POLICY);
    Ok(())
}

/// The garbage collector deletes what a grant owned; in the foreground it takes a finalizer off, too.
#[tokio::test]
async fn the_garbage_collector_still_works() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "garbage").await?;
    let owners: Api<ConfigMap> = Api::namespaced(admin, &ns);
    let policies: Api<NetworkPolicy> = Api::namespaced(operator, &ns);
    for (name, params) in [("background", delete()), ("foreground", kube::api::DeleteParams::foreground())] {
        let owner = owners.create(&create(), &object(json!({"metadata": {"name": name}}))).await?;
        let reference = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": owner.metadata.uid, "blockOwnerDeletion": false,
        });
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": format!("cloister-{name}"), "ownerReferences": [reference]},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
        });
        policies.patch(&format!("cloister-{name}"), &apply(), &Patch::Apply(policy)).await?;
        owners.delete(name, &params).await?;
        eventually("the policy to be collected", async || {
            ensure!(policies.get_opt(&format!("cloister-{name}")).await?.is_none());
            Ok(())
        })
        .await?;
    }
    Ok(())
}
