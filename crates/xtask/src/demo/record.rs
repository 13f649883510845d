//! The last chapter: the decisions are in the audit record, and its hash chain is verified.

use super::{
    say::Say,
    stage::{INTERP, NIGHT, Stage, WEIGHTS, eventually},
};
use anyhow::{Context, Result, bail, ensure};
use cloister_core::audit::Proof;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// The records that must exist: the object, and what happened to it.
const EXPECTED: [(&str, &str, &str); 8] = [
    ("StorageAccessGrant", "eval-run", "grant.expired"),
    ("StorageAccessGrant", WEIGHTS, "grant.requested"),
    ("StorageAccessGrant", WEIGHTS, "grant.approved"),
    ("StorageAccessGrant", WEIGHTS, "grant.activated"),
    ("StorageAccessGrant", WEIGHTS, "grant.revoked"),
    ("AccessReview", "weights-alice", "review.refused"),
    ("RoleGrant", NIGHT, "grant.reviewed"),
    ("RoleGrant", "night-shift-again", "grant.denied"),
];

/// Reads the audit record, and verifies it.
pub async fn the_record(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    say.chapter(
        "The audit record",
        "Each decision is one line of a file: a CloudEvent with the hash of the line before.",
    );
    let Stage { sam, audit, .. } = stage;
    say.act(sam.name, "reads the audit record, and verifies it", None);
    let mut read = Read::default();
    eventually("all of it to be on record", async || {
        read = Read::of(audit)?;
        for (kind, name, what) in EXPECTED {
            let of = format!("{kind}/{INTERP}/{name}");
            ensure!(read.find(&of, what).is_some(), "{of} has no record of {what}");
        }
        Ok(())
    })
    .await?;
    let proof = read.prove().map_err(|(_, broken)| broken)?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &read.events {
        *counts.entry(event["type"].as_str().unwrap_or_default()).or_default() += 1;
    }
    let rows: Vec<Vec<String>> =
        counts.iter().map(|(kind, count)| vec![count.to_string(), (*kind).to_owned()]).collect();
    say.table(&rows);
    let chains = if proof.chains == 1 { "chain" } else { "chains" };
    say.check(&format!("{} records in {} {chains} are verified", proof.records, proof.chains));

    let (at, approved) =
        read.find(&format!("StorageAccessGrant/{INTERP}/{WEIGHTS}"), "grant.approved").context("lost")?;
    let reviews = approved["data"]["reviews"].as_array().cloned().unwrap_or_default();
    let mut people: Vec<&str> = reviews.iter().filter_map(|review| review["reviewer"]["username"].as_str()).collect();
    people.sort_unstable();
    ensure!(people == ["olga", "otto", "sam"], "the record names {people:?} as the approvers");
    let asked = approved["data"]["requestedBy"]["username"].as_str().unwrap_or_default();
    ensure!(asked == "alice", "the record says that {asked:?} asked");
    say.check("the record names the requester of the weights, alice, and the approvers: olga, otto, sam");

    say.act("somebody", "replaces otto by mallory in that line of a copy", None);
    let mut forged = read;
    forged.lines[at] = forged.lines[at].replace("\"otto\"", "\"mallory\"");
    match forged.prove() {
        Err((line, why)) if line == at => {
            say.refused("the verification names the first changed record", &why.to_string())
        }
        Err((line, why)) => bail!("the forgery of line {} is found in line {}: {why}", at + 1, line + 1),
        Ok(_) => bail!("nobody notices the forgery"),
    }
    Ok(())
}

/// The record, line by line.
#[derive(Default)]
struct Read {
    lines: Vec<String>,
    events: Vec<Value>,
}

impl Read {
    fn of(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let events = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
        Ok(Read { lines, events })
    }

    fn find(&self, subject: &str, what: &str) -> Option<(usize, &Value)> {
        let kind = format!("dev.cloister.{what}.v1");
        self.events.iter().enumerate().find(|(_, event)| event["subject"] == subject && event["type"] == kind.as_str())
    }

    /// Proves the chain, or says which line is the first that does not hold, and why.
    fn prove(&self) -> Result<Proof, (usize, cloister_core::audit::Broken)> {
        let mut proof = Proof::default();
        for (at, line) in self.lines.iter().enumerate() {
            proof.take(line).map_err(|broken| (at, broken))?;
        }
        Ok(proof)
    }
}
