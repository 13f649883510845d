//! (c) and (d): the operator starts while namespaces wait for it, and starts again when all of them are as they should be.

use super::{Bench, Loop};
use crate::bench::{
    outcome::{Goal, Meter, Outcome, Side},
    people::{declare_all, names},
    process,
    site::{PATIENCE, Site},
    watch::Sighting,
};
use crate::operator::Operator;
use anyhow::Result;
use cloister_api::ResearchNamespace;
use kube::{Api, api::ListParams};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// How much memory the operator may keep, in MiB.
const MEMORY: f64 = 64.0;

/// Longer than the operator waits before it says anew who uses an allowlist.
const SAID: Duration = Duration::from_secs(7);

/// The outcomes of (c) and of (d), as far as they are asked for.
///
/// # Errors
///
/// Something does not work.
pub async fn run(bench: &Bench, cold: bool, restart: bool) -> Result<(Option<Outcome>, Option<Outcome>)> {
    let names = names(bench.scaled(2000));
    let site = bench.site().await?;
    declare_all(&site, &names, drop).await?;
    let (operator, side) = cold_operator(&site, &names).await?;
    if restart {
        // What there is to say of the allowlists is said a little later; a restart would say it.
        site.until_quiet_for(&operator, SAID).await?;
    }
    site.stop_operator(operator).await?;
    let restarted = if restart { Some(restart_outcome(bench, &site, names.len()).await?) } else { None };
    let complaints = site.complaints();
    site.close().await?;
    if !cold {
        return Ok((None, restarted));
    }
    let raw = cold_raw(bench, &names).await?;
    let title = format!("start with {} namespaces waiting, until they are enforced", names.len());
    let mut outcome = Outcome::of(&title, side, Some(raw));
    outcome.notes.extend(complaints);
    if let Some(ratio) = outcome.ratio {
        outcome.goals.push(Goal::at_least("throughput over the raw loop's", 0.85, ratio.throughput));
    }
    Ok((Some(outcome), restarted))
}

async fn cold_operator(site: &Site, names: &[String]) -> Result<(Operator, Side)> {
    let mut watch = site.watch_enforced().await?;
    let meter = Meter::begin(site, None)?;
    let from = all_at(names, meter.began());
    let operator = site.spawn_operator().await?;
    let until = watch.all(names.iter().cloned().collect(), PATIENCE, enforced).await?;
    let side = meter.end(Some(&operator), &from, &until).await?;
    Ok((operator, side))
}

async fn cold_raw(bench: &Bench, names: &[String]) -> Result<Side> {
    let site = bench.site().await?;
    declare_all(&site, names, drop).await?;
    let mut watch = site.watch_enforced().await?;
    let mut chains = Loop::over(&site, names).await?;
    let meter = Meter::begin(&site, None)?;
    let from = all_at(names, meter.began());
    let waiting: Api<ResearchNamespace> = Api::all(chains.raw.client());
    for declared in waiting.list(&ListParams::default()).await? {
        chains.start(declared);
    }
    let until = watch.all(names.iter().cloned().collect(), PATIENCE, enforced);
    let (until, ()) = futures::try_join!(until, chains.done())?;
    let side = meter.end(None, &from, &until).await?;
    site.close().await?;
    Ok(side)
}

fn enforced(sighting: &Sighting) -> Option<String> {
    (!sighting.gone).then(|| sighting.place.clone())
}

fn all_at(names: &[String], at: Instant) -> HashMap<String, Instant> {
    names.iter().map(|name| (name.clone(), at)).collect()
}

async fn restart_outcome(bench: &Bench, site: &Site, objects: usize) -> Result<Outcome> {
    let meter = Meter::begin(site, None)?;
    let began = meter.began();
    let mut operator = site.spawn_operator().await?;
    operator.wait_until_ready().await?;
    let ready = began.elapsed().as_secs_f64();
    site.until_quiet(&operator).await?;
    let at_restart = meter.writes()?;

    let idle = site.audit.mark()?;
    let cpu = process::cpu_seconds(operator.pid())?;
    tokio::time::sleep(bench.idle).await;
    let idle_cpu = process::cpu_seconds(operator.pid())? - cpu;
    let idle = site.writes(idle)?;

    let mut side = meter.end(Some(&operator), &HashMap::new(), &HashMap::new()).await?;
    site.stop_operator(operator).await?;
    (side.objects, side.seconds, side.per_second) = (objects, ready, objects as f64 / ready);
    side.writes_per_object = side.writes as f64 / objects as f64;
    side.more = BTreeMap::from([
        ("ready_seconds", ready),
        ("writes_at_restart", at_restart.total() as f64),
        ("idle_seconds", bench.idle.as_secs_f64()),
        ("writes_while_idle", idle.total() as f64),
        ("idle_cpu_seconds", idle_cpu),
    ]);
    let settled = side.memory.map_or(f64::INFINITY, |memory| memory.settled);
    let title = format!("start again with {objects} enforced, then {} s idle", bench.idle.as_secs());
    let mut outcome = Outcome::of(&title, side, None);
    for (when, writes) in [("at restart", &at_restart), ("while idle", &idle)] {
        if writes.total() > 0 {
            outcome.notes.push(format!("written {when}: {}", writes.describe()));
        }
    }
    outcome.goals = vec![
        Goal::at_most("writes at restart", 0.0, at_restart.total() as f64),
        Goal::at_most("writes while idle", 0.0, idle.total() as f64),
        Goal::at_most("settled memory in MiB", MEMORY, settled),
    ];
    Ok(outcome)
}
