//! A grant.

use super::Reconciler;
use crate::{
    apply::{Found, ObjectTarget},
    error::Error,
    queue::{Lane, Ticket},
    report,
    snapshot::{GrantDecision, Snapshot},
};
use cloister_api::{GrantPhase, GrantStatus, labels, with_grant_type};
use cloister_core::{
    grant,
    grant::{Grant, failed},
    model::{child::GrantRef, plan::Plan},
};
use cloister_index::{
    decode::Decoded,
    index::{Dirty, Indexed},
    key::Key,
};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::{Resource, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, mem, sync::Arc};
use tracing::{debug, info};

impl Reconciler {
    /// Decides about a grant, and opens or closes what it is for.
    pub(super) async fn grant(&self, namespace: &Arc<str>, grant: &GrantRef, ticket: &Ticket) -> Result<(), Error> {
        let store = &self.sources.store;
        let opened = self.opened().remove(&Key::Grant(namespace.clone(), grant.clone()));
        if let Some(status) = opened {
            self.say_opened(namespace, grant, status).await;
        }
        if store.index().is_unfinished(namespace, grant) {
            self.take_back(namespace, grant).await?;
        }
        let (decision, now) = {
            let snapshot = Snapshot::take(&self.sources);
            (snapshot.decide_grant(namespace, grant), snapshot.now)
        };
        let Some(mut decision) = decision else { return Ok(()) };
        store.enqueue(mem::take(&mut decision.to_answer));
        if !ticket.covers(&decision.needs) {
            // What has been decided meanwhile needs other turns than were waited for, so it is decided anew when they come.
            store.queue.add_all([(Key::Grant(namespace.clone(), grant.clone()), decision.needs)]);
            return Ok(());
        }
        let result = with_grant_type!(grant.kind, K => self.act::<K>(namespace, grant, decision, now).await);
        // Of what is written, and of that alone.
        self.sources.audit.take_grant(store, namespace, grant);
        if store.index().grant(namespace, grant).is_some_and(has_ended) {
            store.index_mut().settle(namespace, grant);
            self.look_again();
        }
        result
    }

    /// Writes the status of a grant that has opened, which was left for later. Whatever is to be done by now comes after it,
    /// because the audit record takes the opening from it. Where this fails, what is decided next says the same, or ends the
    /// grant.
    async fn say_opened(&self, namespace: &Arc<str>, grant: &GrantRef, status: GrantStatus) {
        let store = &self.sources.store;
        let found = store.index().grant(namespace, grant).filter(|found| is_approved(found)).cloned();
        let Some(found) = found else { return };
        let decision = GrantDecision {
            found: Found::of(&found),
            metadata: found.metadata,
            plan: Plan { status: Some(status), ..Plan::default() },
            grant: found.object.ok(),
            needs: Ticket::default(),
            to_answer: Dirty::new(),
        };
        let now = store.clock.now();
        let written = with_grant_type!(grant.kind, K => self.act::<K>(namespace, grant, decision, now).await);
        if let Err(error) = written {
            debug!(%error, "the status of a grant that has opened could not be written yet");
        }
        self.sources.audit.take_grant(store, namespace, grant);
    }

    /// Writes all statuses of grants that have opened which were left for later: the process ends.
    pub async fn say_all_opened(&self) {
        let all = mem::take(&mut *self.opened());
        let each = |(key, status)| async move {
            if let Key::Grant(namespace, grant) = key {
                self.say_opened(&namespace, &grant, status).await;
            }
        };
        stream::iter(all).for_each_concurrent(Lane::Opened.concurrency(1), each).await;
    }

    /// Carries out what was decided, and tells of it.
    async fn act<K>(
        &self,
        namespace: &Arc<str>,
        grant: &GrantRef,
        decision: GrantDecision,
        now: Timestamp,
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
    {
        let store = &self.sources.store;
        let GrantDecision { metadata, found, plan, grant: object, .. } = decision;
        let over_since = object.as_ref().zip(plan.status.as_ref());
        let over_since = over_since.and_then(|(before, after)| grant::over_since(before, after, now));
        let target: ObjectTarget<K> = ObjectTarget {
            finalizer: labels::GRANT_FINALIZER,
            found,
            ..self.namespaced(Key::Grant(namespace.clone(), grant.clone()), namespace, metadata)
        };
        let before = store.index().grant(namespace, grant).and_then(|found| found.status().cloned());
        let mut worked = self
            .work_off(&target, plan, |planned, outcome| {
                failed(&target.metadata, before.as_ref(), planned, outcome, now)
            })
            .await;
        if let Some(status) = worked.deferred.take() {
            self.opened().insert(target.key.clone(), status);
        }
        if let (Some(object), Some(said)) = (&object, &worked.said) {
            let done = worked.outcome.failures.is_empty();
            let mut notifications = report::grant_notifications(object.status(), said);
            // Break-glass was used only when the status says so.
            notifications.retain(|one| done || !one.is("BreakGlass"));
            self.alerts.report_transition(&target.key, &report::reference(object), notifications, done);
            moved_on(object, said);
            if let Some(since) = over_since.filter(|_| said.phase.has_ended()) {
                self.metrics.revoked(store.clock.now().duration_since(since).as_secs_f64());
            }
        }
        worked.result()
    }
}

fn is_approved(found: &Decoded<Grant>) -> bool {
    found.object.as_ref().is_ok_and(|grant| grant.phase() == GrantPhase::Approved)
}

fn has_ended(found: &Decoded<Grant>) -> bool {
    found.object.as_ref().is_ok_and(|grant| grant.phase().has_ended())
}

/// Logs a transition.
fn moved_on(grant: &Grant, said: &GrantStatus) {
    if said.phase != grant.phase() {
        let end = said.expires_at.as_ref().map(|end| end.0);
        info!(phase = said.phase.as_str(), reason = said.reason, expires_at = ?end, "the grant moved on");
    }
}
