//! (g): many requests are approved at the same moment.

use super::{Bench, stand};
use crate::bench::{
    fixture::{self, GRANTS_PER_NAMESPACE},
    outcome::{Goal, Meter, Outcome, Side},
    people::{PEOPLE, names},
    plans,
    raw::Raw,
    scenario::expiry::{ask_for, bindings},
    site::{PATIENCE, Site},
    watch::Sighting,
};
use anyhow::{Result, ensure};
use cloister_api::{AccessReview, StorageAccessGrant};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, ResourceExt,
    api::{ListParams, PostParams},
};
use std::{collections::HashMap, sync::Arc, time::Instant};
use tokio::sync::mpsc;

/// The outcome.
///
/// # Errors
///
/// Something does not work.
pub async fn run(bench: &Bench) -> Result<Outcome> {
    let names = names(bench.scaled(200).div_ceil(GRANTS_PER_NAMESPACE));
    let (operator, notes) = operator_side(bench, &names).await?;
    let raw = raw_side(bench, &names).await?;
    let title = format!("{} requests are approved at once, until they are bound", names.len() * GRANTS_PER_NAMESPACE);
    let mut outcome = Outcome::of(&title, operator, Some(raw));
    outcome.notes.extend(notes);
    if let Some(latency) = &outcome.operator.latency {
        outcome.goals.push(Goal::at_most("p99 from review to binding, ms", 250.0, latency.p99));
    }
    if let Some(p99) = outcome.ratio.as_ref().and_then(|ratio| ratio.p99) {
        outcome.goals.push(Goal::at_most("p99 over that of the same two writes in a row", 1.5, p99));
    }
    Ok(outcome)
}

async fn operator_side(bench: &Bench, names: &[String]) -> Result<(Side, Vec<String>)> {
    let site = bench.site().await?;
    let wanted = bindings(names);
    let operator = open(&site, names).await?;
    let requests = requests(&site, names).await?;
    let mut watch = site.watch_grant_bindings().await?;
    let meter = Meter::begin(&site, Some(&operator))?;
    let from = approve(&site, &requests, |_, _| {});
    let (from, until) = futures::try_join!(from, watch.all(wanted, PATIENCE, stands))?;
    let side = meter.end(Some(&operator), &from, &until).await?;
    let notes = site.complaints();
    site.stop_operator(operator).await?;
    site.close().await?;
    Ok((side, notes))
}

async fn raw_side(bench: &Bench, names: &[String]) -> Result<Side> {
    let site = bench.site().await?;
    let wanted = bindings(names);
    let operator = open(&site, names).await?;
    let requests = requests(&site, names).await?;
    site.until_quiet(&operator).await?;
    site.stop_operator(operator).await?;

    let raw = Arc::new(site.raw().await?);
    raw.warm_up().await?;
    let known = Arc::new(plans::Known::read(&site.admin, fixture::COURT).await?);
    let mut watch = site.watch_grant_bindings().await?;
    let meter = Meter::begin(&site, None)?;
    // One that fails ends the benchmark; the bindings would be waited for in vain.
    let (failure, mut failures) = mpsc::unbounded_channel();
    let from = approve(&site, &requests, |request, review| {
        let (raw, known, request, failure) = (raw.clone(), known.clone(), request.clone(), failure.clone());
        tokio::spawn(async move {
            if let Err(error) = open_in_a_row(&raw, &known, request, &review).await {
                // Nobody listens any more where the first has ended it already.
                let _ = failure.send(error);
            }
        });
    });
    let done = async { futures::try_join!(from, watch.all(wanted, PATIENCE, stands)) };
    let (from, until) = tokio::select! {
        done = done => done?,
        Some(error) = failures.recv() => return Err(error),
    };
    let side = meter.end(None, &from, &until).await?;
    site.close().await?;
    Ok(side)
}

/// Writes who approved a request and when its grant ends, and then the binding, which must not stand before. The status is
/// planned here and not before the clock runs: it names the review.
async fn open_in_a_row(
    raw: &Raw,
    known: &plans::Known,
    request: StorageAccessGrant,
    review: &AccessReview,
) -> Result<()> {
    let namespace = request.namespace().unwrap_or_default();
    let (status, binding) = (known.approved(&request, review)?, fixture::binding(&request)?);
    let target = plans::grant_target(&raw.client(), request);
    raw.status(&target, &status).await?;
    raw.post(&namespace, &binding).await
}

/// Makes the namespaces and the catalogue, starts the operator, and asks.
async fn open(site: &Site, names: &[String]) -> Result<crate::operator::Operator> {
    stand(site, names).await?;
    fixture::write_court(&site.admin).await?;
    let operator = site.start_operator().await?;
    ask_for(site, names, fixture::request).await?;
    site.until_quiet(&operator).await?;
    Ok(operator)
}

/// The requests, with what an approval must name.
async fn requests(site: &Site, names: &[String]) -> Result<Vec<StorageAccessGrant>> {
    let all = Api::<StorageAccessGrant>::all(site.admin.clone()).list(&ListParams::default()).await?.items;
    ensure!(all.len() == names.len() * GRANTS_PER_NAMESPACE, "there are {} requests", all.len());
    Ok(all)
}

/// Approves all of them, as many at a time as there are people, and says when the API server answered.
async fn approve(
    site: &Site,
    requests: &[StorageAccessGrant],
    mut approved: impl FnMut(&StorageAccessGrant, AccessReview),
) -> Result<HashMap<String, Instant>> {
    let sam = site.cluster.client_for("sam", &["security", "system:masters"]).await?;
    // The connections are there before the clocks run.
    let all: Api<AccessReview> = Api::all(sam.clone());
    let one = ListParams::default().limit(1);
    futures::future::try_join_all((0..PEOPLE).map(|_| all.list(&one))).await?;
    let mut reviews = stream::iter(requests)
        .map(|request| {
            let namespace = request.namespace().unwrap_or_default();
            let api: Api<AccessReview> = Api::namespaced(sam.clone(), &namespace);
            async move {
                let review = api.create(&PostParams::default(), &fixture::approval(request)?).await?;
                let key = format!("{namespace}/cloister-grant.{}", request.name_any());
                anyhow::Ok((request, review, key, Instant::now()))
            }
        })
        .buffer_unordered(PEOPLE);
    let mut from = HashMap::new();
    while let Some((request, review, key, at)) = reviews.try_next().await? {
        approved(request, review);
        from.insert(key, at);
    }
    Ok(from)
}

fn stands(sighting: &Sighting) -> Option<String> {
    let name = sighting.metadata.name.as_deref().unwrap_or_default();
    (!sighting.gone).then(|| format!("{}/{name}", sighting.place))
}
