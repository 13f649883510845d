//! Carries out a plan, and writes the status that says so.

use super::Reconciler;
use crate::{apply::ObjectTarget, error::Error};
use cloister_core::model::{
    carry_out,
    carry_out::{Outcome, ReportedError},
    plan::{Action, Plan},
};
use cloister_index::{decode::Decoded, index::Indexed};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use tracing::warn;

/// What became of a plan.
pub(super) struct Worked<S> {
    /// What was done, and what failed.
    pub(super) outcome: Outcome<Error>,
    /// The status that was written.
    pub(super) said: Option<S>,
    /// The status that is left to another lane: the key comes again to write it.
    pub(super) deferred: Option<S>,
    /// Whether what is to be said was written.
    telling: Result<(), Error>,
}

impl<S> Worked<S> {
    /// Whether all went well; else the error that is soonest worth another attempt.
    pub(super) fn result(self) -> Result<(), Error> {
        let mut errors: Vec<Error> = self.outcome.failures.into_iter().map(|failed| failed.error).collect();
        errors.extend(self.telling.err());
        errors.sort_by_key(|error| (error.is_final(), error.is_conflict()));
        errors.into_iter().next().map_or(Ok(()), Err)
    }
}

impl Reconciler {
    /// Carries out a plan, then writes its status, or the one that says what failed.
    pub(super) async fn work_off<K, S>(
        &self,
        target: &ObjectTarget<K>,
        plan: Plan<S>,
        failed: impl FnOnce(Option<S>, &Outcome<ReportedError>) -> Option<S>,
    ) -> Worked<S>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
        S: Serialize,
    {
        let (writer, queue) = (&self.writer, &self.sources.store.queue);
        // What is to come is remembered whatever becomes of this; what is to be looked at again at once is where this succeeds,
        // because a failure has a time of its own.
        let next = plan.next;
        let again = |at: Option<Timestamp>| at.into_iter().for_each(|at| queue.add_at(target.key.clone(), at));
        let is_to_come = next.is_some_and(|next| next > self.sources.store.clock.now());
        again(next.filter(|_| is_to_come));
        let at_once = next.filter(|_| !is_to_come);
        let finalizer = |action: &Action| matches!(action, Action::AddFinalizer | Action::DropFinalizer);
        let same_version = plan.announce.is_none() && !plan.actions().any(finalizer);
        let announce = async {
            match &plan.announce {
                Some(status) => writer.status_of_any_version(target, status).await,
                None => Ok(()),
            }
        };
        let execute = |action| writer.execute(target, action);
        let work = carry_out::carry_out(plan.close, plan.open, plan.last, execute);
        let (announced, outcome) = futures::join!(announce, work);
        for failed in &outcome.failures {
            warn!(category = failed.error.category(), "{}", failed.error);
        }
        let may_defer = plan.status_can_wait && plan.status.is_some() && outcome.failures.is_empty();
        if may_defer && queue.defer_status(&target.key) {
            return Worked { outcome, said: None, deferred: plan.status, telling: announced };
        }
        let reported = outcome.reported(|error| !error.is_conflict());
        let status = match (outcome.failures.is_empty(), reported.failures.is_empty()) {
            (true, _) => plan.status,
            // Somebody else has changed something meanwhile: the next look will do.
            (false, true) => None,
            (false, false) => failed(plan.status.or(plan.if_failed), &reported),
        };
        let Some(status) = status else {
            again(at_once.filter(|_| outcome.failures.is_empty() && announced.is_ok()));
            return Worked { outcome, said: None, deferred: None, telling: announced };
        };
        let written = if same_version && outcome.failures.is_empty() {
            writer.status(target, &status).await
        } else {
            writer.status_of_any_version(target, &status).await
        };
        if let Err(error) = written.as_ref().and(announced.as_ref())
            && error.is_final()
        {
            self.alerts.status_refused(&target.key, || reference::<K>(&target.metadata), error);
        }
        let said = written.is_ok().then_some(status);
        let telling = announced.and(written);
        again(at_once.filter(|_| outcome.failures.is_empty() && telling.is_ok()));
        Worked { outcome, said, deferred: None, telling }
    }

    /// Writes the status of an object about which there is nothing to do.
    pub(super) async fn tell<K, S>(&self, target: ObjectTarget<K>, status: Option<S>) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        Decoded<K>: Indexed,
        S: Serialize,
    {
        self.work_off(&target, Plan { status, ..Plan::default() }, |planned, _| planned).await.result()
    }
}

/// An object as an Event refers to it.
fn reference<K: Resource<DynamicType = ()>>(metadata: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}
