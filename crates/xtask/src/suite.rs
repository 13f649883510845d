//! `cargo xtask test`: all tests, several test programs at a time. `cargo test` runs one after the other, and most of ours
//! wait: for a cluster, for the end of a grant, for a fault to be over.

use crate::{cluster::workspace_root, operator};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Instant,
};
use tempfile::TempDir;

/// The programs that take longest, the longest first: what begins last ends soon.
const LONGEST: [&str; 9] =
    ["chaos", "operator", "grant_approvals", "attacks", "docs", "settings", "tools", "e2e", "names"];

/// The options of `cargo xtask test`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many test programs run at a time; between them they run as many tests at a time as one alone would
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    jobs: u8,
    /// Run only the test programs of these names, such as `chaos`
    names: Vec<String>,
}

/// A program that runs tests.
struct Program {
    /// What Cargo calls it: of a library and a binary, the package; of others, the file.
    name: String,
    command: Command,
}

/// What became of a program.
struct Outcome {
    output: String,
    passed: bool,
    seconds: u64,
}

/// Builds all tests and runs them.
///
/// # Errors
///
/// A test fails, or none of the names is one of a test program.
pub fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    let mut programs = programs()?;
    let together = std::env::var("RUST_TEST_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(4);
    let threads = (together / usize::from(args.jobs)).max(1).to_string();
    let operator = operator::build()?;
    for program in &mut programs {
        program.command.env("RUST_TEST_THREADS", &threads).env(operator::BINARY, &operator);
    }
    if !args.names.is_empty() {
        programs.retain(|program| args.names.contains(&program.name));
        ensure!(!programs.is_empty(), "no test program is called {}", args.names.join(" or "));
    }
    let place = |program: &Program| LONGEST.iter().position(|name| *name == program.name).unwrap_or(LONGEST.len());
    // Taken from the end.
    programs.sort_by_key(|program| std::cmp::Reverse(place(program)));
    println!("built in {} s; {} test programs, {} at a time", began.elapsed().as_secs(), programs.len(), args.jobs);

    let folder = TempDir::new()?;
    let (waiting, failed) = (Mutex::new(programs), Mutex::new(Vec::new()));
    let next = || waiting.lock().ok()?.pop();
    thread::scope(|scope| {
        for worker in 0..args.jobs {
            let output = folder.path().join(worker.to_string());
            let (next, failed) = (&next, &failed);
            scope.spawn(move || {
                while let Some(Program { name, command }) = next() {
                    let passed = match outcome(command, &output) {
                        Ok(outcome) => {
                            tell(&name, &outcome);
                            outcome.passed
                        }
                        Err(error) => {
                            println!("    {name} was not run: {error:#}");
                            false
                        }
                    };
                    if let (false, Ok(mut failed)) = (passed, failed.lock()) {
                        failed.push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    ensure!(failed.is_empty(), "tests failed in {}; see above", failed.join(", "));
    println!("all tests passed in {} s", began.elapsed().as_secs());
    Ok(())
}

/// All test programs of the workspace, built, and the run of the examples in its documentation.
fn programs() -> Result<Vec<Program>> {
    let root = workspace_root()?;
    let mut cargo = crate::cargo::command();
    cargo.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    cargo.args(crate::cargo::quiet());
    let output = cargo.current_dir(&root).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the tests do not build; see above");
    let mut programs = Vec::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo writes what is not JSON")?;
        let Some(executable) = message["executable"].as_str() else { continue };
        if message["profile"]["test"] != true {
            continue;
        }
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).context("cargo names no program");
        let manifest = PathBuf::from(text(&message["manifest_path"])?);
        let package = manifest.parent().context("a package has no folder")?;
        let mut command = Command::new(executable);
        // As Cargo runs them: in the folder of their package.
        command.current_dir(package).env("CARGO_MANIFEST_DIR", package);
        programs.push(Program { name: text(&message["target"]["name"])?, command });
    }
    ensure!(!programs.is_empty(), "cargo names no test program");
    let mut examples = crate::cargo::command();
    examples.args(["test", "--quiet", "--workspace", "--doc"]).current_dir(&root);
    programs.push(Program { name: "doc".into(), command: examples });
    Ok(programs)
}

/// Runs a program to its end; what it writes goes through a file, as much as it is.
fn outcome(mut command: Command, path: &Path) -> Result<Outcome> {
    let began = Instant::now();
    let file = File::create(path)?;
    let status = command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file).status()?;
    let output = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    Ok(Outcome { output, passed: status.success(), seconds: began.elapsed().as_secs() })
}

/// Prints how a program ended, and all that it wrote where it failed.
fn tell(name: &str, outcome: &Outcome) {
    let results: Vec<&str> = outcome.output.lines().filter(|line| line.starts_with("test result:")).collect();
    let word = if outcome.passed { "ok    " } else { "FAILED" };
    let shown = if outcome.passed { results.join("\n") } else { outcome.output.clone() };
    println!("    {word} {name:<31} {:>4} s\n{shown}", outcome.seconds);
}
