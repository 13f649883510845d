//! The audit record, across crashes.

use anyhow::{Context, Result, ensure};
use cloister_api::{AccessPolicy, GrantPhase, ResearchNamespace, StorageAccessGrant, StorageResource};
use cloister_core::audit::Proof;
use cloister_tests::scene::condition;
use cloister_tests::{bare::Bare, eventually};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Write, path::Path, time::Duration};
use xtask::operator::Operator;

async fn create<K>(api: Api<K>, kind: &str, name: &str, spec: Value) -> Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let object = json!({"apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

/// A research namespace, storage that a policy gives by itself, and the grants there: as an administrator and as alice.
async fn place(bare: &Bare) -> Result<(Api<StorageAccessGrant>, Api<StorageAccessGrant>)> {
    let admin = &bare.admin;
    let policy = json!({
        "requesters": [{"kind": "User", "name": "alice"}], "maxDuration": "8h", "defaultDuration": "1h",
        "limits": {"active": 64, "pending": 64},
        "autoApprove": ["request.role == 'reader'"],
    });
    create::<AccessPolicy>(Api::all(admin.clone()), "AccessPolicy", "automatic", policy).await?;
    let roles = json!([{"name": "reader", "accessPolicy": "automatic", "clusterRole": "cloister:storage-reader"}]);
    let storage = json!({"sensitivity": "Low", "roles": roles});
    create::<StorageResource>(Api::all(admin.clone()), "StorageResource", "weights", storage).await?;
    let members = json!([{"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]}]);
    let spec = json!({"tier": "Standard", "members": members});
    create::<ResearchNamespace>(Api::all(admin.clone()), "ResearchNamespace", "interp", spec).await?;
    let alice = bare.cluster.client_for("alice", &["researchers"]).await?;
    Ok((Api::namespaced(admin.clone(), "interp"), Api::namespaced(alice, "interp")))
}

async fn until_enforced(admin: &Client) -> Result<()> {
    let namespaces: Api<ResearchNamespace> = Api::all(admin.clone());
    eventually("the namespace to be enforced", async || {
        let object = namespaces.get("interp").await?;
        let enforced = condition(&object, "Enforced").context("nothing is said of it")?;
        ensure!(enforced.status == "True", "{}", enforced.message);
        Ok(())
    })
    .await
}

/// The whole record: what happened to each object, in order.
fn read(path: &Path) -> Result<(Proof, BTreeMap<String, Vec<String>>)> {
    let mut proof = Proof::default();
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(path)?.lines() {
        proof.take(line)?;
        let record: Value = serde_json::from_str(line)?;
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        let what = text("type").trim_start_matches("dev.cloister.").trim_end_matches(".v1").to_owned();
        all.entry(text("subject")).or_default().push(what);
    }
    Ok((proof, all))
}

/// Waits until the alarm of the record is raised, or over.
async fn until_alarm(operator: &Operator, count: f64) -> Result<()> {
    eventually("the alarm of the record", async || {
        let is = operator.metric("cloister_alerts", "AuditSinkFailed").await?;
        ensure!((is - count).abs() < f64::EPSILON, "it is {is}");
        ensure!(operator.get("/livez").await?.0 == 200);
        Ok(())
    })
    .await
}

async fn until_reason(grants: &Api<StorageAccessGrant>, name: &str, reason: &str) -> Result<()> {
    eventually(&format!("{name} to be {reason}"), async || {
        let status = grants.get(name).await?.status.unwrap_or_default();
        ensure!(status.reason == reason, "it is {}", status.reason);
        Ok(())
    })
    .await
}

/// Waits until the record, which must hold, says all of this of a grant, and nothing twice.
async fn until_recorded(record: &Path, name: &str, all: &[&str]) -> Result<()> {
    eventually(&format!("the record of {name}"), async || {
        let (_, said) = read(record)?;
        let told = said.get(&format!("StorageAccessGrant/interp/{name}")).cloned().unwrap_or_default();
        ensure!(told == all, "{told:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn while_the_record_cannot_be_written_nothing_opens_and_what_ends_ends_and_is_recorded_later() -> Result<()> {
    let bare = Bare::start("sink").await?;
    let (admin, record) = (&bare.admin, bare.folder().join("record.jsonl"));
    let (grants, alice) = place(&bare).await?;
    let operator = bare.recording_operator(&record).await?;
    until_enforced(admin).await?;
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), "interp");
    let ask = async |name: &str, duration: &str| {
        let subjects = json!([{"kind": "User", "name": "alice"}]);
        let spec = json!({
            "storage": "weights", "role": "reader", "subjects": subjects, "justification": "a test", "requestedDuration": duration,
        });
        create(alice.clone(), "StorageAccessGrant", name, spec).await
    };
    let aside = bare.folder().join("aside.jsonl");
    let whole = ["grant.requested", "grant.approved", "grant.activated", "grant.expired"];

    // The file gives way to a folder, which nobody can write, and comes back.
    ask("short", "12s").await?;
    until_reason(&grants, "short", "Active").await?;
    until_recorded(&record, "short", &whole[..3]).await?;
    std::fs::rename(&record, &aside)?;
    std::fs::create_dir(&record)?;
    until_alarm(&operator, 1.0).await?;
    ask("held", "1h").await?;
    until_reason(&grants, "held", "AuditUnavailable").await?;
    until_reason(&grants, "short", "Expired").await?;
    ensure!(bindings.get_opt("cloister-grant.short").await?.is_none(), "it stands past its end");
    ensure!(bindings.get_opt("cloister-grant.held").await?.is_none(), "it opened without its record");
    // It is there until its end is recorded.
    grants.delete("short", &DeleteParams::default()).await?;
    until_reason(&grants, "held", "AuditUnavailable").await?;
    ensure!(grants.get_opt("short").await?.is_some(), "what its record follows from is gone");
    std::fs::remove_dir(&record)?;
    std::fs::rename(&aside, &record)?;
    until_alarm(&operator, 0.0).await?;
    until_reason(&grants, "held", "Active").await?;
    until_recorded(&record, "short", &whole).await?;
    until_recorded(&record, "held", &whole[..3]).await?;
    eventually("the deleted grant to be gone", async || {
        ensure!(grants.get_opt("short").await?.is_none(), "it is there");
        Ok(())
    })
    .await?;

    // A file that was deleted is begun anew, with all that is there, and says so.
    std::fs::remove_file(&record)?;
    until_recorded(&record, "held", &whole[..3]).await?;
    ensure!(read(&record)?.0.resumed.len() == 1, "it does not say why it begins");
    grants.delete("held", &DeleteParams::default()).await?;
    until_recorded(&record, "held", &["grant.requested", "grant.approved", "grant.activated", "grant.revoked"]).await?;
    // What waited, and was deleted, does not look as if it waited still.
    let spec = json!({
        "storage": "nowhere", "role": "reader", "subjects": [{"kind": "User", "name": "alice"}], "justification": "a test",
    });
    create(alice.clone(), "StorageAccessGrant", "waits", spec).await?;
    until_reason(&grants, "waits", "StorageNotFound").await?;
    grants.delete("waits", &DeleteParams::default()).await?;
    until_recorded(&record, "waits", &["grant.requested", "grant.deleted"]).await?;
    ensure!(operator.stop().await?.success(), "told to end, it ends well");
    bare.give_back().await
}

#[tokio::test]
async fn a_sink_that_is_full_or_that_nobody_reads_stops_openings_and_nothing_else() -> Result<()> {
    let bare = Bare::start("full").await?;
    let (grants, alice) = place(&bare).await?;
    let operator = bare.recording_operator(&bare.folder().join("record.jsonl")).await?;
    until_enforced(&bare.admin).await?;
    let ask = async |name: &str, duration: &str| {
        let subjects = json!([{"kind": "User", "name": "alice"}]);
        let spec = json!({
            "storage": "weights", "role": "reader", "subjects": subjects, "justification": "a test", "requestedDuration": duration,
        });
        create(alice.clone(), "StorageAccessGrant", name, spec).await
    };
    for name in ["one", "two"] {
        ask(name, "30s").await?;
        until_reason(&grants, name, "Active").await?;
    }
    operator.stop().await?;

    let operator = bare.recording_operator(Path::new("/dev/full")).await?;
    ask("at-a-full-disk", "1h").await?;
    until_reason(&grants, "at-a-full-disk", "AuditUnavailable").await?;
    until_alarm(&operator, 1.0).await?;
    until_reason(&grants, "one", "Expired").await?;
    ensure!(operator.stop().await?.success(), "told to end, it ends well");

    // A pipe that is full, and whose reader does nothing.
    let pipe = bare.folder().join("pipe");
    ensure!(std::process::Command::new("mkfifo").arg(&pipe).status()?.success());
    let mut ends = std::fs::File::options().read(true).write(true).open(&pipe)?;
    ends.write_all(&vec![b'\n'; 65_536])?;
    let operator = bare.recording_operator(&pipe).await?;
    until_alarm(&operator, 1.0).await?;
    until_reason(&grants, "two", "Expired").await?;
    ensure!(operator.get("/readyz").await?.1.contains("blocked"), "it does not say why");
    ensure!(grants.get("at-a-full-disk").await?.status.is_some_and(|status| status.activated_at.is_none()));
    ensure!(operator.stop().await?.success(), "told to end, it ends well");
    bare.give_back().await
}

#[tokio::test]
async fn whenever_it_is_killed_nothing_is_missing_from_the_record_and_nothing_is_there_twice() -> Result<()> {
    const GRANTS: usize = 24;
    let bare = Bare::start("record").await?;
    let (admin, record) = (&bare.admin, bare.folder().join("record.jsonl"));
    let (grants, alice) = place(&bare).await?;
    let mut operator = bare.recording_operator(&record).await?;
    until_enforced(admin).await?;
    for at in 0..GRANTS {
        let subjects = json!([{"kind": "User", "name": "alice"}]);
        let spec = json!({"storage": "weights", "role": "reader", "subjects": subjects, "justification": "a test"});
        create(alice.clone(), "StorageAccessGrant", &format!("run-{at}"), spec).await?;
        if at % 6 == 5 {
            // Somewhere between two writes.
            tokio::time::sleep(Duration::from_millis(5 * at as u64)).await;
            operator.kill()?;
            operator = bare.recording_operator(&record).await?;
        }
    }
    let all_are = async |phase: GrantPhase| {
        eventually(&format!("all grants to be {}", phase.as_str()), async || {
            let all = grants.list(&ListParams::default()).await?;
            let are = |grant: &&StorageAccessGrant| grant.status.as_ref().is_some_and(|status| status.phase == phase);
            let count = all.items.iter().filter(are).count();
            ensure!(count == GRANTS, "{count} of {GRANTS} are");
            Ok(())
        })
        .await
    };
    all_are(GrantPhase::Active).await?;
    eventually("the record to be complete", async || {
        let (proof, all) = read(&record)?;
        ensure!(proof.chains == 1, "{} chains", proof.chains);
        for at in 0..GRANTS {
            let told = all.get(&format!("StorageAccessGrant/interp/run-{at}")).cloned().unwrap_or_default();
            ensure!(told == ["grant.requested", "grant.approved", "grant.activated"], "run-{at}: {told:?}");
        }
        Ok(())
    })
    .await?;

    // Its end is recorded with who asked, and the bindings that were opened.
    let text = std::fs::read_to_string(&record)?;
    let activated = text.lines().find(|line| line.contains("grant.activated")).context("an activation")?;
    let activated: Value = serde_json::from_str(activated)?;
    assert_eq!(activated["data"]["requestedBy"]["username"], "alice");
    assert_eq!(activated["data"]["opened"][0]["kind"], "RoleBinding");
    assert!(activated["data"]["opened"][0]["uid"].as_str().is_some_and(|uid| !uid.is_empty()));

    // Whoever changes the record is found out at the next start. It stays as it is, and nothing is opened.
    operator.kill()?;
    let forged = text.replacen("alice", "mallory", 1);
    std::fs::write(&record, &forged)?;
    let operator = bare.recording_operator(&record).await?;
    until_alarm(&operator, 1.0).await?;
    ensure!(operator.get("/readyz").await?.1.contains("is not intact"), "it does not say why");
    let spec = json!({"storage": "weights", "role": "reader", "subjects": [{"kind": "User", "name": "alice"}], "justification": "a test"});
    create(alice.clone(), "StorageAccessGrant", "late", spec).await?;
    until_reason(&grants, "late", "AuditUnavailable").await?;
    ensure!(std::fs::read_to_string(&record)? == forged, "evidence was changed");
    std::fs::rename(&record, bare.folder().join("evidence.jsonl"))?;
    until_alarm(&operator, 0.0).await?;
    until_recorded(&record, "late", &["grant.requested", "grant.approved", "grant.activated"]).await?;
    operator.stop().await?;
    bare.give_back().await
}
