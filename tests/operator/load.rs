//! Tenants cannot take it down: large pods, namespaces made in a burst, grants that have ended.

use anyhow::{Context, Result, ensure};
use cloister_api::{AccessPolicy, AccessReview, CloisterConfig, EgressGrant, GrantPhase, ResearchNamespace};
use cloister_tests::{assert_denied, bare::Bare, denied, eventually, scene::condition};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Pod, networking::v1::NetworkPolicy};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use std::time::Duration;

/// How many requests a test makes at a time.
const AT_A_TIME: usize = 16;

fn of_ours<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: Value) -> Result<K> {
    let object = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    Ok(serde_json::from_value(object)?)
}

async fn research(admin: &Client, name: &str) -> Result<()> {
    let namespace: ResearchNamespace = of_ours("ResearchNamespace", name, json!({"tier": "Standard"}))?;
    Api::all(admin.clone()).create(&PostParams::default(), &namespace).await?;
    Ok(())
}

async fn until_enforced(admin: &Client, name: &str) -> Result<()> {
    let api: Api<ResearchNamespace> = Api::all(admin.clone());
    eventually(&format!("{name} to be enforced"), async || {
        let enforced = condition(&api.get(name).await?, "Enforced").context("nothing is said of it")?;
        ensure!(enforced.status == "True", "{}: {}", enforced.reason, enforced.message);
        Ok(())
    })
    .await
}

/// A policy under which researchers get what they ask for at once.
async fn egress_for_all(admin: &Client) -> Result<()> {
    let spec = json!({
        "requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "8h", "autoApprove": ["true"],
    });
    let policy: AccessPolicy = of_ours("AccessPolicy", "egress", spec)?;
    Api::all(admin.clone()).create(&PostParams::default(), &policy).await?;
    Ok(())
}

fn egress(name: &str, number: usize, seconds: u64) -> Result<EgressGrant> {
    let network = format!("203.0.113.{}/32", number % 256);
    of_ours(
        "EgressGrant",
        name,
        json!({
            "rule": {"name": "r", "networks": [network], "ports": [{"port": 443, "protocol": "TCP"}]},
            "justification": "a test", "requestedDuration": format!("{seconds}s"),
        }),
    )
}

fn peak(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}

fn settings(spec: Value) -> Result<CloisterConfig> {
    of_ours("CloisterConfig", "cloister", spec)
}

/// A pod of somebody else with about 1.2 MB of environment.
fn large_pod(name: &str) -> Result<Pod> {
    let variable = |at: usize| json!({"name": format!("V{at}"), "value": "x".repeat(100_000)});
    let container = json!({
        "name": "main", "image": "example.com/none", "env": (0..12).map(variable).collect::<Vec<_>>(),
    });
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"schedulerName": "nobody", "automountServiceAccountToken": false, "containers": [container]},
    }))?)
}

#[tokio::test]
async fn large_pods_cost_no_memory() -> Result<()> {
    let bare = Bare::start("large-pods").await?;
    let operator = bare.operator().await?;
    let without = peak(operator.pid())?;
    let pods: Api<Pod> = Api::namespaced(bare.admin.clone(), "default");
    let make = |at: usize| {
        let pods = pods.clone();
        async move {
            pods.create(&PostParams::default(), &large_pod(&format!("large-{at}"))?).await?;
            anyhow::Ok(())
        }
    };
    stream::iter(0..300).map(make).buffer_unordered(4).try_collect::<()>().await?;
    let seen = async || operator.metric("cloister_store_objects", "kind=\"Pod\"").await;
    eventually("the operator to have seen them", async || {
        let count = seen().await?;
        ensure!(count >= 300.0, "it has seen {count}");
        Ok(())
    })
    .await?;
    let by_events = peak(operator.pid())?;
    operator.stop().await?;
    // Another one lists them all.
    let operator = bare.operator().await?;
    let by_list = peak(operator.pid())?;
    // Ten of them, as they are sent, are more than either may take; all of them are 360 MB.
    for (how, with) in [("as they came", by_events), ("in a list", by_list)] {
        ensure!(with < without + 12.0, "300 pods of 1.2 MB {how}: {with:.1} MiB, and {without:.1} MiB without them");
    }
    operator.stop().await?;
    Ok(())
}

