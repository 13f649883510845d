//! What the API server refuses holds up nothing else, and is said to whoever can mend it.

use anyhow::{Result, ensure};
use cloister_api::ResearchNamespace;
use cloister_tests::scene::{Scene, condition};
use cloister_tests::{eventually, unique};
use k8s_openapi::api::{
    core::v1::{ConfigMap, ResourceQuota},
    rbac::v1::RoleBinding,
};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const MEMBERS: &str = "cloister-researchers";

fn members(names: &[&str]) -> Value {
    let subjects: Vec<Value> = names.iter().map(|name| json!({"kind": "User", "name": name})).collect();
    json!([{"role": "Researcher", "subjects": subjects}])
}

fn wheels(network: &str) -> Value {
    json!({"rules": [{"name": "wheels", "networks": [network], "ports": [{"port": 443}]}]})
}

/// Limits that the schema takes and Kubernetes refuses: the ratio is more than what the others allow.
fn impossible_limits() -> Value {
    json!([{
        "type": "Container", "min": {"memory": "1Gi"}, "max": {"memory": "2Gi"}, "maxLimitRequestRatio": {"memory": "4"},
    }])
}

async fn change(scene: &Scene, name: &str, spec: Value) -> Result<()> {
    let change = Patch::Merge(json!({"spec": spec}));
    scene.all::<ResearchNamespace>().patch(name, &PatchParams::default(), &change).await?;
    Ok(())
}

/// Waits until a namespace is stalled because of what the API server refuses, and says this.
async fn stalled(scene: &Scene, name: &str, words: &[&str]) -> Result<()> {
    eventually("what is refused to be said", async || {
        let object = scene.all::<ResearchNamespace>().get(name).await?;
        let said = condition(&object, "Stalled").filter(|stalled| stalled.reason == "ApplyRefused");
        let message = said.map(|stalled| stalled.message).unwrap_or_default();
        ensure!(words.iter().all(|word| message.contains(word)), "it says {message:?}");
        Ok(())
    })
    .await
}

async fn bound(scene: &Scene, namespace: &str, wanted: &[&str]) -> Result<()> {
    eventually("the members to be bound, and nobody else", async || {
        let binding = scene.within::<RoleBinding>(namespace).get(MEMBERS).await?;
        let names: Vec<String> = binding.subjects.into_iter().flatten().map(|subject| subject.name).collect();
        ensure!(names == wanted, "they are {names:?}");
        Ok(())
    })
    .await
}

async fn narrowed(scene: &Scene, namespace: &str, wanted: &str) -> Result<()> {
    eventually("the rule to be narrow", async || {
        let networks = scene.networks(namespace, "cloister-rule.wheels.0").await?;
        ensure!(networks == [wanted], "it opens {networks:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_member_who_leaves_and_a_narrowed_rule_do_not_wait_for_what_is_refused() -> Result<()> {
    let scene = Scene::new().await;
    let (name, list) = (unique("refused"), unique("wheels"));
    let rule = json!({"name": "all", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]});
    let selector = json!({"matchLabels": {"team": name}});
    scene.allowlist(&list, json!({"namespaceSelector": selector, "rules": [rule]})).await?;
    let limits = json!([{"type": "Container", "default": {"memory": "2Gi"}}]);
    let members_and_rule = json!({"tier": "Standard", "members": members(&["alice", "nina"]),
        "egress": wheels("203.0.113.64/27"), "limitRange": limits});
    scene.enforced(&name, members_and_rule).await?;
    narrowed(&scene, &name, "203.0.113.64/27").await?;

    let impossible = impossible_limits();
    let spec = json!({"members": members(&["alice"]), "egress": wheels("203.0.113.64/32"), "limitRange": impossible});
    change(&scene, &name, spec).await?;
    bound(&scene, &name, &["alice"]).await?;
    narrowed(&scene, &name, "203.0.113.64/32").await?;
    stalled(&scene, &name, &["LimitRange", "min"]).await?;
    let object = scene.all::<ResearchNamespace>().get(&name).await?;
    assert_eq!(condition(&object, "Enforced").map(|enforced| enforced.status), Some("True".to_owned()));

    // A quota of somebody else that leaves no room for a binding is named, and whoever leaves has left.
    let theirs = json!({"metadata": {"name": "theirs"}, "spec": {"hard": {"count/rolebindings.rbac.authorization.k8s.io": "1"}}});
    let quotas = scene.within::<ResourceQuota>(&name);
    quotas.create(&PostParams::default(), &serde_json::from_value(theirs)?).await?;
    eventually("the quota to count", async || {
        let used = quotas.get("theirs").await?.status.and_then(|status| status.used).unwrap_or_default();
        ensure!(!used.is_empty(), "it does not");
        Ok(())
    })
    .await?;
    let mut both = members(&["bob"]);
    both.as_array_mut().into_iter().for_each(|all| {
        all.push(json!({"role": "Viewer", "subjects": [{"kind": "User", "name": "vera"}]}));
    });
    change(&scene, &name, json!({"members": both, "limitRange": limits})).await?;
    bound(&scene, &name, &["bob"]).await?;
    stalled(&scene, &name, &["exceeded quota: theirs"]).await?;

    quotas.delete("theirs", &DeleteParams::default()).await?;
    change(&scene, &name, json!({"members": members(&["bob"])})).await?;
    scene.until_condition(&scene.all::<ResearchNamespace>(), &name, "Ready", "True").await?;
    Ok(())
}

#[tokio::test]
async fn what_is_refused_of_a_new_namespace_is_said_and_can_be_mended() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("mended");
    let impossible = impossible_limits();
    let spec = json!({"tier": "Standard", "members": members(&["alice"]), "limitRange": impossible});
    scene.declare(&name, spec).await?;
    stalled(&scene, &name, &["LimitRange", "maxLimitRequestRatio"]).await?;
    bound(&scene, &name, &["alice"]).await?;
    let object = scene.all::<ResearchNamespace>().get(&name).await?;
    assert_eq!(condition(&object, "Enforced").map(|enforced| enforced.status), Some("False".to_owned()));
    change(&scene, &name, json!({"limitRange": []})).await?;
    scene.wait_until_enforced(&name).await?;
    Ok(())
}

#[tokio::test]
async fn quantities_that_the_api_server_rounds_are_in_force() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("rounded");
    let quota = json!({"requests.storage": "10Ei", "requests.cpu": "0.1m", "limits.cpu": "1n", "pods": "100"});
    scene.enforced(&name, json!({"tier": "Standard", "quota": quota})).await?;
    scene.until_condition(&scene.all::<ResearchNamespace>(), &name, "Ready", "True").await?;
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_does_not_end_says_what_kubernetes_says() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("held");
    scene.enforced(&name, json!({"tier": "Standard", "deletionPolicy": "Delete"})).await?;
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.org/keeps-it"]}});
    let maps = scene.within::<ConfigMap>(&name);
    maps.create(&PostParams::default(), &serde_json::from_value(held)?).await?;
    let api = scene.all::<ResearchNamespace>();
    api.delete(&name, &DeleteParams::default()).await?;
    eventually("the finalizer to be named", async || {
        let said = condition(&api.get(&name).await?, "Ready").map(|ready| ready.message).unwrap_or_default();
        ensure!(said.contains("example.org/keeps-it"), "it says {said:?}");
        Ok(())
    })
    .await?;
    maps.patch("held", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    eventually("the ResearchNamespace to be gone", async || {
        ensure!(api.get_opt(&name).await?.is_none(), "it is still there");
        Ok(())
    })
    .await
}
