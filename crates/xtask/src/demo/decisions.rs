//! The chapters about approvals: a grant that three people approve, and a break-glass grant.

use super::{
    examples,
    say::Say,
    see::Sighting,
    stage::{INTERP, NIGHT, Person, SOON, Stage, WEIGHTS, eventually, since},
};
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    api::{DynamicObject, PostParams},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const WEIGHTS_OPENED: &str = "cloister-grant.weights";
const WEIGHTS_COPY: &str = "cloister-grant-frontier-weights.reader.trainer";
const WEIGHTS_MOUNT: &str = "frontier-weights.reader.trainer";

const NIGHT_OPENED: &str = "cloister-role-grant.night-shift";

/// Three approvals from two groups, and an approver who is in both.
pub async fn people_decide(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    say.chapter(
        "Approvals by people",
        "The weights need three approvals: one of security, and two of the owners. Olga is in both groups, and counts once.",
    );
    let Stage { alice, olga, otto, sam, watch, .. } = stage;
    let grant = |seen: &Sighting| seen.is("StorageAccessGrant", INTERP, WEIGHTS);
    let opened = || watch.all("RoleBinding", INTERP).iter().any(|seen| seen.object.name_any() == WEIGHTS_OPENED);

    let asked = alice.apply(say, "requests the weights of unreleased models", "strict/3-request.yaml").await?;
    let waiting = watch
        .sighting("the request waiting", SOON, |seen| grant(seen) && seen.text("/status/reason") == "AwaitingApproval")
        .await?;
    ensure!(waiting.text("/status/phase") == "Pending", "it is {}", waiting.text("/status/phase"));
    say.seen(since(asked, waiting.at), &format!("Pending: {}", message(&waiting, "Ready")));

    let own = alice.reviews(say, "is an owner, and approves her own request", "strict/4-review-alice.yaml").await?;
    let outcome = own.outcome(stage).await?;
    ensure!(!outcome.is_true("Counted"), "alice's review of her own request counts");
    let why = outcome.condition("Counted").map(|counted| counted["reason"].clone()).unwrap_or_default();
    ensure!(why == "Requester", "it does not count, but for another reason: {why}");
    say.refused("Counted=False, Requester: the review is recorded, but does not count", &message(&outcome, "Counted"));

    let first = olga.reviews(say, "approves; she is in security and an owner", "strict/5-review-olga.yaml").await?;
    first.counts(stage, say, &[("security", &["olga"]), ("weights-owners", &[])]).await?;
    let second = otto.reviews(say, "approves; he is an owner", "strict/6-review-otto.yaml").await?;
    second.counts(stage, say, &[("security", &["olga"]), ("weights-owners", &["otto"])]).await?;
    ensure!(!opened(), "something was opened before all approvals");
    say.check("two approvals count, and three are required: nothing is open yet");

    let third =
        sam.reviews(say, "approves; he is in security, where olga counts so far", "strict/7-review-sam.yaml").await?;
    third.counts(stage, say, &[("security", &["sam"]), ("weights-owners", &["olga", "otto"])]).await?;
    say.check("olga now counts as an owner, so that sam counts for security");
    let approved = watch.sighting("it approved", SOON, |seen| grant(seen) && seen.is_true("Approved")).await?;
    let active = watch.sighting("it Active", SOON, |seen| grant(seen) && seen.is_true("Active")).await?;
    for (kind, name) in [
        ("RoleBinding", WEIGHTS_OPENED),
        ("NetworkPolicy", WEIGHTS_OPENED),
        ("Secret", WEIGHTS_COPY),
        ("GrantMount", WEIGHTS_MOUNT),
    ] {
        let what = format!("its {kind}");
        let opening = watch.sighting(&what, SOON, |seen| seen.is(kind, INTERP, name) && !seen.gone).await?;
        ensure!(opening.revision > approved.revision, "{what} came before the approval was recorded");
    }
    say.seen(since(third.asked, active.at), &format!("Active until {}", active.text("/status/expiresAt")));
    say.check("the third approval opened it, after it was recorded: RoleBinding, network path, mount, credential");

    let end =
        otto.reviews(say, "revokes the grant, because the checkpoint was withdrawn", "strict/8-revoke.yaml").await?;
    let gone = |kind: &'static str, name: &'static str| move |seen: &Sighting| seen.is(kind, INTERP, name) && seen.gone;
    let binding = watch.sighting("its RoleBinding gone", SOON, gone("RoleBinding", WEIGHTS_OPENED)).await?;
    let policy = watch.sighting("its NetworkPolicy gone", SOON, gone("NetworkPolicy", WEIGHTS_OPENED)).await?;
    let copy = watch.sighting("its credential gone", SOON, gone("Secret", WEIGHTS_COPY)).await?;
    let revoked =
        watch.sighting("it Revoked", SOON, |seen| grant(seen) && seen.text("/status/phase") == "Revoked").await?;
    let mut steps = [
        (&binding, "the RoleBinding is deleted"),
        (&policy, "the NetworkPolicy is deleted"),
        (&copy, "the copy of the credential is deleted"),
    ];
    steps.sort_by_key(|(seen, _)| seen.revision);
    for (seen, what) in steps {
        ensure!(seen.at >= end.asked, "{what} before anybody revoked it");
        say.seen(since(end.asked, seen.at), what);
    }
    let reason = revoked.text("/status/reason");
    ensure!(reason == "RevokedByReview", "it was revoked for another reason: {reason}");
    say.seen(since(end.asked, revoked.at), &format!("Revoked: {}", message(&revoked, "Ready")));
    say.check(&format!("the grant ended immediately, long before its end time {}", revoked.text("/status/expiresAt")));
    Ok(())
}

