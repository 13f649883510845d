//! What a scenario found out.

use super::{
    audit::{Mark, Writes},
    process::{self, Memory},
    site::Site,
    stats::Spread,
};
use crate::operator::Operator;
use anyhow::Result;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

/// The share of the machine that others may use before it is said that the figures suffer.
const BUSY: f64 = 0.1;

/// One side of a scenario: the operator, or the raw loop.
#[derive(Debug, Serialize)]
pub struct Side {
    /// How many objects it was about.
    pub objects: usize,
    /// From the first of them to the last, in seconds.
    pub seconds: f64,
    /// Objects per second.
    pub per_second: f64,
    /// How long each took, in milliseconds.
    pub latency: Option<Spread>,
    /// All writes.
    pub writes: u64,
    /// The writes for each object.
    pub writes_per_object: f64,
    /// The writes, by verb and resource.
    pub writes_by_kind: BTreeMap<String, u64>,
    /// Those of the writes that the API server refused, by verb, resource and status code.
    pub refused: BTreeMap<String, u64>,
    /// The operator's memory, in MiB.
    pub memory: Option<Memory>,
    /// The operator's CPU time, in seconds.
    pub cpu_seconds: Option<f64>,
    /// The CPU time of the whole control plane meanwhile, in seconds.
    pub cluster_cpu_seconds: f64,
    /// The share of the machine that other programs used meanwhile: 0 is none of it, 1 all of it.
    pub others: f64,
    /// Figures of this scenario alone.
    #[serde(flatten)]
    pub more: BTreeMap<&'static str, f64>,
}

/// Both sides of a scenario.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// What it was, in a few words.
    pub title: String,
    /// The operator.
    pub operator: Side,
    /// The raw loop.
    pub raw: Option<Side>,
    /// The operator's figures over the raw loop's.
    pub ratio: Option<Ratio>,
    /// The figures that count, and whether they are good enough.
    pub goals: Vec<Goal>,
    /// What should be looked at.
    pub notes: Vec<String>,
}

/// The operator's figures over the raw loop's.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ratio {
    /// Of the objects per second: more is better.
    pub throughput: f64,
    /// Of the median latency: less is better.
    pub p50: Option<f64>,
    /// Of the 99th percentile of the latency: less is better.
    pub p99: Option<f64>,
    /// Of the longest latency: less is better.
    pub max: Option<f64>,
    /// Of the writes.
    pub writes: f64,
}

/// A figure that counts.
#[derive(Debug, Serialize)]
pub struct Goal {
    /// What it is.
    pub what: &'static str,
    /// What it should be.
    pub wanted: String,
    /// What it is.
    pub value: f64,
    /// Whether it is as it should be.
    pub met: bool,
}

impl Goal {
    /// It should be at least so much.
    pub fn at_least(what: &'static str, least: f64, value: f64) -> Self {
        Goal { what, wanted: format!(">= {least}"), value, met: value >= least }
    }

    /// It should be at most so much.
    pub fn at_most(what: &'static str, most: f64, value: f64) -> Self {
        Goal { what, wanted: format!("<= {most}"), value, met: value <= most }
    }
}

impl Outcome {
    /// The outcome of two sides; what differs between them although it should not is noted.
    pub fn of(title: &str, operator: Side, raw: Option<Side>) -> Self {
        let mut notes = Vec::new();
        for (who, side) in [("operator", Some(&operator)), ("raw loop", raw.as_ref())] {
            if let Some(others) = side.map(|side| side.others).filter(|others| *others > BUSY) {
                let percent = others * 100.0;
                notes.push(format!(
                    "{who}: other programs used {percent:.0} % of the machine; measure again when it is quiet"
                ));
            }
            for (what, count) in side.into_iter().flat_map(|side| &side.refused) {
                notes.push(format!("{who}: refused {count} times: {what}"));
            }
        }
        if let Some(raw) = &raw {
            notes.extend(difference(&operator.writes_by_kind, &raw.writes_by_kind));
        }
        let ratio = raw.as_ref().map(|raw| Ratio::of(&operator, raw));
        Outcome { title: title.to_owned(), operator, raw, ratio, goals: Vec::new(), notes }
    }
}

