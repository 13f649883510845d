//! A grant.

use super::{carry_out, credential_version, namespace::in_force, policy_named, service_named, storage_named};
use crate::{
    context::Context,
    decode::Decoded,
    error::Error,
    index::Index,
    key::Key,
    write::{Target, Writer},
};
use cloister_api::{GrantPhase, GrantStatus, StorageAccessGrant, labels};
use cloister_core::{
    child::Children,
    grant::{
        Declared, Holder, Home, Input, Share, Sharer, failed, is_approved, is_open, mount_name, plan, secret_name,
    },
    plan::Plan,
};
use jiff::Timestamp;
use kube::Api;
use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};
use tracing::info;

struct Work {
    target: Target<StorageAccessGrant>,
    plan: Plan<GrantStatus>,
    grant: Option<StorageAccessGrant>,
}

/// Decides about a grant, and opens or closes what it is for.
pub async fn reconcile(context: &Context, namespace: &Arc<str>, name: &Arc<str>) -> Result<(), Error> {
    // Grants that share a mount take turns, so that one that ends does not take it from one that begins.
    let share = {
        let index = context.index();
        let Some(grant) = index.grants.get(namespace).and_then(|grants| grants.get(name)) else { return Ok(()) };
        grant.object.as_ref().ok().and_then(Share::of)
    };
    let _turn = match &share {
        Some(share) => Some(context.shares[turn(context, namespace, &mount_name(share))].lock().await),
        None => None,
    };
    let now = context.clock.now();
    let Some(work) = decide(context, namespace, name, now) else { return Ok(()) };
    let lag = revocation_lag(&work, now);
    let Work { target, plan, grant } = work;
    let before = grant.as_ref().and_then(|grant| grant.status.as_ref()).map(|status| status.phase);
    let step = plan.status.clone().filter(|status| Some(status.phase) != before);
    let result = carry_out(context, &target, plan).await;
    match (&result, &grant) {
        (Ok(()), _) => {
            if let Some(status) = step {
                let end = status.expires_at.map(|end| end.0);
                info!(phase = status.phase.as_str(), reason = status.reason, expires_at = ?end, "the grant moved on");
            }
            if let Some(lag) = lag {
                context.metrics.revoked(lag);
            }
        }
        (Err(error), Some(grant)) if !error.is_conflict() => {
            if let Some(status) = failed(grant, &error.to_string(), now) {
                // What failed counts, whether it can be said or not.
                let _ = Writer::new(context).status(&target, &status).await;
            }
        }
        (Err(_), _) => {}
    }
    result
}

/// The lock of a mount.
pub fn turn(context: &Context, namespace: &str, mount: &str) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one((namespace, mount));
    usize::try_from(hash % context.shares.len() as u64).unwrap_or(0)
}

fn decide(context: &Context, namespace: &Arc<str>, name: &Arc<str>, now: Timestamp) -> Option<Work> {
    static NOTHING: Children = Children::new();
    let index = context.index();
    let found = index.grants.get(namespace)?.get(name)?;
    let broken_status: Option<GrantStatus> =
        found.object.as_ref().err().and_then(|broken| serde_json::from_value(broken.status.clone()).ok());
    let declared = match found {
        Decoded { object: Ok(grant), .. } => Declared::Read(grant),
        Decoded { metadata, object: Err(broken) } => {
            Declared::Undecodable { metadata, status: broken_status.as_ref(), error: &broken.error }
        }
    };
    let share = found.object.as_ref().ok().and_then(Share::of);
    let sharers =
        share.as_ref().map(|share| sharers(&index, namespace, name, &mount_name(share), now)).unwrap_or_default();
    let holders = share.as_ref().map(|share| holders(&index, namespace, &secret_name(share))).unwrap_or_default();
    let settings = in_force(context, &index);
    let plan = plan(&Input {
        namespace,
        name,
        declared,
        storages: &|storage| storage_named(&index, storage),
        policies: &|policy| policy_named(&index, policy),
        services: &|service| service_named(&index, service),
        credentials: &|secret| credential_version(&index, secret),
        settings: &settings,
        home: home(&index, namespace),
        children: index.children.get(namespace).map_or(&NOTHING, |children| &children.all),
        sharers: &sharers,
        holders: &holders,
        now,
    });
    Some(Work {
        target: Target {
            key: Key::Grant(namespace.clone(), name.clone()),
            namespace: namespace.clone(),
            api: Api::namespaced(context.client.clone(), namespace),
            metadata: found.metadata.clone(),
            finalizer: labels::GRANT_FINALIZER,
        },
        grant: found.object.as_ref().ok().filter(|_| !plan.is_empty()).cloned(),
        plan,
    })
}

/// The approved grants of a mount, but for one.
pub fn sharers<'a>(index: &'a Index, namespace: &str, but: &str, mount: &str, now: Timestamp) -> Vec<Sharer<'a>> {
    let grants = index.grants.get(namespace).into_iter().flatten();
    grants
        .filter(|(name, _)| ***name != *but)
        .filter_map(|(name, grant)| Some((name, grant.object.as_ref().ok()?)))
        .filter(|(_, grant)| is_approved(grant, now))
        .filter(|(_, grant)| Share::of(grant).is_some_and(|share| mount_name(&share) == mount))
        .filter_map(|(name, grant)| {
            Some(Sharer { name, mount_path: &grant.spec.mount.as_ref()?.mount_path, counts_on_it: is_open(grant, now) })
        })
        .collect()
}

/// The pods that hold a copy of a credential.
pub fn holders(index: &Index, namespace: &str, secret: &str) -> Vec<Holder> {
    let pods = index.pods.get(namespace).into_iter().flatten();
    pods.filter(|(_, pod)| pod.secrets.iter().any(|held| **held == *secret))
        .map(|(name, pod)| Holder { name: name.to_string(), uid: pod.uid.to_string(), terminating: pod.terminating })
        .collect()
}

fn home(index: &Index, namespace: &str) -> Home {
    let research = index.research.get(namespace);
    let observed = index.namespaces.get(namespace).map(|(observed, _)| observed);
    match (research, observed) {
        (Some(research), _) if research.metadata.deletion_timestamp.is_some() || research.object.is_err() => {
            Home::Closed
        }
        (Some(_), Some(observed)) if observed.terminating => Home::Closed,
        (Some(_), Some(observed)) if observed.belongs_to(namespace) && observed.is_enforced() => Home::Enforced,
        (Some(_), _) => Home::NotEnforced,
        (None, _) => Home::Closed,
    }
}

/// How long after its end a grant is confirmed to be over, in seconds, where this plan says so.
fn revocation_lag(work: &Work, now: Timestamp) -> Option<f64> {
    let status = work.plan.status.as_ref()?;
    let over = matches!(status.phase, GrantPhase::Expired | GrantPhase::Revoked);
    let end = status.expires_at.as_ref().filter(|_| over)?.0.min(now);
    Some(now.duration_since(end).as_secs_f64())
}
