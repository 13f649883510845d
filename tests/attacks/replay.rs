//! Decisions that were about something else.

use crate::{
    ledger::attack,
    story::{Story, text, uid},
};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use serde_json::json;

#[tokio::test]
async fn what_is_asked_again_is_decided_again() -> Result<()> {
    let attack = attack("reviews replayed onto a request of the same name that was made again");
    let story = Story::new("again").await?;
    let first = story.opened("run", json!({})).await?;
    let alice = story.person("alice").await?;
    alice.delete("StorageAccessGrant", "run").await.ok()?;
    eventually("the first to be gone", async || {
        ensure!(alice.get("StorageAccessGrant", "run").await.code == 404, "it is there");
        Ok(())
    })
    .await?;
    let before = story.standing().await?;
    let second = story.alice_asks("run", json!({})).await?;
    ensure!(uid(&first) != uid(&second) && first["status"]["digest"] != second["status"]["digest"]);
    // The old reviews are there still; new ones about the old request, and with the old digest, are made.
    ensure!(
        second["status"]["approvals"].as_array().is_some_and(|all| all.iter().all(|one| one["approvedBy"].is_null()))
    );
    let sam = story.person("sam").await?;
    let old = story.review(&sam, &first, "Approve").await?;
    story.does_not_count(&old, "RequestNotFound", "the grant was created again").await?;
    let half = story.review_with(&sam, &second, "Approve", json!({"digest": first["status"]["digest"]})).await?;
    story.does_not_count(&half, "DigestDiffers", text(&second["status"]["digest"])).await?;
    let request = json!({"requestRef": {"kind": "StorageAccessGrant", "name": "run", "uid": uid(&first)}});
    let other = story.review_with(&sam, &second, "Approve", request).await?;
    story.does_not_count(&other, "RequestNotFound", uid(&first)).await?;
    story.nothing_opened(&second, &before).await?;
    attack.held()
}

#[tokio::test]
async fn a_request_does_not_choose_its_uid() -> Result<()> {
    let attack = attack("a request that is created with the uid and the status of one that was approved");
    let story = Story::new("uid").await?;
    let approved = story.opened("first", json!({})).await?;
    let before = story.standing().await?;
    let mut copy = json!({"metadata": {"uid": uid(&approved)}, "spec": approved["spec"], "status": approved["status"]});
    copy["spec"]["requestedBy"] = json!(null);
    let second = story.ask(&story.person("alice").await?, "StorageAccessGrant", "second", copy.clone()).await?;
    ensure!(uid(&second) != uid(&approved) && second["status"]["approvedAt"].is_null(), "{second}");
    story.nothing_opened(&second, &before).await?;
    // By server-side apply a uid is a precondition, which nothing fulfils.
    let applied = story.root.apply("StorageAccessGrant", "third", copy).await;
    applied.refused(409, "uid").await?;
    attack.held()
}

#[tokio::test]
async fn a_review_of_another_grant_is_about_that() -> Result<()> {
    let attack = attack("a review of one grant with the digest, the name or the uid of another");
    let story = Story::new("mixed").await?;
    let small = story.alice_asks("small", json!({"requestedDuration": "1m"})).await?;
    let large = story.alice_asks("large", json!({"requestedDuration": "8h"})).await?;
    let before = story.standing().await?;
    let (sam, wendy) = (story.person("sam").await?, story.person("wendy").await?);
    for who in [&sam, &wendy] {
        let review = story.review_with(who, &large, "Approve", json!({"digest": small["status"]["digest"]})).await?;
        story.does_not_count(&review, "DigestDiffers", "it names another digest").await?;
        for (name, kind, uid) in [
            ("large", "StorageAccessGrant", uid(&small)),
            ("large", "RoleGrant", uid(&large)),
            ("nothing", "StorageAccessGrant", uid(&large)),
        ] {
            let request = json!({"requestRef": {"kind": kind, "name": name, "uid": uid}});
            let review = story.review_with(who, &large, "Approve", request).await?;
            story.does_not_count(&review, "RequestNotFound", "there is no").await?;
        }
    }
    story.nothing_opened(&large, &before).await?;
    story.nothing_opened(&small, &before).await?;
    attack.held()
}

