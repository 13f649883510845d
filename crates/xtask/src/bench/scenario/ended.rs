//! (m): many grants that have ended, with their reviews, and what they cost those that end now.

use super::{Bench, stand};
use crate::bench::{
    fixture::{self, GRANTS_PER_NAMESPACE, GROUPS, PERSON},
    outcome::{Goal, Meter, Outcome},
    people::{PEOPLE, names},
    scenario::{
        contended::Lags,
        expiry::{ask_for, until_active, whole_second},
    },
    site::{PATIENCE, Site},
};
use crate::operator::Operator;
use anyhow::{Result, ensure};
use cloister_api::{AccessPolicy, AccessReview, StorageAccessGrant};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::json;
use std::time::{Duration, Instant};

/// How many ended grants each namespace has.
const PER_NAMESPACE: usize = 50;

/// How many reviews each of them has.
const REVIEWS: usize = 4;

/// The outcome.
///
/// # Errors
///
/// Something does not work.
pub async fn run(bench: &Bench) -> Result<Outcome> {
    let count = bench.scaled(5_000).next_multiple_of(PER_NAMESPACE);
    let site = bench.site().await?;
    let full = names(count / PER_NAMESPACE);
    let others = |prefix: &str| (0..8).map(|at| format!("{prefix}-{at}")).collect::<Vec<_>>();
    let (before, after) = (others("before"), others("after"));
    for all in [&full, &before, &after] {
        stand(&site, all).await?;
    }
    fixture::write_storage(&site.admin).await?;
    let operator = site.start_operator().await?;
    let without = lags(&site, &operator, &before, 0).await?;
    refuse(&site, &operator, &full).await?;
    review(&site, &operator, &full).await?;
    site.stop_operator(operator).await?;

    let mut operator = site.spawn_operator().await?;
    let started = Instant::now();
    operator.wait_until_ready().await?;
    let ready = started.elapsed();
    site.until_quiet(&operator).await?;
    let meter = Meter::begin(&site, Some(&operator))?;
    let over = before.len() * GRANTS_PER_NAMESPACE;
    let with = lags(&site, &operator, &after, over).await?;
    let mut side = meter.end(Some(&operator), &with.from, &with.until).await?;
    side.more.insert("start_seconds", ready.as_secs_f64());
    let ratio = with.median() / without.median();
    side.more.insert("median_lag_without_ms", without.median() * 1000.0);
    let memory = side.memory;
    let notes = site.complaints();
    site.stop_operator(operator).await?;
    site.close().await?;
    let title =
        format!("{count} ended grants with {} reviews, and grants of other namespaces that end", count * REVIEWS);
    let mut outcome = Outcome::of(&title, side, None);
    outcome.notes.extend(notes);
    outcome.goals.extend(memory.map(|memory| Goal::at_most("peak of its memory, MiB", 96.0, memory.peak)));
    outcome.goals.push(Goal::at_most("median lag over that without them", 1.2, ratio));
    Ok(outcome)
}

/// Opens grants in these namespaces, and says how late each ended.
async fn lags(site: &Site, operator: &Operator, names: &[String], over: usize) -> Result<Lags> {
    let end = whole_second(Timestamp::now() + Duration::from_secs(20))?;
    ask_for(site, names, |name, at| fixture::grant(name, at, end)).await?;
    let wanted = crate::bench::scenario::expiry::bindings(names);
    until_active(operator, wanted.len(), end).await?;
    let watch = site.watch_grant_bindings().await?;
    let found = Lags::seen(watch, wanted.into_iter().map(|key| (key, end)).collect()).await?;
    let all = over + found.until.len();
    let began = Instant::now();
    while operator.metric("cloister_grants", "phase=\"Expired\"").await? < all as f64 {
        ensure!(began.elapsed() < PATIENCE, "not all grants are over; {}", operator.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(found)
}

/// Asks for what the policy gives nobody.
async fn refuse(site: &Site, operator: &Operator, names: &[String]) -> Result<()> {
    let policy: AccessPolicy = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "nobody"},
        "spec": {"requesters": [{"kind": "Group", "name": "nobody"}], "maxDuration": "1h", "autoApprove": ["true"]},
    }))?;
    Api::all(site.admin.clone()).create(&PostParams::default(), &policy).await?;
    let storage = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageResource", "metadata": {"name": "closed"},
        "spec": {
            "sensitivity": "Low",
            "roles": [{"name": "reader", "accessPolicy": "nobody", "clusterRole": "cloister:storage-reader"}],
        },
    }))?;
    Api::<cloister_api::StorageResource>::all(site.admin.clone()).create(&PostParams::default(), &storage).await?;
    let person = site.cluster.client_for(PERSON, &GROUPS).await?;
    let requests = names.iter().flat_map(|name| (0..PER_NAMESPACE).map(move |at| (name, at)));
    let ask = |(namespace, at): (&String, usize)| {
        let api: Api<StorageAccessGrant> = Api::namespaced(person.clone(), namespace);
        let namespace = namespace.clone();
        async move {
            let grant = serde_json::from_value(json!({
                "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant",
                "metadata": {"name": format!("refused-{at}"), "namespace": namespace},
                "spec": {
                    "storage": "closed", "role": "reader", "justification": "a benchmark of what has ended: ".repeat(8),
                    "subjects": [{"kind": "User", "name": PERSON}],
                },
            }))?;
            api.create(&PostParams::default(), &grant).await?;
            anyhow::Ok(())
        }
    };
    stream::iter(requests).map(ask).buffer_unordered(PEOPLE).try_collect::<()>().await?;
    site.until_quiet(operator).await
}

/// Reviews all of them, too late.
async fn review(site: &Site, operator: &Operator, names: &[String]) -> Result<()> {
    let sam = site.cluster.client_for("sam", &["security", "system:masters"]).await?;
    let reviews = names.iter().map(|name| {
        let (sam, admin) = (sam.clone(), site.admin.clone());
        async move {
            let grants = Api::<StorageAccessGrant>::namespaced(admin, name).list(&ListParams::default()).await?;
            let api: Api<AccessReview> = Api::namespaced(sam, name);
            for grant in grants {
                for number in 0..REVIEWS {
                    let mut review = fixture::approval(&grant)?;
                    review.metadata.name = Some(format!("{}-{number}", grant.name_any()));
                    api.create(&PostParams::default(), &review).await?;
                }
            }
            anyhow::Ok(())
        }
    });
    stream::iter(reviews).buffer_unordered(PEOPLE).try_collect::<()>().await?;
    site.until_quiet(operator).await
}
