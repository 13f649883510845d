//! `cargo xtask bench`: the operator beside a raw loop that writes the same objects with the same client and
//! concurrency, and no logic.
//!
//! Each side of each scenario gets a fresh embedded cluster with the same objects in it, one after the other, so that
//! neither finds a warmer or a fuller API server than the other, and no two clusters share the machine. The raw loop has
//! the operator's identity, and so pays for the same admission and the same authorization; no operator runs meanwhile.
//! What it writes are plans of `cloister-core`, made before the clock runs. Clocks start at what the API server answers
//! to whoever declares something, and stop at what an independent watcher sees.

mod audit;
mod fixture;
mod outcome;
mod people;
mod plans;
mod process;
mod raw;
mod report;
mod scenario;
mod site;
mod stats;
mod watch;

use crate::operator;
use anyhow::{Context, Result, ensure};
use report::Outcomes;
use scenario::{Bench, arrivals, cold_start, contended, decisions, ended, expiry, names, overdue, pods, repair};
use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How large the scenarios are: 1 is what the figures of the documentation are from, 0.2 is a quick look
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// The scenarios to run: a one namespace a second, b a burst, c cold start, d restart, e deleted policies,
    /// f grants that end together, g grants that are approved together, h grants that ended while no operator was there,
    /// i names whose answers change, j a name that rotates, k many namespaces with the same names,
    /// l many pods that change, m many grants that have ended, n grants that end while namespaces are made
    #[arg(long, value_delimiter = ',', default_value = "a,b,c,d,e,f,g,h,i,j,k,l,m,n", value_parser = letter)]
    only: Vec<char>,
    /// Where to write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many seconds it is watched that a restarted operator writes nothing; 30 at scale 1 where it is not given
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if scale > 0.0 && scale <= 10.0 => Ok(scale),
        _ => Err("a number above 0 and up to 10 is wanted".to_owned()),
    }
}

fn letter(text: &str) -> Result<char, String> {
    match text.chars().next() {
        Some(letter @ 'a'..='n') if text.len() == 1 => Ok(letter),
        _ => Err("one of a to n is wanted".to_owned()),
    }
}

/// Runs the scenarios, prints their figures and writes them to the file.
///
/// # Errors
///
/// A scenario cannot be carried out. That a figure is not as good as it should be is no error.
pub async fn run(args: Args) -> Result<()> {
    if cfg!(debug_assertions) {
        return run_optimised();
    }
    let idle = args.idle.map_or_else(|| Duration::from_secs_f64((30.0 * args.scale).max(5.0)), Duration::from_secs);
    let operator = tokio::task::spawn_blocking(operator::build).await??;
    let bench = Bench { operator, scale: args.scale, idle };
    let began = Instant::now();
    let mut outcomes = Outcomes::new();
    for letter in 'a'..='n' {
        // (d) goes on where (c) ended.
        if !args.only.contains(&letter) || outcomes.contains_key(&letter) {
            continue;
        }
        eprintln!("({letter}) begins after {:.0} s", began.elapsed().as_secs_f64());
        let what = || format!("scenario {letter} failed");
        let found = match letter {
            'a' => vec![('a', arrivals::one_by_one(&bench).await.with_context(what)?)],
            'b' => vec![('b', arrivals::burst(&bench).await.with_context(what)?)],
            'c' | 'd' => {
                let with_restart = args.only.contains(&'d');
                let (cold, restart) = cold_start::run(&bench, letter == 'c', with_restart).await.with_context(what)?;
                cold.map(|outcome| ('c', outcome)).into_iter().chain(restart.map(|outcome| ('d', outcome))).collect()
            }
            'e' => vec![('e', repair::run(&bench).await.with_context(what)?)],
            'f' => vec![('f', expiry::run(&bench).await.with_context(what)?)],
            'g' => vec![('g', decisions::run(&bench).await.with_context(what)?)],
            'h' => vec![('h', overdue::run(&bench).await.with_context(what)?)],
            'i' => vec![('i', names::changed(&bench).await.with_context(what)?)],
            'j' => vec![('j', names::rotating(&bench).await.with_context(what)?)],
            'k' => vec![('k', names::steady(&bench).await.with_context(what)?)],
            'l' => vec![('l', pods::run(&bench).await.with_context(what)?)],
            'm' => vec![('m', ended::run(&bench).await.with_context(what)?)],
            _ => vec![('n', contended::run(&bench).await.with_context(what)?)],
        };
        for (letter, outcome) in found {
            println!("{}", report::table(letter, &outcome));
            outcomes.insert(letter, outcome);
        }
    }
    eprintln!("done after {:.0} s", began.elapsed().as_secs_f64());
    if let Some(path) = &args.json {
        report::write_json(path, args.scale, &outcomes)?;
    }
    Ok(())
}

/// Runs this command again as an optimised build, which then builds an optimised operator.
fn run_optimised() -> Result<()> {
    let status = crate::cargo::command()
        .arg("run")
        .args(crate::cargo::quiet())
        .args(["--release", "--package", "xtask", "--"])
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the optimised build of this command failed; see above");
    Ok(())
}
