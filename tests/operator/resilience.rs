//! What happens to the operator, and to what it guards, when things go wrong around it.

use anyhow::{Context, Result, ensure};
use cloister_api::{CloisterConfig, EgressAllowlist, ResearchNamespace, labels};
use cloister_tests::{
    bare::Bare,
    eventually,
    ours::{make, ours},
};
use k8s_openapi::api::{
    core::v1::{Namespace, ResourceQuota, ServiceAccount},
    events::v1::Event,
    networking::v1::NetworkPolicy,
    rbac::v1::RoleBinding,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use cloister_tests::scene::condition;

fn research(name: &str, spec: Value) -> Result<ResearchNamespace> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": name}, "spec": spec,
    }))?)
}

fn full() -> Value {
    json!({
        "tier": "Standard",
        "members": [{"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]}],
        "quota": {"requests.cpu": "4"},
        "serviceAccounts": [{"name": "trainer"}],
    })
}

async fn until_enforced(admin: &Client, name: &str) -> Result<ResearchNamespace> {
    let api: Api<ResearchNamespace> = Api::all(admin.clone());
    eventually(&format!("{name} to be enforced"), async || {
        let object = api.get(name).await?;
        let enforced = condition(&object, "Enforced").context("nothing is said of it")?;
        let ready = condition(&object, "Ready").context("nothing is said of it")?;
        ensure!(enforced.status == "True" && ready.status == "True", "{}: {}", ready.reason, ready.message);
        ensure!(ready.observed_generation == object.metadata.generation, "it speaks of an older generation");
        Ok(object)
    })
    .await
}

/// Everything in a namespace that matters, by kind and name.
async fn content(admin: &Client, namespace: &str) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    let params = ListParams::default();
    for object in Api::<NetworkPolicy>::namespaced(admin.clone(), namespace).list(&params).await? {
        let meta = json!([object.labels(), object.finalizers()]);
        all.insert(format!("policy/{}", object.name_any()), json!([meta, object.spec]));
    }
    for object in Api::<RoleBinding>::namespaced(admin.clone(), namespace).list(&params).await? {
        all.insert(
            format!("binding/{}", object.name_any()),
            json!([object.labels(), object.role_ref, object.subjects]),
        );
    }
    for object in Api::<ResourceQuota>::namespaced(admin.clone(), namespace).list(&params).await? {
        all.insert(format!("quota/{}", object.name_any()), json!([object.labels(), object.spec]));
    }
    for object in Api::<ServiceAccount>::namespaced(admin.clone(), namespace).list(&params).await? {
        let content = json!([object.labels(), object.automount_service_account_token]);
        all.insert(format!("account/{}", object.name_any()), content);
    }
    let labels = Api::<Namespace>::all(admin.clone()).get(namespace).await?.metadata.labels.unwrap_or_default();
    let owned = labels.iter().filter(|(key, _)| key.contains("cloister") || key.contains("pod-security"));
    // Labels that hold the name differ between namespaces.
    let owned: BTreeMap<_, _> = owned.filter(|(_, value)| *value != namespace).collect();
    all.insert("namespace".to_owned(), json!(owned));
    Ok(all)
}

#[tokio::test]
async fn killed_at_any_point_it_ends_where_it_would_have() -> Result<()> {
    let bare = Bare::start("killed").await?;
    let api: Api<ResearchNamespace> = Api::all(bare.admin.clone());
    let mut operator = bare.operator().await?;
    api.create(&PostParams::default(), &research("model", full())?).await?;
    until_enforced(&bare.admin, "model").await?;
    let model = content(&bare.admin, "model").await?;
    assert!(model.len() >= 8, "{model:?}");

    let names: Vec<String> = (0..60).map(|at| format!("burst-{at}")).collect();
    let creations = async {
        for name in &names {
            api.create(&PostParams::default(), &research(name, full())?).await?;
        }
        anyhow::Ok(())
    };
    let kills = async {
        let namespaces: Api<Namespace> = Api::all(bare.admin.clone());
        for kill in 1..=6 {
            // In the middle of the work, wherever that is: when so many have been begun.
            eventually("some namespaces to have been begun", async || {
                let begun = namespaces.list_metadata(&ListParams::default()).await?.items;
                let begun = begun.iter().filter(|namespace| namespace.name_any().starts_with("burst-")).count();
                ensure!(begun >= kill * 7, "{begun} so far");
                Ok(())
            })
            .await?;
            operator.kill()?;
            operator = bare.operator().await?;
        }
        anyhow::Ok(operator)
    };
    let ((), _operator) = tokio::try_join!(creations, kills)?;
    for name in &names {
        until_enforced(&bare.admin, name).await?;
        assert_eq!(content(&bare.admin, name).await?, model, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_with_nothing_to_do_writes_nothing() -> Result<()> {
    let bare = Bare::start("restart").await?;
    let api: Api<ResearchNamespace> = Api::all(bare.admin.clone());
    let operator = bare.operator().await?;
    for name in ["one", "two", "three"] {
        api.create(&PostParams::default(), &research(name, full())?).await?;
        until_enforced(&bare.admin, name).await?;
    }
    assert!(operator.stop().await?.success(), "told to end, it ends well");
    let before = bare.writes()?;
    assert!(before.len() > 30, "the audit log shows what it does: {before:?}");

    let operator = bare.operator().await?;
    // A namespace that is declared now is worked on after everything that the restart queued.
    eventually("everything to have been looked at", async || {
        let looked_at = operator.metric("cloister_reconcile_seconds_count", "ResearchNamespace").await?;
        ensure!(looked_at >= 3.0, "{looked_at} so far");
        ensure!(operator.metric("cloister_queue_depth", "").await? == 0.0, "there is more to look at");
        Ok(())
    })
    .await?;
    let after = bare.writes()?;
    assert_eq!(after[before.len()..], [] as [&str; 0]);
    assert_eq!(operator.metric("cloister_writes_total", "").await?, 0.0);
    assert_eq!(operator.get("/livez").await?.0, 200);
    let (_, metrics) = operator.get("/metrics").await?;
    for metric in [
        "reconcile_seconds",
        "queue_age_seconds",
        "queue_depth",
        "store_objects",
        "watch_restarts",
        "enforcement_seconds",
        "grants",
        "revocation_lag_seconds",
    ] {
        assert!(metrics.contains(&format!("cloister_{metric}")), "{metric} is missing from:\n{metrics}");
    }
    operator.stop().await?;
    bare.give_back().await
}

/// Counts what the operator puts right.
const DRIFT: &str = "cloister_drift_corrected_total";

/// What people do to a namespace, its allowlist, its grants and the settings on any day. It ends as it began.
async fn ordinary_work(admin: &Client, name: &str) -> Result<()> {
    let rules = |network: &str| json!([{"name": "lab", "networks": [network], "ports": [{"port": 443}]}]);
    let first = json!({"namespaceSelector": {}, "rules": rules("203.0.113.0/28")});
    make(admin, "EgressAllowlist", None, "lab", first).await?;

    let api: Api<ResearchNamespace> = Api::all(admin.clone());
    let merge = PatchParams::default();
    let edit = async |spec: Value| -> Result<()> {
        api.patch(name, &merge, &Patch::Merge(json!({"spec": spec}))).await?;
        until_enforced(admin, name).await?;
        Ok(())
    };
    edit(json!({
        "members": [{"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}, {"kind": "User", "name": "nina"}]}],
        "quota": {"requests.cpu": "8"},
        "serviceAccounts": [{"name": "trainer"}, {"name": "eval"}],
        "egress": {"allowlists": ["lab"]},
    }))
    .await?;
    let policies: Api<NetworkPolicy> = Api::namespaced(admin.clone(), name);
    let opens = async |wanted: &str| {
        eventually(&format!("{wanted} to be open"), async || {
            let policy = serde_json::to_string(&policies.get("cloister-allow.lab.lab").await?.spec)?;
            ensure!(policy.contains(wanted), "{policy}");
            Ok(())
        })
        .await
    };
    opens("203.0.113.0/28").await?;
    let second = json!({"spec": {"rules": rules("203.0.113.16/28")}});
    Api::<EgressAllowlist>::all(admin.clone()).patch("lab", &merge, &Patch::Merge(second)).await?;
    opens("203.0.113.16/28").await?;

    let settings: Api<CloisterConfig> = Api::all(admin.clone());
    let labelled = async |wanted: bool| {
        eventually(&format!("the label of what is listed: {wanted}"), async || {
            let labels = Api::<Namespace>::all(admin.clone()).get(name).await?.metadata.labels.unwrap_or_default();
            ensure!(labels.contains_key(labels::WORKLOADS) == wanted, "{labels:?}");
            Ok(())
        })
        .await
    };
    make(admin, "CloisterConfig", None, "cloister", json!({"workloads": {"tolerations": ["dedicated"]}})).await?;
    labelled(true).await?;
    settings.delete("cloister", &DeleteParams::default()).await?;
    labelled(false).await?;

    // Grants that open and end by themselves.
    let auto = json!({
        "requesters": [{"kind": "Group", "name": "system:masters"}], "maxDuration": "1h", "autoApprove": ["true"],
    });
    make(admin, "AccessPolicy", None, "egress", auto.clone()).await?;
    make(admin, "AccessPolicy", None, "auto", auto).await?;
    let role = json!({"clusterRole": "cloister:debugger", "accessPolicy": "auto"});
    make(admin, "AccessRole", None, "debugger", role).await?;
    let subjects = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
    let rule = json!({"name": "r", "networks": ["203.0.113.99/32"], "ports": [{"port": 443, "protocol": "TCP"}]});
    for (kind, spec) in [
        ("RoleGrant", json!({"role": "debugger", "subjects": subjects, "requestedDuration": "4s"})),
        ("EgressGrant", json!({"rule": rule, "requestedDuration": "4s"})),
    ] {
        make(admin, kind, Some(name), "short", spec).await?;
        let grants = ours(admin, kind, Some(name));
        eventually(&format!("{kind} to open and to end"), async || {
            let status = grants.get("short").await?.data["status"].clone();
            ensure!(status["phase"] == "Expired" && !status["activatedAt"].is_null(), "{status}");
            Ok(())
        })
        .await?;
    }

    edit(json!({"members": full()["members"], "quota": full()["quota"], "serviceAccounts": full()["serviceAccounts"], "egress": null}))
        .await?;
    eventually("what is not declared any more to be gone", async || {
        ensure!(policies.get_opt("cloister-allow.lab.lab").await?.is_none(), "the allowlist is open");
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), name);
        ensure!(accounts.get_opt("eval").await?.is_none(), "the account is there");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_somebody_changes_behind_its_back_is_put_right() -> Result<()> {
    let bare = Bare::start("drift").await?;
    let operator = bare.operator().await?;
    let admin = &bare.admin;
    let api: Api<ResearchNamespace> = Api::all(admin.clone());
    api.create(&PostParams::default(), &research("drift", full())?).await?;
    until_enforced(admin, "drift").await?;
    ordinary_work(admin, "drift").await?;
    let (_, metrics) = operator.get("/metrics").await?;
    let drift: Vec<&str> = metrics.lines().filter(|line| line.starts_with(DRIFT)).collect();
    ensure!(operator.metric(DRIFT, "").await? == 0.0, "the operator's own work counts as drift: {drift:?}");
    let model = content(admin, "drift").await?;
    bare.without_admission().await?;
    let restored = async |what: &str| {
        eventually(what, async || {
            let now = content(admin, "drift").await?;
            ensure!(now == model, "it is {now:#?}");
            Ok(())
        })
        .await
    };
    let policies: Api<NetworkPolicy> = Api::namespaced(admin.clone(), "drift");
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), "drift");
    let quotas: Api<ResourceQuota> = Api::namespaced(admin.clone(), "drift");
    let merge = PatchParams::default();

    policies.delete("cloister-deny-all", &DeleteParams::default()).await?;
    restored("a deleted deny policy to be back").await?;
    policies.delete("cloister-own-pods", &DeleteParams::default()).await?;
    restored("a deleted policy to be back").await?;
    policies.patch("cloister-deny-all", &merge, &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
    restored("a stripped finalizer to be back").await?;
    policies.patch("cloister-deny-all", &merge, &Patch::Merge(json!({"spec": {"egress": [{}]}}))).await?;
    restored("a widened policy to be narrow").await?;
    policies.patch("cloister-deny-all", &merge, &Patch::Merge(json!({"metadata": {"labels": null}}))).await?;
    restored("a policy that was relabelled to be ours again").await?;
    let mallory = json!({"subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"}]});
    bindings.patch("cloister-researchers", &merge, &Patch::Merge(mallory)).await?;
    restored("a binding's subjects to be as declared").await?;
    quotas
        .patch("cloister", &merge, &Patch::Merge(json!({"spec": {"hard": {"requests.cpu": "400", "pods": "9"}}})))
        .await?;
    restored("the quota to be as declared").await?;
    let account: Api<ServiceAccount> = Api::namespaced(admin.clone(), "drift");
    account.patch("default", &merge, &Patch::Merge(json!({"automountServiceAccountToken": true}))).await?;
    restored("the default account to be without a token").await?;
    let role = json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}}});
    for name in ["default", "trainer"] {
        account.patch(name, &merge, &Patch::Merge(role.clone())).await?;
        eventually("an account to have the declared annotations alone", async || {
            let annotations = account.get(name).await?.metadata.annotations.unwrap_or_default();
            ensure!(!annotations.contains_key("eks.amazonaws.com/role-arn"), "{name} has {annotations:?}");
            Ok(())
        })
        .await?;
    }
    let mut evil: ServiceAccount = serde_json::from_value(role)?;
    evil.metadata.name = Some("evil".into());
    evil.metadata.labels = Some([("app.kubernetes.io/managed-by".to_owned(), "cloister".to_owned())].into());
    account.create(&PostParams::default(), &evil).await?;
    eventually("an account that nobody declared to be gone", async || {
        ensure!(account.get_opt("evil").await?.is_none(), "it is there");
        Ok(())
    })
    .await?;
    let open = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged", "cloister.dev/tier": null}}});
    Api::<Namespace>::all(admin.clone()).patch("drift", &merge, &Patch::Merge(open)).await?;
    restored("the Namespace's labels to be as declared").await?;
    let strip = json!({"metadata": {"finalizers": null}});
    api.patch("drift", &merge, &Patch::Merge(strip)).await?;
    eventually("the finalizer of the ResearchNamespace to be back", async || {
        ensure!(api.get("drift").await?.finalizers().contains(&"cloister.dev/namespace".to_owned()), "it is not");
        Ok(())
    })
    .await?;
    restored("nothing else to have changed").await?;
    assert!(operator.metric(DRIFT, "NetworkPolicy").await? >= 4.0);
    for kind in ["RoleBinding", "ResourceQuota", "ServiceAccount", "\"Namespace\""] {
        assert!(operator.metric(DRIFT, kind).await? >= 1.0, "{kind}");
    }
    operator.stop().await?;
    bare.give_back().await
}

