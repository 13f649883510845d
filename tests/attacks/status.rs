//! What the operator writes, written by others.

use crate::{
    ledger::attack,
    people::{all_denied, all_forbidden, all_invalid},
    story::{Story, uid},
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

const STATUS: &str = "status.cloister.dev";
const TOLD: &str = "only the operator writes it";

/// A status that says what one would like.
fn dream(story: &Story<'_>) -> Value {
    let reviewer = |name: &str, group: &str| json!({"username": name, "uid": "", "groups": [group]});
    json!({"status": {
        "phase": "Active", "reason": "Active", "expiresAt": "2999-01-01T00:00:00Z", "approvedAt": "2026-01-01T00:00:00Z",
        "activatedAt": "2026-01-01T00:00:00Z", "secretName": story.copy(),
        "policy": {"name": story.name, "uid": "x"},
        "approvals": [{"rule": "security", "required": 1, "approvedBy": ["sam"]}],
        "reviews": [
            {"name": "r", "uid": "u", "decision": "Approve", "reviewer": reviewer("sam", "security")},
            {"name": "s", "uid": "v", "decision": "Approve", "reviewer": reviewer("wendy", "weights-owners")},
        ],
    }})
}

#[tokio::test]
async fn people_do_not_write_the_status() -> Result<()> {
    let attack = attack("a status written by requester, owner, approver or policy writer, by the subresource");
    let story = Story::new("dream").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    for who in ["alice", "olga", "sam", "pia", "petra"] {
        let who = story.person(who).await?;
        all_forbidden(who.change("StorageAccessGrant/status", "run", dream(&story)).await).await?;
    }
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn whoever_has_the_rights_does_not_write_the_status() -> Result<()> {
    let attack = attack("a status written by somebody to whom RBAC refuses nothing, of every kind of grant");
    let story = Story::new("root").await?;
    let alice = story.person("alice").await?;
    let storage = story.alice_asks("run", json!({})).await?;
    let role = story.ask(&alice, "RoleGrant", "run", story.wish_role("alice")).await?;
    let rule = json!({"rule": {"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]}});
    let egress = story.ask(&alice, "EgressGrant", "run", json!({"spec": rule})).await?;
    let before = story.standing().await?;
    for grant in [&storage, &role, &egress] {
        let what = format!("{}/status", grant["kind"].as_str().unwrap_or_default());
        all_denied(story.root.change(&what, "run", dream(&story)).await, STATUS, TOLD).await?;
        story.nothing_opened(grant, &before).await?;
    }
    attack.held()
}

#[tokio::test]
async fn a_status_in_the_object_itself_is_not_taken() -> Result<()> {
    let attack = attack("a status that comes along with the object, on create, update, patch and server-side apply");
    let story = Story::new("along").await?;
    let alice = story.person("alice").await?;
    let mut wish = story.wish(json!({}));
    wish["status"] = dream(&story)["status"].clone();
    let grant = story.ask(&alice, "StorageAccessGrant", "run", wish).await?;
    let before = story.standing().await?;
    for answer in story.root.change("StorageAccessGrant", "run", dream(&story)).await {
        // Without an error, because a status that is read comes back with what is written; and without effect.
        let after = if answer.code < 300 { answer.ok()? } else { story.again(&grant).await? };
        ensure!(after["status"]["phase"] == "Pending" && after["status"]["expiresAt"].is_null(), "{after}");
    }
    let answer = alice.merge("StorageAccessGrant", "run", dream(&story)).await;
    ensure!(answer.ok()?["status"]["phase"] == "Pending");
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn there_is_no_other_way_to_the_status() -> Result<()> {
    let attack = attack("the status by the subresources scale, approval and finalize");
    let story = Story::new("scale").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    for subresource in ["scale", "approval", "finalize"] {
        let what = format!("StorageAccessGrant/{subresource}");
        for answer in story.root.change(&what, "run", dream(&story)).await {
            ensure!([404, 405].contains(&answer.code), "{subresource}: {}: {}", answer.code, answer.message());
        }
    }
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn the_end_is_not_moved() -> Result<()> {
    let attack = attack("expiresAt of an open grant moved");
    let story = Story::new("longer").await?;
    let grant = story.opened("run", json!({"requestedDuration": "20s"})).await?;
    let before = story.standing().await?;
    let mut status = grant["status"].clone();
    status["expiresAt"] = json!("2999-01-01T00:00:00Z");
    let longer = json!({"status": status});
    for who in ["alice", "olga", "sam"] {
        all_forbidden(story.person(who).await?.change("StorageAccessGrant/status", "run", longer.clone()).await)
            .await?;
    }
    all_denied(story.root.change("StorageAccessGrant/status", "run", longer).await, STATUS, TOLD).await?;
    story.unchanged(&before).await?;
    let ended = story.ends(&grant, "Expired", "Expired", "the grant ended at").await?;
    ensure!(ended["status"]["expiresAt"] == grant["status"]["expiresAt"]);
    attack.held()
}

#[tokio::test]
async fn nobody_says_that_a_review_counts() -> Result<()> {
    let attack = attack("the Counted condition of a review written by its author");
    let story = Story::new("counted").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    let mallory = story.person("mallory").await?;
    let review = story.review(&mallory, &grant, "Approve").await?;
    story.does_not_count(&review, "NotAnApprover", "mallory").await?;
    let name = review["metadata"]["name"].as_str().unwrap_or_default();
    let counted = json!({"status": {"conditions": [{
        "type": "Counted", "status": "True", "reason": "Counted", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    all_forbidden(mallory.change("AccessReview/status", name, counted.clone()).await).await?;
    all_denied(story.root.change("AccessReview/status", name, counted).await, STATUS, TOLD).await?;
    story.does_not_count(&review, "NotAnApprover", "mallory").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn what_was_agreed_to_is_not_edited() -> Result<()> {
    let attack = attack("the spec edited after approval, by the requester and by somebody with all rights");
    let story = Story::new("edit").await?;
    let grant = story.opened("run", json!({})).await?;
    let before = story.standing().await?;
    for change in [
        json!({"subjects": [{"kind": "ServiceAccount", "name": "trainer"}, {"kind": "User", "name": "mallory"}]}),
        json!({"requestedDuration": "8h"}),
        json!({"role": "writer"}),
        json!({"mount": {"serviceAccountName": "trainer", "mountPath": "/elsewhere"}}),
        json!({"breakGlass": true}),
    ] {
        let change = json!({"spec": change});
        all_invalid(story.root.change("StorageAccessGrant", "run", change.clone()).await, "cannot be changed").await?;
        let alice = story.person("alice").await?;
        alice.merge("StorageAccessGrant", "run", change.clone()).await.refused(422, "cannot be changed").await?;
        alice.replace("StorageAccessGrant", "run", &change).await.forbidden().await?;
        let along = story.root.merge("StorageAccessGrant/status", "run", change).await;
        ensure!(along.code == 403 || along.ok()?["spec"] == grant["spec"]);
    }
    story.settle().await?;
    story.unchanged(&before).await?;
    let after = story.again(&grant).await?;
    ensure!(after["spec"] == grant["spec"] && after["status"] == grant["status"]);
    attack.held()
}

#[tokio::test]
async fn a_grant_that_is_open_does_not_slip_away() -> Result<()> {
    let attack = attack("the finalizer of an open grant stripped");
    let story = Story::new("strip").await?;
    let grant = story.opened("run", json!({})).await?;
    let before = story.standing().await?;
    let alice = story.person("alice").await?;
    for finalizers in [json!(null), json!([]), json!(["example.com/mine"])] {
        let bare = json!({"metadata": {"finalizers": finalizers}});
        let policy = "finalizers.cloister.dev";
        let says = "only the operator removes a finalizer of cloister.dev";
        alice.merge("StorageAccessGrant", "run", bare.clone()).await.denied_by(policy, says).await?;
        story.root.merge("StorageAccessGrant", "run", bare.clone()).await.denied_by(policy, says).await?;
        story.root.replace("StorageAccessGrant", "run", &bare).await.denied_by(policy, says).await?;
    }
    let remove = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
    let answer = alice.json_patch("StorageAccessGrant", "run", remove).await;
    answer.denied_by("finalizers.cloister.dev", "only the operator").await?;
    story.unchanged(&before).await?;
    // Deleted without waiting for anything, it is revoked first all the same.
    let hasty = alice.delete_all("StorageAccessGrant/run", "?gracePeriodSeconds=0&propagationPolicy=Orphan").await;
    hasty.ok()?;
    story.stage.recorded(uid(&grant), "grant.revoked").await?;
    cloister_tests::eventually("all of it to be gone", async || {
        ensure!(story.standing_of(&grant).await?.is_empty(), "something stands");
        ensure!(alice.get("StorageAccessGrant", "run").await.code == 404, "the grant stands");
        Ok(())
    })
    .await?;
    attack.held()
}

#[tokio::test]
async fn the_catalogue_does_not_say_that_it_is_sound() -> Result<()> {
    let attack = attack("the status of policies, storage, roles and settings written by their authors");
    let story = Story::new("sound").await?;
    let sound = json!({"status": {"conditions": [{
        "type": "Ready", "status": "True", "reason": "Reconciled", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    for (what, name, who) in [
        ("AccessPolicy", &*story.name, "pia"),
        ("CloisterConfig", "cloister", "pia"),
        ("StorageResource", &*story.name, "petra"),
        ("AccessRole", &*story.name, "petra"),
        ("ResearchNamespace", &*story.name, "petra"),
    ] {
        let status = format!("{what}/status");
        all_forbidden(story.person(who).await?.change(&status, name, sound.clone()).await).await?;
        all_denied(story.root.change(&status, name, sound.clone()).await, STATUS, TOLD).await?;
    }
    attack.held()
}

/// An object that has grown too large for etcd takes no status: its end would neither be said nor remembered.
#[tokio::test]
async fn a_grant_is_not_padded_until_its_end_cannot_be_written() -> Result<()> {
    const SIZES: &str = "sizes.cloister.dev";
    let attack = attack("labels, annotations and managers of fields without number, so that no status finds room");
    let story = Story::new("padded").await?;
    let grant = story.opened("run", json!({})).await?;
    let alice = story.person("alice").await?;
    // As long as they may be.
    let prefix = [&*"a".repeat(63), &*"b".repeat(63), &*"c".repeat(63), &*"d".repeat(61)].join(".");
    let many = |count: usize| -> serde_json::Map<String, Value> {
        (0..count).map(|at| (format!("{prefix}/{at:x>63}"), json!("v".repeat(63)))).collect()
    };
    let with = |labels: usize, annotations: usize| json!({"metadata": {"labels": many(labels), "annotations": many(annotations)}});
    let grown = async |body: Value| alice.merge("StorageAccessGrant", "run", body).await;
    grown(with(65, 0)).await.denied_by(SIZES, "at most 64 labels").await?;
    grown(with(0, 65)).await.denied_by(SIZES, "at most 64 annotations").await?;
    let mut review = story.decision(&grant, "Revoke", json!({}));
    review["metadata"] = with(65, 0)["metadata"].clone();
    alice.create("AccessReview", "long", review).await.denied_by(SIZES, "at most 64 labels").await?;

    grown(with(64, 64)).await.ok()?;
    let mut managers = 0;
    let refused = loop {
        let answer = alice.apply_as(&format!("m{managers}"), "StorageAccessGrant", "run", with(64, 64)).await;
        ensure!(managers < 40, "forty managers of its fields are admitted");
        if answer.code >= 300 {
            break answer;
        }
        managers += 1;
    };
    refused.denied_by(SIZES, "at most 16 field managers").await?;
    ensure!(managers > 8, "no more than {managers} managers are admitted");
    // So large, it still ends, and says so.
    story.review(&story.person("sam").await?, &grant, "Revoke").await?;
    story.until(&grant, "Revoked").await?;
    story.stage.recorded(uid(&grant), "grant.revoked").await?;
    attack.held()
}
