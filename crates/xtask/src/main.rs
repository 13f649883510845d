//! `cargo xtask`: see `cargo xtask help`.

use clap::Parser;
use xtask::{cluster::cli, crds};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The tools of this repository")]
enum Task {
    /// Run a Kubernetes control plane on this machine
    Cluster(cli::Args),
    /// Write the CustomResourceDefinitions in crds/
    Crds(crds::Args),
}

#[tokio::main]
async fn main() {
    let result = match Task::parse() {
        Task::Cluster(args) => cli::run(args).await,
        Task::Crds(args) => crds::run(&args),
    };
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    // At once: a task that nobody waits for any more, such as a build, does not hold up the end.
    std::process::exit(i32::from(result.is_err()));
}
