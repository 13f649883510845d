//! (l): a cluster full of pods of others, and pods that change all the time.

use super::{Bench, stand};
use crate::bench::{
    outcome::{Goal, Meter, Outcome},
    people::{PEOPLE, names},
    site::Site,
};
use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// How many changes there are in a second.
const CHANGES: usize = 200;

/// How many pods a namespace has.
const PER_NAMESPACE: usize = 500;

/// The outcome.
///
/// # Errors
///
/// Something does not work.
pub async fn run(bench: &Bench) -> Result<Outcome> {
    let (elsewhere, here) = (bench.scaled(50_000), bench.scaled(5_000));
    let seconds = bench.scaled(30).max(5);
    let site = bench.site().await?;
    let research = names(here.div_ceil(PER_NAMESPACE));
    stand(&site, &research).await?;
    let others: Vec<String> = (0..elsewhere.div_ceil(PER_NAMESPACE)).map(|at| format!("app-{at}")).collect();
    for name in &others {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::all(site.admin.clone()).create(&PostParams::default(), &namespace).await?;
    }
    let places = |names: &[String], count: usize| {
        let place = |at: usize| (names[at % names.len()].clone(), format!("pod-{at}"));
        (0..count).map(place).collect::<Vec<_>>()
    };
    let all: Vec<(String, String)> = [places(&others, elsewhere), places(&research, here)].concat();
    make(&site.admin, &all).await?;

    let operator = site.start_operator().await?;
    let meter = Meter::begin(&site, Some(&operator))?;
    let began = Instant::now();
    let (from, until) = change(&site, &all, seconds).await?;
    let took = began.elapsed().as_secs_f64();
    let mut side = meter.end(Some(&operator), &from, &until).await?;
    let share = side.cpu_seconds.unwrap_or_default() / took;
    side.more.insert("share_of_one_core", share);
    let peak = side.memory.map(|memory| memory.peak);
    let title =
        format!("{elsewhere} pods in other namespaces and {here} in research namespaces, {CHANGES} changes a second");
    let notes = site.complaints();
    site.stop_operator(operator).await?;
    site.close().await?;
    let mut outcome = Outcome::of(&title, side, None);
    outcome.notes.extend(notes);
    outcome.goals.push(Goal::at_most("the operator's share of one core", 0.1, share));
    outcome.goals.extend(peak.map(|peak| Goal::at_most("peak of its memory, MiB", 96.0, peak)));
    Ok(outcome)
}

/// A pod that the restricted Pod Security Standard admits, and that nobody schedules.
fn pod(name: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {
            "schedulerName": "nobody",
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": "example.com/none",
                "env": (0..8).map(|at| json!({"name": format!("V{at}"), "value": "x".repeat(100)})).collect::<Vec<_>>(),
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"memory": "1Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    }))?)
}

async fn make(client: &Client, places: &[(String, String)]) -> Result<()> {
    let create = |(namespace, name): &(String, String)| {
        let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let pod = pod(name);
        async move {
            api.create(&PostParams::default(), &pod?).await?;
            anyhow::Ok(())
        }
    };
    stream::iter(places).map(create).buffer_unordered(PEOPLE).try_collect().await
}

/// Changes pods, one after the other, and says when each change was asked for and answered.
async fn change(
    site: &Site,
    all: &[(String, String)],
    seconds: usize,
) -> Result<(HashMap<String, Instant>, HashMap<String, Instant>)> {
    let (mut from, mut until) = (HashMap::new(), HashMap::new());
    let mut each = interval(Duration::from_secs(1));
    each.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for second in 0..seconds {
        each.tick().await;
        let patch = |number: usize| {
            // A prime, so that the pods of all namespaces take their turns.
            let (namespace, name) = &all[(number * 7919) % all.len()];
            let api: Api<Pod> = Api::namespaced(site.admin.clone(), namespace);
            let (asked, key) = (Instant::now(), number.to_string());
            async move {
                let change = json!({"metadata": {"annotations": {"bench.example/number": key}}});
                api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
                anyhow::Ok((key, asked, Instant::now()))
            }
        };
        let numbers = second * CHANGES..(second + 1) * CHANGES;
        let mut changes = stream::iter(numbers).map(patch).buffer_unordered(PEOPLE);
        while let Some((key, asked, answered)) = changes.try_next().await? {
            from.insert(key.clone(), asked);
            until.insert(key, answered);
        }
    }
    Ok((from, until))
}