#[tokio::test]
async fn a_policy_of_somebody_else_that_opens_a_namespace_is_told_of_and_removed_where_that_is_wanted() -> Result<()> {
    let bare = Bare::start("foreign").await?;
    let operator = bare.operator().await?;
    let admin = &bare.admin;
    let api: Api<ResearchNamespace> = Api::all(admin.clone());
    api.create(&PostParams::default(), &research("interp", full())?).await?;
    until_enforced(admin, "interp").await?;
    let policies: Api<NetworkPolicy> = Api::namespaced(admin.clone(), "interp");
    let widen: NetworkPolicy = serde_json::from_value(json!({
        "metadata": {"name": "widen"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
    }))?;
    let refused = policies.create(&PostParams::default(), &widen).await;
    assert!(refused.is_err(), "admission lets nobody write one");

    bare.without_admission().await?;
    policies.create(&PostParams::default(), &widen).await?;
    eventually("the namespace to say so", async || {
        let object = api.get("interp").await?;
        let enforced = condition(&object, "Enforced").context("nothing is said of it")?;
        ensure!(enforced.status == "False" && enforced.reason == "DenyDefeated", "{}", enforced.reason);
        ensure!(enforced.message.contains("NetworkPolicy widen"), "{}", enforced.message);
        ensure!(object.status.unwrap_or_default().deny_defeated_by == ["widen"], "it is not listed");
        Ok(())
    })
    .await?;
    assert!((operator.metric("cloister_alerts", "DenyDefeated").await? - 1.0).abs() < f64::EPSILON);
    let events: Api<Event> = Api::namespaced(admin.clone(), "default");
    eventually("an Event", async || {
        let all = events.list(&ListParams::default()).await?;
        ensure!(all.iter().any(|event| event.reason.as_deref() == Some("DenyDefeated")), "there is none");
        Ok(())
    })
    .await?;

    let config: CloisterConfig = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "CloisterConfig", "metadata": {"name": "cloister"},
        "spec": {"egress": {"removeForeignPolicies": true}},
    }))?;
    Api::all(admin.clone()).create(&PostParams::default(), &config).await?;
    until_enforced(admin, "interp").await?;
    assert!(policies.get_opt("widen").await?.is_none());
    operator.stop().await?;
    bare.give_back().await
}

