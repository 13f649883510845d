//! (a) and (b): namespaces are declared while the operator runs, one a second or all at once.

use super::{Bench, Loop};
use crate::bench::{
    outcome::{Goal, Meter, Outcome, Side},
    people::{declare, declare_all, names},
    site::{PATIENCE, Site},
    watch::Watch,
};
use anyhow::Result;
use cloister_api::ResearchNamespace;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// (a): one a second; from the declaration until the deny policy stands.
///
/// # Errors
///
/// Something does not work.
pub async fn one_by_one(bench: &Bench) -> Result<Outcome> {
    let names = names(bench.scaled(100));
    let operator = measure(bench, &names, Pace::OneASecond, Who::Operator).await?;
    let raw = measure(bench, &names, Pace::OneASecond, Who::Raw).await?;
    let title = format!("{} namespaces, one a second, until the deny policy stands", names.len());
    let mut outcome = Outcome::of(&title, operator, Some(raw));
    if let Some(p99) = outcome.ratio.and_then(|ratio| ratio.p99) {
        outcome.goals.push(Goal::at_most("p99 over the raw loop's", 1.5, p99));
    }
    Ok(outcome)
}

/// (b): a burst; from the first declaration until the last namespace is enforced.
///
/// # Errors
///
/// Something does not work.
pub async fn burst(bench: &Bench) -> Result<Outcome> {
    let names = names(bench.scaled(500));
    let operator = measure(bench, &names, Pace::AllAtOnce, Who::Operator).await?;
    let raw = measure(bench, &names, Pace::AllAtOnce, Who::Raw).await?;
    let title = format!("{} namespaces at once, until they are enforced", names.len());
    let mut outcome = Outcome::of(&title, operator, Some(raw));
    if let Some(ratio) = outcome.ratio {
        outcome.goals.push(Goal::at_least("throughput over the raw loop's", 0.85, ratio.throughput));
    }
    Ok(outcome)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    OneASecond,
    AllAtOnce,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Operator,
    Raw,
}

async fn measure(bench: &Bench, names: &[String], pace: Pace, who: Who) -> Result<Side> {
    let site = bench.site().await?;
    let operator = if who == Who::Operator { Some(site.start_operator().await?) } else { None };
    let mut chains = if who == Who::Raw { Some(Loop::over(&site, names).await?) } else { None };
    let mut watch: Watch = match pace {
        Pace::OneASecond => site.watch_denied().await?,
        Pace::AllAtOnce => site.watch_enforced().await?,
    };
    let meter = Meter::begin(&site, operator.as_ref())?;
    let start = |declared: ResearchNamespace| {
        if let Some(chains) = &mut chains {
            chains.start(declared);
        }
    };
    let from = match pace {
        Pace::OneASecond => each_second(&site, names, start).await?,
        Pace::AllAtOnce => declare_all(&site, names, start).await?,
    };
    let place = |sighting: &crate::bench::watch::Sighting| (!sighting.gone).then(|| sighting.place.clone());
    let until = watch.all(names.iter().cloned().collect(), PATIENCE, place);
    let written = async {
        match chains {
            Some(chains) => chains.done().await,
            None => Ok(()),
        }
    };
    // What the raw loop could not write ends the wait at once.
    let (until, ()) = futures::try_join!(until, written)?;
    let side = meter.end(operator.as_ref(), &from, &until).await?;
    if let Some(operator) = operator {
        site.stop_operator(operator).await?;
    }
    site.close().await?;
    Ok(side)
}

async fn each_second(
    site: &Site,
    names: &[String],
    mut then: impl FnMut(ResearchNamespace),
) -> Result<HashMap<String, Instant>> {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut at = HashMap::with_capacity(names.len());
    for name in names {
        seconds.tick().await;
        let declared = declare(&site.admin, name).await?;
        at.insert(name.clone(), declared.at);
        then(declared.object);
    }
    Ok(at)
}
