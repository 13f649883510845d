//! The glass, broken by those who may not, or more often than they may.

use crate::{
    ledger::attack,
    people::Person,
    story::{Story, condition, ready, text, uid},
};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use serde_json::{Value, json};

/// A story whose policy lets the group `oncall` use break-glass, for an hour.
async fn story(prefix: &str) -> Result<Story<'static>> {
    let story = Story::new(prefix).await?;
    story.policy(lets(json!([{"kind": "Group", "name": "oncall"}]))).await?;
    Ok(story)
}

/// Lets these use break-glass.
fn lets(requesters: Value) -> Value {
    json!({"breakGlass": {"requesters": requesters, "maxDuration": "1h", "reviewWithin": "24h"}})
}

/// Somebody on call who is in no other story: what they owe, they owe everywhere.
async fn oncall(story: &Story<'static>, person: &str) -> Result<Person<'static>> {
    let name = format!("carl.{}", story.name);
    if !person.is_empty() {
        return Person::account(story.stage, &name, &["oncall", "system:masters"], "", person, &story.name).await;
    }
    Person::in_groups(story.stage, &name, &["oncall", "system:masters"], &story.name).await
}

fn glass(story: &Story<'_>, who: &str, more: Value) -> Value {
    let mut wish = story.wish_role(who);
    wish["spec"]["breakGlass"] = json!(true);
    wish["spec"]["requestedDuration"] = json!("10m");
    for (key, value) in more.as_object().into_iter().flatten() {
        wish["spec"][key] = value.clone();
    }
    wish
}

async fn denied(story: &Story<'_>, who: &Person<'_>, name: &str, wish: Value, reason: &str, says: &str) -> Result<()> {
    let before = story.standing().await?;
    let grant = story.ask(who, "RoleGrant", name, wish).await?;
    story.ends(&grant, "Denied", reason, says).await?;
    story.settle().await?;
    story.unchanged(&before).await
}

#[tokio::test]
async fn who_is_not_on_call_does_not_break_the_glass() -> Result<()> {
    let (attack, story) = (attack("break-glass by somebody who may only ask"), story("nocall").await?);
    let wish = glass(&story, "alice", json!({}));
    let alice = story.person("alice").await?;
    denied(&story, &alice, "run", wish, "BreakGlassNotAllowed", "alice may not use break-glass").await?;
    attack.held()
}

#[tokio::test]
async fn without_a_glass_there_is_nothing_to_break() -> Result<()> {
    let (attack, story) = (attack("break-glass where the policy allows none"), story("noglass").await?);
    story.root.merge("AccessPolicy", &story.name, json!({"spec": {"breakGlass": null}})).await.ok()?;
    let carl = oncall(&story, "").await?;
    let wish = glass(&story, &carl.name, json!({}));
    denied(&story, &carl, "run", wish, "BreakGlassNotAllowed", "does not allow break-glass").await?;
    attack.held()
}

#[tokio::test]
async fn a_broken_glass_is_short_and_at_once() -> Result<()> {
    let (attack, story) = (attack("break-glass for longer than allowed, or for later"), story("longglass").await?);
    let carl = oncall(&story, "").await?;
    let long = glass(&story, &carl.name, json!({"requestedDuration": "61m"}));
    denied(&story, &carl, "long", long, "DurationTooLong", "longer than").await?;
    let start = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let later = json!({"startTime": start.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()});
    let later = glass(&story, &carl.name, later);
    denied(&story, &carl, "later", later, "BreakGlassLater", "leave spec.startTime out").await?;
    // Without a duration it is as short as break-glass allows, and not as long as the policy does.
    let wish = glass(&story, &carl.name, json!({"requestedDuration": null}));
    let grant = story.ask(&carl, "RoleGrant", "run", wish).await?;
    let grant = story.until(&grant, "Active").await?;
    let at = |field: &str| -> Result<jiff::Timestamp> { Ok(text(&grant["status"][field]).parse()?) };
    ensure!(at("expiresAt")?.duration_since(at("approvedAt")?) <= jiff::SignedDuration::from_hours(1));
    attack.held()
}

#[tokio::test]
async fn a_service_account_does_not_break_the_glass() -> Result<()> {
    let attack = attack("break-glass by a ServiceAccount that the policy names, and by one whose groups it names");
    let story = story("robotglass").await?;
    let named = json!([
        {"kind": "Group", "name": "oncall"}, {"kind": "ServiceAccount", "namespace": story.name, "name": "other"},
    ]);
    let answer = story.root.merge("AccessPolicy", &story.name, json!({"spec": lets(named)})).await;
    answer.refused(422, "a ServiceAccount cannot use break-glass").await?;
    let group = |name: &str| lets(json!([{"kind": "Group", "name": name}]));
    for name in ["system:serviceaccounts", &format!("system:serviceaccounts:{}", story.name)] {
        let answer = story.root.merge("AccessPolicy", &story.name, json!({"spec": group(name)})).await;
        answer.refused(422, "groups of ServiceAccounts (system:serviceaccounts*) cannot be used").await?;
    }
    story.policy(group("system:authenticated")).await?;
    let rules = json!([{"apiGroups": ["cloister.dev"], "resources": ["rolegrants"], "verbs": ["create", "get"]}]);
    story.root.apply("ClusterRole", &story.name, json!({"rules": rules})).await.ok()?;
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": story.name},
        "subjects": [{"kind": "ServiceAccount", "namespace": story.name, "name": "other"}],
    });
    story.root.apply("ClusterRoleBinding", &story.name, binding).await.ok()?;
    let robot = Person::service_account(story.stage, &story.name, "other", &story.name).await?;
    let mut wish = glass(&story, "x", json!({}));
    wish["spec"]["subjects"] = json!([{"kind": "ServiceAccount", "name": "other"}]);
    eventually("its rights", async || robot.dry_run("RoleGrant", "probe", wish.clone()).await.ok()).await?;
    denied(&story, &robot, "run", wish, "BreakGlassNotAllowed", "only people may use break-glass").await?;
    attack.held()
}

