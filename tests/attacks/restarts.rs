//! Ends that come while the operator is away, and a restored etcd. In a cluster of their own.

use crate::{
    ledger::attack,
    people::Person,
    stage::Stage,
    story::{Story, ready, text},
};
use anyhow::{Context, Result, ensure};
use cloister_tests::eventually;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

/// One story after the other: each needs the operator to itself.
#[tokio::test]
async fn an_end_is_an_end_whoever_sleeps() -> Result<()> {
    let mut stage = Stage::own("restarts").await?;
    let name = away_across_an_end(&mut stage).await?;
    restarted(&mut stage, &name).await?;
    restored(&mut stage).await
}

async fn away_across_an_end(stage: &mut Stage) -> Result<String> {
    let attack = attack("an operator that is ended to keep a grant open");
    let (name, grant, end) = {
        let story = Story::on(stage, "away").await?;
        let grant = story.opened("run", json!({"requestedDuration": "6s"})).await?;
        let end: Timestamp = text(&grant["status"]["expiresAt"]).parse()?;
        (story.name.clone(), grant, end)
    };
    stage.stop_operator().await?;
    let next = {
        // Meanwhile something else is asked for and agreed to.
        let story = Story::at(stage, &name).await?;
        let wish = story.wish_role("alice");
        let alice = story.person("alice").await?;
        alice.create("RoleGrant", "next", wish).await.ok()?
    };
    tokio::time::sleep(until(end)).await;
    {
        let story = Story::at(stage, &name).await?;
        ensure!(!story.standing_of(&grant).await?.is_empty(), "nobody took it away meanwhile");
    }
    let auto = json!({
        "requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "8h", "autoApprove": ["request.kind == 'RoleGrant'"],
    });
    Person::named(stage, "root", "").await?.apply("AccessPolicy", &name, json!({"spec": auto})).await.ok()?;
    stage.start_operator().await?;
    let story = Story::at(stage, &name).await?;
    story.until(&next, "Active").await?;
    let ended = story.ends(&grant, "Expired", "Expired", "the grant ended at").await?;
    ensure!(ended["status"]["expiresAt"] == grant["status"]["expiresAt"]);
    let taken = stage.position("delete", "rolebindings", &name, "cloister-grant.run")?.context("it was taken away")?;
    let given =
        stage.position("create", "rolebindings", &name, "cloister-role-grant.next")?.context("it was opened")?;
    ensure!(taken < given, "something was opened before what had ended was taken away");
    attack.held()?;
    Ok(name)
}

/// How long until a time is past.
fn until(end: Timestamp) -> Duration {
    let left = end.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1)
}

async fn restarted(stage: &mut Stage, name: &str) -> Result<()> {
    let attack = attack("an operator that is restarted to forget an end");
    let (before, standing) = {
        let story = Story::at(stage, name).await?;
        (story.root.get("StorageAccessGrant", "run").await.ok()?, story.standing().await?)
    };
    stage.stop_operator().await?;
    stage.start_operator().await?;
    let story = Story::at(stage, name).await?;
    story.settle().await?;
    story.unchanged(&standing).await?;
    let after = story.again(&before).await?;
    ensure!(after["status"] == before["status"], "{after}");
    attack.held()
}

async fn restored(stage: &mut Stage) -> Result<()> {
    let attack = attack("etcd restored to before a revocation");
    let (name, open) = {
        let story = Story::on(stage, "restore").await?;
        let open = story.opened("run", json!({})).await?;
        story.review(&story.person("alice").await?, &open, "Revoke").await?;
        story.ends(&open, "Revoked", "RevokedByReview", "alice revoked it").await?;
        // The review goes with the rest of what etcd forgets.
        story.root.delete_all("AccessReview", "").await.ok()?;
        (story.name.clone(), open)
    };
    stage.stop_operator().await?;
    let operator = Person::service_account(stage, "cloister-system", "cloister-operator", &name).await?;
    // A restore asks no admission policy; this one would refuse what it does.
    let root = Person::named(stage, "root", &name).await?;
    let policy = "operator-decisions.cloister.dev";
    let binding = root.get("ValidatingAdmissionPolicyBinding", policy).await.ok()?;
    root.delete("ValidatingAdmissionPolicyBinding", policy).await.ok()?;
    eventually("the policy to be gone", async || {
        operator.merge("StorageAccessGrant/status", "run", json!({"status": null})).await.ok().map(drop)
    })
    .await?;
    operator.merge("StorageAccessGrant/status", "run", json!({"status": open["status"]})).await.ok()?;
    let again = json!({"metadata": {"labels": binding["metadata"]["labels"]}, "spec": binding["spec"]});
    root.create("ValidatingAdmissionPolicyBinding", policy, again).await.ok()?;
    // The times of a grant are whole seconds.
    let soon = Timestamp::now() + jiff::SignedDuration::from_secs(1);
    let settings = json!({"spec": {"invalidateGrantsBefore": soon.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}});
    root.merge("CloisterConfig", "cloister", settings).await.ok()?;
    let begun = stage.requests()?;
    stage.start_operator().await?;
    let story = Story::at(stage, &name).await?;
    let after = story.until(&open, "Revoked").await?;
    ensure!(after["status"]["reason"] == "Invalidated", "{}", ready(&after));
    ensure!(ready(&after).contains("invalidateGrantsBefore"), "{}", ready(&after));
    ensure!(story.standing_of(&open).await?.is_empty());
    story.settle().await?;
    let opened = stage.position("create", "rolebindings", &name, "cloister-grant.run")?;
    ensure!(opened.is_none_or(|at| at < begun), "it was opened again");
    attack.held()
}
