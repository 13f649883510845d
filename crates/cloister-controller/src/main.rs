//! The operator of Cloister.
//!
//! Watches fill an index; a queue hands out the keys that a change concerns; each is decided by a pure function of
//! `cloister-core` from a snapshot of the index, and what it decides is carried out in one place, `write`.

mod alerts;
mod args;
mod audit;
mod bindable;
mod clock;
mod connection;
mod decode;
mod definitions;
mod dns;
mod error;
mod exposition;
mod guard;
mod heartbeat;
mod index;
mod inspect;
mod key;
mod leader;
mod liveness;
mod looks;
mod metrics;
mod needs;
mod news;
mod operator;
mod queue;
mod reconcile;
mod requests;
mod server;
mod snapshot;
mod standby;
mod store;
mod synced;
mod watch;
mod watches;
mod work;
mod write;

use args::{Args, Command, LogFormat, Run};
use clap::Parser;
use std::{io::IsTerminal, process::ExitCode};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let Args { command: Command::Run(run) } = Args::parse();
    if let Err(error) = start_logs(&run) {
        eprintln!("error: --log {}: {error}", run.log);
        return ExitCode::from(2);
    }
    match operator::run(run).await {
        Ok(()) => {
            info!("ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}

fn start_logs(run: &Run) -> Result<(), tracing_subscriber::filter::ParseError> {
    let logs = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&run.log)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match run.log_format {
        LogFormat::Json => logs.json().init(),
        LogFormat::Text => logs.init(),
    }
    Ok(())
}
