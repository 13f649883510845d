//! What a process uses, from `/proc`.

use anyhow::{Context, Result};
use serde::Serialize;
use std::{collections::BTreeMap, fs};

/// The memory of a process, in MiB.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Resident at the end (VmRSS).
    pub settled: f64,
    /// Resident at the end, with shared pages counted in part (Pss).
    pub settled_pss: f64,
    /// The most that was ever resident (VmHWM).
    pub peak: f64,
}

/// The memory of a process now.
///
/// # Errors
///
/// There is no such process.
pub fn memory(pid: u32) -> Result<Memory> {
    let status = read(pid, "status")?;
    let rollup = read(pid, "smaps_rollup")?;
    Ok(Memory {
        settled: mebibytes(&status, "VmRSS:")?,
        settled_pss: mebibytes(&rollup, "Pss:")?,
        peak: mebibytes(&status, "VmHWM:")?,
    })
}

/// The CPU time of a process so far, in seconds.
///
/// # Errors
///
/// There is no such process.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    times(pid).map(|times| times.seconds)
}

/// The CPU time so far of a process and of all that descend from it, in seconds.
///
/// # Errors
///
/// There are no processes to see.
pub fn family_cpu_seconds(pid: u32) -> Result<f64> {
    let pids = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // One that has ended meanwhile counts for nothing.
    let all: BTreeMap<u32, Times> = pids.filter_map(|pid| Some((pid, times(pid).ok()?))).collect();
    let belongs = |mut one: u32| loop {
        match all.get(&one) {
            _ if one == pid => return true,
            Some(times) => one = times.parent,
            None => return false,
        }
    };
    Ok(all.iter().filter(|(one, _)| belongs(**one)).map(|(_, times)| times.seconds).sum())
}

/// The CPU time of all processes of the machine so far, in seconds.
///
/// # Errors
///
/// `/proc` has another form than expected.
pub fn machine_cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().context("/proc/stat is empty")?.split_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal; time for guests counts as user time already.
    let ticks = fields.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    let ticks = ticks.map(|(_, text)| text.parse::<f64>()).sum::<Result<f64, _>>()?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

struct Times {
    parent: u32,
    seconds: f64,
}

fn times(pid: u32) -> Result<Times> {
    let stat = read(pid, "stat")?;
    // The name comes second, in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("/proc has another form than expected")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field =
        |at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok()).context("a field of stat is missing");
    let ticks = f64::from(field(11)?) + f64::from(field(12)?);
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Times { parent: field(1)?, seconds: ticks / per_second as f64 })
}

fn mebibytes(text: &str, key: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("/proc says no {key}"))?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes / 1024.0)
}

fn read(pid: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("cannot read {file} of process {pid}"))
}
