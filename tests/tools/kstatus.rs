//! What waits by kstatus is told the truth: nothing is healthy before it was looked at, nobody waits for people, and what is
//! broken until somebody changes something has failed.

use crate::stage::{Seen, Stage, stage};
use anyhow::{Context, Result, ensure};
use cloister_tests::{eventually, tools::is_taken_for};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_healthy_before_it_was_looked_at() -> Result<()> {
    let stage = stage().await;
    let kinds: std::collections::BTreeSet<&str> = stage.unseen.iter().map(|seen| seen.kind.as_str()).collect();
    ensure!(kinds.len() == crate::stage::KINDS.len(), "{kinds:?}");
    for seen in &stage.unseen {
        ensure!(seen.status == "InProgress" && seen.message.contains("has not looked at this yet"), "{seen:?}");
    }
    for (kind, printed) in &stage.columns {
        let mut lines = printed.lines();
        ensure!(
            lines.next().is_some_and(|head| head.contains("REASON") || head.contains("READY")),
            "{kind}: {printed}"
        );
        for line in lines {
            ensure!(line.contains("WaitingForOperator") || line.contains("Unknown"), "{kind}: {printed}");
        }
    }
    Ok(())
}

/// That nobody wrote it is no reason to write it: each object got its first status once.
#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_the_first_word() -> Result<()> {
    let stage = stage().await;
    for (kind, name) in [("researchnamespaces", "lab"), ("egressallowlists", "time"), ("accesspolicies", "egress")] {
        let said = eventually(&format!("a status of {kind} {name}"), async || {
            let object = object(stage, kind, "", name)?;
            ensure!(object["status"]["observedGeneration"] == object["metadata"]["generation"], "{}", object["status"]);
            Ok(object["status"].clone())
        })
        .await?;
        for condition in said["conditions"].as_array().into_iter().flatten() {
            let since = condition["lastTransitionTime"].as_str().unwrap_or_default();
            ensure!(!since.starts_with("1970") && condition["reason"] != "WaitingForOperator", "{said}");
        }
    }
    Ok(())
}

pub fn object(stage: &Stage, kind: &str, namespace: &str, name: &str) -> Result<Value> {
    let text = stage.ok("admin", &["get", kind, "-n", namespace, name, "-o", "json"], "")?;
    Ok(serde_json::from_str(&text)?)
}

const NAMESPACE: &str = "phases";

/// The kinds that are asked for by a role, of which each has a policy of its own.
const KINDS: [&str; 2] = ["RoleGrant", "StorageAccessGrant"];