#[tokio::test]
async fn grants_end_on_time_while_namespaces_are_made() -> Result<()> {
    let bare = Bare::start("burst").await?;
    let operator = bare.operator().await?;
    egress_for_all(&bare.admin).await?;
    research(&bare.admin, "home").await?;
    until_enforced(&bare.admin, "home").await?;
    let alice = bare.cluster.client_for("alice", &["researchers", "system:masters"]).await?;
    let grants: Api<EgressGrant> = Api::namespaced(alice, "home");
    for number in 0..8 {
        let name = format!("end-{number}");
        grants.create(&PostParams::default(), &egress(&name, number, 12 + number as u64)?).await?;
    }
    let names: Vec<String> = (0..250).map(|at| format!("made-{at}")).collect();
    let make = |name: &String| {
        let (admin, name) = (bare.admin.clone(), name.clone());
        async move { research(&admin, &name).await }
    };
    let made = async {
        eventually("the grants to be open", async || {
            let active = operator.metric("cloister_grants", "phase=\"Active\"").await?;
            ensure!(active >= 8.0, "{active} are open");
            Ok(())
        })
        .await?;
        stream::iter(&names).map(make).buffer_unordered(AT_A_TIME).try_collect::<()>().await
    };
    let ended = async {
        eventually("the grants to have ended", async || {
            let all = grants.list(&ListParams::default()).await?;
            let over = all.iter().filter(|grant| grant.status.as_ref().is_some_and(|s| s.phase == GrantPhase::Expired));
            ensure!(over.count() == 8, "not all have ended");
            Ok(all)
        })
        .await
    };
    let (_, all) = futures::try_join!(made, ended)?;
    for grant in all {
        let status = grant.status.clone().context("nothing is said of it")?;
        let end =
            |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| time.as_ref().map(|time| time.0);
        let (due, over) = (end(&status.expires_at).context("no end")?, end(&status.ended_at).context("not over")?);
        let late = over.duration_since(due);
        // Times are written by the second.
        ensure!(late.as_secs() <= 2, "{} ended {late:#} late", grant.name_any());
    }
    operator.stop().await?;
    Ok(())
}

