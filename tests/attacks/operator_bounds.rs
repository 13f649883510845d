//! The operator's own token, in the hands of a thief who holds up what ends, or waits for the operator to forget.

use crate::{
    ledger::attack,
    people::{Person, all_denied},
    story::{Story, text},
};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use serde_json::{Value, json};

async fn thief(story: &Story<'static>) -> Result<Person<'static>> {
    Person::service_account(story.stage, "cloister-system", "cloister-operator", &story.name).await
}

#[tokio::test]
async fn it_holds_up_no_end() -> Result<()> {
    let attack = attack("the operator's token: a finalizer on what a grant opens, so that it stays in force");
    let story = Story::new("holds").await?;
    let thief = thief(&story).await?;
    let grant = story.opened("run", json!({})).await?;
    let before = story.standing().await?;
    let policy = "operator-finalizers.cloister.dev";
    let held = json!({"metadata": {"finalizers": ["example.com/stay"]}});
    for (kind, name) in [("RoleBinding", "cloister-grant.run"), ("NetworkPolicy", "cloister-grant.run")] {
        all_denied(thief.change(kind, name, held.clone()).await, policy, "only its own finalizers").await?;
    }
    let mount = format!("{}.reader.trainer", story.name);
    all_denied(thief.change("GrantMount", &mount, held.clone()).await, policy, "only its own finalizers").await?;
    thief.merge("Secret", &story.copy(), held).await.denied_by(policy, "only its own finalizers").await?;
    story.unchanged(&before).await?;
    let revoked = story.review(&story.person("sam").await?, &grant, "Revoke").await?;
    story.counts(&revoked).await?;
    story.until(&grant, "Revoked").await?;
    attack.held()
}

#[tokio::test]
async fn it_opens_no_ipv4_by_another_name() -> Result<()> {
    let attack = attack("the operator's token: a NetworkPolicy to IPv6 that a translator makes all of IPv4 of");
    let story = Story::new("nat").await?;
    let thief = thief(&story).await?;
    for cidr in ["64:ff9b::/96", "64:ff9b::/32", "64:ff9b:1::/48", "2002::/16", "2001::/32"] {
        let wish = json!({"spec": {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": cidr}}]}]}});
        let answer = thief.create("NetworkPolicy", "cloister-x", wish).await;
        answer.denied_by("operator-networkpolicies.cloister.dev", "embeds more than a /8 of IPv4").await?;
    }
    attack.held()
}

#[tokio::test]
async fn it_removes_no_review_that_is_to_be_acted_upon() -> Result<()> {
    let attack = attack("the operator's token: a review that revokes, marked as read and removed");
    let story = Story::new("review").await?;
    let thief = thief(&story).await?;
    let grant = story.opened("run", json!({})).await?;
    let review = story.review(&story.person("mallory").await?, &grant, "Revoke").await?;
    let counted = json!({"status": {"conditions": [{
        "type": "Counted", "status": "False", "reason": "AlreadyDecided", "message": "forged",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    let name = text(&review["metadata"]["name"]);
    thief.merge("AccessReview/status", name, counted).await.ok()?;
    thief.delete("AccessReview", name).await.denied_by_some("operator-re", "the operator removes ").await?;
    attack.held()
}

#[tokio::test]
async fn it_gives_no_account_what_nobody_declared() -> Result<()> {
    let attack =
        attack("the operator's token: an annotation that gives an account a role in the cloud, or an account unseen");
    let story = Story::new("cloud").await?;
    let thief = thief(&story).await?;
    let role = json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}}});
    thief
        .create("ServiceAccount", "evil", role.clone())
        .await
        .denied_by("operator-objects.cloister.dev", "but those with the label")
        .await?;
    let unlisted = thief.merge("ServiceAccount", "trainer", role.clone()).await;
    unlisted.denied_by("operator-objects.cloister.dev", "gives an annotation to no ServiceAccount").await?;
    let mut marked = role;
    marked["metadata"]["labels"] = json!({"cloister.dev/listed": "true"});
    thief
        .merge("ServiceAccount", "trainer", marked)
        .await
        .denied_by_some("operator-listed", "the operator gives ServiceAccounts")
        .await?;
    eventually("the account to be as declared", async || {
        let account: Value = story.root.get("ServiceAccount", "trainer").await.ok()?;
        ensure!(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].is_null(), "{account}");
        Ok(())
    })
    .await?;
    attack.held()
}
