//! (e): somebody deletes a policy in every namespace, and it is put back.

use super::{Bench, all_done, stand};
use crate::bench::{
    fixture::COLLECTOR,
    outcome::{Meter, Outcome, Side},
    people::{PEOPLE, names},
    plans,
    site::{PATIENCE, Site},
    stats::Spread,
};
use anyhow::{Context, Result};
use cloister_core::{
    child::{Child, names::DENY_ALL},
    plan::Action,
};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};
use tokio::task::JoinSet;

/// The policy that is deleted: one without a finalizer, so that both sides put it back by one request.
const POLICY: &str = "cloister-dns";

/// The outcome.
///
/// # Errors
///
/// Something does not work.
pub async fn run(bench: &Bench) -> Result<Outcome> {
    let names = names(bench.scaled(500));
    let (operator, mut notes) = operator_side(bench, &names).await?;
    let raw = raw_side(bench, &names).await?;
    let title = format!("{} deleted policies put back", names.len());
    let mut outcome = Outcome::of(&title, operator, Some(raw));
    outcome.notes.append(&mut notes);
    Ok(outcome)
}

async fn operator_side(bench: &Bench, names: &[String]) -> Result<(Side, Vec<String>)> {
    let site = bench.site().await?;
    stand(&site, names).await?;
    let mark = site.audit.mark()?;
    let operator = site.start_operator().await?;
    let mut notes = Vec::new();
    // It takes over what the raw loop wrote. What it writes beyond the statuses of the catalogue shows where they differ.
    let taken_over = site.writes(mark)?;
    if taken_over.by_kind.keys().any(|what| what != "patch egressallowlists/status") {
        notes.push(format!("the operator wrote what the raw loop had not: {}", taken_over.describe()));
    }
    let (from, until, meter) = {
        let meter = Meter::begin(&site, Some(&operator))?;
        let (from, until) = delete_all(&site, names, POLICY, |_| {}).await?;
        (from, until, meter)
    };
    let mut side = meter.end(Some(&operator), &from, &until).await?;
    // The deny policy has a finalizer: it is let go first, then made again.
    let (from, until) = delete_all(&site, names, DENY_ALL, |_| {}).await?;
    let took = until.iter().filter_map(|(name, at)| Some(at.saturating_duration_since(*from.get(name)?)));
    if let Some(deny) = Spread::of(took) {
        side.more = BTreeMap::from([("deny_p50", deny.p50), ("deny_p99", deny.p99), ("deny_max", deny.max)]);
    }
    notes.extend(site.complaints());
    site.stop_operator(operator).await?;
    site.close().await?;
    Ok((side, notes))
}

async fn raw_side(bench: &Bench, names: &[String]) -> Result<Side> {
    let site = bench.site().await?;
    stand(&site, names).await?;
    let raw = Arc::new(site.raw().await?);
    let mut policies: HashMap<String, NetworkPolicy> = HashMap::with_capacity(names.len());
    for name in names {
        policies.insert(name.clone(), policy(name)?);
    }
    let mut posts = JoinSet::new();
    let meter = Meter::begin(&site, None)?;
    let put_back = |name: &str| {
        if let Some(policy) = policies.remove(name) {
            let (raw, name) = (raw.clone(), name.to_owned());
            posts.spawn(async move { raw.post(&name, &policy).await });
        }
    };
    let (from, until) = delete_all(&site, names, POLICY, put_back).await?;
    all_done(posts).await?;
    let side = meter.end(None, &from, &until).await?;
    site.close().await?;
    Ok(side)
}

/// The policy as the operator writes it.
fn policy(namespace: &str) -> Result<NetworkPolicy> {
    let plan = plans::namespace(namespace)?;
    let mut children = plan.actions().filter_map(|action| match action {
        Action::Apply(child) => match &**child {
            Child::NetworkPolicy(policy) if policy.metadata.name.as_deref() == Some(POLICY) => Some(policy.clone()),
            _ => None,
        },
        _ => None,
    });
    children.next().with_context(|| format!("there is no policy {POLICY}"))
}

/// When something happened to each namespace.
type Times = HashMap<String, Instant>;

/// Deletes the policy in all namespaces, and waits until another stands in its place: when each was deleted, and when
/// the other was seen. `then` is told of each that is deleted.
async fn delete_all(site: &Site, names: &[String], policy: &str, mut then: impl FnMut(&str)) -> Result<(Times, Times)> {
    let collector: Client = site.cluster.client_for(COLLECTOR, &[]).await?;
    let all: Api<NetworkPolicy> = Api::all(collector.clone());
    let listed = all.list_metadata(&ListParams::default().fields(&format!("metadata.name={policy}"))).await?;
    let before: HashMap<String, String> =
        listed.into_iter().filter_map(|object| Some((object.metadata.namespace?, object.metadata.uid?))).collect();
    let mut watch = site.watch_policy(policy).await?;
    let deletions = stream::iter(names).map(|name| {
        let api: Api<NetworkPolicy> = Api::namespaced(collector.clone(), name);
        async move {
            api.delete(policy, &DeleteParams::default()).await?;
            anyhow::Ok((name, Instant::now()))
        }
    });
    let mut deletions = deletions.buffer_unordered(PEOPLE);
    let mut from = Times::with_capacity(names.len());
    while let Some((name, at)) = deletions.try_next().await? {
        then(name);
        from.insert(name.clone(), at);
    }
    let until = watch
        .all(names.iter().cloned().collect(), PATIENCE, |sighting| {
            let another = sighting.metadata.uid.as_ref() != before.get(&sighting.place);
            (!sighting.gone && another).then(|| sighting.place.clone())
        })
        .await?;
    Ok((from, until))
}
