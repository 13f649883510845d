//! The end of a namespace: nothing opens on the way, and nothing is emptied that should stay.

use anyhow::{Context, Result, ensure};
use cloister_api::ResearchNamespace;
use cloister_tests::scene::{Scene, condition, pod};
use cloister_tests::{denied, eventually, unique};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Pod},
    networking::v1::NetworkPolicy,
    rbac::v1::{ClusterRoleBinding, RoleBinding},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy},
};
use serde_json::json;

async fn gone(scene: &Scene, name: &str) -> Result<()> {
    eventually("the ResearchNamespace to be gone", async || {
        ensure!(scene.all::<ResearchNamespace>().get_opt(name).await?.is_none(), "it is still there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn no_cascade_mode_opens_or_empties_a_retained_namespace() -> Result<()> {
    let scene = Scene::new().await;
    let modes = [PropagationPolicy::Background, PropagationPolicy::Foreground, PropagationPolicy::Orphan];
    for (at, mode) in modes.into_iter().enumerate() {
        let name = unique(&format!("retained{at}"));
        let members = json!([{"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]}]);
        scene.enforced(&name, json!({"tier": "Standard", "members": members})).await?;
        let kept: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "work"}, "data": {"a": "b"}}))?;
        scene.within::<ConfigMap>(&name).create(&PostParams::default(), &kept).await?;
        let params = DeleteParams { propagation_policy: Some(mode), ..DeleteParams::default() };
        scene.all::<ResearchNamespace>().delete(&name, &params).await?;
        gone(&scene, &name).await?;

        assert_eq!(scene.policies(&name).await?, ["cloister-deny-all"]);
        assert!(scene.within::<ConfigMap>(&name).get_opt("work").await?.is_some());
        assert!(scene.within::<RoleBinding>(&name).list(&ListParams::default()).await?.items.is_empty());
        let labels = scene.namespace(&name).await?.metadata.labels.unwrap_or_default();
        assert!(!labels.contains_key("cloister.dev/enforced"), "{labels:?}");
        let refused = scene.within::<Pod>(&name).create(&PostParams::default(), &pod("late", "default")).await;
        denied(refused, "seal.cloister.dev")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_retained_namespace_can_be_taken_over_again() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("again");
    scene.enforced(&name, json!({"tier": "Standard"})).await?;
    scene.all::<ResearchNamespace>().delete(&name, &DeleteParams::default()).await?;
    gone(&scene, &name).await?;
    scene.declare(&name, json!({"tier": "Standard"})).await?;
    scene.until_condition(&scene.all::<ResearchNamespace>(), &name, "Ready", "False").await?;
    let offer = json!({"metadata": {"annotations": {"cloister.dev/adopt": name}}});
    scene.all::<Namespace>().patch(&name, &PatchParams::default(), &Patch::Merge(offer)).await?;
    scene.wait_until_enforced(&name).await?;
    let labels = scene.namespace(&name).await?.metadata.labels.unwrap_or_default();
    assert!(!labels.contains_key("cloister.dev/retained"), "{labels:?}");
    Ok(())
}

/// pat, who may write the catalogue and nothing in namespaces.
async fn catalogue_administrator(scene: &Scene, name: &str) -> Result<Client> {
    let group = format!("{name}-platform");
    let api_group = "rbac.authorization.k8s.io";
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": group},
        "roleRef": {"apiGroup": api_group, "kind": "ClusterRole", "name": "cloister:catalogue-admin"},
        "subjects": [{"apiGroup": api_group, "kind": "Group", "name": group}],
    }))?;
    scene.all::<ClusterRoleBinding>().create(&PostParams::default(), &binding).await?;
    let pat = scene.world.client_for("pat", &[group.as_str()]).await?;
    let declared: Api<ResearchNamespace> = Api::all(pat.clone());
    eventually("pat's rights", async || Ok(declared.list(&ListParams::default()).await.map(drop)?)).await?;
    Ok(pat)
}

