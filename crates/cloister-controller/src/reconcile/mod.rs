//! One reconcile: a snapshot of the index, a decision of the core, the requests that carry it out, and the status.

mod asking;
mod catalogue;
mod copies;
mod ended;
mod grant;
mod impersonation;
mod mount;
mod namespace;
mod retention;
mod review;

pub use asking::remember_names;
pub use copies::{Destroyed, Replaced, look_after as compare_copies};

use crate::{
    context::Context,
    decode::Decoded,
    error::Error,
    index::{Index, Indexed},
    key::Key,
    needs,
    queue::Job,
    write::{Target, Writer},
};
use cloister_api::{AccessPolicy, Identity, SecretReference, ServiceReference};
use cloister_core::{
    carry_out::{self, Outcome, Told},
    child::GrantRef,
    egress::ServiceFacts,
    grant::{CredentialFacts, Known, Other, is_approved, may_hold},
    plan::{Action, Plan},
};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Debug, sync::Arc};
use tracing::{debug, warn};

/// Works on one key, with the turns that it holds.
///
/// # Errors
///
/// A request failed. The key must be worked on again.
pub async fn reconcile(context: &Context, Job { key, ticket, .. }: &Job) -> Result<(), Error> {
    let missing = context.park(key, &needs::of(key));
    if !missing.is_empty() && !ends_all_the_same(context, key) {
        debug!(?missing, "waits until these kinds are listed");
        return Ok(());
    }
    match key {
        Key::Config => catalogue::config(context).await,
        Key::Allowlist(name) => catalogue::allowlist(context, name).await,
        Key::Storage(name) => catalogue::storage(context, name).await,
        Key::Policy(name) => catalogue::policy(context, name).await,
        Key::Namespace(name) => namespace::reconcile(context, name).await,
        Key::Role(name) => catalogue::role(context, name).await,
        Key::Grant(namespace, grant) => grant::reconcile(context, namespace, grant, ticket).await,
        Key::Review(namespace, name) => review::reconcile(context, namespace, name).await,
        Key::Impersonation => {
            impersonation::reconcile(context);
            Ok(())
        }
        Key::Retention => retention::reconcile(context).await,
        Key::Mount(namespace, name) => mount::reconcile(context, namespace, name).await,
    }
}

/// Whether a key is of a grant whose end needs nothing of what cannot be seen yet.
fn ends_all_the_same(context: &Context, key: &Key) -> bool {
    let Key::Grant(namespace, grant) = key else { return false };
    if !context.synced.missing(Some(&needs::of_end(grant.kind))).is_empty() {
        return false;
    }
    let now = context.clock.now();
    let index = context.index();
    let found = index.grant(namespace, grant).and_then(|found| found.object.as_ref().ok());
    found.is_some_and(|grant| {
        grant.status().is_some_and(may_hold)
            && (!is_approved(grant, now) || grant.metadata().deletion_timestamp.is_some())
    })
}

/// What became of a plan.
struct Worked<S> {
    /// What was done, and what failed.
    outcome: Outcome<Error>,
    /// The status that was written.
    said: Option<S>,
    /// Whether what is to be said was written.
    telling: Result<(), Error>,
}

impl<S> Worked<S> {
    /// Whether all went well; else the error that is soonest worth another attempt.
    fn result(self) -> Result<(), Error> {
        let mut errors: Vec<Error> = self.outcome.failures.into_iter().map(|failed| failed.error).collect();
        errors.extend(self.telling.err());
        errors.sort_by_key(|error| (error.is_final(), error.is_conflict()));
        errors.into_iter().next().map_or(Ok(()), Err)
    }
}