#[tokio::test]
async fn who_owes_a_review_does_not_break_the_glass_again() -> Result<()> {
    let attack = attack("break-glass a second time while a review is owed, of another kind and in another namespace");
    let (story, other) = (story("owing").await?, story("owing").await?);
    let carl = oncall(&story, "").await?;
    let grant = story.ask(&carl, "RoleGrant", "run", glass(&story, &carl.name, json!({}))).await?;
    let grant = story.until(&grant, "Active").await?;
    // It is known who was passed over.
    let record = story.stage.recorded(uid(&grant), "grant.approved").await?;
    ensure!(record["data"]["reason"] == "BreakGlass", "{record}");
    ensure!(record["data"]["breakGlass"]["skipped"].as_array().is_some_and(|skipped| skipped.len() == 2), "{record}");
    ensure!(condition(&grant, "Reviewed").is_some_and(|reviewed| reviewed["reason"] == "ReviewOwed"), "{grant}");
    eventually("the Event", async || {
        let events = story.root.list("Event").await.ok()?.to_string();
        ensure!(events.contains("used break-glass"), "{events}");
        Ok(())
    })
    .await?;

    denied(
        &story,
        &carl,
        "more",
        glass(&story, &carl.name, json!({})),
        "EarlierReviewOwed",
        "used break-glass for RoleGrant",
    )
    .await?;
    let mut wish = story.wish(json!({"breakGlass": true, "requestedDuration": "10m"}));
    wish["spec"]["subjects"] = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
    let storage = story.ask(&carl, "StorageAccessGrant", "kind", wish).await?;
    story.ends(&storage, "Denied", "EarlierReviewOwed", "nobody had reviewed that grant").await?;
    let there = carl.elsewhere(&other.name);
    denied(&other, &there, "there", glass(&other, &carl.name, json!({})), "EarlierReviewOwed", &story.name).await?;
    attack.held()
}

#[tokio::test]
async fn a_second_account_owes_what_the_first_does() -> Result<()> {
    let attack = attack("break-glass a second time by an alias with the same person key");
    let story = story("aliasglass").await?;
    let carl = oncall(&story, &story.name).await?;
    let grant = story.ask(&carl, "RoleGrant", "run", glass(&story, &carl.name, json!({}))).await?;
    story.until(&grant, "Active").await?;
    let groups = ["oncall", "system:masters"];
    let alias = Person::account(story.stage, "carl.second", &groups, "", &story.name, &story.name).await?;
    let wish = glass(&story, "carl.second", json!({}));
    denied(&story, &alias, "more", wish, "EarlierReviewOwed", "carl.second used break-glass").await?;
    attack.held()
}

