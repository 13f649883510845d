//! A research namespace.

use super::Reconciler;
use crate::{
    apply::ObjectTarget,
    error::Error,
    report,
    snapshot::{NamespaceDecision, Snapshot, inspect},
};
use cloister_api::{ResearchNamespace, ResearchNamespaceStatus, labels};
use cloister_core::{
    model::plan::About,
    namespace::{Inspection, failed},
};
use cloister_index::key::Key;
use std::sync::Arc;
use tracing::info;

impl Reconciler {
    /// Makes a namespace what its ResearchNamespace says.
    pub(super) async fn namespace(&self, name: &Arc<str>) -> Result<(), Error> {
        let inspection = self.look_into(name).await;
        let (decision, now) = {
            let snapshot = Snapshot::take(&self.sources);
            (snapshot.decide_namespace(name, inspection.as_ref()), snapshot.now)
        };
        let NamespaceDecision { metadata, plan, declared, first_seen, drifted, relabelled } = decision;
        let target: ObjectTarget<ResearchNamespace> = ObjectTarget {
            namespace: name.clone(),
            finalizer: labels::NAMESPACE_FINALIZER,
            ..self.cluster_wide(Key::Namespace(name.clone()), metadata)
        };
        if plan.does_nothing() {
            let mut index = self.sources.store.index_mut();
            index.relabelled.remove(name);
            if let Some(children) = index.children.get_mut(name) {
                children.changed.clear();
            }
        }
        let worked = self
            .work_off(&target, plan, |planned, outcome| match &declared {
                Some(declared) => failed(declared, planned, outcome, now),
                None => planned,
            })
            .await;
        if let Some(drifted) = drifted {
            for done in &worked.outcome.done {
                match &done.about {
                    About::Child(key) if drifted.contains(key) => self.metrics.drift_corrected(key.kind.as_str()),
                    About::Namespace if relabelled => self.metrics.drift_corrected("Namespace"),
                    _ => {}
                }
            }
        }
        if let (Some(declared), Some(said)) = (&declared, &worked.said) {
            if is_newly_enforced(said, declared) {
                info!("the namespace is enforced");
                // Times in objects have no parts of a second.
                first_seen.into_iter().for_each(|since| self.metrics.enforced(since.elapsed().as_secs_f64()));
            }
            let about = report::namespace_reference(declared);
            let notifications = report::namespace_notifications(declared.status.as_ref(), said);
            self.alerts.report_transition(&target.key, &about, notifications, worked.outcome.failures.is_empty());
        }
        worked.result()
    }

    /// Looks into a Namespace that is offered, once it is closed: at the cluster itself, since a watch may be behind.
    async fn look_into(&self, name: &Arc<str>) -> Option<Inspection> {
        let (retained, volumes) = Snapshot::look(&self.sources).to_inspect(name)?;
        Some(inspect(&self.writer.requests, name, retained, &volumes).await)
    }
}

/// Whether this status says that the namespace is enforced for the first time.
fn is_newly_enforced(said: &ResearchNamespaceStatus, declared: &ResearchNamespace) -> bool {
    let before = declared.status.as_ref().and_then(|status| status.enforced_at.as_ref());
    before.is_none() && said.enforced_at.is_some()
}
