//! The operator of Cloister.
//!
//! Watches (`watch`) fill an index (`index`); a queue (`queue`) hands out the keys that a change concerns. Each is reconciled
//! (`reconcile`): a snapshot of what is known (`snapshot`) is decided by a pure function of `cloister-core`, its plan is carried
//! out in one place (`apply`), and what became of it is told (`report`).

mod apply;
mod args;
mod clock;
mod connection;
mod dispatcher;
mod dns;
mod error;
mod guard;
mod heartbeat;
mod leader;
mod liveness;
mod queue;
mod reconcile;
mod report;
mod requests;
mod server;
mod snapshot;
mod standby;
mod startup;
mod store;
mod watch;

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
    match startup::run(run).await {
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