async fn until_told(scene: &Scene, name: &str, reason: &str, message: &str) -> Result<()> {
    eventually(&format!("{name} to say {reason}"), async || {
        let object = scene.all::<ResearchNamespace>().get(name).await?;
        let ready = condition(&object, "Ready").context("nothing is said of it")?;
        ensure!(ready.reason == reason && ready.message == message, "{}: {}", ready.reason, ready.message);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_may_declare_it_takes_a_retained_namespace_back_once_no_workload_is_left() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("back");
    let pat = catalogue_administrator(&scene, &name).await?;
    scene.enforced(&name, json!({"tier": "Standard"})).await?;
    let kept: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "work"}, "data": {"a": "b"}}))?;
    scene.within::<ConfigMap>(&name).create(&PostParams::default(), &kept).await?;
    // It is paused, so that nothing else is made of it.
    let deployment = |name: &str| -> Result<Deployment> {
        let template = json!({"metadata": {"labels": {"app": "train"}}, "spec": pod("x", "default").spec});
        let selector = json!({"matchLabels": {"app": "train"}});
        let spec = json!({"paused": true, "replicas": 0, "selector": selector, "template": template});
        Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?)
    };
    let deployments = scene.within::<Deployment>(&name);
    deployments.create(&PostParams::default(), &deployment("train")?).await?;
    scene.all::<ResearchNamespace>().delete(&name, &DeleteParams::default()).await?;
    gone(&scene, &name).await?;

    let declared: Api<ResearchNamespace> = Api::all(pat.clone());
    let again: ResearchNamespace = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": name},
        "spec": {"tier": "Standard"},
    }))?;
    declared.create(&PostParams::default(), &again).await?;
    let how = format!(
        "Namespace {name} was retained when its ResearchNamespace was deleted; to take it back, with its content for the members \
         that are declared now, ask a catalogue administrator (ClusterRole cloister:catalogue-admin) to run: kubectl annotate \
         researchnamespace {name} cloister.dev/adopt={name}"
    );
    until_told(&scene, &name, "NamespaceExists", &how).await?;
    let asks = Patch::Merge(json!({"metadata": {"annotations": {"cloister.dev/adopt": name}}}));
    let on_namespace = Api::<Namespace>::all(pat.clone()).patch(&name, &PatchParams::default(), &asks).await;
    ensure!(matches!(on_namespace, Err(kube::Error::Api(status)) if status.is_forbidden()), "pat writes Namespaces");
    declared.patch(&name, &PatchParams::default(), &asks).await?;

    let left = format!(
        "Namespace {name} contains objects that are not taken back: Deployment/train; ask a cluster administrator to delete them, \
         then the Namespace is adopted. Until then, new objects of these kinds are rejected there; create what is still needed \
         afterwards"
    );
    until_told(&scene, &name, "ForeignObjects", &left).await?;
    denied(deployments.create(&PostParams::default(), &deployment("more")?).await, "adopting.cloister.dev")?;
    let labels = scene.namespace(&name).await?.metadata.labels.unwrap_or_default();
    ensure!(
        labels.contains_key("cloister.dev/retained") && !labels.contains_key("cloister.dev/enforced"),
        "{labels:?}"
    );

    deployments.delete("train", &DeleteParams::default()).await?;
    scene.wait_until_enforced(&name).await?;
    let labels = scene.namespace(&name).await?.metadata.labels.unwrap_or_default();
    ensure!(
        !labels.contains_key("cloister.dev/retained") && !labels.contains_key("cloister.dev/adopting"),
        "{labels:?}"
    );
    ensure!(scene.within::<ConfigMap>(&name).get_opt("work").await?.is_some(), "its content is gone");
    Ok(())
}

/// pat's annotation gives nothing that was never a research namespace: that is for its administrator to offer.
#[tokio::test]
async fn nobody_takes_a_namespace_that_was_not_retained_by_declaring_it() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("theirs");
    let pat = catalogue_administrator(&scene, &name).await?;
    let theirs: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    scene.all::<Namespace>().create(&PostParams::default(), &theirs).await?;
    let asks: ResearchNamespace = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
        "metadata": {"name": name, "annotations": {"cloister.dev/adopt": name}}, "spec": {"tier": "Standard"},
    }))?;
    Api::<ResearchNamespace>::all(pat).create(&PostParams::default(), &asks).await?;
    let told = format!(
        "a Namespace {name} exists already; the annotation of the ResearchNamespace takes back only a Namespace that Cloister has \
         retained; choose another name, or, if its content is meant to become this research namespace, ask a cluster administrator to run: kubectl \
         annotate namespace {name} cloister.dev/adopt={name}"
    );
    until_told(&scene, &name, "NamespaceExists", &told).await?;
    let labels = scene.namespace(&name).await?.metadata.labels.unwrap_or_default();
    ensure!(!labels.keys().any(|key| key.starts_with("cloister.dev/")), "{labels:?}");
    Ok(())
}

#[tokio::test]
async fn a_retained_namespace_can_be_deleted_by_hand() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("byhand");
    scene.enforced(&name, json!({"tier": "Standard"})).await?;
    scene.all::<ResearchNamespace>().delete(&name, &DeleteParams::default()).await?;
    gone(&scene, &name).await?;
    scene.all::<Namespace>().delete(&name, &DeleteParams::default()).await?;
    eventually("the Namespace to be gone", async || {
        ensure!(scene.all::<Namespace>().get_opt(&name).await?.is_none(), "it is still there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn with_delete_the_policies_go_last_after_the_pods() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("deleted");
    scene.enforced(&name, json!({"tier": "Standard", "deletionPolicy": "Delete"})).await?;
    // A pod that does not end until its finalizer is taken off stands for one that takes its time.
    let mut slow = pod("slow", "default");
    slow.metadata.finalizers = Some(vec!["example.com/slow".to_owned()]);
    let pods = scene.within::<Pod>(&name);
    eventually("the pod to be admitted", async || Ok(pods.create(&PostParams::default(), &slow).await?)).await?;

    scene.all::<ResearchNamespace>().delete(&name, &DeleteParams::foreground()).await?;
    eventually("the pod to be what is waited for", async || {
        let pod = pods.get("slow").await?;
        ensure!(pod.metadata.deletion_timestamp.is_some(), "the pod is not being deleted");
        let policies = scene.policies(&name).await?;
        ensure!(policies == ["cloister-deny-all"], "{policies:?} are left");
        let object = scene.all::<ResearchNamespace>().get(&name).await?;
        let ready = condition(&object, "Ready").context("nothing is said")?;
        ensure!(ready.reason == "WaitingForPods", "{}: {}", ready.reason, ready.message);
        Ok(())
    })
    .await?;
    let deny = scene.within::<NetworkPolicy>(&name).get("cloister-deny-all").await?;
    assert!(deny.finalizers().contains(&"cloister.dev/enforced".to_owned()), "the policy stands while the pod does");
    assert!(scene.all::<ResearchNamespace>().get_opt(&name).await?.is_some());

    pods.patch("slow", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    gone(&scene, &name).await?;
    assert!(scene.all::<Namespace>().get_opt(&name).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_live_research_namespace_cannot_be_deleted_under_it() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("held");
    scene.enforced(&name, json!({"tier": "Standard"})).await?;
    let refused = scene.all::<Namespace>().delete(&name, &DeleteParams::default()).await;
    let message = refused.expect_err("the Namespace was deleted").to_string();
    assert!(message.contains("ResearchNamespace"), "{message}");
    Ok(())
}
