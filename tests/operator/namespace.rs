//! A ResearchNamespace becomes a namespace that is closed.

use anyhow::{Result, ensure};
use cloister_api::ResearchNamespace;
use cloister_tests::scene::{Scene, condition};
use cloister_tests::{denied, eventually, unique};
use k8s_openapi::api::{
    core::v1::{LimitRange, Namespace, Pod, ResourceQuota, Secret, ServiceAccount},
    networking::v1::NetworkPolicy,
    node::v1::RuntimeClass,
    rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding},
};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

#[tokio::test]
async fn a_namespace_is_closed_by_default() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("closed");
    let declared = scene.enforced(&name, json!({"tier": "Standard"})).await?;
    assert_eq!(scene.policies(&name).await?, ["cloister-deny-all", "cloister-dns", "cloister-own-pods"]);
    let namespace = scene.namespace(&name).await?;
    let labels = namespace.metadata.labels.unwrap_or_default();
    assert_eq!(labels["cloister.dev/enforced"], "true");
    assert_eq!(labels["cloister.dev/tier"], "Standard");
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    assert!(declared.finalizers().contains(&"cloister.dev/namespace".to_owned()));
    assert_eq!(namespace.metadata.owner_references, None, "garbage collection must not take it");

    let deny = scene.within::<NetworkPolicy>(&name).get("cloister-deny-all").await?;
    let spec = deny.spec.unwrap();
    assert_eq!((spec.ingress, spec.egress), (None, None));
    assert_eq!(spec.policy_types.unwrap(), ["Ingress", "Egress"]);

    let default = scene.within::<ServiceAccount>(&name).get("default").await?;
    assert_eq!(default.automount_service_account_token, Some(false));
    Ok(())
}

#[tokio::test]
async fn dns_goes_to_the_clusters_own_and_nowhere_else() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("dns");
    scene.enforced(&name, json!({"tier": "Standard"})).await?;
    let policy = scene.within::<NetworkPolicy>(&name).get("cloister-dns").await?;
    let rule = &policy.spec.unwrap().egress.unwrap()[0];
    let to = serde_json::to_value(rule.to.as_ref().unwrap())?;
    assert_eq!(
        to[0],
        json!({
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        })
    );
    assert!(to.as_array().unwrap()[1..].iter().all(|peer| {
        let cidr = peer["ipBlock"]["cidr"].as_str().unwrap();
        cidr.ends_with("/32") || cidr.ends_with("/128")
    }));
    assert!(rule.ports.iter().flatten().all(|port| serde_json::to_value(&port.port).unwrap() == json!(53)));
    Ok(())
}

