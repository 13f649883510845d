//! Why the operator ends.

use crate::leader::Lost;
use std::time::Duration;

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// There is no configuration of a client.
    #[error("no cluster to work on: {0}; set KUBECONFIG, or run inside a cluster")]
    Config(#[from] kube::config::InferConfigError),
    /// The client cannot be built.
    #[error("cannot connect to the cluster: {0}")]
    Client(#[source] Box<kube::Error>),
    /// A signal or the listener failed.
    #[error("{what}: {source}")]
    Io {
        /// What failed.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// A watch is dead, and without it the operator would be blind.
    #[error("the watch of {0} stopped; the process stops with it and must be restarted")]
    WatchDead(&'static str),
    /// Names are looked up no more, and without that the operator would keep open what has moved.
    #[error("the look-up of names stopped; the process stops with it and must be restarted")]
    NamesDead,
    /// Nobody looks at the clocks and the connection any more.
    #[error("the heartbeat stopped; the process stops with it and must be restarted")]
    HeartbeatDead,
    /// Nobody looks at the copies of credentials any more.
    #[error("the comparison of copies with their credentials stopped; the process stops with it and must be restarted")]
    ComparingDead,
    /// Another operator acts.
    #[error("{0}; this operator stops, so that only one is active")]
    Lost(#[from] Lost),
    /// The drain took too long.
    #[error("the work in progress did not finish within {0:?}")]
    NotDrained(Duration),
}