#[tokio::test]
async fn nobody_reviews_the_glass_that_they_broke() -> Result<()> {
    let attack = attack("the owed review made by the one who owes it, and by a bystander");
    let story = story("selfglass").await?;
    let groups = ["oncall", "security", "system:masters"];
    let carl = Person::in_groups(story.stage, &format!("carl.{}", story.name), &groups, &story.name).await?;
    let grant = story.ask(&carl, "RoleGrant", "run", glass(&story, &carl.name, json!({}))).await?;
    let grant = story.until(&grant, "Active").await?;
    let own = story.review(&carl, &grant, "Approve").await?;
    story.does_not_count(&own, "Requester", "is the requester").await?;
    let other = story.review(&story.person("mallory").await?, &grant, "Approve").await?;
    story.does_not_count(&other, "NotAnApprover", "mallory").await?;
    story.settle().await?;
    let owing = story.again(&grant).await?;
    ensure!(condition(&owing, "Reviewed").is_some_and(|reviewed| reviewed["status"] == "False"), "{owing}");
    denied(&story, &carl, "more", glass(&story, &carl.name, json!({})), "EarlierReviewOwed", "used break-glass")
        .await?;
    // An approver's review frees them, and ends it where they refuse.
    story.review(&story.person("sam").await?, &grant, "Deny").await?;
    let ended = story.ends(&grant, "Revoked", "ReviewRefused", "sam reviewed and refused it").await?;
    ensure!(ended["status"]["breakGlass"]["reviewedBy"] == "sam", "{}", ended["status"]);
    attack.held()
}

#[tokio::test]
async fn what_is_owed_is_not_deleted() -> Result<()> {
    let attack = attack("a grant that used break-glass deleted before its review");
    let story = story("gone").await?;
    let carl = oncall(&story, "").await?;
    let grant = story.ask(&carl, "RoleGrant", "run", glass(&story, &carl.name, json!({}))).await?;
    story.until(&grant, "Active").await?;
    carl.delete("RoleGrant", "run").await.ok()?;
    story.ends(&grant, "Revoked", "Deleted", "the grant was deleted").await?;
    story.settle().await?;
    let bare = json!({"metadata": {"finalizers": null}});
    let answer = carl.merge("RoleGrant", "run", bare).await;
    answer.denied_by("finalizers.cloister.dev", "only the operator removes").await?;
    let kept = story.again(&grant).await?;
    ensure!(condition(&kept, "Reviewed").is_some_and(|reviewed| reviewed["reason"] == "ReviewOwed"), "{kept}");
    denied(&story, &carl, "more", glass(&story, &carl.name, json!({})), "EarlierReviewOwed", "RoleGrant").await?;
    story.review(&story.person("sam").await?, &kept, "Approve").await?;
    eventually("it to go once it was reviewed", async || {
        ensure!(carl.get("RoleGrant", "run").await.code == 404, "it is kept");
        Ok(())
    })
    .await?;
    attack.held()
}

#[tokio::test]
async fn the_glass_is_broken_once_however_fast() -> Result<()> {
    let attack = attack("break-glass many times at the same moment, before any is known to owe a review");
    let story = story("race").await?;
    let carl = oncall(&story, "").await?;
    let ask = |at: usize| {
        let (wish, carl) = (glass(&story, &carl.name, json!({})), &carl);
        async move { carl.create("RoleGrant", &format!("run-{at}"), wish).await.ok() }
    };
    let (one, two, three, four, five, six) = tokio::try_join!(ask(1), ask(2), ask(3), ask(4), ask(5), ask(6))?;
    let mut opened = Vec::new();
    for grant in [one, two, three, four, five, six] {
        let decided = eventually("it to be decided", async || {
            let grant = story.again(&grant).await?;
            let phase = text(&grant["status"]["phase"]).to_owned();
            ensure!(["Active", "Denied"].contains(&phase.as_str()), "it is {phase}: {}", ready(&grant));
            Ok(grant)
        })
        .await?;
        if decided["status"]["phase"] == "Active" {
            opened.push(text(&decided["metadata"]["name"]).to_owned());
        } else {
            ensure!(decided["status"]["reason"] == "EarlierReviewOwed", "{}", ready(&decided));
        }
    }
    ensure!(opened.len() == 1, "all of these are open: {opened:?}");
    attack.held()
}
