//! (n): grants end while many namespaces are made.

use super::{Bench, stand};
use crate::bench::{
    fixture::{self, GRANTS_PER_NAMESPACE},
    outcome::{Goal, Meter, Outcome},
    people::{declare_all, names},
    scenario::expiry::{ask_for, bindings, gone, until_active, whole_second},
    site::PATIENCE,
    watch::Watch,
};
use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Over how many seconds the ends are spread.
const SECONDS: usize = 10;

/// The outcome.
///
/// # Errors
///
/// Something does not work.
pub async fn run(bench: &Bench) -> Result<Outcome> {
    let (ends, made) = (bench.scaled(100), bench.scaled(500));
    let homes: Vec<String> = (0..ends.div_ceil(GRANTS_PER_NAMESPACE)).map(|at| format!("home-{at}")).collect();
    let site = bench.site().await?;
    stand(&site, &homes).await?;
    fixture::write_storage(&site.admin).await?;
    let operator = site.start_operator().await?;
    let first = whole_second(Timestamp::now() + Duration::from_secs(10).mul_f64(1.0 + bench.scale))?;
    let home = |name: &str| homes.iter().position(|home| home == name).unwrap_or_default();
    let end = |name: &str, at: usize| {
        let second = (home(name) * GRANTS_PER_NAMESPACE + at) % SECONDS;
        first + SignedDuration::from_secs(i64::try_from(second).unwrap_or_default())
    };
    ask_for(&site, &homes, |name, at| fixture::grant(name, at, end(name, at))).await?;
    let wanted = bindings(&homes);
    until_active(&operator, wanted.len(), first).await?;
    site.until_quiet(&operator).await?;
    let ends = homes.iter().flat_map(|name| (0..GRANTS_PER_NAMESPACE).map(move |at| (name, at)));
    let ends = ends.map(|(name, at)| {
        let key = format!("{name}/cloister-grant.{}", fixture::grant_name(at));
        (key, end(name, at))
    });
    let ends: HashMap<String, Timestamp> = ends.collect();
    let watch = site.watch_grant_bindings().await?;
    let mut enforced = site.watch_enforced().await?;
    let left = Duration::try_from(first.duration_since(Timestamp::now())).unwrap_or_default();
    tokio::time::sleep(left.saturating_sub(Duration::from_secs(1))).await;
    let meter = Meter::begin(&site, Some(&operator))?;
    let declared = names(made);
    let namespaces = async {
        declare_all(&site, &declared, |_| {}).await?;
        let place = |sighting: &crate::bench::watch::Sighting| (!sighting.gone).then(|| sighting.place.clone());
        let seen = enforced.all(declared.iter().cloned().collect(), PATIENCE, place).await?;
        anyhow::Ok(seen.into_values().max().unwrap_or_else(Instant::now))
    };
    let (lags, last) = futures::try_join!(Lags::seen(watch, ends), namespaces)?;
    let during = lags.until.values().filter(|at| **at <= last).count();
    let mut side = meter.end(Some(&operator), &lags.from, &lags.until).await?;
    side.more.insert("ended_before_the_last_namespace_was_enforced", during as f64);
    let title =
        format!("{} grants end while {made} namespaces are made, until their bindings are gone", lags.until.len());
    let notes = site.complaints();
    site.stop_operator(operator).await?;
    site.close().await?;
    let mut outcome = Outcome::of(&title, side, None);
    outcome.notes.extend(notes);
    if let Some(latency) = outcome.operator.latency {
        outcome.goals.push(Goal::at_most("p99 from the end until the binding is gone, ms", 1000.0, latency.p99));
    }
    Ok(outcome)
}

/// How late grants ended: when each was to, and when its binding was seen to be gone.
pub struct Lags {
    /// When each was to end.
    pub from: HashMap<String, Instant>,
    /// When it was seen to be gone.
    pub until: HashMap<String, Instant>,
}

impl Lags {
    /// Waits until the bindings of these grants are gone.
    ///
    /// # Errors
    ///
    /// They are not in time.
    pub async fn seen(mut watch: Watch, ends: HashMap<String, Timestamp>) -> Result<Self> {
        let (now, instant) = (Timestamp::now(), Instant::now());
        let at = |end: Timestamp| instant + Duration::try_from(end.duration_since(now)).unwrap_or_default();
        let from: HashMap<String, Instant> = ends.iter().map(|(key, end)| (key.clone(), at(*end))).collect();
        let last = from.values().max().copied().unwrap_or(instant);
        let patience = last.saturating_duration_since(instant) + PATIENCE;
        let until = watch.all(from.keys().cloned().collect(), patience, gone).await?;
        Ok(Lags { from, until })
    }

    /// The median, in seconds.
    pub fn median(&self) -> f64 {
        let late = |(key, at): (&String, &Instant)| Some(at.saturating_duration_since(*self.from.get(key)?));
        let mut all: Vec<Duration> = self.until.iter().filter_map(late).collect();
        all.sort();
        all.get(all.len() / 2).map_or(0.0, Duration::as_secs_f64)
    }
}
