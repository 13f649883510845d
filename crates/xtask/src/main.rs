//! `cargo xtask`: see `cargo xtask help`.

use clap::Parser;
use xtask::{audit, bench, cluster::cli, crds, demo, reference, suite};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The tools of this repository")]
enum Task {
    /// Look at an audit record
    Audit(audit::Args),
    /// Measure the operator beside a raw loop of the same writes
    Bench(bench::Args),
    /// Run a Kubernetes control plane on this machine
    Cluster(cli::Args),
    /// Write the CustomResourceDefinitions in crds/
    Crds(crds::Args),
    /// Show what Cloister does, in a cluster of its own
    Demo(demo::Args),
    /// Write docs/reference.md
    Docs(reference::Args),
    /// Run all tests, several test programs at a time
    Test(suite::Args),
}

#[tokio::main]
async fn main() {
    let result = match Task::parse() {
        Task::Audit(args) => audit::run(&args),
        Task::Bench(args) => bench::run(args).await,
        Task::Cluster(args) => cli::run(args).await,
        Task::Crds(args) => crds::run(&args),
        Task::Demo(args) => demo::run(&args).await,
        Task::Docs(args) => reference::run(&args),
        Task::Test(args) => suite::run(&args),
    };
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    // At once: a task that nobody waits for any more, such as a build, does not hold up the end.
    std::process::exit(i32::from(result.is_err()));
}
