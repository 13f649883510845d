//! Allowlists and a namespace's own rules: what opens, how far, and until when.

use anyhow::{Context, Result, ensure};
use cloister_api::{EgressAllowlist, EgressState, ResearchNamespace};
use cloister_tests::scene::{Scene, condition};
use cloister_tests::{eventually, unique, witness};
use k8s_openapi::api::{core::v1::Service, networking::v1::NetworkPolicy};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

fn for_team(name: &str) -> Value {
    json!({"matchLabels": {"team": name}})
}

#[tokio::test]
async fn an_allowlist_opens_its_rules_without_what_is_never_opened() -> Result<()> {
    let scene = Scene::new().await;
    let (name, list) = (unique("open"), unique("list"));
    let rules = json!([
        {"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 22, "endPort": 23}]},
        {"name": "wide", "networks": ["169.254.0.0/15"], "ports": [{"port": 80}]},
    ]);
    scene.allowlist(&list, json!({"namespaceSelector": for_team(&name), "rules": rules})).await?;
    scene.enforced(&name, json!({"tier": "Standard", "egress": {"allowlists": [list]}})).await?;
    assert_eq!(scene.networks(&name, &format!("cloister-allow.{list}.lab")).await?, ["203.0.113.0/24"]);
    assert_eq!(scene.networks(&name, &format!("cloister-allow.{list}.wide")).await?, ["169.255.0.0/16"]);
    eventually("the allowlist to say who uses it", async || {
        let status = scene.all::<EgressAllowlist>().get(&list).await?.status.unwrap_or_default();
        ensure!(status.used_by == [name.as_str()] && status.namespaces == 1, "{status:?}");
        Ok(())
    })
    .await?;

    scene.all::<EgressAllowlist>().delete(&list, &DeleteParams::default()).await?;
    scene.has_policy(&name, &format!("cloister-allow.{list}.lab"), false).await?;
    let object = scene.until_condition(&scene.all::<ResearchNamespace>(), &name, "Ready", "False").await?;
    assert!(condition(&object, "Ready").unwrap().message.contains("ask a catalogue administrator"));
    Ok(())
}

#[tokio::test]
async fn an_allowlist_that_does_not_allow_the_namespace_opens_nothing() -> Result<()> {
    let scene = Scene::new().await;
    let (name, list) = (unique("notallowed"), unique("list"));
    let rules = json!([{"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 22}]}]);
    scene.allowlist(&list, json!({"namespaceSelector": for_team("others"), "rules": rules})).await?;
    let own = json!([{"name": "own", "networks": ["203.0.113.0/24"], "ports": [{"port": 22}]}]);
    scene.enforced(&name, json!({"tier": "Standard", "egress": {"allowlists": [list], "rules": own}})).await?;
    assert_eq!(scene.policies(&name).await?.len(), 3);
    let (_, reason, message) = scene.need(&name, &format!("allowlist/{list}")).await?;
    assert_eq!(reason, "AllowlistNotAllowed");
    assert!(message.contains("requires team=others, and the ResearchNamespace has team="), "{message}");
    assert_eq!(scene.need(&name, "rule/own").await?.0, EgressState::NeedsGrant);

    let patch = Patch::Merge(json!({"spec": {"namespaceSelector": for_team(&name)}}));
    scene.all::<EgressAllowlist>().patch(&list, &PatchParams::default(), &patch).await?;
    scene.has_policy(&name, &format!("cloister-allow.{list}.lab"), true).await?;
    scene.has_policy(&name, "cloister-rule.own.0", true).await
}

#[tokio::test]
async fn an_own_rule_opens_as_far_as_it_is_covered() -> Result<()> {
    let scene = Scene::new().await;
    let (name, list) = (unique("covered"), unique("list"));
    let rules = json!([{"name": "lab", "networks": ["203.0.113.0/25"], "ports": [{"port": 20, "endPort": 30}]}]);
    scene.allowlist(&list, json!({"namespaceSelector": for_team(&name), "rules": rules})).await?;
    let own = json!([
        {"name": "within", "networks": ["203.0.113.0/26"], "ports": [{"port": 22}]},
        {"name": "partly", "networks": ["203.0.113.0/24"], "ports": [{"port": 22}]},
        {"name": "outside", "networks": ["198.51.100.0/24"], "ports": [{"port": 22}]},
        {"name": "host", "domainNames": ["export.arxiv.org"], "ports": [{"port": 443}]},
    ]);
    let object = scene.enforced(&name, json!({"tier": "Standard", "egress": {"rules": own}})).await?;
    assert_eq!(scene.networks(&name, "cloister-rule.within.0").await?, ["203.0.113.0/26"]);
    assert_eq!(scene.networks(&name, "cloister-rule.partly.0").await?, ["203.0.113.0/25"]);
    assert_eq!(scene.policies(&name).await?.len(), 5, "the other two open nothing");
    assert_eq!(scene.need(&name, "rule/within").await?.0, EgressState::Active);
    let (state, _, message) = scene.need(&name, "rule/partly").await?;
    assert_eq!(state, EgressState::NeedsGrant);
    assert!(message.contains("203.0.113.128/25"), "{message}");
    assert_eq!(scene.need(&name, "rule/outside").await?.0, EgressState::NeedsGrant);
    let (state, reason, message) = scene.need(&name, "rule/host").await?;
    assert_eq!((state, reason.as_str()), (EgressState::NeedsGrant, "NotCovered"));
    assert!(message.contains("export.arxiv.org on TCP/443"), "{message}");
    assert_eq!(condition(&object, "Ready").unwrap().status, "True", "a tool that waits must not hang");
    Ok(())
}

#[tokio::test]
async fn an_allowlist_ends_at_its_time() -> Result<()> {
    let scene = Scene::new().await;
    let (name, list) = (unique("ends"), unique("list"));
    let rules = json!([{"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 22}]}]);
    scene.allowlist(&list, json!({"namespaceSelector": for_team(&name), "rules": rules})).await?;
    scene.enforced(&name, json!({"tier": "Standard", "egress": {"allowlists": [list]}})).await?;
    let policy = format!("cloister-allow.{list}.lab");
    scene.has_policy(&name, &policy, true).await?;
    let end = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 3)?;
    let patch = Patch::Merge(json!({"spec": {"expiresAt": end.to_string()}}));
    scene.all::<EgressAllowlist>().patch(&list, &PatchParams::default(), &patch).await?;
    scene.has_policy(&name, &policy, false).await?;
    assert!(jiff::Timestamp::now() >= end, "it was closed too early");
    scene.until_need(&name, &format!("allowlist/{list}"), EgressState::Refused, "AllowlistExpired").await
}

#[tokio::test]
async fn one_that_always_attaches_opens_unasked() -> Result<()> {
    let scene = Scene::new().await;
    let (name, list) = (unique("always"), unique("list"));
    scene.enforced(&name, json!({"tier": "Standard"})).await?;
    let rules = json!([{"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 22}]}]);
    scene.allowlist(&list, json!({"attach": "Always", "namespaceSelector": for_team(&name), "rules": rules})).await?;
    scene.has_policy(&name, &format!("cloister-allow.{list}.lab"), true).await
}

#[tokio::test]
async fn a_service_that_is_another_is_closed_until_its_rule_is_published_anew() -> Result<()> {
    let scene = Scene::new().await;
    let (name, list) = (unique("service"), unique("list"));
    let service = json!({
        "metadata": {"name": list},
        "spec": {"selector": {"app": "cache"}, "ports": [{"port": 8080, "targetPort": "http"}]},
    });
    let services = scene.within::<Service>("default");
    services.create(&PostParams::default(), &serde_json::from_value(service)?).await?;
    let rules =
        json!([{"name": "cache", "service": {"namespace": "default", "name": list}, "ports": [{"port": 8080}]}]);
    scene.allowlist(&list, json!({"namespaceSelector": for_team(&name), "rules": rules})).await?;
    scene.enforced(&name, json!({"tier": "Standard", "egress": {"allowlists": [list]}})).await?;
    let policy = format!("cloister-allow.{list}.cache");
    let opens = async || -> Result<Value> {
        let policy = scene.within::<NetworkPolicy>(&name).get(&policy).await?;
        Ok(serde_json::to_value(&policy.spec.unwrap_or_default().egress)?)
    };
    let peer = |label: &str| {
        json!([{
            "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}, "podSelector": {"matchLabels": {"app": label}}}],
            "ports": [{"port": "http", "protocol": "TCP"}],
        }])
    };
    // It is enforced as soon as it is closed, and opens what it finds.
    scene.has_policy(&name, &policy, true).await?;
    assert_eq!(opens().await?, peer("cache"));

    let moved = json!({"spec": {"selector": {"app": "other"}}});
    services.patch(&list, &PatchParams::default(), &Patch::Merge(moved)).await?;
    scene.has_policy(&name, &policy, false).await?;
    scene.until_need(&name, &format!("allowlist/{list}"), EgressState::Refused, "ServiceChanged").await?;
    // Who publishes it once more has looked at it as it is now.
    let again = json!({"spec": {"description": "the cache, at its new pods"}});
    let lists = scene.all::<EgressAllowlist>();
    lists.patch(&list, &PatchParams::default(), &Patch::Merge(again)).await?;
    eventually("the policy to open what was published anew", async || {
        ensure!(opens().await? == peer("other"), "it does not");
        Ok(())
    })
    .await?;
    services.delete(&list, &DeleteParams::default()).await?;
    scene.has_policy(&name, &policy, false).await?;
    scene.until_need(&name, &format!("allowlist/{list}"), EgressState::Refused, "ServiceNotFound").await?;
    assert!(scene.namespace(&name).await?.labels().contains_key("cloister.dev/enforced"));
    Ok(())
}

#[tokio::test]
async fn what_is_written_is_read_back_and_asked() -> Result<()> {
    let scene = Scene::new().await;
    let name = unique("asked");
    let team = json!({"matchLabels": {"team": name}});
    let rule = json!({"name": "r", "networks": ["198.51.100.0/24"], "ports": [{"port": 443, "endPort": 450}]});
    scene.allowlist(&name, json!({"namespaceSelector": team, "rules": [rule]})).await?;
    scene.enforced(&name, json!({"tier": "Standard", "egress": {"allowlists": [name]}})).await?;
    for (policy, opens) in [("cloister-deny-all", false), ("cloister-dns", true), ("cloister-own-pods", true)] {
        let (allowed, denied) = witnessed(&name, policy).await?;
        assert!((allowed > 0) == opens && denied > 0, "{policy}: {allowed} allowed, {denied} denied");
    }
    // At the edges of what is open, more is closed than open.
    let (allowed, denied) = witnessed(&name, &format!("cloister-allow.{name}.r")).await?;
    assert_eq!((allowed > 0, denied > allowed), (true, true), "{allowed} allowed, {denied} denied");
    Ok(())
}

async fn witnessed(namespace: &str, policy: &str) -> Result<(usize, usize)> {
    let what = format!("{namespace}/{policy} to be asked");
    eventually(&what, async || witness::asked(namespace, policy).context("not yet")).await
}
