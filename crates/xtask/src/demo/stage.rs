//! What the story plays on, and what its parts have in common.

use super::see::Watch;
use crate::operator::Operator;
use anyhow::Result;
use jiff::Timestamp;
use kube::Client;
use std::{path::Path, time::Duration};

/// How long anything may take that the operator does at once.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) const INTERP: &str = "interp";

/// The grant that three people decide.
pub const WEIGHTS: &str = "weights";

/// The grant that was opened first.
pub const NIGHT: &str = "night-shift";

/// What the story plays on.
pub(crate) struct Stage<'a> {
    /// Whoever installed the cluster: in the group system:masters.
    pub admin: Person,
    /// A platform engineer.
    pub pat: Person,
    /// Somebody of security.
    pub sam: Person,
    /// A researcher, who is one of the owners of the weights too.
    pub alice: Person,
    /// Somebody who is in security and among the owners of the weights.
    pub olga: Person,
    /// One of the owners of the weights.
    pub otto: Person,
    /// Whoever is on call tonight.
    pub ida: Person,
    /// What is seen of it all.
    pub watch: Watch,
    /// The operator.
    pub operator: &'a Operator,
    /// The operator's audit record.
    pub audit: &'a Path,
}

/// Somebody with a client certificate.
pub(crate) struct Person {
    /// Who they are, and what.
    pub name: &'static str,
    /// What they are to the API server.
    pub client: Client,
}

pub(crate) fn since(before: Timestamp, at: Timestamp) -> Duration {
    at.duration_since(before).try_into().unwrap_or_default()
}

pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let began = std::time::Instant::now();
    loop {
        match check().await {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > SOON => {
                return Err(error.context(format!("waited {} s in vain for {what}", SOON.as_secs())));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