#[tokio::test]
async fn what_has_ended_is_kept_as_long_as_the_platform_says() -> Result<()> {
    let bare = Bare::start("retention").await?;
    let record = bare.folder().join("audit.jsonl");
    let operator = bare.recording_operator(&record).await?;
    egress_for_all(&bare.admin).await?;
    research(&bare.admin, "home").await?;
    until_enforced(&bare.admin, "home").await?;
    let alice = bare.cluster.client_for("alice", &["researchers", "system:masters"]).await?;
    let sam = bare.cluster.client_for("sam", &["security", "system:masters"]).await?;
    let grants: Api<EgressGrant> = Api::namespaced(alice.clone(), "home");
    let reviews: Api<AccessReview> = Api::namespaced(sam, "home");
    grants.create(&PostParams::default(), &egress("lives", 99, 3600)?).await?;
    let ask = |number: usize| {
        let grants = grants.clone();
        async move {
            let grant = egress(&format!("short-{number}"), number, 1)?;
            grants.create(&PostParams::default(), &grant).await?;
            anyhow::Ok(())
        }
    };
    stream::iter(0..60).map(ask).buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
    let expired = async |operator: &xtask::operator::Operator, wanted: f64| {
        eventually("all to have ended", async || {
            let over = operator.metric("cloister_grants", "phase=\"Expired\"").await?;
            ensure!(over == wanted, "{over} have ended");
            Ok(())
        })
        .await
    };
    expired(&operator, 60.0).await?;

    // One that comes too late is answered, and what is known of the grant is not lost by that.
    let late = grants.get("short-0").await?;
    let review: AccessReview = of_ours(
        "AccessReview",
        "late",
        json!({
            "requestRef": {"kind": "EgressGrant", "name": "short-0", "uid": late.uid().unwrap_or_default()},
            "digest": late.status.as_ref().map(|status| status.digest.clone()), "decision": "Approve",
        }),
    )?;
    reviews.create(&PostParams::default(), &review).await?;
    let said = async || {
        eventually("something to be said of the review", async || {
            condition(&reviews.get("late").await?, "Counted").context("nothing is said of it")
        })
        .await
    };
    let answer = said().await?;
    assert_eq!(answer.status, "False");

    // A stolen token removes nothing that lives, and, where the settings do not say how long it is kept, nothing at all.
    let stolen = bare.cluster.service_account_kubeconfig("cloister-system", "cloister-operator").await?;
    let stolen = xtask::cluster::client(stolen).await?;
    let theirs: Api<EgressGrant> = Api::namespaced(stolen.clone(), "home");
    let of_reviews: Api<AccessReview> = Api::namespaced(stolen, "home");
    assert_denied(theirs.delete("lives", &DeleteParams::default()).await, "operator-retention.cloister.dev");
    let configs: Api<CloisterConfig> = Api::all(bare.admin.clone());
    let apply = PatchParams::apply("test").force();
    configs.patch("cloister", &apply, &Patch::Apply(&settings(json!({}))?)).await?;
    let dry_run = DeleteParams { dry_run: true, ..DeleteParams::default() };
    eventually("the settings to be in force", async || {
        denied(theirs.delete("short-1", &dry_run).await, "operator-retention-setting.cloister.dev")?;
        denied(of_reviews.delete("late", &dry_run).await, "operator-retention-setting.cloister.dev")
    })
    .await?;

    // After a restart all is known, and nothing of it is written again.
    operator.stop().await?;
    let before = bare.writes()?.len();
    let operator = bare.recording_operator(&record).await?;
    expired(&operator, 60.0).await?;
    assert_eq!(said().await?, answer);
    let again: Vec<String> = bare.writes()?.split_off(before).into_iter().filter(|w| !w.contains("leases")).collect();
    ensure!(again.is_empty(), "it wrote after the restart: {again:?}");
    // Whoever deletes one is not held up.
    grants.delete("short-2", &DeleteParams::default()).await?;
    eventually("it to be gone", async || {
        ensure!(grants.get_opt("short-2").await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;

    let kept = settings(json!({"retention": {"endedGrants": "5s"}}))?;
    configs.patch("cloister", &apply, &Patch::Apply(&kept)).await?;
    let began = Timestamp::now();
    eventually("what has ended to be removed", async || {
        let left: Vec<String> = grants.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
        ensure!(left == ["lives"], "{} are left", left.len());
        ensure!(reviews.list(&ListParams::default()).await?.items.is_empty(), "the review is left");
        Ok(())
    })
    .await
    .with_context(|| format!("after {:#}: {}", began.duration_until(Timestamp::now()), operator.log_end()))?;
    let policies: Api<NetworkPolicy> = Api::namespaced(bare.admin.clone(), "home");
    ensure!(policies.get_opt("cloister-egress-grant.lives").await?.is_some(), "what is open was taken away");
    assert_denied(theirs.delete("lives", &DeleteParams::default()).await, "operator-retention.cloister.dev");
    // The record has what the cluster has no more.
    let text = std::fs::read_to_string(&record)?;
    let ends = text.lines().filter(|line| line.contains("dev.cloister.grant.expired.v1")).count();
    ensure!(ends == 60, "{ends} ends are recorded");
    tokio::time::timeout(Duration::from_secs(30), operator.stop()).await??;
    bare.give_back().await
}