#[tokio::test]
async fn an_object_of_a_newer_version_closes_what_it_governs() -> Result<()> {
    let bare = Bare::start("newer").await?;
    let mut operator = bare.operator().await?;
    let admin = &bare.admin;
    let namespaces: Api<ResearchNamespace> = Api::all(admin.clone());
    let list = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist", "metadata": {"name": "lab"},
        "spec": {"namespaceSelector": {}, "rules": [{"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 22}]}]},
    });
    Api::<EgressAllowlist>::all(admin.clone()).create(&PostParams::default(), &serde_json::from_value(list)?).await?;
    let mut spec = full();
    spec["egress"] = json!({"allowlists": ["lab"]});
    for name in ["old", "new"] {
        namespaces.create(&PostParams::default(), &research(name, spec.clone())?).await?;
        until_enforced(admin, name).await?;
    }
    let policies = async |namespace: &str| -> Result<Vec<String>> {
        let api: Api<NetworkPolicy> = Api::namespaced(admin.clone(), namespace);
        Ok(api.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect())
    };
    assert!(policies("new").await?.contains(&"cloister-allow.lab.lab".to_owned()));

    bare.add_field(
        "researchnamespaces.cloister.dev",
        "/properties/spec/properties/noEgress",
        json!({"type": "boolean"}),
    )
    .await?;
    let raw = ours(admin, "ResearchNamespace", None);
    eventually("the newer field to be kept", async || {
        let patch = json!({"spec": {"noEgress": true}});
        let patched = raw.patch("new", &PatchParams::default(), &Patch::Merge(patch)).await?;
        ensure!(patched.data["spec"]["noEgress"] == true, "it was dropped");
        Ok(())
    })
    .await?;
    eventually("the namespace to be closed", async || {
        let object = namespaces.get("new").await?;
        let ready = condition(&object, "Ready").context("nothing is said")?;
        ensure!(ready.reason == "Undecodable" && ready.message.contains("spec.noEgress"), "{}", ready.message);
        ensure!(policies("new").await? == ["cloister-deny-all"], "it has policies");
        Ok(())
    })
    .await?;
    assert!(policies("old").await?.contains(&"cloister-allow.lab.lab".to_owned()), "the others are as they were");

    // An allowlist that cannot be read opens nothing any more.
    bare.add_field(
        "egressallowlists.cloister.dev",
        "/properties/spec/properties/rules/items/properties/unless",
        json!({"type": "string"}),
    )
    .await?;
    let raw = ours(admin, "EgressAllowlist", None);
    let events = || -> Result<usize> {
        Ok(bare.writes()?.iter().filter(|write| write.starts_with("create events/ default/old.")).count())
    };
    let before = events()?;
    eventually("the newer field to be kept", async || {
        let rules = json!([{"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 22, "protocol": "TCP"}], "unless": "x"}]);
        let patched = raw.patch("lab", &PatchParams::default(), &Patch::Merge(json!({"spec": {"rules": rules}}))).await?;
        ensure!(patched.data["spec"]["rules"][0]["unless"] == "x", "it was dropped");
        Ok(())
    })
    .await?;
    eventually("the other namespace to be closed to it", async || {
        let all = policies("old").await?;
        ensure!(!all.contains(&"cloister-allow.lab.lab".to_owned()), "{all:?}");
        let said = raw.get("lab").await?;
        ensure!(said.data["status"]["conditions"][0]["reason"] == "Undecodable", "{}", said.data["status"]);
        let old = serde_json::to_value(namespaces.get("old").await?.status)?;
        ensure!(old.to_string().contains("AllowlistUndecodable"), "{old}");
        ensure!(events()? > before, "no Event tells of it");
        Ok(())
    })
    .await?;

    // Nothing of it runs hot: what cannot be read is said once. What is still on its way is written while a first namespace is made.
    assert!(operator.ended()?.is_none());
    let mut rounds = 0;
    eventually("nothing but what is new to be written", async || {
        rounds += 1;
        let name = format!("after-{rounds}");
        let before = bare.writes()?.len();
        namespaces.create(&PostParams::default(), &research(&name, full())?).await?;
        until_enforced(admin, &name).await?;
        let since = bare.writes()?[before..].to_vec();
        ensure!(since.iter().all(|write| write.contains("after-")), "{since:#?}");
        Ok(())
    })
    .await?;

    // Without the field it opens again.
    let patch = json!({"spec": {"noEgress": null, "egress": null}});
    ours(admin, "ResearchNamespace", None).patch("new", &PatchParams::default(), &Patch::Merge(patch)).await?;
    until_enforced(admin, "new").await?;
    operator.stop().await?;
    bare.give_back().await
}

#[tokio::test]
async fn an_end_that_came_while_it_was_down_is_an_end() -> Result<()> {
    let bare = Bare::start("down").await?;
    let admin = &bare.admin;
    let operator = bare.operator().await?;
    Api::<ResearchNamespace>::all(admin.clone()).create(&PostParams::default(), &research("lab", full())?).await?;
    until_enforced(admin, "lab").await?;
    let policy = json!({"requesters": [{"kind": "Group", "name": "system:masters"}], "maxDuration": "1h", "autoApprove": ["true"]});
    make(admin, "AccessPolicy", None, "auto", policy).await?;
    let roles = json!([{"name": "reader", "accessPolicy": "auto", "clusterRole": "cloister:storage-reader"}]);
    make(admin, "StorageResource", None, "data", json!({"sensitivity": "Low", "roles": roles})).await?;
    let subjects = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
    let spec = json!({"storage": "data", "role": "reader", "subjects": subjects, "requestedDuration": "5s"});
    make(admin, "StorageAccessGrant", Some("lab"), "run", spec).await?;
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), "lab");
    let end = eventually("the grant to open", async || {
        bindings.get("cloister-grant.run").await?;
        let grants: Api<cloister_api::StorageAccessGrant> = Api::namespaced(admin.clone(), "lab");
        let end = grants.get("run").await?.status.and_then(|status| status.expires_at);
        end.context("it has no end")
    })
    .await?;
    operator.kill()?;
    eventually("the end to come", async || {
        ensure!(jiff::Timestamp::now() > end.0, "not yet");
        Ok(())
    })
    .await?;
    assert!(bindings.get_opt("cloister-grant.run").await?.is_some(), "nobody was there to take it");
    let operator = bare.operator().await?;
    eventually("the binding to be gone", async || {
        ensure!(bindings.get_opt("cloister-grant.run").await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    assert!(!bare.log().contains("ERROR"), "{}", bare.log());
    operator.stop().await?;
    bare.give_back().await
}
