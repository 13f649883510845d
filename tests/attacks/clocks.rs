//! Time that is bent.

use crate::{
    ledger::attack,
    story::{Story, pod, ready, text},
};
use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

fn time(of: &Value) -> Result<Timestamp> {
    Ok(text(of).parse()?)
}

fn from_now(seconds: i64) -> Value {
    let at = Timestamp::now() + SignedDuration::from_secs(seconds);
    json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[tokio::test]
async fn a_start_in_the_past_lengthens_nothing() -> Result<()> {
    let attack = attack("startTime in the past");
    let story = Story::new("past").await?;
    let before = story.standing().await?;
    for (name, start) in
        [("epoch", json!("1970-01-01T00:00:00Z")), ("gone", from_now(-7200)), ("zero", json!("0001-01-01T00:00:00Z"))]
    {
        let grant = story.alice_asks(name, json!({"startTime": start, "requestedDuration": "1h"})).await?;
        story.ends(&grant, "Denied", "WindowPassed", "has passed").await?;
    }
    story.unchanged(&before).await?;
    let start = from_now(-3600);
    let grant = story.opened("begun", json!({"startTime": start, "requestedDuration": "2h"})).await?;
    let end = time(&grant["status"]["expiresAt"])?;
    ensure!(end == time(&start)? + SignedDuration::from_hours(2), "it ends at {end}");
    attack.held()
}

#[tokio::test]
async fn a_start_far_in_the_future_is_not_kept_in_store() -> Result<()> {
    let attack = attack("startTime far in the future");
    let story = Story::new("future").await?;
    let before = story.standing().await?;
    for (name, start) in [("late", json!("2999-01-01T00:00:00Z")), ("week", from_now(8 * 86400))] {
        let grant = story.alice_asks(name, json!({"startTime": start})).await?;
        story.ends(&grant, "Denied", "StartTooLate", "may start at most").await?;
    }
    // The last second that the API server knows is none that every program does.
    let alice = story.person("alice").await?;
    for last in ["9999-12-31T23:59:59Z", "9000-01-01T00:00:00Z"] {
        let answer = alice.create("StorageAccessGrant", "last", story.wish(json!({"startTime": last}))).await;
        answer.refused(422, "before the year 9000").await?;
    }
    story.settle().await?;
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn an_absurd_duration_is_none() -> Result<()> {
    let attack = attack("durations that are negative, nothing, overflow, or longer than the policy's");
    let story = Story::new("absurd").await?;
    let alice = story.person("alice").await?;
    let before = story.standing().await?;
    for duration in
        ["-1h", "0s", "1ms", "8761h", "999999999999999999h", "1e9h", "9223372036854775807h1s", "P1Y", "1h-30m", ""]
    {
        let answer =
            alice.create("StorageAccessGrant", "absurd", story.wish(json!({"requestedDuration": duration}))).await;
        answer.refused(422, "requestedDuration").await?;
    }
    let grant = story.alice_asks("long", json!({"requestedDuration": "8h0.001s"})).await?;
    story.ends(&grant, "Denied", "DurationTooLong", "longer than the policy's maxDuration").await?;
    story.unchanged(&before).await?;
    attack.held()
}

#[tokio::test]
async fn asking_again_does_not_extend() -> Result<()> {
    let attack = attack("a renewal that would extend what is open");
    let story = Story::new("renew").await?;
    let first = story.opened("first", json!({"requestedDuration": "6s"})).await?;
    let second = story.alice_asks("second", json!({"requestedDuration": "1h"})).await?;
    let review = story.review(&story.person("sam").await?, &second, "Approve").await?;
    story.counts(&review).await?;
    let ended = story.ends(&first, "Expired", "Expired", "the grant ended at").await?;
    ensure!(ended["status"]["expiresAt"] == first["status"]["expiresAt"], "the end never moves");
    ensure!(Timestamp::now() < time(&first["status"]["expiresAt"])? + SignedDuration::from_secs(60));
    let waiting = story.again(&second).await?;
    ensure!(
        waiting["status"]["phase"] == "Pending" && ready(&waiting).contains("1 more of owners"),
        "{}",
        ready(&waiting)
    );
    let open = story.standing_of(&second).await?;
    ensure!(open.is_empty(), "{open:?}");
    // The renewal is a grant of its own, and brings the old one back in nothing.
    story.review(&story.person("wendy").await?, &second, "Approve").await?;
    story.until(&second, "Active").await?;
    ensure!(story.again(&first).await?["status"] == ended["status"]);
    attack.held()
}

#[tokio::test]
async fn a_decision_that_comes_too_late_is_none() -> Result<()> {
    let attack = attack("approval after the request timed out");
    let story = Story::new("late").await?;
    story.policy(json!({"pendingRequestTTL": "3s"})).await?;
    let grant = story.alice_asks("run", json!({})).await?;
    let before = story.standing().await?;
    story.ends(&grant, "TimedOut", "TimedOut", "nobody decided by").await?;
    for who in ["sam", "wendy"] {
        let review = story.review(&story.person(who).await?, &grant, "Approve").await?;
        story.does_not_count(&review, "RequestTimedOut", "was not decided in time").await?;
    }
    story.policy(json!({"pendingRequestTTL": "24h"})).await?;
    story.settle().await?;
    story.unchanged(&before).await?;
    ensure!(story.again(&grant).await?["status"]["phase"] == "TimedOut");
    attack.held()
}

#[tokio::test]
async fn what_cannot_be_ended_does_not_keep_the_rest_open() -> Result<()> {
    let attack = attack("expiry blocked by a pod that does not end");
    let story = Story::new("stuck").await?;
    let grant = story.opened("run", json!({"requestedDuration": "6s"})).await?;
    let alice = story.person("alice").await?;
    cloister_tests::eventually("a pod with the credential", async || {
        alice.delete("Pod", "stuck").await;
        let mut stuck = pod("trainer");
        stuck["spec"]["terminationGracePeriodSeconds"] = json!(0);
        let made = alice.create("Pod", "stuck", stuck).await.ok()?;
        ensure!(made["spec"].to_string().contains(&story.copy()), "it was admitted without");
        Ok(())
    })
    .await?;
    alice.merge("Pod", "stuck", json!({"metadata": {"finalizers": ["example.com/slow"]}})).await.ok()?;
    let revoking = story.until(&grant, "Revoking").await?;
    ensure!(ready(&revoking).contains("waiting for 1 pod that holds"), "{}", ready(&revoking));
    // The mount remembers the copy until nobody holds it, and is put into no pod.
    let standing = story.standing_of(&grant).await?;
    ensure!(standing.iter().all(|what| what.starts_with("GrantMount ")), "there is left of it: {standing:?}");
    let late = alice.create("Pod", "late", pod("trainer")).await.ok()?;
    ensure!(!late["spec"].to_string().contains(&story.copy()), "a new pod gets it");
    // Nor is the grant got rid of meanwhile.
    alice.delete("StorageAccessGrant", "run").await.ok()?;
    let bare = json!({"metadata": {"finalizers": null}});
    let answer = alice.merge("StorageAccessGrant", "run", bare.clone()).await;
    answer.denied_by("finalizers.cloister.dev", "see the conditions of the object for what it waits for").await?;
    ensure!(alice.merge("Pod", "stuck", bare).await.code == 200);
    story.stage.recorded(text(&grant["metadata"]["uid"]), "grant.expired").await?;
    attack.held()
}
