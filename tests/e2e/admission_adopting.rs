//! A Namespace that is offered for adoption admits nothing new that would stand in the way.

use crate::support::*;
use anyhow::Result;
use cloister_api::labels;
use cloister_tests::{assert_denied, cluster, denied, eventually};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod, Secret, ServiceAccount},
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
    ] {
        assert_denied(merge(&own, &ns, along).await, OF_OPERATOR);
    }
    // Two policies refuse this one, and the API server names either.
    let held = json!({"metadata": {"labels": {labels::ADOPTING: "1"}, "finalizers": ["example.com/x"]}});
    let refused = merge(&own, &ns, held).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403), "a finalizer goes along");
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
    for (path, mut body) in what_runs() {
        body["metadata"] = json!({"name": "new"});
        let path = path.replace('*', &format!("namespaces/{ns}"));
        let answer = admin.request::<serde_json::Value>(http_post(&path, body.to_string().into_bytes())).await;
        assert!(answer.is_err(), "{path} is admitted");
        assert_denied(answer, POLICY);
    }
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

/// Whoever is refused is told who can withdraw the offer: it stands on the Namespace, or on the ResearchNamespace that takes
/// it back.
#[tokio::test]
async fn who_is_refused_is_told_where_the_offer_stands() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let kept = json!({labels::RETAINED: "true", labels::ADOPTING: "1"});
    let ns = research_namespace_with(&operator, "back", kept).await?;
    let deployments: Api<Deployment> = Api::namespaced(admin.clone(), &ns);
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod_json("x", "default")["spec"]});
    let many = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployment = object::<Deployment>(json!({"metadata": {"name": "new"}, "spec": many}));
    let told = async |wanted: String| {
        eventually("the message", async || {
            let refused = deployments.create(&dry_run(), &deployment).await;
            let said = refused.as_ref().err().map(ToString::to_string).unwrap_or_default();
            denied(refused, POLICY)?;
            anyhow::ensure!(said.contains(&wanted), "{said}");
            Ok(())
        })
        .await
    };
    let withdraw =
        |kind: &str| format!("to withdraw the offer with \"kubectl annotate {kind} {ns} cloister.dev/adopt-\"");
    told(format!("or ask a catalogue administrator {}", withdraw("researchnamespace"))).await?;
    let theirs: Api<Namespace> = Api::all(admin.clone());
    merge(&theirs, &ns, json!({"metadata": {"annotations": {labels::ADOPT: ns}}})).await?;
    told(format!("or ask an administrator {}", withdraw("namespace"))).await
}

/// What runs, makes what runs, or leads to it.
fn what_runs() -> Vec<(&'static str, serde_json::Value)> {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod_json("x", "default")["spec"]});
    let many = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let job = json!({"template": once});
    let resources = json!({"requests": {"storage": "1Gi"}});
    let anything = json!({"resource": {"kind": "a", "name": "b"}});
    vec![
        ("/api/v1/*/replicationcontrollers", json!({"spec": {"template": template}})),
        ("/apis/apps/v1/*/daemonsets", json!({"spec": many})),
        ("/apis/apps/v1/*/deployments", json!({"spec": many})),
        ("/apis/apps/v1/*/replicasets", json!({"spec": many})),
        ("/apis/apps/v1/*/statefulsets", json!({"spec": many})),
        ("/apis/batch/v1/*/jobs", json!({"spec": job})),
        ("/apis/batch/v1/*/cronjobs", json!({"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}})),
        ("/api/v1/*/services", json!({"spec": {"ports": [{"port": 80}]}})),
        ("/api/v1/*/endpoints", json!({"subsets": []})),
        ("/apis/discovery.k8s.io/v1/*/endpointslices", json!({"addressType": "IPv4", "endpoints": []})),
        ("/apis/networking.k8s.io/v1/*/ingresses", json!({"spec": {"defaultBackend": anything}})),
        (
            "/api/v1/*/persistentvolumeclaims",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}),
        ),
        ("/api/v1/*/serviceaccounts", json!({})),
    ]
}

/// The operator voids the tokens of the account that every Namespace has, and touches no other.
#[tokio::test]
async fn the_default_account_is_made_anew_where_it_is_offered() -> Result<()> {
    const OBJECTS: &str = "operator-objects.cloister.dev";
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = plain_namespace(&admin, "anew").await?;
    let theirs: Api<ServiceAccount> = Api::namespaced(admin.clone(), &ns);
    let own: Api<ServiceAccount> = Api::namespaced(operator.clone(), &ns);
    let before = eventually("the account", async || Ok(theirs.get("default").await?)).await?;
    service_account(&admin, &ns, "trainer").await?;
    assert_denied(own.delete("default", &delete()).await, OBJECTS);
    merge(&Api::<Namespace>::all(admin.clone()), &ns, json!({"metadata": {"annotations": {labels::ADOPT: ns}}}))
        .await?;
    assert_denied(own.delete("default", &delete()).await, OBJECTS);
    let mark = json!({"metadata": {"labels": {labels::ADOPTING: "1"}}});
    merge(&Api::<Namespace>::all(operator.clone()), &ns, mark).await?;
    eventually("it to be allowed", async || Ok(own.delete("default", &delete()).await.map(drop)?)).await?;
    assert_denied(own.delete("trainer", &delete()).await, OBJECTS);
    eventually("Kubernetes to make it anew", async || {
        let now = theirs.get("default").await?;
        anyhow::ensure!(now.metadata.uid != before.metadata.uid, "it is the same");
        Ok(())
    })
    .await
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
    assert!(told.contains("cannot delete Secrets as a collection") && !told.contains("everlasting"), "{told}");

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