#[tokio::test]
async fn a_review_in_another_namespace_is_about_nothing() -> Result<()> {
    let attack = attack("a review written in another namespace");
    let story = Story::new("here").await?;
    let other = Story::new("there").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    for who in ["sam", "wendy"] {
        let review = other.review(&other.person(who).await?, &grant, "Approve").await?;
        other.does_not_count(&review, "RequestNotFound", "there is no StorageAccessGrant run").await?;
    }
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn a_policy_that_is_widened_asks_anew() -> Result<()> {
    let attack = attack("reviews from before the policy was widened");
    let story = Story::new("before").await?;
    story.policy(json!({"maxDuration": "1h", "defaultDuration": "1h"})).await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    let review = story.review(&story.person("sam").await?, &grant, "Approve").await?;
    story.counts(&review).await?;
    // Without a duration, what was agreed to for one hour would be eight.
    story.policy(json!({"maxDuration": "8h", "defaultDuration": "8h"})).await?;
    story.does_not_count(&review, "DigestDiffers", "has changed since").await?;
    let wendy = story.person("wendy").await?;
    let late = story.review(&wendy, &grant, "Approve").await?;
    story.does_not_count(&late, "DigestDiffers", "has changed since").await?;
    let now = story.again(&grant).await?;
    ensure!(now["status"]["digest"] != grant["status"]["digest"]);
    story.review(&wendy, &now, "Approve").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn a_storage_that_is_widened_asks_anew() -> Result<()> {
    let attack = attack("reviews from before the storage's endpoint was widened");
    let story = Story::new("grown").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    let review = story.review(&story.person("sam").await?, &grant, "Approve").await?;
    story.counts(&review).await?;
    story.storage(json!({"endpoint": {"networks": ["198.51.100.0/24"], "ports": [{"port": 443}]}})).await?;
    story.does_not_count(&review, "DigestDiffers", "has changed since").await?;
    let review = story.review(&story.person("wendy").await?, &grant, "Approve").await?;
    story.does_not_count(&review, "DigestDiffers", "has changed since").await?;
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}

#[tokio::test]
async fn a_decision_stands_when_its_review_is_deleted() -> Result<()> {
    let attack = attack("reviews deleted after they were decided by");
    let story = Story::new("erased").await?;
    let open = story.opened("run", json!({})).await?;
    let alice = story.person("alice").await?;
    let refused = story.ask(&alice, "RoleGrant", "refused", story.wish_role("alice")).await?;
    story.review(&story.person("sue").await?, &refused, "Deny").await?;
    let revoked = story.ask(&alice, "RoleGrant", "revoked", story.wish_role("alice")).await?;
    story.approve(&revoked).await?;
    story.until(&revoked, "Active").await?;
    story.review(&alice, &revoked, "Revoke").await?;
    let refused = story.until(&refused, "Denied").await?;
    let revoked = story.until(&revoked, "Revoked").await?;

    // People may not; whoever may only takes back by it what was agreed.
    for who in ["alice", "olga", "sam", "pia"] {
        let who = story.person(who).await?;
        who.delete_all("AccessReview", "").await.forbidden().await?;
    }
    story.root.delete_all("AccessReview", "").await.ok()?;
    story.ends(&open, "Revoked", "RecordNotBorneOut", "does not exist, or differs from the status").await?;
    story.settle().await?;
    ensure!(story.again(&refused).await?["status"]["phase"] == "Denied");
    ensure!(story.again(&revoked).await?["status"] == revoked["status"]);
    let record = story.stage.recorded(uid(&open), "grant.approved").await?;
    ensure!(record["data"]["reviews"].as_array().is_some_and(|reviews| reviews.len() == 2), "{record}");
    attack.held()
}

#[tokio::test]
async fn what_is_over_is_not_approved_again() -> Result<()> {
    let attack = attack("approval of a grant that was denied or has ended");
    let story = Story::new("over").await?;
    let denied = story.alice_asks("denied", json!({})).await?;
    story.review(&story.person("sam").await?, &denied, "Deny").await?;
    story.ends(&denied, "Denied", "Denied", "sam refused it").await?;
    let short = story.opened("short", json!({"requestedDuration": "4s"})).await?;
    story.ends(&short, "Expired", "Expired", "the grant ended at").await?;
    let before = story.standing().await?;
    for (grant, why, said) in [(&denied, "AlreadyDecided", "was denied before"), (&short, "AlreadyEnded", "ended at")] {
        for who in ["sue", "walter"] {
            let review = story.review(&story.person(who).await?, grant, "Approve").await?;
            story.does_not_count(&review, why, said).await?;
        }
    }
    story.settle().await?;
    story.unchanged(&before).await?;
    ensure!(story.again(&denied).await?["status"]["phase"] == "Denied");
    ensure!(story.again(&short).await?["status"]["phase"] == "Expired");
    attack.held()
}

#[tokio::test]
async fn a_refusal_is_not_taken_back() -> Result<()> {
    let attack = attack("a review whose decision is edited");
    let story = Story::new("flipped").await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let deny = story.review(&story.person("mallory").await?, &grant, "Approve").await?;
    let name = text(&deny["metadata"]["name"]);
    let before = story.standing().await?;
    for change in [json!({"decision": "Deny"}), json!({"digest": format!("v1:sha256:{}", "0".repeat(64))})] {
        let change = json!({"spec": change});
        for who in ["mallory", "alice", "olga", "sam", "pia"] {
            crate::people::all_forbidden(story.person(who).await?.change("AccessReview", name, change.clone()).await)
                .await?;
        }
        crate::people::all_invalid(story.root.change("AccessReview", name, change).await, "cannot be changed").await?;
    }
    story.nothing_opened(&grant, &before).await?;
    attack.held()
}