#[tokio::test]
async fn what_leaves_the_spec_leaves_the_cluster() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("leaves");
    let full = json!({
        "tier": "Standard",
        "members": [
            {"role": "Owner", "subjects": [{"kind": "Group", "name": "leads"}]},
            {"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]},
            {"role": "Viewer", "subjects": [{"kind": "ServiceAccount", "name": "trainer"}]},
        ],
        "quota": {"requests.cpu": "0.5", "requests.memory": "2048Mi"},
        "limitRange": [{"type": "Container", "max": {"cpu": "2"}, "default": {"memory": "1000Mi"}}],
        "serviceAccounts": [{"name": "trainer", "imagePullSecrets": ["registry"]}],
    });
    scene.enforced(&name, full).await?;
    let quota = scene.within::<ResourceQuota>(&name).get("cloister").await?.spec.unwrap().hard.unwrap();
    assert_eq!(quota["requests.cpu"].0, "500m");
    assert!(scene.within::<LimitRange>(&name).get_opt("cloister").await?.is_some());
    let trainer = scene.within::<ServiceAccount>(&name).get("trainer").await?;
    assert_eq!(trainer.image_pull_secrets.unwrap()[0].name, "registry");
    // Kubernetes gives it to each pod of the account, whoever has put the Secret there.
    let registry = json!({
        "metadata": {"name": "registry"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": r#"{"auths": {"registry.example.com": {"auth": "cHVsbDpvbmx5"}}}"#},
    });
    scene.within::<Secret>(&name).create(&PostParams::default(), &serde_json::from_value(registry)?).await?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let mut worker = cloister_tests::scene::pod("worker", "trainer");
    worker.spec.as_mut().unwrap().containers[0].resources = Some(serde_json::from_value(json!({
        "requests": {"cpu": "10m", "memory": "1Mi"}, "limits": {"cpu": "10m", "memory": "1Mi"},
    }))?);
    let worker = scene.within::<Pod>(&name).create(&dry_run, &worker).await?;
    assert_eq!(worker.spec.unwrap().image_pull_secrets.unwrap()[0].name, "registry");
    let owners = format!("cloister:owner:{name}");
    let owned = scene.all::<ClusterRoleBinding>().get(&owners).await?;
    assert_eq!((owned.role_ref.name.as_str(), owned.subjects.unwrap().len()), (owners.as_str(), 1));
    let rules = scene.all::<ClusterRole>().get(&owners).await?.rules.unwrap();
    assert_eq!(rules[0].resource_names.as_deref(), Some(&[name.clone()][..]));
    let bindings = scene.within::<RoleBinding>(&name).list(&ListParams::default()).await?;
    let mut bound: Vec<(String, String)> =
        bindings.iter().map(|binding| (binding.name_any(), binding.role_ref.name.clone())).collect();
    bound.sort();
    let expected = [
        ("cloister-owners", "cloister:owner"),
        ("cloister-researchers", "cloister:researcher"),
        ("cloister-viewers", "cloister:viewer"),
    ];
    assert_eq!(bound, expected.map(|(name, role)| (name.to_owned(), role.to_owned())));

    let bare = json!([{"op": "replace", "path": "/spec", "value": {"tier": "Standard"}}]);
    let bare: json_patch::Patch = serde_json::from_value(bare)?;
    scene.all::<ResearchNamespace>().patch(&name, &PatchParams::default(), &Patch::Json::<()>(bare)).await?;
    eventually("everything that was declared to be gone", async || {
        ensure!(scene.within::<ResourceQuota>(&name).get_opt("cloister").await?.is_none(), "the quota");
        ensure!(scene.within::<LimitRange>(&name).get_opt("cloister").await?.is_none(), "the limits");
        ensure!(scene.within::<ServiceAccount>(&name).get_opt("trainer").await?.is_none(), "the account");
        let left = scene.within::<RoleBinding>(&name).list(&ListParams::default()).await?;
        ensure!(left.items.is_empty(), "bindings");
        ensure!(scene.all::<ClusterRole>().get_opt(&owners).await?.is_none(), "the owners' role");
        ensure!(scene.all::<ClusterRoleBinding>().get_opt(&owners).await?.is_none(), "the owners' binding");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_sandboxed_namespace_says_which_runtime_class_its_pods_need() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("sandboxed");
    scene.declare(&name, json!({"tier": "Sandboxed"})).await?;
    let all = scene.all::<ResearchNamespace>();
    let missing = condition(&scene.until_condition(&all, &name, "Ready", "False").await?, "Ready").unwrap();
    assert_eq!(missing.reason, "RuntimeClassMissing");
    assert!(missing.message.contains("RuntimeClass gvisor"), "{}", missing.message);
    let class: RuntimeClass = serde_json::from_value(json!({"metadata": {"name": "gvisor"}, "handler": "runsc"}))?;
    scene.all().create(&PostParams::default(), &class).await?;
    scene.wait_until_enforced(&name).await?;
    let labels = scene.namespace(&name).await?.metadata.labels.unwrap_or_default();
    assert_eq!(labels["cloister.dev/runtime-class"], "gvisor");
    let patch = json!({"spec": {"tier": "Standard"}});
    scene.all::<ResearchNamespace>().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    eventually("the label to leave with the tier", async || {
        let labels = scene.namespace(&name).await?.metadata.labels.unwrap_or_default();
        ensure!(labels["cloister.dev/tier"] == "Standard", "the tier has not changed");
        ensure!(!labels.contains_key("cloister.dev/runtime-class"), "the label is still there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_existing_namespace_is_taken_over_only_when_it_is_offered_and_clean() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("adopted");
    let namespaces = scene.all::<Namespace>();
    let existing: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    namespaces.create(&PostParams::default(), &existing).await?;
    let foreign: NetworkPolicy =
        serde_json::from_value(json!({"metadata": {"name": "open"}, "spec": {"podSelector": {}, "egress": [{}]}}))?;
    scene.within::<NetworkPolicy>(&name).create(&PostParams::default(), &foreign).await?;

    scene.declare(&name, json!({"tier": "Standard"})).await?;
    let research = scene.all::<ResearchNamespace>();
    let refused = scene.until_condition(&research, &name, "Ready", "False").await?;
    let ready = condition(&refused, "Ready").unwrap();
    assert_eq!(ready.reason, "NamespaceExists");
    assert!(
        ready.message.contains(&format!("kubectl annotate namespace {name} cloister.dev/adopt={name}")),
        "{}",
        ready.message
    );
    assert_eq!(condition(&refused, "Stalled").unwrap().status, "True");

    let offer = json!({"metadata": {"annotations": {"cloister.dev/adopt": name}}});
    namespaces.patch(&name, &PatchParams::default(), &Patch::Merge(offer)).await?;
    eventually("the foreign policy to be named", async || {
        let ready = condition(&research.get(&name).await?, "Ready").unwrap();
        ensure!(ready.reason == "ForeignObjects", "{}: {}", ready.reason, ready.message);
        ensure!(ready.message.contains("NetworkPolicy/open"), "{}", ready.message);
        Ok(())
    })
    .await?;
    let untouched = namespaces.get(&name).await?.metadata.labels.unwrap_or_default();
    let ours = untouched.keys().filter(|label| label.starts_with("cloister.dev/"));
    assert_eq!(ours.collect::<Vec<_>>(), ["cloister.dev/adopting"], "nothing but that it is closed meanwhile");

    scene.within::<NetworkPolicy>(&name).delete("open", &Default::default()).await?;
    scene.wait_until_enforced(&name).await?;
    assert!(scene.policies(&name).await?.contains(&"cloister-deny-all".to_owned()));
    Ok(())
}

#[tokio::test]
async fn two_namespaces_reach_each_other_once_both_agree() -> Result<()> {
    let scene = Scene::new().await;
    let (one, two) = (unique("peer"), unique("peer"));
    scene.enforced(&one, json!({"tier": "Standard", "egress": {"toResearchNamespaces": [two]}})).await?;
    scene.enforced(&two, json!({"tier": "Standard"})).await?;
    let waiting = scene.all::<ResearchNamespace>().get(&one).await?;
    assert_eq!(condition(&waiting, "Ready").unwrap().status, "True", "one that waits for another is not broken");
    assert!(!scene.policies(&one).await?.iter().any(|policy| policy.starts_with("cloister-to.")));

    let agree = json!({"spec": {"ingress": {"fromResearchNamespaces": [one]}}});
    scene.all::<ResearchNamespace>().patch(&two, &PatchParams::default(), &Patch::Merge(agree)).await?;
    let has = async |namespace: &str, policy: String, wanted: bool| {
        eventually("the peers' policies", async || {
            let all = scene.policies(namespace).await?;
            ensure!(all.contains(&policy) == wanted, "{namespace} has {all:?}");
            Ok(())
        })
        .await
    };
    has(&one, format!("cloister-to.{two}"), true).await?;
    has(&two, format!("cloister-from.{one}"), true).await?;

    let withdraw = json!({"spec": {"egress": {"toResearchNamespaces": null}}});
    scene.all::<ResearchNamespace>().patch(&one, &PatchParams::default(), &Patch::Merge(withdraw)).await?;
    has(&one, format!("cloister-to.{two}"), false).await?;
    has(&two, format!("cloister-from.{one}"), false).await
}

#[tokio::test]
async fn a_look_at_an_unchanged_namespace_writes_nothing() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("quiet");
    scene.enforced(&name, json!({"tier": "Standard", "quota": {"requests.cpu": "1000m"}, "limitRange": [{"type": "Container", "max": {"cpu": "1"}}]})).await?;
    let versions = async || -> Result<Vec<Option<String>>> {
        let mut all = vec![scene.namespace(&name).await?.resource_version()];
        let policies = scene.within::<NetworkPolicy>(&name).list(&ListParams::default()).await?;
        all.extend(policies.iter().map(ResourceExt::resource_version));
        all.push(scene.within::<LimitRange>(&name).get("cloister").await?.resource_version());
        all.push(scene.within::<ServiceAccount>(&name).get("default").await?.resource_version());
        Ok(all)
    };
    let before = versions().await?;
    // A new generation makes it look at everything, and say so.
    let patch = json!({"spec": {"serviceAccounts": [{"name": "another"}]}});
    scene.all::<ResearchNamespace>().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    scene.wait_until_enforced(&name).await?;
    assert!(scene.within::<ServiceAccount>(&name).get_opt("another").await?.is_some());
    assert_eq!(versions().await?, before);
    Ok(())
}

#[tokio::test]
async fn no_pod_is_admitted_before_the_namespace_is_enforced() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("sealed");
    // As the operator makes it, before its policies stand. No ResearchNamespace of that name exists, so it stays so.
    let sealed: Namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": {
        "app.kubernetes.io/managed-by": "cloister", "cloister.dev/research-namespace": name,
        "pod-security.kubernetes.io/enforce": "restricted",
    }}}))?;
    let operator = scene.world.operator().await?;
    kube::Api::<Namespace>::all(operator).create(&PostParams::default(), &sealed).await?;
    let pod: Pod = cloister_tests::scene::pod("early", "default");
    eventually("the pod to be refused by the seal", async || {
        denied(scene.within::<Pod>(&name).create(&PostParams::default(), &pod).await, "seal.cloister.dev")
    })
    .await
}
