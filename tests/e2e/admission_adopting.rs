//! A Namespace that is offered for adoption admits nothing new that would stand in the way.

use crate::support::*;
use anyhow::Result;
use cloister_api::labels;
use cloister_tests::{assert_denied, cluster, denied, eventually};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod, Secret},
    networking::v1::NetworkPolicy,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::json;

const POLICY: &str = "adopting.cloister.dev";
const OF_OPERATOR: &str = "operator-namespaces.cloister.dev";

#[tokio::test]
async fn what_is_offered_is_closed_to_what_is_new() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = plain_namespace(&admin, "offered").await?;
    let (theirs, own): (Api<Namespace>, Api<Namespace>) = (Api::all(admin.clone()), Api::all(operator.clone()));
    let policies: Api<NetworkPolicy> = Api::namespaced(admin.clone(), &ns);
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), &ns);
    let pods: Api<Pod> = Api::namespaced(admin.clone(), &ns);
    let policy = |name: &str| object::<NetworkPolicy>(json!({"metadata": {"name": name}, "spec": {"podSelector": {}}}));
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    let binding = |name: &str| object::<RoleBinding>(json!({"metadata": {"name": name}, "roleRef": role_ref}));
    policies.create(&create(), &policy("before")).await?;
    bindings.create(&create(), &binding("before")).await?;
    pods.create(&create(), &pod("before", "default")).await?;

    // The operator closes what is offered, and nothing else; and it writes nothing but that.
    let mark = |value| json!({"metadata": {"labels": {labels::ADOPTING: value}}});
    assert_denied(merge(&own, &ns, mark(Some("1"))).await, OF_OPERATOR);
    merge(&theirs, &ns, json!({"metadata": {"annotations": {labels::ADOPT: ns}}})).await?;
    assert_denied(merge(&theirs, &ns, mark(Some("1"))).await, "namespaces.cloister.dev");
    for along in [
        json!({"metadata": {"labels": {labels::ADOPTING: "1", "x": "y"}}}),
        json!({"metadata": {"labels": {labels::ADOPTING: "1"}, "annotations": {"x": "y"}}}),
        json!({"metadata": {"labels": {labels::ADOPTING: "1"}, "finalizers": ["example.com/x"]}}),
    ] {
        assert_denied(merge(&own, &ns, along).await, OF_OPERATOR);
    }
    merge(&own, &ns, mark(Some("1"))).await?;
    eventually("the label to be seen", async || denied(policies.create(&dry_run(), &policy("new")).await, POLICY))
        .await?;

    assert_denied(bindings.create(&create(), &binding("new")).await, POLICY);
    let role: Role = object(json!({"metadata": {"name": "new"}, "rules": []}));
    assert_denied(Api::namespaced(admin.clone(), &ns).create(&create(), &role).await, POLICY);
    assert_denied(pods.create(&create(), &pod("new", "default")).await, POLICY);
    assert_denied(merge(&policies, "before", json!({"spec": {"egress": [{}]}})).await, POLICY);
    let more = json!({"subjects": [{"kind": "User", "name": "mallory", "apiGroup": "rbac.authorization.k8s.io"}]});
    assert_denied(merge(&bindings, "before", more).await, POLICY);
    let debug = json!({"spec": {"ephemeralContainers": [container_json("debug")]}});
    assert_denied(merge_at(&pods, "ephemeralcontainers", "before", debug).await, POLICY);
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), &ns);
    let token = json!({
        "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token",
    });
    assert_denied(secrets.create(&create(), &object(token)).await, "adopting-tokens.cloister.dev");

    // What is none of this goes on, and what is there may go.
    secrets.create(&create(), &object(json!({"metadata": {"name": "theirs"}}))).await?;
    let config: ConfigMap = object(json!({"metadata": {"name": "theirs"}}));
    Api::namespaced(admin.clone(), &ns).create(&create(), &config).await?;
    merge(&pods, "before", json!({"metadata": {"labels": {"x": "y"}}})).await?;
    policies.delete("before", &delete()).await?;
    bindings.delete_collection(&delete(), &ListParams::default()).await?;

    // The operator writes nothing else there either, and may always open it again.
    let refused = Api::namespaced(operator.clone(), &ns).create(&dry_run(), &policy("cloister-x")).await;
    assert!(refused.is_err(), "the operator writes into a Namespace that is not its own");
    merge(&theirs, &ns, json!({"metadata": {"annotations": {labels::ADOPT: null}}})).await?;
    merge(&own, &ns, mark(None)).await?;
    eventually("it to be open again", async || Ok(policies.create(&create(), &policy("new")).await.map(drop)?)).await
}

/// The operator asks whether there are tokens: it is told of one by its name, reads none and deletes none.
#[tokio::test]
async fn tokens_are_told_of_and_not_read() -> Result<()> {
    const FOUND: &str = "denied request: found Secret ";
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = plain_namespace(&admin, "tokens").await?;
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), &ns);
    let own: Api<Secret> = Api::namespaced(operator.clone(), &ns);
    let token = json!({
        "metadata": {"name": "everlasting", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token",
    });
    secrets.create(&create(), &object(token)).await?;
    secrets.create(&create(), &object(json!({"metadata": {"name": "theirs"}}))).await?;
    let tokens = ListParams::default().fields("type=kubernetes.io/service-account-token");
    let only_ask = DeleteParams { dry_run: true, ..DeleteParams::default() };
    let ask = async |params: &DeleteParams, which: &ListParams| match own.delete_collection(params, which).await {
        Err(kube::Error::Api(status)) => status.message.clone(),
        other => format!("{:?}", other.map(|either| either.map_left(|all| all.items.len()))),
    };
    // Elsewhere it is told nothing.
    let told = ask(&only_ask, &tokens).await;
    assert!(told.contains("deletes no Secrets all at once") && !told.contains("everlasting"), "{told}");

    merge(&Api::<Namespace>::all(admin.clone()), &ns, json!({"metadata": {"annotations": {labels::ADOPT: ns}}}))
        .await?;
    let mark = json!({"metadata": {"labels": {labels::ADOPTING: "1"}}});
    merge(&Api::<Namespace>::all(operator.clone()), &ns, mark).await?;
    eventually("the name to be told", async || {
        let told = ask(&only_ask, &tokens).await;
        anyhow::ensure!(told.ends_with(&format!("{FOUND}everlasting")), "{told}");
        Ok(())
    })
    .await?;
    for which in [&tokens, &ListParams::default()] {
        let told = ask(&delete(), which).await;
        assert!(told.contains(FOUND), "{told}");
    }
    assert_eq!(secrets.list(&ListParams::default()).await?.items.len(), 2, "something was deleted");
    secrets.delete("everlasting", &delete()).await?;
    let told = ask(&only_ask, &tokens).await;
    assert!(!told.contains("Secret"), "{told}");
    Ok(())
}
