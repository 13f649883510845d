//! The table, and the JSON.

use super::outcome::{Outcome, Side};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Write, path::Path};

/// The outcomes, by the scenarios' letters.
pub type Outcomes = BTreeMap<char, Outcome>;

/// Writes the outcomes as JSON.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_json(path: &Path, scale: f64, outcomes: &Outcomes) -> Result<()> {
    let mut scenarios = serde_json::Map::new();
    for (letter, outcome) in outcomes {
        scenarios.insert(letter.to_string(), serde_json::to_value(outcome)?);
    }
    let all = json!({"scale": scale, "scenarios": Value::Object(scenarios)});
    let text = serde_json::to_string_pretty(&all)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// One scenario, for people.
pub fn table(letter: char, outcome: &Outcome) -> String {
    let (operator, raw) = (&outcome.operator, outcome.raw.as_ref());
    let ratio = outcome.ratio;
    let mut text = String::new();
    let mut row = |name: &str, operator: String, raw: Option<String>, ratio: Option<f64>| {
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<34}{operator:>28}{:>28}{ratio:>8}", raw.unwrap_or_default());
    };
    row("", "operator".into(), raw.map(|_| "raw loop".into()), None);
    row(
        "objects per second",
        one(operator.per_second),
        raw.map(|raw| one(raw.per_second)),
        ratio.map(|r| r.throughput),
    );
    if operator.latency.is_some() {
        row("latency p50 / p99 / max, ms", latency(operator), raw.map(latency), ratio.and_then(|ratio| ratio.p99));
    }
    let per_object = |side: &Side| format!("{:.2}", side.writes_per_object);
    row("writes per object", per_object(operator), raw.map(per_object), ratio.map(|ratio| ratio.writes));
    if let Some(memory) = operator.memory {
        row(
            "memory peak / settled (PSS), MiB",
            format!("{:.1} / {:.1} ({:.1})", memory.peak, memory.settled, memory.settled_pss),
            None,
            None,
        );
    }
    if let Some(cpu) = operator.cpu_seconds {
        row("CPU of the operator, s", format!("{cpu:.2}"), None, None);
    }
    let cluster = |side: &Side| format!("{:.2}", side.cluster_cpu_seconds);
    row("CPU of the control plane, s", cluster(operator), raw.map(cluster), None);
    let others = |side: &Side| format!("{:.0} %", side.others * 100.0);
    row("used by other programs", others(operator), raw.map(others), None);
    for (name, value) in &operator.more {
        row(&name.replace('_', " "), format!("{value:.2}"), None, None);
    }
    for goal in &outcome.goals {
        let verdict = if goal.met { "met" } else { "MISSED" };
        let _ = writeln!(text, "  {verdict}: {} is {:.2}, wanted {}", goal.what, goal.value, goal.wanted);
    }
    for note in &outcome.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    format!("({letter}) {}\n{text}", outcome.title)
}

fn one(value: f64) -> String {
    format!("{value:.1}")
}

fn latency(side: &Side) -> String {
    side.latency.map_or(String::new(), |spread| format!("{:.1} / {:.1} / {:.1}", spread.p50, spread.p99, spread.max))
}
