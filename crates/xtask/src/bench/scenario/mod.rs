//! The scenarios, one in each file.

pub mod arrivals;
pub mod cold_start;
pub mod contended;
pub mod decisions;
pub mod ended;
pub mod expiry;
pub mod names;
pub mod overdue;
pub mod pods;
pub mod repair;

use super::{people, plans, raw::Raw, site::Site};
use anyhow::Result;
use cloister_api::{ResearchNamespace, ResearchNamespaceStatus};
use cloister_core::model::plan::Plan;
use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How many namespaces stand in each cluster before anything is measured.
const WARM_UP: usize = 10;

/// What all scenarios are given.
#[derive(Debug)]
pub struct Bench {
    /// The operator's binary.
    pub operator: PathBuf,
    /// How large they are.
    pub scale: f64,
    /// How long it is watched that nothing is written.
    pub idle: Duration,
}

impl Bench {
    /// A number at this scale, and two at the least.
    pub fn scaled(&self, count: usize) -> usize {
        ((count as f64 * self.scale).round() as usize).max(2)
    }

    async fn site(&self) -> Result<Site> {
        let site = Site::open(&self.operator).await?;
        // The first writes of each kind are slow, whoever makes them.
        stand(&site, &(0..WARM_UP).map(|at| format!("warm-up-{at}")).collect::<Vec<_>>()).await?;
        Ok(site)
    }
}

/// The raw loop over namespaces, with its plans made.
struct Loop {
    raw: Arc<Raw>,
    plans: HashMap<String, Plan<ResearchNamespaceStatus>>,
    tasks: JoinSet<Result<()>>,
}

impl Loop {
    async fn over(site: &Site, names: &[String]) -> Result<Self> {
        let plans = names.iter().map(|name| Ok((name.clone(), plans::namespace(name)?))).collect::<Result<_>>()?;
        Ok(Loop { raw: Arc::new(site.raw().await?), plans, tasks: JoinSet::new() })
    }

    fn start(&mut self, declared: ResearchNamespace) {
        let name = declared.metadata.name.as_deref().unwrap_or_default();
        let Some(plan) = self.plans.remove(name) else { return };
        let (raw, target) = (self.raw.clone(), plans::namespace_target(&self.raw.client(), declared));
        self.tasks.spawn(async move { raw.carry_out(&target, plan).await });
    }

    async fn done(self) -> Result<()> {
        all_done(self.tasks).await
    }
}

/// Waits for all tasks, or for the first that fails.
async fn all_done(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Makes namespaces as the operator would have made them, by the raw loop.
///
/// # Errors
///
/// The API server refuses something.
pub async fn stand(site: &Site, names: &[String]) -> Result<()> {
    let mut chains = Loop::over(site, names).await?;
    people::declare_all(site, names, |declared| chains.start(declared)).await?;
    chains.done().await
}
