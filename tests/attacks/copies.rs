//! The operator's own token, with which a thief writes into the copies of credentials.

use crate::{
    ledger::attack,
    people::Person,
    stage::Stage,
    story::{Story, text},
};
use anyhow::{Context, Result, ensure};
use cloister_tests::eventually;
use serde_json::{Value, json};

/// `secret` and `planted`, as a Secret has them.
const GENUINE: &str = "c2VjcmV0";
const PLANTED: &str = "cGxhbnRlZA==";

#[tokio::test]
async fn what_is_planted_in_a_copy_is_found_and_put_right() -> Result<()> {
    let attack =
        attack("the operator's token: other content in the copy of a credential, more of it, and no copy at all");
    let mut stage = Stage::own("copies").await?;
    stage.stop_operator().await?;
    stage.start_operator_with(&["--compare-copies", "1"]).await?;
    let story = Story::on(&stage, "planted").await?;
    let open = story.opened("run", json!({})).await?;
    let thief = Person::service_account(&stage, "cloister-system", "cloister-operator", &story.name).await?;
    let (copy, operator) = (story.copy(), stage.operator());
    let replaced = async || operator.metric("cloister_alerts", "CredentialReplaced").await;
    // What nobody has touched is left alone.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let before = story.root.get("Secret", &copy).await.ok()?;
    ensure!(replaced().await? == 0.0 && before["data"] == json!({"token": GENUINE}), "{before}");
    let mut version = text(&before["metadata"]["resourceVersion"]).to_owned();
    for plant in ["other", "more", "none"] {
        match plant {
            "other" => thief.merge("Secret", &copy, json!({"data": {"token": PLANTED}})).await.ok()?,
            "more" => thief.merge("Secret", &copy, json!({"data": {"endpoint": PLANTED}})).await.ok()?,
            _ => thief.delete("Secret", &copy).await.ok()?,
        };
        let after = eventually("the credential to be there again", async || {
            let stands = story.root.get("Secret", &copy).await.ok()?;
            ensure!(stands["data"] == json!({"token": GENUINE}), "{}", stands["data"]);
            ensure!(stands["metadata"]["resourceVersion"] != version.as_str(), "nobody has written it");
            let mounts = story.root.list("GrantMount").await.ok()?;
            let is_mounted =
                |mount: &Value| !text(&mount["metadata"]["annotations"]["cloister.dev/credential-version"]).is_empty();
            ensure!(
                mounts["items"].as_array().is_some_and(|all| all.len() == 1 && all.iter().all(is_mounted)),
                "{mounts}"
            );
            Ok(stands)
        })
        .await?;
        version = text(&after["metadata"]["resourceVersion"]).to_owned();
    }
    eventually("the alarm", async || {
        ensure!(replaced().await? == 1.0, "there is none");
        Ok(())
    })
    .await?;
    let answer = thief.merge("Secret", &copy, json!({"immutable": true})).await;
    answer.denied_by("operator-secrets.cloister.dev", "makes no Secrets immutable").await?;
    story.review(&story.person("alice").await?, &open, "Revoke").await?;
    story.until(&open, "Revoked").await?;
    ensure!(story.root.get("Secret", &copy).await.code == 404, "the copy stands");
    eventually("the alarm to be over", async || {
        ensure!(replaced().await? == 0.0, "it is not");
        Ok(())
    })
    .await?;
    attack.held()
}

#[tokio::test]
async fn a_copy_outlasts_no_grant_whose_end_was_forged() -> Result<()> {
    let attack = attack("the operator's token while it is down: an end written, and all deleted but the copy");
    let mut stage = Stage::own("leftover").await?;
    let name = {
        let story = Story::on(&stage, "leftover").await?;
        story.opened("run", json!({})).await?;
        story.name
    };
    stage.stop_operator().await?;
    {
        let story = Story::at(&stage, &name).await?;
        let thief = Person::service_account(&stage, "cloister-system", "cloister-operator", &name).await?;
        let over = json!({"status": {"phase": "Expired", "reason": "Expired", "secretName": null}});
        thief.merge("StorageAccessGrant/status", "run", over).await.ok()?;
        for what in story.standing_of(&story.root.get("StorageAccessGrant", "run").await.ok()?).await? {
            let (kind, name) = what.split_once(' ').context("a kind and a name")?;
            if kind != "Secret" {
                // The token cannot part the copy from its GrantMount, with which the garbage collector takes it, soon or late.
                let orphaned = thief.delete(kind, &format!("{name}?propagationPolicy=Orphan")).await;
                orphaned
                    .denied_by(
                        "operator-finalizers.cloister.dev",
                        "it cannot use foreground deletion or orphan dependents",
                    )
                    .await?;
                thief.delete(kind, name).await.ok()?;
            }
        }
    }
    stage.start_operator_with(&["--compare-copies", "1"]).await?;
    let story = Story::at(&stage, &name).await?;
    eventually("the copy to be gone", async || {
        ensure!(story.root.get("Secret", &story.copy()).await.code == 404, "it stands");
        Ok(())
    })
    .await?;
    attack.held()
}
