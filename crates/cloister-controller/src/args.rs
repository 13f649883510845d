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
    #[arg(long, env = "CLOISTER_LOG", value_parser = a_filter, default_value = "info")]
    pub log: String,
    /// Where the audit record of grants goes: stdout, none, or a file, which is continued
    #[arg(long, env = "CLOISTER_AUDIT", value_name = "stdout|none|FILE", value_parser = clap::builder::NonEmptyStringValueParser::new(), default_value = "stdout")]
    pub audit: String,
    /// How many objects are worked on at a time, not counting those that end, close or only have a status to write
    #[arg(long, env = "CLOISTER_WORKERS", value_name = "1-1024", value_parser = at_most_1024, default_value_t = 64)]
    pub workers: usize,
    /// How many requests to the API server may be under way
    #[arg(long, env = "CLOISTER_MAX_REQUESTS", value_name = "1-1024", value_parser = at_most_1024, default_value_t = 32)]
    pub max_requests: usize,
    /// How often each copy of a credential is compared with its source, in seconds
    #[arg(long, env = "CLOISTER_COMPARE_COPIES", value_name = "1-86400", value_parser = clap::value_parser!(u32).range(1..=86_400), default_value_t = 600)]
    pub compare_copies: u32,
    /// Who this operator is among others, of which one acts at a time. One that is started again in the same place takes up
    /// where it was; without it: its pod or host, and its process
    #[arg(long, env = "CLOISTER_IDENTITY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub identity: Option<String>,
    /// The name of its pod
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod: Option<String>,
    /// End when standard input closes, so as not to outlive the process that started this one
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

/// What is logged must be known before anything is to be logged.
fn a_filter(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A number of things that are done at a time: none would do nothing, and too many would only wait for one another.
fn at_most_1024(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("it must be a whole number from 1 to 1024".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["cloister-controller", "run"], arguments].concat())
    }

    #[test]
    fn no_value_is_taken_that_does_nothing() {
        for option in ["--workers", "--max-requests"] {
            for value in ["0", "-1", "1025", "18446744073709551615", "", "many"] {
                let error = parse(&[&format!("{option}={value}")]).unwrap_err().to_string();
                assert!(error.contains(option) && error.contains("from 1 to 1024"), "{option} {value}: {error}");
            }
            for value in ["1", "1024"] {
                assert!(parse(&[option, value]).is_ok(), "{option} {value}");
            }
        }
        for arguments in [["--audit", ""], ["--log", "=,="], ["--listen", "8080"]] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
    }
}
