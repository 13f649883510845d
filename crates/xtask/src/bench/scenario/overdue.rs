//! (h): many grants ended while no operator was there.

use super::Bench;
use crate::bench::{
    fixture::GRANTS_PER_NAMESPACE,
    outcome::{Goal, Meter, Outcome},
    people::names,
    scenario::expiry::{ask, bindings, gone, open, until_active, whole_second},
    site::PATIENCE,
};
use crate::operator::Operator;
use anyhow::{Result, ensure};
use jiff::Timestamp;
use std::time::{Duration, Instant};

/// The outcome.
///
/// # Errors
///
/// Something does not work.
pub async fn run(bench: &Bench) -> Result<Outcome> {
    let names = names(bench.scaled(1000).div_ceil(GRANTS_PER_NAMESPACE));
    let site = bench.site().await?;
    let wanted = bindings(&names);
    let began = Instant::now();
    let operator = open(&site, &names).await?;
    let end = whole_second(Timestamp::now() + Duration::from_secs(10) + began.elapsed() * 4)?;
    ask(&site, &names, end).await?;
    until_active(&operator, wanted.len(), end).await?;
    site.until_quiet(&operator).await?;
    site.stop_operator(operator).await?;
    let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
    tokio::time::sleep(left + Duration::from_secs(1)).await;

    let mut watch = site.watch_grant_bindings().await?;
    let meter = Meter::begin(&site, None)?;
    let from = wanted.iter().map(|key| (key.clone(), meter.began())).collect();
    let mut operator = site.spawn_operator().await?;
    let started = Instant::now();
    let until = watch.all(wanted.clone(), PATIENCE, gone).await?;
    let over = until_over(&mut operator, wanted.len(), started).await?;
    let mut side = meter.end(Some(&operator), &from, &until).await?;
    side.more.insert("all_confirmed_seconds", over.as_secs_f64());
    let notes = site.complaints();
    site.stop_operator(operator).await?;
    site.close().await?;
    let title = format!("start with {} grants that ended before, until their bindings are gone", wanted.len());
    let mut outcome = Outcome::of(&title, side, None);
    outcome.notes.extend(notes);
    outcome.goals.push(Goal::at_most("all revoked, s", 10.0, over.as_secs_f64()));
    Ok(outcome)
}

/// Waits until every grant is confirmed to be over, and says how long that took from the start.
async fn until_over(operator: &mut Operator, count: usize, started: Instant) -> Result<Duration> {
    operator.wait_until_ready().await?;
    while operator.metric("cloister_grants", "phase=\"Expired\"").await? < count as f64 {
        ensure!(started.elapsed() < PATIENCE, "not all grants are over; {}", operator.log_end());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(started.elapsed())
}
