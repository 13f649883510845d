//! (f): many grants end at the same moment.

use super::{Bench, all_done, stand};
use crate::{
    bench::{
        fixture::{self, GRANTS_PER_NAMESPACE, GROUPS, PERSON},
        outcome::{Goal, Meter, Outcome, Side},
        people::{PEOPLE, names},
        plans,
        site::{PATIENCE, Site},
        watch::Sighting,
    },
    operator::Operator,
};
use anyhow::{Result, ensure};
use cloister_api::{GrantMount, GrantStatus, StorageAccessGrant, labels};
use cloister_core::model::{
    child::{Child, Children},
    plan::Plan,
};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{networking::v1::NetworkPolicy, rbac::v1::RoleBinding};
use kube::{
    Api, Client, Resource,
    api::{ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// The outcome.
///
/// # Errors
///
/// Something does not work.
pub async fn run(bench: &Bench) -> Result<Outcome> {
    let names = names(bench.scaled(500).div_ceil(GRANTS_PER_NAMESPACE));
    let (operator, notes) = operator_side(bench, &names).await?;
    let raw = raw_side(bench, &names).await?;
    let title = format!("{} grants end together, until their bindings are gone", names.len() * GRANTS_PER_NAMESPACE);
    let mut outcome = Outcome::of(&title, operator, Some(raw));
    outcome.notes.extend(notes);
    if let Some(max) = outcome.ratio.and_then(|ratio| ratio.max) {
        outcome.goals.push(Goal::at_most("last binding gone, over the raw loop's", 1.5, max));
    }
    Ok(outcome)
}

async fn operator_side(bench: &Bench, names: &[String]) -> Result<(Side, Vec<String>)> {
    let site = bench.site().await?;
    let wanted = bindings(names);
    let began = Instant::now();
    let operator = open(&site, names).await?;
    // Long enough that all of them are open by then, as fast as this machine has shown to be.
    let end = whole_second(Timestamp::now() + Duration::from_secs(5) + began.elapsed() * 4)?;
    ask(&site, names, end).await?;
    until_active(&operator, wanted.len(), end).await?;
    site.until_quiet(&operator).await?;
    ensure!(Timestamp::now() < end, "the grants end before the operator is quiet; measure again when the machine is");
    let mut watch = site.watch_grant_bindings().await?;
    let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
    let at = Instant::now() + left;
    let meter = Meter::begin(&site, Some(&operator))?;
    let until = watch.all(wanted.clone(), left + PATIENCE, gone).await?;
    let side = meter.end(Some(&operator), &all_at(&wanted, at), &until).await?;
    let notes = site.complaints();
    site.stop_operator(operator).await?;
    site.close().await?;
    Ok((side, notes))
}

async fn raw_side(bench: &Bench, names: &[String]) -> Result<Side> {
    let site = bench.site().await?;
    let wanted = bindings(names);
    let operator = open(&site, names).await?;
    let end = whole_second(Timestamp::now() + SignedDuration::from_hours(1))?;
    ask(&site, names, end).await?;
    until_active(&operator, wanted.len(), end).await?;
    site.until_quiet(&operator).await?;
    site.stop_operator(operator).await?;

    let raw = Arc::new(site.raw().await?);
    // The operator has its connections from opening the grants.
    raw.warm_up().await?;
    raw.learn_mounts().await?;
    let work = plans(&site).await?;
    ensure!(work.len() == wanted.len(), "there are {} grants, not {}", work.len(), wanted.len());
    let mut watch = site.watch_grant_bindings().await?;
    let meter = Meter::begin(&site, None)?;
    let from = all_at(&wanted, meter.began());
    let mut tasks = JoinSet::new();
    for (grant, plan) in work {
        let (raw, target) = (raw.clone(), plans::grant_target(&raw.client(), grant));
        tasks.spawn(async move { raw.carry_out(&target, plan).await });
    }
    let (until, ()) = futures::try_join!(watch.all(wanted, PATIENCE, gone), all_done(tasks))?;
    let side = meter.end(None, &from, &until).await?;
    site.close().await?;
    Ok(side)
}

/// Makes the namespaces and the storage, and starts the operator.
pub(super) async fn open(site: &Site, names: &[String]) -> Result<Operator> {
    stand(site, names).await?;
    fixture::write_storage(&site.admin).await?;
    site.start_operator().await
}

/// Asks for all grants, to end at this time.
pub(super) async fn ask(site: &Site, names: &[String], end: Timestamp) -> Result<()> {
    ask_for(site, names, |name, at| fixture::grant(name, at, end)).await
}

/// Asks for what is made of each namespace and position, as many at a time as there are people.
pub(super) async fn ask_for(
    site: &Site,
    names: &[String],
    wish: impl Fn(&str, usize) -> Result<StorageAccessGrant>,
) -> Result<()> {
    let person: Client = site.cluster.client_for(PERSON, &GROUPS).await?;
    let wish = &wish;
    let requests = names.iter().flat_map(|name| (0..GRANTS_PER_NAMESPACE).map(move |at| (name, at)));
    stream::iter(requests)
        .map(|(name, at)| {
            let api: Api<StorageAccessGrant> = Api::namespaced(person.clone(), name);
            async move {
                api.create(&PostParams::default(), &wish(name, at)?).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(PEOPLE)
        .try_collect()
        .await
}

pub(super) async fn until_active(operator: &Operator, count: usize, end: Timestamp) -> Result<()> {
    // The watch of the bindings begins after this, and must not miss the first that goes.
    let deadline = end - SignedDuration::from_secs(1);
    let began = Instant::now();
    loop {
        let active = operator.metric("cloister_grants", "phase=\"Active\"").await?;
        if active >= count as f64 {
            return Ok(());
        }
        ensure!(
            Timestamp::now() < deadline,
            "{active} of {count} grants are open when they end already: the machine is too busy; measure again when it is quiet"
        );
        ensure!(began.elapsed() < PATIENCE, "{active} of {count} grants are open; {}", operator.log_end());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What there is to do for each grant at its end.
async fn plans(site: &Site) -> Result<Vec<(StorageAccessGrant, Plan<GrantStatus>)>> {
    let client = &site.admin;
    let mut children: HashMap<String, Children> = HashMap::new();
    let mut know = |child: Child| {
        let namespace = child.metadata().namespace.clone().unwrap_or_default();
        children.entry(namespace).or_default().insert(child.key(), child.observe());
    };
    managed::<RoleBinding>(client).await?.into_iter().map(Child::RoleBinding).for_each(&mut know);
    managed::<NetworkPolicy>(client).await?.into_iter().map(Child::NetworkPolicy).for_each(&mut know);
    let mounts = managed::<GrantMount>(client).await?;
    mounts.into_iter().map(|mount| Child::GrantMount(Box::new(mount))).for_each(&mut know);

    let known = plans::Known::read(client, "automatic").await?;
    let grants = Api::<StorageAccessGrant>::all(client.clone()).list(&ListParams::default()).await?;
    let work = grants.into_iter().map(|grant| {
        let children = &children[grant.metadata.namespace.as_deref().unwrap_or_default()];
        let plan = known.grant_end(&grant, children)?;
        Ok((grant, plan))
    });
    work.collect()
}

pub(super) async fn managed<K>(client: &Client) -> Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let selector = format!("{}={}", labels::MANAGED_BY, labels::MANAGER);
    Ok(Api::<K>::all(client.clone()).list(&ListParams::default().labels(&selector)).await?.items)
}

/// The keys of the bindings of all grants.
pub(super) fn bindings(names: &[String]) -> HashSet<String> {
    let grants = names.iter().flat_map(|name| (0..GRANTS_PER_NAMESPACE).map(move |at| (name, at)));
    grants.map(|(name, at)| format!("{name}/cloister-grant.{}", fixture::grant_name(at))).collect()
}

pub(super) fn gone(sighting: &Sighting) -> Option<String> {
    let name = sighting.metadata.name.as_deref().unwrap_or_default();
    sighting.gone.then(|| format!("{}/{name}", sighting.place))
}

fn all_at(keys: &HashSet<String>, at: Instant) -> HashMap<String, Instant> {
    keys.iter().map(|key| (key.clone(), at)).collect()
}

pub(super) fn whole_second(time: Timestamp) -> Result<Timestamp> {
    Ok(Timestamp::from_second(time.as_second())?)
}
