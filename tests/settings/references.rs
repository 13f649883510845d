//! What CloisterConfig names and is not there, and what it names that it must not.

use crate::place::Place;
use anyhow::{Result, ensure};
use cloister_api::AccessPolicy;
use cloister_tests::{eventually, scene::condition};
use k8s_openapi::api::{
    core::v1::Namespace,
    scheduling::v1::PriorityClass,
    storage::v1::{CSIDriver, StorageClass},
};
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

#[tokio::test]
async fn what_is_missing_is_told_until_it_is_there() -> Result<()> {
    let place = Place::new("references").await?;
    let (name, typo) = (&place.name, format!("{}x", place.name));
    let spec = json!({
        "egress": {"accessPolicy": name}, "credentialNamespaces": ["cloister-credentials", name],
        "workloads": {"volumes": [format!("storageClass:{typo}"), format!("csi:{name}")], "priorityClasses": [name]},
    });
    place.configure(spec).await?;
    let said = async |status: &str, reason: &str, with: &[&str], without: &[&str]| {
        eventually(&format!("{with:?} to be told, and not {without:?}"), async || {
            let message = place.until_config("ReferencesFound", status, reason).await?.message;
            ensure!(with.iter().all(|words| message.contains(words)), "{message}");
            ensure!(!without.iter().any(|words| message.contains(words)), "{message}");
            Ok(())
        })
        .await
    };
    let all = ["AccessPolicy", "Namespace", "StorageClass", "CSIDriver", "PriorityClass"];
    said("False", "ReferenceNotFound", &all, &["did you mean"]).await?;

    let (create, delete) = (PostParams::default(), DeleteParams::default());
    let object = |more: Value| -> Value {
        let mut object = json!({"metadata": {"name": name}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let class: StorageClass = serde_json::from_value(object(json!({"provisioner": "example.com/none"})))?;
    place.scene.all().create(&create, &class).await?;
    said("False", "ReferenceNotFound", &[&format!("StorageClass {typo}, which does not exist: ")], &["did you mean"])
        .await?;
    place.scene.all::<StorageClass>().delete(name, &delete).await?;
    said("False", "ReferenceNotFound", &all, &["did you mean"]).await?;

    let mut right = class;
    right.metadata.name = Some(typo.clone());
    place.scene.all().create(&create, &right).await?;
    let driver: CSIDriver = serde_json::from_value(object(json!({"spec": {}})))?;
    place.scene.all().create(&create, &driver).await?;
    let priority: PriorityClass = serde_json::from_value(object(json!({"value": 1})))?;
    place.scene.all().create(&create, &priority).await?;
    said("False", "ReferenceNotFound", &all[..2], &all[2..]).await?;

    let policy = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "AccessPolicy", "spec": {"maxDuration": "1h"}});
    place.scene.all::<AccessPolicy>().create(&create, &serde_json::from_value(object(policy))?).await?;
    place.scene.all::<Namespace>().create(&create, &serde_json::from_value(object(json!({})))?).await?;
    // It is there, and the operator has no Role in it.
    said(
        "False",
        "ReferenceNotFound",
        &[&format!("{name}, where the operator may not read Secrets")],
        &["does not exist"],
    )
    .await?;
    place.choose("Auto").await?;
    said("True", "Found", &[], &[]).await?;
    place.scene.all::<StorageClass>().delete(&typo, &delete).await?;
    place.scene.all::<CSIDriver>().delete(name, &delete).await?;
    place.scene.all::<PriorityClass>().delete(name, &delete).await?;
    place.scene.all::<AccessPolicy>().delete(name, &delete).await?;
    Ok(())
}

#[tokio::test]
async fn a_list_that_names_a_live_research_namespace_closes_it_not() -> Result<()> {
    let place = Place::new("live").await?;
    place.open(json!([{"name": "lab", "networks": ["198.51.100.0/24"], "ports": [{"port": 443}]}])).await?;
    let policies = place.scene.policies(&place.name).await?;
    for spec in [
        json!({"workloads": {"controllerNamespaces": [place.name]}}),
        json!({"credentialNamespaces": [place.name]}),
        json!({"gateways": [{"name": "hub", "namespace": place.name, "podSelector": {}}]}),
    ] {
        place.configure(spec).await?;
        let said = place.until_config("Stalled", "True", "SettingRefused").await?;
        ensure!(
            said.message.contains(&format!("names {}, which is an existing research namespace", place.name)),
            "{}",
            said.message
        );
        place.scene.wait_until_enforced(&place.name).await?;
        ensure!(place.scene.policies(&place.name).await? == policies, "something else is open");
    }
    // The DNS cannot be in it: it is closed, and both say why.
    place.configure(json!({"dns": {"namespace": place.name}})).await?;
    place.until_config("Stalled", "True", "SettingRefused").await?;
    eventually("it to be closed", async || {
        let object = place.scene.all::<cloister_api::ResearchNamespace>().get(&place.name).await?;
        let said = condition(&object, "Stalled").map(|said| said.message).unwrap_or_default();
        ensure!(
            said.ends_with("ask a policy administrator (ClusterRole cloister:policy-admin) to name another there"),
            "{said}"
        );
        Ok(())
    })
    .await?;
    place.choose("Auto").await?;
    place.scene.wait_until_enforced(&place.name).await?;
    Ok(())
}
