use anyhow::{Context, Result, ensure};
use cloister_tests::{cluster, eventually};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt};
use std::collections::BTreeSet;
use xtask::cluster::workspace_root;
use xtask::install::load;

/// Of `deploy/admission`.
fn shipped(kind: &str) -> Result<BTreeSet<String>> {
    let all = load(&workspace_root()?.join("deploy/admission"))?;
    let of_kind = |o: &&DynamicObject| o.types.as_ref().is_some_and(|t| t.kind == kind);
    Ok(all.iter().filter(of_kind).map(|o| o.name_any()).collect())
}

/// A policy whose expression does not fit the kinds it is about would fail, or worse, at the request.
#[tokio::test]
async fn every_policy_compiles_and_fits_its_kinds() -> Result<()> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster().await.admin().await?);
    for name in shipped("ValidatingAdmissionPolicy")? {
        let status = eventually("the policy to be checked", async || {
            let policy = policies.get(&name).await?;
            let status = policy.status.unwrap_or_default();
            ensure!(status.observed_generation == policy.metadata.generation);
            Ok(status)
        })
        .await?;
        let warnings = status.type_checking.and_then(|checked| checked.expression_warnings);
        assert_eq!(warnings, None, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn every_policy_fails_closed_and_is_bound() -> Result<()> {
    let client = cluster().await.admin().await?;
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=cloister");
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    for policy in Api::<ValidatingAdmissionPolicy>::all(client.clone()).list(&ours).await? {
        let name = policy.name_any();
        assert_eq!(policy.spec.context("a spec")?.failure_policy.as_deref(), Some("Fail"), "{name}");
        let binding = bindings.get(&name).await?.spec;
        assert_eq!(binding.policy_name, name);
        assert_eq!(binding.validation_actions, ["Deny"], "{name}");
    }
    let bindings: Api<MutatingAdmissionPolicyBinding> = Api::all(client.clone());
    for policy in Api::<MutatingAdmissionPolicy>::all(client).list(&ours).await? {
        let name = policy.name_any();
        assert_eq!(policy.spec.context("a spec")?.failure_policy.as_deref(), Some("Fail"), "{name}");
        let binding = bindings.get(&name).await?.spec.context("a spec")?;
        assert_eq!(binding.policy_name.as_deref(), Some(name.as_str()));
    }
    Ok(())
}

/// By name, the API server asks itself for a CloisterConfig that is not there, at each request that the policy is about,
/// and refuses the request where it does not answer itself in time. By selector it looks into its cache.
#[test]
fn no_binding_has_the_api_server_ask_itself() -> Result<()> {
    let mut with_parameters = 0;
    for object in load(&workspace_root()?.join("deploy/admission"))? {
        let Some(reference) = object.data["spec"].get("paramRef") else { continue };
        with_parameters += 1;
        assert!(reference.get("name").is_none() && reference["selector"].is_object(), "{}", object.name_any());
    }
    ensure!(with_parameters > 0, "no binding has parameters");
    Ok(())
}

/// Whoever is refused finds the policy of the message there.
#[test]
fn every_policy_that_refuses_is_explained() -> Result<()> {
    let page = std::fs::read_to_string(workspace_root()?.join("docs/conditions.md"))?;
    for name in shipped("ValidatingAdmissionPolicy")? {
        let explained = page.contains(&format!("`{name}`")) || name.starts_with("operator-");
        assert!(explained, "docs/conditions.md does not name {name}");
    }
    Ok(())
}

/// A platform engineer may not write CloisterConfig.
#[test]
fn whoever_is_refused_for_a_list_of_the_settings_is_sent_to_who_writes_them() -> Result<()> {
    let mut that_name_a_list = 0;
    for object in load(&workspace_root()?.join("deploy/admission"))? {
        let validations = object.data["spec"]["validations"].as_array().cloned().unwrap_or_default();
        let texts = validations.iter().filter_map(|one| one["messageExpression"].as_str());
        for text in texts.filter(|text| text.contains(" list ") && text.contains("workloads.")) {
            that_name_a_list += 1;
            assert!(text.contains("cloister:policy-admin"), "{}: {text}", object.name_any());
        }
    }
    ensure!(that_name_a_list > 0, "no message names a list");
    Ok(())
}