/// Carries out a plan, then writes its status, or the one that says what failed.
async fn work_off<K, S>(
    context: &Context,
    target: &Target<K>,
    plan: Plan<S>,
    failed: impl FnOnce(Option<S>, &Outcome<Told>) -> Option<S>,
) -> Worked<S>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    Decoded<K>: Indexed,
    S: Serialize,
{
    let writer = Writer::new(context);
    // What is to come is remembered whatever becomes of this; what is to be looked at again at once is where this succeeds,
    // because a failure has a time of its own.
    let next = plan.next;
    let again = |at: Option<Timestamp>| at.into_iter().for_each(|at| context.queue.add_at(target.key.clone(), at));
    let is_to_come = next.is_some_and(|next| next > context.clock.now());
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
    let perform = |action| writer.perform(target, action);
    let work = carry_out::carry_out(plan.close, plan.open, plan.last, perform);
    let (announced, outcome) = futures::join!(announce, work);
    for failed in &outcome.failures {
        warn!(category = failed.error.category(), "{}", failed.error);
    }
    let told = outcome.told(|error| !error.is_conflict());
    let status = match (outcome.failures.is_empty(), told.failures.is_empty()) {
        (true, _) => plan.status,
        // Somebody else has changed something meanwhile: the next look will do.
        (false, true) => None,
        (false, false) => failed(plan.status.or(plan.if_failed), &told),
    };
    let Some(status) = status else {
        again(at_once.filter(|_| outcome.failures.is_empty() && announced.is_ok()));
        return Worked { outcome, said: None, telling: announced };
    };
    let waits = plan.status_can_wait && outcome.failures.is_empty();
    let _turn = if waits { Some(context.queue.give_way(&target.key).await) } else { None };
    let written = if same_version && outcome.failures.is_empty() {
        writer.status(target, &status).await
    } else {
        writer.status_of_any_version(target, &status).await
    };
    if let Err(error) = written.as_ref().and(announced.as_ref())
        && error.is_final()
    {
        context.alerts.status_refused(&target.key, || reference::<K>(&target.metadata), error);
    }
    let said = written.is_ok().then_some(status);
    let telling = announced.and(written);
    again(at_once.filter(|_| outcome.failures.is_empty() && telling.is_ok()));
    Worked { outcome, said, telling }
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

/// Writes the status of an object about which there is nothing to do.
async fn tell<K, S>(context: &Context, target: &Target<K>, status: Option<S>) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    Decoded<K>: Indexed,
    S: Serialize,
{
    work_off(context, target, Plan { status, ..Plan::default() }, |planned, _| planned).await.result()
}

fn policy_named<'a>(index: &'a Index, name: &str) -> Known<'a, AccessPolicy> {
    known(index.policies.get(name))
}

/// What is being deleted is as good as gone.
fn known<K>(found: Option<&Decoded<K>>) -> Known<'_, K> {
    match found.filter(|found| found.metadata.deletion_timestamp.is_none()) {
        None => Known::Absent,
        Some(Decoded { object: Ok(object), .. }) => Known::Read(object),
        Some(Decoded { object: Err(_), .. }) => Known::Undecodable,
    }
}

fn service_named(index: &Index, service: &ServiceReference) -> Option<ServiceFacts> {
    let at = object_name(&service.namespace, &service.name);
    let facts = &index.services.get(&at)?.facts;
    Some(ServiceFacts { on_node: index.pod_on_node(&at, &facts.selector), ..facts.clone() })
}

/// What is known of a credential: what its Secret says, and who else names it.
fn credential(index: &Index, secret: &SecretReference) -> Option<CredentialFacts> {
    let at = object_name(&secret.namespace, &secret.name);
    let mut facts = index.credentials.get(&at)?.clone();
    for (storage, sensitivity) in index.sources.get(&at).into_iter().flatten() {
        facts.named_by(storage, *sensitivity);
    }
    Some(facts)
}

/// The other grants of a person that have not ended.
fn others<'a>(index: &'a Index, but: &(Arc<str>, GrantRef), person: &Identity) -> Vec<Other<'a>> {
    let all = index.requesters.of(person);
    let own = all.get(but).copied().unwrap_or(u64::MAX);
    let others = all.into_iter().filter(|(place, _)| *place != but);
    let read = others.filter_map(|((namespace, grant), since)| {
        let grant = index.grant(namespace, grant)?.object.as_ref().ok()?;
        Some(Other { grant, is_earlier: since < own })
    });
    read.collect()
}

fn object_name(namespace: &str, name: &str) -> crate::key::ObjectName {
    crate::key::ObjectName { namespace: namespace.into(), name: name.into() }
}