/// The requests of each of these kinds: the name, what differs, the phase that it comes to, and what kstatus makes of it.
fn requests() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    vec![
        ("waits", json!({"role": "asked"}), "Pending", "Current"),
        ("open", json!({"role": "auto"}), "Active", "Current"),
        ("later", json!({"role": "auto", "startTime": "LATER"}), "Approved", "Current"),
        ("over", json!({"role": "auto", "requestedDuration": "1s"}), "Expired", "Current"),
        ("refused", json!({"role": "asked"}), "Denied", "Current"),
        ("taken-back", json!({"role": "auto"}), "Revoked", "Current"),
        ("late", json!({"role": "brief"}), "TimedOut", "Current"),
        ("broken", json!({"role": "of-nobody"}), "Pending", "Failed"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_phase_is_what_its_waiting_tool_takes_it_for() -> Result<()> {
    let stage = stage().await;
    stage.ok("admin", &["create", "-f", "-"], &catalogue())?;
    stage.ok("admin", &["wait", "--for=condition=Ready", &format!("rns/{NAMESPACE}"), "--timeout=30s"], "")?;
    let soon = stage.ok("admin", &["get", "--raw", "/version"], "").map(|_| later())?;
    for kind in KINDS {
        for (name, spec, _, _) in requests() {
            let text = request(kind, name, spec).to_string().replace("LATER", &soon);
            eventually("alice's rights", async || stage.ok("alice", &["create", "-f", "-"], &text)).await?;
        }
    }
    for kind in KINDS {
        decide(stage, (kind, NAMESPACE, "refused"), "Deny", "Pending").await?;
        decide(stage, (kind, NAMESPACE, "taken-back"), "Revoke", "Active").await?;
        for (name, _, phase, status) in requests() {
            comes_to(stage, (kind, NAMESPACE, name), phase, status).await?;
        }
    }
    ends_are_seen(stage).await
}

/// That a grant, of a kind and in a namespace, comes to a phase, and what kstatus then says of it.
pub async fn comes_to(
    stage: &Stage,
    (kind, namespace, name): (&str, &str, &str),
    phase: &str,
    status: &str,
) -> Result<()> {
    eventually(&format!("{kind} {name} to be {phase} and {status}"), async || {
        is_taken_for(&object(stage, kind, namespace, name)?, phase, status)
    })
    .await
}

/// What is broken has failed, what is deleted is going, whatever its kind.
async fn ends_are_seen(stage: &Stage) -> Result<()> {
    for (kind, name, status) in [
        ("ResearchNamespace", NAMESPACE, "Current"),
        ("ResearchNamespace", "default-like", "Failed"),
        ("AccessRole", "of-nobody", "Failed"),
        ("AccessRole", "auto", "Current"),
        ("AccessPolicy", "auto", "Current"),
        ("AccessPolicy", "broken", "Failed"),
        ("CloisterConfig", "cloister", "Current"),
        ("EgressAllowlist", "time", "Current"),
        ("EgressAllowlist", "ended", "Failed"),
        ("StorageResource", NAMESPACE, "Failed"),
    ] {
        eventually(&format!("{kind} {name} to be {status}"), async || {
            let seen = seen_of(stage, kind, name)?;
            ensure!(seen.status == status, "{seen:?}");
            Ok(())
        })
        .await?;
    }
    let hold = r#"{"metadata":{"finalizers":["cloister.dev/grant","example.com/held"]}}"#;
    stage.ok("admin", &["patch", "rolegrant", "-n", NAMESPACE, "open", "--type=merge", "-p", hold], "")?;
    stage.ok("admin", &["delete", "rolegrant", "-n", NAMESPACE, "open", "--wait=false"], "")?;
    let seen = seen_of(stage, "RoleGrant", "open")?;
    ensure!(seen.status == "Terminating", "{seen:?}");
    let let_go = r#"[{"op": "test", "path": "/metadata/finalizers", "value": ["example.com/held"]}, {"op": "remove", "path": "/metadata/finalizers"}]"#;
    eventually("it to be held by others alone", async || {
        stage.ok("admin", &["patch", "rolegrant", "-n", NAMESPACE, "open", "--type=json", "-p", let_go], "")
    })
    .await?;
    Ok(())
}

pub fn seen_of(stage: &Stage, kind: &str, name: &str) -> Result<Seen> {
    let all = stage.kstatus()?;
    let mut found = all.into_iter().filter(|seen| seen.kind == kind && seen.name == name);
    found.next_back().with_context(|| format!("there is no {kind} {name}"))
}

/// Has sam review a grant, of a kind and in a namespace, once it is in a phase.
pub async fn decide(
    stage: &Stage,
    (kind, namespace, grant): (&str, &str, &str),
    decision: &str,
    phase: &str,
) -> Result<()> {
    let read = eventually(&format!("{grant} to be {phase}"), async || {
        let read = object(stage, kind, namespace, grant)?;
        ensure!(read["status"]["phase"] == phase && read["status"]["digest"].is_string(), "{}", read["status"]);
        Ok(read)
    })
    .await?;
    let review = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessReview",
        "metadata": {"generateName": format!("{grant}-"), "namespace": namespace},
        "spec": {
            "requestRef": {"kind": kind, "name": grant, "uid": read["metadata"]["uid"]},
            "digest": read["status"]["digest"], "decision": decision,
        },
    });
    stage.ok("sam", &["create", "-f", "-"], &review.to_string())?;
    Ok(())
}

pub fn later() -> String {
    let hour = jiff::SignedDuration::from_hours(1);
    (jiff::Timestamp::now() + hour).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn request(kind: &str, name: &str, more: Value) -> Value {
    let mut spec = json!({
        "subjects": [{"kind": "User", "name": "alice"}], "requestedDuration": "30m", "justification": "to be seen",
    });
    if kind == "StorageAccessGrant" {
        spec["storage"] = json!(NAMESPACE);
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

fn catalogue() -> String {
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let policy = |name: &str, more: Value| {
        let mut spec = json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "1h", "maxStartDelay": "24h"});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        object("AccessPolicy", name, spec)
    };
    let security = json!([{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}]);
    let role =
        |name: &str| object("AccessRole", name, json!({"clusterRole": "cloister:debugger", "accessPolicy": name}));
    let rule = json!({"name": "lab", "networks": ["192.0.2.0/24"], "ports": [{"port": 443}]});
    let of_storage = |name: &str| json!({"name": name, "clusterRole": "cloister:storage-reader", "accessPolicy": name});
    let items = json!([
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default-like"}},
        object("ResearchNamespace", "default-like", json!({"tier": "Standard"})),
        object("ResearchNamespace", NAMESPACE, json!({
            "tier": "Standard", "members": [{"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]}],
        })),
        policy("auto", json!({"autoApprove": ["true"], "approvalRules": security})),
        policy("asked", json!({"approvalRules": security})),
        policy("brief", json!({"approvalRules": security, "pendingRequestTTL": "1s"})),
        policy("broken", json!({"approvalRules": security, "ticket": {"required": true, "pattern": "("}})),
        role("auto"), role("asked"), role("brief"), role("of-nobody"),
        object("StorageResource", NAMESPACE, json!({"sensitivity": "Low", "roles": [
            of_storage("auto"), of_storage("asked"), of_storage("brief"), of_storage("of-nobody"),
        ]})),
        object("EgressAllowlist", "ended", json!({"rules": [rule], "expiresAt": "2020-01-01T00:00:00Z"})),
    ]);
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}