/// A break-glass grant, and its review.
pub async fn break_glass(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    say.chapter(
        "Break-glass",
        "People on call can open a grant first, for a short time. It raises an alarm, and an approver must review it.",
    );
    let Stage { ida, sam, watch, operator, .. } = stage;
    let grant = |seen: &Sighting| seen.is("RoleGrant", INTERP, NIGHT);
    let asked = ida
        .apply(say, "is on call, and uses break-glass to debug pods of interp", "break-glass/3-request.yaml")
        .await?;
    let active = watch.sighting("it Active", SOON, |seen| grant(seen) && seen.is_true("Active")).await?;
    let binding = watch
        .sighting("its RoleBinding", SOON, |seen| seen.is("RoleBinding", INTERP, NIGHT_OPENED) && !seen.gone)
        .await?;
    let role = binding.text("/roleRef/name").to_owned();
    say.seen(since(asked, active.at), &format!("Active until {}: ida has {role}", active.text("/status/expiresAt")));
    let skipped = active.field("/status/breakGlass/skipped").and_then(Value::as_array).cloned().unwrap_or_default();
    let skipped: Vec<&str> = skipped.iter().filter_map(Value::as_str).collect();
    ensure!(skipped.len() == 2, "it does not name the approvals that it bypassed: {skipped:?}");

    let alarm = watch
        .sighting("the alarm", SOON, |seen| {
            seen.kind == "Event" && seen.text("/reason") == "BreakGlass" && seen.text("/regarding/name") == NIGHT
        })
        .await?;
    let note = alarm.text("/note").to_owned();
    ensure!(alarm.text("/type") == "Warning", "the Event is no warning");
    let names_all = skipped.iter().all(|rule| note.contains(rule));
    ensure!(names_all, "the alarm does not name all bypassed approvals ({skipped:?}): {note}");
    say.seen(since(asked, alarm.at), &format!("Event, Warning, BreakGlass: {note}"));
    say.check("the alarm names the approvals that were bypassed");
    owed(operator, 1.0).await?;
    say.check("metric cloister_alerts{alert=\"ReviewOwed\"} is 1");

    say.act(ida.name, "uses break-glass again, before the first grant is reviewed", None);
    let mut again = examples::load("break-glass/3-request.yaml")?.remove(0);
    again.metadata.name = Some("night-shift-again".to_owned());
    examples::create(&ida.client, &again).await?;
    let denied = watch
        .sighting("the second one decided", SOON, |seen| {
            seen.is("RoleGrant", INTERP, "night-shift-again")
                && seen.text("/status/phase") != "Pending"
                && !seen.text("/status/phase").is_empty()
        })
        .await?;
    let (phase, reason) = (denied.text("/status/phase"), denied.text("/status/reason"));
    ensure!((phase, reason) == ("Denied", "EarlierReviewOwed"), "it is {phase}, {reason}");
    say.refused(
        "Denied, EarlierReviewOwed: only one unreviewed break-glass grant at a time",
        &message(&denied, "Ready"),
    );

    let review = sam
        .reviews(say, "(security) reads the logs in the morning, and approves", "break-glass/4-review-sam.yaml")
        .await?;
    let outcome = review.outcome(stage).await?;
    ensure!(outcome.is_true("Counted"), "sam's review does not count: {}", message(&outcome, "Counted"));
    let settled = watch.sighting("it reviewed", SOON, |seen| grant(seen) && seen.is_true("Reviewed")).await?;
    let by = settled.text("/status/breakGlass/reviewedBy");
    ensure!(by == "sam", "it was reviewed by {by:?}");
    say.seen(since(review.asked, settled.at), &format!("Reviewed: {}", message(&settled, "Reviewed")));
    owed(operator, 0.0).await?;
    say.check("no review is owed any more, and the metric is 0");
    Ok(())
}

