//! The command line.

use clap::{Parser, ValueEnum};
use std::net::SocketAddr;

/// How logs are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The operator of Cloister: keeps research namespaces closed, and opens them by declared, reviewed, time-bound decisions.
#[derive(Clone, Debug, Parser)]
#[command(name = "cloister-controller", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Run the operator, in a cluster or, with a kubeconfig, outside of one
    Run(Run),
}

/// How to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// Where /livez, /readyz and /metrics are served
    #[arg(long, env = "CLOISTER_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// How logs are written
    #[arg(long, env = "CLOISTER_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// What is logged, as a filter of tracing: a level, or levels by module
    #[arg(long, env = "CLOISTER_LOG", default_value = "info")]
    pub log: String,
    /// Where the audit record of grants goes: stdout, none, or a file, which is continued
    #[arg(long, env = "CLOISTER_AUDIT", value_name = "stdout|none|FILE", default_value = "stdout")]
    pub audit: String,
    /// How many objects are worked on at a time
    #[arg(long, env = "CLOISTER_WORKERS", default_value_t = 64)]
    pub workers: usize,
    /// How many requests to the API server may be under way
    #[arg(long, env = "CLOISTER_MAX_REQUESTS", default_value_t = 32)]
    pub max_requests: usize,
    /// End when standard input closes, so as not to outlive the process that started this one
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}
