//! operator-decisions.cloister.dev: what was decided stays decided.

use crate::support::*;
use anyhow::Result;
use cloister_tests::{assert_denied, cluster};
use serde_json::{Value, json};

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
        "policy": {"name": "strict", "uid": "u"},
        "approvedAt": "2026-01-01T00:00:00Z",
        "activatedAt": "2026-01-01T00:00:01Z",
        "expiresAt": "2026-01-01T04:00:00Z",
        "approvals": [{"rule": "peers", "required": 1, "approvedBy": ["alice"]}],
        "reviews": [alice("one")],
    })
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
        write(open()).await?;
        for change in [
            json!({"expiresAt": "2026-01-01T05:00:00Z"}),
            json!({"expiresAt": null}),
            json!({"approvedAt": "2026-01-01T01:00:00Z"}),
            json!({"digest": "v1:other"}),
            json!({"targetDigest": null}),
            json!({"policy": {"name": "strict", "uid": "v"}}),
            json!({"approvals": null}),
            json!({"reviews": null}),
            json!({"reviews": [alice("two")]}),
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
        for phase in ["Pending", "Approved", "Active", "Revoking", "Expired"] {
            assert_denied(write(json!({"phase": phase})).await, POLICY);
        }
        write(json!({"reason": "Deleted"})).await?;
    }
    Ok(())
}
