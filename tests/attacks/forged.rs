//! The operator's own token, with which a thief writes the status of grants: what that says gives nothing, and takes
//! nothing back.

use crate::{
    ledger::attack,
    people::Person,
    story::{Story, condition, pod, text, uid},
};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const NOT_BORNE_OUT: &str = "RecordNotBorneOut";

async fn thief(story: &Story<'static>) -> Result<Person<'static>> {
    Person::service_account(story.stage, "cloister-system", "cloister-operator", &story.name).await
}

async fn write(thief: &Person<'_>, grant: &Value, status: Value) -> Result<()> {
    let what = format!("{}/status", text(&grant["kind"]));
    thief.merge(&what, text(&grant["metadata"]["name"]), json!({"status": status})).await.ok().map(drop)
}

fn in_hours(hours: i64) -> String {
    (Timestamp::now() + SignedDuration::from_hours(hours)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What the operator writes of a grant like this one that was approved, after that has ended.
async fn pattern(story: &Story<'static>) -> Result<Value> {
    let open = story.opened("pattern", json!({})).await?;
    story.review(&story.person("alice").await?, &open, "Revoke").await?;
    story.ends(&open, "Revoked", "RevokedByReview", "alice revoked it").await?;
    Ok(open["status"].clone())
}

#[tokio::test]
async fn an_approval_that_nobody_gave_opens_nothing() -> Result<()> {
    let attack = attack("the operator's token: a request said to be approved, with reviews that nobody wrote");
    let story = Story::new("forged").await?;
    let (thief, pattern) = (thief(&story).await?, pattern(&story).await?);
    for (name, reviews) in [("invented", false), ("borrowed", true)] {
        let grant = story.alice_asks(name, json!({})).await?;
        let before = story.standing().await?;
        let mut status = pattern.clone();
        status["phase"] = json!("Approved");
        status["digest"] = grant["status"]["digest"].clone();
        status["approvedAt"] = json!(in_hours(0));
        status["expiresAt"] = json!(in_hours(87_600));
        if !reviews {
            for (at, review) in status["reviews"].as_array_mut().into_iter().flatten().enumerate() {
                review["uid"] = json!(format!("forged-{at}"));
            }
        }
        // A merge leaves what is written of a request that waits.
        for part in grant["status"]["targetParts"].as_object().into_iter().flat_map(|parts| parts.keys()) {
            if pattern["targetParts"].get(part).is_none() {
                status["targetParts"][part] = json!(null);
            }
        }
        write(&thief, &grant, status).await?;
        story.ends(&grant, "Revoked", NOT_BORNE_OUT, "does not exist, or differs from the status").await?;
        story.unchanged(&before).await?;
        let record = story.stage.record(uid(&grant))?;
        let opened = ["dev.cloister.grant.approved.v1", "dev.cloister.grant.activated.v1"];
        ensure!(!record.iter().any(|one| opened.contains(&text(&one["type"]))), "{record:?}");
    }
    attack.held()
}

#[tokio::test]
async fn a_request_is_decided_whatever_is_written_of_it() -> Result<()> {
    let attack = attack("the operator's token: an end and reviews written to a request that waits");
    let story = Story::new("wedged").await?;
    let thief = thief(&story).await?;
    let grant = story.alice_asks("run", json!({})).await?;
    write(&thief, &grant, json!({"expiresAt": in_hours(87_600)})).await?;
    story.approve(&grant).await?;
    let open = story.until(&grant, "Active").await?;
    ensure!(text(&open["status"]["expiresAt"]) < in_hours(2).as_str(), "{}", open["status"]);
    attack.held()
}

#[tokio::test]
async fn a_status_in_another_form_holds_up_no_revocation() -> Result<()> {
    let attack = attack("the operator's token: the status of an open grant written in another form");
    let story = Story::new("form").await?;
    let thief = thief(&story).await?;
    let open = story.opened("run", json!({})).await?;
    let end: Timestamp = text(&open["status"]["expiresAt"]).parse()?;
    let alike = (end + SignedDuration::from_hours(2)).strftime("%Y-%m-%dT%H:%M:%S+02:00").to_string();
    write(&thief, &open, json!({"expiresAt": alike})).await?;
    let review = story.review(&story.person("alice").await?, &open, "Revoke").await?;
    story.ends(&open, "Revoked", "RevokedByReview", "alice revoked it").await?;
    story.counts(&review).await?;
    attack.held()
}

#[tokio::test]
async fn what_is_said_to_have_ended_is_closed() -> Result<()> {
    let attack = attack("the operator's token: an open grant with a pod said to have ended");
    let story = Story::new("undead").await?;
    let thief = thief(&story).await?;
    let open = story.opened("run", json!({})).await?;
    story.person("alice").await?.create("Pod", "keeper", pod("trainer")).await.ok()?;
    write(&thief, &open, json!({"phase": "Expired", "reason": "Expired", "endedAt": in_hours(0), "secretName": null}))
        .await?;
    eventually("it to be closed", async || {
        let standing = story.standing_of(&open).await?;
        ensure!(standing.is_empty(), "there is left of it: {standing:?}");
        let pods = story.root.get("Pod", "keeper").await.code;
        ensure!(pods == 404, "the pod stands");
        Ok(())
    })
    .await?;
    story.ends(&open, "Revoked", NOT_BORNE_OUT, "the status said Expired").await?;
    attack.held()
}

#[tokio::test]
async fn a_reviewer_is_not_added_to_what_was_decided() -> Result<()> {
    let attack = attack("the operator's token: a reviewer added to an open grant before the policy asks for more");
    let story = Story::new("added").await?;
    let thief = thief(&story).await?;
    let open = story.opened("run", json!({})).await?;
    let mut reviews = open["status"]["reviews"].clone();
    let mut forged = reviews[0].clone();
    forged["uid"] = json!("forged");
    forged["reviewer"]["username"] = json!("nobody");
    reviews.as_array_mut().into_iter().for_each(|reviews| reviews.push(forged.clone()));
    let answer = thief.merge("StorageAccessGrant/status", "run", json!({"status": {"reviews": reviews}})).await;
    answer.denied_by("operator-decisions.cloister.dev", "no review can be added").await?;
    attack.held()
}

#[tokio::test]
async fn what_a_grant_is_for_is_not_rewritten_before_that_changes() -> Result<()> {
    let attack = attack("the operator's token: what an open grant is for written as it will be tomorrow");
    let story = Story::new("tomorrow").await?;
    let thief = thief(&story).await?;
    let tomorrow = json!({"endpoint": {"networks": ["203.0.113.248/29"], "ports": [{"port": 443}]}});
    let pattern = story.opened("pattern", json!({})).await?["status"].clone();
    story.storage(tomorrow.clone()).await?;
    let ahead = story.opened("ahead", json!({})).await?["status"].clone();
    story.storage(json!({})).await?;
    ensure!(pattern["targetParts"]["endpoint"] != ahead["targetParts"]["endpoint"], "{ahead}");
    let open = story.opened("run", json!({})).await?;
    ensure!(open["status"]["targetParts"] == pattern["targetParts"], "{open}");
    for field in ["targetParts", "targetDigest"] {
        let change = json!({"status": { field: ahead[field] }});
        let answer = thief.merge("StorageAccessGrant/status", "run", change).await;
        answer.denied_by("operator-decisions.cloister.dev", "the record of an approval").await?;
    }
    story.storage(tomorrow).await?;
    story.ends(&open, "Revoked", "TargetChanged", "its endpoint").await?;
    attack.held()
}

#[tokio::test]
async fn a_broken_glass_is_not_reviewed_by_a_status() -> Result<()> {
    let attack = attack("the operator's token: the review that break-glass owes said to have been made");
    let story = Story::new("unpaid").await?;
    let oncall = json!([{"kind": "Group", "name": "oncall"}]);
    story.policy(json!({"breakGlass": {"requesters": oncall, "maxDuration": "1h", "reviewWithin": "24h"}})).await?;
    let thief = thief(&story).await?;
    let carl = format!("carl.{}", story.name);
    let carl = Person::in_groups(story.stage, &carl, &["oncall", "system:masters"], &story.name).await?;
    let wish = || {
        let mut wish = story.wish_role("alice");
        wish["spec"]["breakGlass"] = json!(true);
        wish
    };
    let mut first = wish();
    first["spec"]["subjects"] = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
    let grant = story.ask(&carl, "RoleGrant", "first", first.clone()).await?;
    let open = story.until(&grant, "Active").await?;
    let mut glass = open["status"]["breakGlass"].clone();
    glass["reviewedBy"] = json!("sam");
    glass["reviewedAt"] = json!(in_hours(0));
    write(&thief, &open, json!({"breakGlass": glass})).await?;
    eventually("the review to be owed again", async || {
        let grant = story.again(&open).await?;
        let said = condition(&grant, "Reviewed").map(|said| text(&said["reason"]).to_owned());
        ensure!(
            grant["status"]["breakGlass"]["reviewedBy"].is_null() && said.as_deref() == Some("ReviewOwed"),
            "{said:?}"
        );
        Ok(())
    })
    .await?;
    let again = story.ask(&carl, "RoleGrant", "again", first).await?;
    story.ends(&again, "Denied", "EarlierReviewOwed", "nobody had reviewed that grant").await?;
    let record = story.stage.record(uid(&open))?;
    ensure!(!record.iter().any(|one| one["type"] == "dev.cloister.grant.reviewed.v1"), "{record:?}");
    story.review(&story.person("sam").await?, &open, "Approve").await?;
    eventually("it to be reviewed", async || {
        let grant = story.again(&open).await?;
        ensure!(grant["status"]["breakGlass"]["reviewedBy"] == "sam", "{}", grant["status"]["breakGlass"]);
        Ok(())
    })
    .await?;
    attack.held()
}

#[tokio::test]
async fn a_status_that_is_refused_holds_up_no_end_and_is_not_tried_all_the_time() -> Result<()> {
    let attack = attack("a policy of somebody else that refuses the operator the status of a grant");
    let story = Story::new("refused").await?;
    let open = story.opened("run", json!({})).await?;
    let policy = json!({"spec": {
        "matchConstraints": {"resourceRules": [{
            "apiGroups": ["cloister.dev"], "apiVersions": ["*"], "operations": ["UPDATE"],
            "resources": ["storageaccessgrants/status"],
        }]},
        "matchConditions": [{"name": "here", "expression": format!("request.namespace == '{}'", story.name)}],
        "validations": [{"expression": "false", "message": "not today"}],
    }});
    let binding = json!({"spec": {"policyName": story.name, "validationActions": ["Deny"]}});
    story.root.create("ValidatingAdmissionPolicy", &story.name, policy).await.ok()?;
    story.root.create("ValidatingAdmissionPolicyBinding", &story.name, binding).await.ok()?;
    let thief = thief(&story).await?;
    eventually("the policy to be in force", async || {
        let answer = thief.merge("StorageAccessGrant/status", "run", json!({"status": {"reason": "Active"}})).await;
        ensure!(answer.code >= 400, "it is not");
        Ok(())
    })
    .await?;
    story.person("alice").await?.delete("StorageAccessGrant", "run").await.ok()?;
    let operator = story.stage.operator();
    eventually("what it opened to be gone, and the alarm", async || {
        let standing = story.standing_of(&open).await?;
        ensure!(standing.is_empty(), "there is left of it: {standing:?}");
        ensure!(operator.metric("cloister_alerts", "StatusRefused").await? >= 1.0, "no alarm");
        ensure!(operator.get("/readyz").await?.1.contains("StatusRefused"), "/readyz does not say so");
        Ok(())
    })
    .await?;
    let failures = async || operator.metric("cloister_reconcile_errors", "StorageAccessGrant").await;
    let before = failures().await?;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let tried = failures().await? - before;
    ensure!(tried <= 12.0, "it tried {tried} times in four seconds");
    story.root.delete("ValidatingAdmissionPolicyBinding", &story.name).await.ok()?;
    eventually("the grant to be gone", async || {
        ensure!(story.root.get("StorageAccessGrant", "run").await.code == 404, "it stands");
        Ok(())
    })
    .await?;
    eventually("the alarm to be over", async || {
        ensure!(operator.metric("cloister_alerts", "StatusRefused").await? == 0.0, "it is not");
        Ok(())
    })
    .await?;
    story.root.delete("ValidatingAdmissionPolicy", &story.name).await.ok()?;
    attack.held()
}
