//! operator-decisions.cloister.dev: what was decided stays decided.

use crate::support::*;
use anyhow::{Context, Result};
use cloister_api::StorageAccessGrant;
use cloister_tests::{assert_denied, cluster};
use kube::CustomResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const POLICY: &str = "operator-decisions.cloister.dev";

fn alice(uid: &str) -> Value {
    json!({"name": uid, "uid": uid, "decision": "Approve", "reviewer": {"username": "alice", "groups": ["security"]}})
}

/// The status of a grant that is open.
fn open() -> Value {
    json!({
        "phase": "Active",
        "reason": "Active",
        "digest": "v1:one",
        "targetDigest": "v1:two",
        "targetParts": {"endpoint": "one"},
        "secretName": "cloister-grant-a.b.c",
        "policy": {"name": "strict", "uid": "u"},
        "approvedAt": "2026-01-01T00:00:00Z",
        "activatedAt": "2026-01-01T00:00:01Z",
        "expiresAt": "2026-01-01T04:00:00Z",
        "approvals": [{"rule": "peers", "required": 1, "approvedBy": ["alice"]}],
        "reviews": [alice("one")],
    })
}

/// What the operator tests where it writes whatever version there is: see `Writer::status_of_any_version`, and how its errors
/// are told apart.
#[tokio::test]
async fn the_status_of_a_grant_that_has_moved_on_is_left_as_it_is() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "moved-on").await?;
    for kind in grants() {
        kind.api(&admin, &ns).create(&create(), &object(kind.json("run"))).await?;
        let own = kind.api(&operator, &ns);
        let write = async |found: &str, value: Value| {
            let status = json!({"phase": "Denied", "endedAt": "2026-01-01T02:00:00Z"});
            let patch: json_patch::Patch = serde_json::from_value(json!([
                {"op": "test", "path": found, "value": value},
                {"op": "add", "path": "/status", "value": status},
            ]))?;
            let patch = kube::api::Patch::Json::<()>(patch);
            anyhow::Ok(own.patch_status("run", &kube::api::PatchParams::default(), &patch).await)
        };
        // Where nothing was said yet it is pending by default.
        write("/status/phase", json!("Pending")).await??;
        write("/status/phase", json!("Denied")).await??;
        for (found, value) in [("/status", Value::Null), ("/status/phase", json!("Pending"))] {
            let Err(kube::Error::Api(moved_on)) = write(found, value).await? else {
                anyhow::bail!("it is written again")
            };
            assert_eq!(moved_on.code, 422);
            assert_eq!(moved_on.message, "the server rejected our request due to an error in our request");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_was_decided_stays_decided() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "decided").await?;
    for kind in grants() {
        let (theirs, own) = (kind.api(&admin, &ns), kind.api(&operator, &ns));
        theirs.create(&create(), &object(kind.json("run"))).await?;
        let write = async |change: Value| merge_at(&own, "status", "run", json!({"status": change})).await;
        assert_denied(write(json!({"phase": "Approved", "approvedAt": "2026-01-01T00:00:00Z"})).await, POLICY);
        assert_denied(write(json!({"phase": "Active", "expiresAt": "2026-01-01T04:00:00Z"})).await, POLICY);
        // A request gathers its approvals, and loses them where it changes.
        write(json!({"phase": "Pending", "approvals": open()["approvals"], "digest": "v1:zero"})).await?;
        write(json!({"phase": "Pending", "approvals": null, "digest": "v1:one"})).await?;
        // Who was a member when it was seen is not forgotten, so that it is denied when they leave.
        write(json!({"members": ["alice"]})).await?;
        for members in [json!(null), json!([]), json!(["bob"])] {
            assert_denied(write(json!({ "members": members })).await, POLICY);
            let mut approved = open();
            (approved["phase"], approved["members"]) = (json!("Approved"), members);
            assert_denied(write(approved).await, POLICY);
        }
        write(json!({"members": ["alice", "bob"]})).await?;
        // Of a request that waits nothing is decided, whatever was written of it.
        write(
            json!({"expiresAt": "2026-01-01T09:00:00Z", "approvedAt": "2026-01-01T01:00:00Z", "reviews": [alice("x")]}),
        )
        .await?;
        assert_denied(write(open()).await, POLICY);
        let mut approved = open();
        approved["phase"] = json!("Approved");
        write(approved).await?;
        write(open()).await?;
        // The same in another form is the same.
        let mut alike = alice("one");
        alike["reviewer"]["personKey"] = json!("");
        write(json!({"expiresAt": "2026-01-01T06:00:00+02:00", "reviews": [alike]})).await?;
        write(open()).await?;
        for change in [
            json!({"expiresAt": "2026-01-01T05:00:00Z"}),
            json!({"expiresAt": null}),
            json!({"approvedAt": "2026-01-01T01:00:00Z"}),
            json!({"digest": "v1:other"}),
            json!({"targetDigest": null}),
            json!({"targetParts": {"credential": "one"}}),
            json!({"policy": {"name": "strict", "uid": "v"}}),
            json!({"members": ["alice"]}),
            json!({"members": ["alice", "bob", "carl"]}),
            json!({"approvals": null}),
            json!({"reviews": null}),
            json!({"reviews": [alice("two")]}),
            json!({"reviews": [alice("one"), alice("two")]}),
            json!({"phase": "Approved"}),
            json!({"phase": "Pending"}),
            json!({"phase": null}),
        ] {
            assert_denied(write(change).await, POLICY);
        }
        assert_denied(merge_at(&own, "status", "run", json!({"status": null})).await, POLICY);
        // A review that ends it is added to those that began it, and it goes on to its end.
        write(json!({"reviews": [alice("one"), alice("two")], "secretName": "x", "phase": "Revoking"})).await?;
        assert_denied(write(json!({"phase": "Active"})).await, POLICY);
        write(json!({"secretName": null, "phase": "Revoked", "endedAt": "2026-01-01T02:00:00Z"})).await?;
        for phase in ["Pending", "Approved", "Active", "Expired", "Denied"] {
            assert_denied(write(json!({"phase": phase})).await, POLICY);
        }
        write(json!({"reason": "Deleted"})).await?;
        // What stands all the same is closed, and that it was ever approved is not forgotten.
        write(json!({"phase": "Revoking", "endedAt": null})).await?;
        write(json!({"phase": "Revoked", "endedAt": "2026-01-01T03:00:00Z"})).await?;
        for field in ["approvedAt", "activatedAt", "expiresAt"] {
            assert_denied(write(json!({ field: null })).await, POLICY);
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_opens_nothing_is_written_whatever_was_there() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "undecided").await?;
    let kind = grants().next().context("there is a kind of grant")?;
    let (theirs, own) = (kind.api(&admin, &ns), kind.api(&operator, &ns));
    for (name, from) in [("expired", "Expired"), ("revoked", "Revoked"), ("denied", "Denied"), ("approved", "Approved")]
    {
        theirs.create(&create(), &object(kind.json(name))).await?;
        let write = async |change: Value| merge_at(&own, "status", name, json!({"status": change})).await;
        let mut forged = open();
        forged["phase"] = json!("Approved");
        write(forged).await?;
        if from == "Denied" {
            // Who was approved is not denied.
            assert_denied(write(json!({"phase": from})).await, POLICY);
            continue;
        }
        write(json!({"phase": from})).await?;
        let ends = json!({
            "phase": "Revoking", "expiresAt": "2026-01-01T05:00:00Z", "approvals": null, "reviews": [alice("three")],
            "digest": "v1:other", "policy": {"name": "strict", "uid": "v"}, "targetDigest": null,
        });
        write(ends).await?;
        write(json!({"phase": "Revoked"})).await?;
    }
    Ok(())
}

/// Every field of the status, another value of it, and whether that is refused while the grant is open. What is not refused
/// is worked out anew at every look, or is asked of what people have written.
fn fields() -> Vec<(&'static str, Value, bool)> {
    vec![
        ("observedGeneration", json!(7), false),
        ("phase", json!("Approved"), true),
        ("reason", json!("Other"), false),
        ("digest", json!("v1:other"), true),
        ("targetDigest", json!("v1:other"), true),
        ("targetParts", json!({"endpoint": "other"}), true),
        ("targetRules", json!(["get of pods"]), false),
        ("members", json!(["alice"]), true),
        ("summary", json!({"target": "other"}), false),
        ("policy", json!({"name": "strict", "uid": "v"}), true),
        ("approvals", json!([{"rule": "peers", "required": 1, "approvedBy": ["mallory"]}]), true),
        ("reviews", json!([alice("two")]), true),
        ("breakGlass", json!({"reviewDueAt": "2027-01-01T00:00:00Z"}), true),
        ("breakGlass", json!({"skipped": ["1 of others (Group others)"]}), true),
        ("breakGlass", json!({"reviewedBy": "sam"}), false),
        ("approvedAt", json!("2026-01-01T01:00:00Z"), true),
        ("activatedAt", json!("2026-01-01T01:00:00Z"), true),
        ("expiresAt", json!("2026-01-01T05:00:00Z"), true),
        ("endedAt", json!("2026-01-01T02:00:00Z"), true),
        ("residualExposure", json!(["Watches"]), false),
        ("residualExposureUntil", json!("2026-01-01T02:00:00Z"), true),
        ("secretName", json!("cloister-grant-a.b.other"), true),
        ("secretDestroyed", json!(true), false),
        ("hosts", json!([]), false),
        ("conditions", json!([]), false),
    ]
}

#[tokio::test]
async fn of_what_is_open_every_field_that_decides_stays_as_it_is() -> Result<()> {
    let crd = serde_json::to_value(StorageAccessGrant::crd())?;
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
    let declared: BTreeSet<&str> = schema.as_object().context("a schema")?.keys().map(String::as_str).collect();
    assert_eq!(fields().iter().map(|(field, ..)| *field).collect::<BTreeSet<_>>(), declared, "the table has them all");

    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "held").await?;
    let kind = grants().next().context("there is a kind of grant")?;
    let (theirs, own) = (kind.api(&admin, &ns), kind.api(&operator, &ns));
    let mut before = open();
    before["breakGlass"] = json!({"skipped": ["1 of peers (Group peers)"], "reviewDueAt": "2026-01-02T00:00:00Z"});
    for (at, (field, value, is_held)) in fields().into_iter().enumerate() {
        let name = format!("field-{at}");
        theirs.create(&create(), &object(kind.json(&name))).await?;
        let write = async |change: Value| merge_at(&own, "status", &name, json!({"status": change})).await;
        let mut approved = before.clone();
        approved["phase"] = json!("Approved");
        write(approved).await?;
        write(before.clone()).await?;
        let mut change = json!({ field: value });
        match is_held {
            true => assert_denied(write(change.clone()).await, POLICY),
            false => drop(write(change.clone()).await.with_context(|| format!("{change}"))?),
        }
        // It ends, whatever else is written with it.
        change["phase"] = json!("Revoking");
        write(change.clone()).await.with_context(|| format!("{change}"))?;
    }
    Ok(())
}