/// Waits until so many reviews are owed, by the operator's metric.
async fn owed(operator: &crate::operator::Operator, count: f64) -> Result<()> {
    eventually("the metric to say what is owed", async || {
        let found = operator.metric("cloister_alerts", "\"ReviewOwed\"").await?;
        ensure!((found - count).abs() < 0.5, "it says {found}, and should say {count}");
        Ok(())
    })
    .await
}

/// A review that was given to the API server.
struct Given {
    asked: Timestamp,
    name: String,
    grant: String,
}

impl Given {
    /// The status of the review.
    async fn outcome(&self, stage: &Stage<'_>) -> Result<Sighting> {
        let is_it =
            |seen: &Sighting| seen.is("AccessReview", INTERP, &self.name) && seen.condition("Counted").is_some();
        stage.watch.sighting(&format!("the status of review {}", self.name), SOON, is_it).await
    }

    /// Checks that it counts, and who counts for which rule.
    async fn counts(&self, stage: &Stage<'_>, say: &Say, places: &[(&str, &[&str])]) -> Result<()> {
        let outcome = self.outcome(stage).await?;
        ensure!(outcome.is_true("Counted"), "review {} does not count: {}", self.name, message(&outcome, "Counted"));
        let wanted: Vec<(&str, BTreeSet<&str>)> =
            places.iter().map(|(rule, people)| (*rule, people.iter().copied().collect())).collect();
        let what = format!("the places of {} to be {wanted:?}", self.grant);
        let seen = stage
            .watch
            .sighting(&what, SOON, |seen| seen.is("StorageAccessGrant", INTERP, &self.grant) && seats(seen) == wanted)
            .await?;
        let written = places.iter().map(|(rule, people)| {
            format!("{rule}: {}", if people.is_empty() { "nobody yet".to_owned() } else { people.join(", ") })
        });
        say.seen(since(self.asked, seen.at), &written.collect::<Vec<_>>().join("; "));
        Ok(())
    }
}

/// Who counts for which rule.
fn seats(seen: &Sighting) -> Vec<(&str, BTreeSet<&str>)> {
    let rules = seen.field("/status/approvals").and_then(Value::as_array).into_iter().flatten();
    rules
        .map(|rule| {
            let people = rule["approvedBy"].as_array().into_iter().flatten().filter_map(Value::as_str);
            (rule["rule"].as_str().unwrap_or_default(), people.collect())
        })
        .collect()
}

fn message(seen: &Sighting, condition: &str) -> String {
    let message = seen.condition(condition).map(|found| found["message"].clone());
    message.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Person {
    /// Reads a request, and reviews what was read, by a file of the examples.
    async fn reviews(&self, say: &Say, does: &str, file: &str) -> Result<Given> {
        say.act(self.name, does, Some(file));
        let mut review: DynamicObject = examples::load(file)?.into_iter().next().context("the file is empty")?;
        let named = review.data["spec"]["requestRef"].clone();
        let (kind, grant) = (named["kind"].as_str().unwrap_or_default(), named["name"].as_str().unwrap_or_default());
        let request: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": grant, "namespace": INTERP},
        }))?;
        let read = examples::api(&self.client, &request).await?.get(grant).await?;
        review.data["spec"]["requestRef"]["uid"] = json!(read.metadata.uid);
        review.data["spec"]["digest"] = read.data["status"]["digest"].clone();
        let asked = Timestamp::now();
        let api = examples::api(&self.client, &review).await?;
        api.create(&PostParams::default(), &review)
            .await
            .with_context(|| format!("{} cannot review {kind} {grant}", self.name))?;
        Ok(Given { asked, name: review.name_any(), grant: grant.to_owned() })
    }
}