impl Ratio {
    fn of(operator: &Side, raw: &Side) -> Self {
        let of = |figure: fn(Spread) -> f64| Some(figure(operator.latency?) / figure(raw.latency?));
        Ratio {
            throughput: operator.per_second / raw.per_second,
            p50: of(|spread| spread.p50),
            p99: of(|spread| spread.p99),
            max: of(|spread| spread.max),
            writes: operator.writes as f64 / raw.writes as f64,
        }
    }
}

fn difference(operator: &BTreeMap<String, u64>, raw: &BTreeMap<String, u64>) -> Option<String> {
    let keys: std::collections::BTreeSet<&String> = operator.keys().chain(raw.keys()).collect();
    let count = |of: &BTreeMap<String, u64>, key: &String| of.get(key).copied().unwrap_or(0);
    let differing: Vec<String> = keys
        .into_iter()
        .filter(|key| count(operator, key) != count(raw, key))
        .map(|key| format!("{key} {} and {}", count(operator, key), count(raw, key)))
        .collect();
    (!differing.is_empty())
        .then(|| format!("writes of the operator and of the raw loop differ: {}", differing.join(", ")))
}

/// Measures one side.
pub struct Meter<'a> {
    site: &'a Site,
    mark: Mark,
    cluster_cpu: f64,
    operator_cpu: f64,
    others: f64,
    began: Instant,
}

impl<'a> Meter<'a> {
    /// Begins. The operator, where there is one already, counts from now on.
    ///
    /// # Errors
    ///
    /// Something cannot be read.
    pub fn begin(site: &'a Site, operator: Option<&Operator>) -> Result<Self> {
        Ok(Meter {
            site,
            mark: site.audit.mark()?,
            cluster_cpu: cluster_cpu(site)?,
            operator_cpu: operator.map_or(Ok(0.0), |operator| process::cpu_seconds(operator.pid()))?,
            others: others_cpu()?,
            began: Instant::now(),
        })
    }

    /// When it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// The writes so far.
    ///
    /// # Errors
    ///
    /// The audit log cannot be read.
    pub fn writes(&self) -> Result<Writes> {
        self.site.writes(self.mark)
    }

    /// What was measured: when each object began, and when it was done. The operator is quiet by now.
    ///
    /// # Errors
    ///
    /// Something cannot be read.
    pub async fn end(
        self,
        operator: Option<&Operator>,
        from: &HashMap<String, Instant>,
        until: &HashMap<String, Instant>,
    ) -> Result<Side> {
        // For both sides the work is over only when the last status is written.
        if let Some(operator) = operator {
            self.site.until_quiet(operator).await?;
        }
        let cluster_cpu_seconds = cluster_cpu(self.site)? - self.cluster_cpu;
        let machine = self.began.elapsed().as_secs_f64() * std::thread::available_parallelism()?.get() as f64;
        let others = ((others_cpu()? - self.others) / machine).max(0.0);
        let first = from.values().min().copied().unwrap_or(self.began);
        let last = until.values().max().copied().unwrap_or(self.began);
        let took: Vec<Duration> =
            until.iter().filter_map(|(key, at)| Some(at.saturating_duration_since(*from.get(key)?))).collect();
        let (objects, seconds) = (until.len(), last.saturating_duration_since(first).as_secs_f64());
        let writes = self.writes()?;
        let pid = operator.map(Operator::pid);
        Ok(Side {
            objects,
            seconds,
            per_second: objects as f64 / seconds,
            latency: Spread::of(took),
            writes: writes.total(),
            writes_per_object: writes.total() as f64 / objects.max(1) as f64,
            writes_by_kind: writes.by_kind,
            refused: writes.refused,
            memory: pid.map(process::memory).transpose()?,
            cpu_seconds: pid.map(process::cpu_seconds).transpose()?.map(|seconds| seconds - self.operator_cpu),
            cluster_cpu_seconds,
            others,
            more: BTreeMap::new(),
        })
    }
}

fn cluster_cpu(site: &Site) -> Result<f64> {
    site.cluster.pid().map_or(Ok(0.0), process::family_cpu_seconds)
}

/// The CPU time of everything on the machine that does not belong to the benchmark.
fn others_cpu() -> Result<f64> {
    Ok(process::machine_cpu_seconds()? - process::family_cpu_seconds(std::process::id())?)
}
