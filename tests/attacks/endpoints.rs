//! Storage whose endpoints are each as wide as they may be, and open half the Internet together.

use crate::{
    ledger::attack,
    story::{Story, condition, text},
};
use anyhow::{Context, Result, ensure};
use cloister_tests::eventually;
use serde_json::{Value, json};

/// A storage without a credential, whose endpoint is this network.
async fn publish(story: &Story<'_>, name: &str, network: &str) -> Result<()> {
    let spec = json!({
        "sensitivity": "High",
        "endpoint": {"networks": [network], "ports": [{"port": 443}]},
        "roles": [{"name": "reader", "accessPolicy": story.name}],
    });
    story.publish("StorageResource", name, json!({"spec": spec})).await
}

async fn asked(story: &Story<'static>, storage: &str) -> Result<Value> {
    let grant = story.alice_asks(storage, json!({"storage": storage, "mount": null})).await?;
    story.approve(&grant).await?;
    Ok(grant)
}

#[tokio::test]
async fn endpoints_are_bounded_together() -> Result<()> {
    let attack = attack("two StorageResources, each as wide as an allowlist may be, in one namespace");
    let story = Story::new("together").await?;
    let (one, other) = (format!("{}-one", story.name), format!("{}-other", story.name));
    publish(&story, &one, "198.50.0.0/16").await?;
    publish(&story, &other, "198.51.0.0/16").await?;
    let first = asked(&story, &one).await?;
    story.until(&first, "Active").await?;
    let before = story.standing().await?;
    let second = asked(&story, &other).await?;
    eventually("it to be told that it is too much", async || {
        let second = story.again(&second).await?;
        let ready = condition(&second, "Ready").context("nothing is said of it")?;
        ensure!(second["status"]["phase"] == "Pending" && ready["reason"] == "TooBroad", "{ready}");
        ensure!(text(&ready["message"]).contains("198.50.0.0 to 198.51.255.255"), "{ready}");
        Ok(())
    })
    .await?;
    story.unchanged(&before).await?;
    // It is given when there is room.
    story.review(&story.person("alice").await?, &first, "Revoke").await?;
    story.until(&first, "Revoked").await?;
    story.until(&second, "Active").await?;
    attack.held()
}
