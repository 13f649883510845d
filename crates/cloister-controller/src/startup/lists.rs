//! The first lists: what they take, and what is done as soon as enough is seen.

use crate::{
    dispatcher,
    reconcile::Reconciler,
    watch::{Watches, bindable, definitions, kinds, needs},
};
use cloister_api::plugin::{CiliumNetworkPolicy, ClusterNetworkPolicy};
use cloister_core::egress::Installed;
use cloister_index::index::NodeNetworks;
use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::api::{
    networking::v1::ServiceCIDR,
    scheduling::v1::PriorityClass,
    storage::v1::{CSIDriver, StorageClass},
};
use kube::core::PartialObjectMeta;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{info, warn};

/// How long the start waits for lists. What depends on a kind that is not listed by then waits on, and nothing else does.
const LISTS: Duration = Duration::from_secs(5);

/// How long to wait before what is over and could not be taken away is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Waits for the first lists, though not for ever, and takes away what is overdue as soon as it can be seen.
pub async fn take_up(watches: &Arc<Watches>, reconciler: &Reconciler, following: &mut JoinSet<&'static str>) {
    let store = &watches.store;
    let begun = Instant::now();
    let in_time = |lists| timeout(LISTS.saturating_sub(begun.elapsed()), lists);
    let of_definitions = store.synced.begin("CustomResourceDefinition");
    let of_bindable = store.synced.begin(needs::BINDABLE);
    let mut spawn = |kind: &'static str, watch: BoxFuture<'static, ()>| {
        following.spawn(async move {
            watch.await;
            kind
        });
    };
    spawn("CustomResourceDefinition", Box::pin(definitions::watch(watches.clone(), of_definitions)));
    spawn("ClusterRole", Box::pin(bindable::ask(reconciler.writer.requests.clone(), store.clone(), of_bindable)));
    // What else is watched depends on the settings, or on what they default to.
    let _ = in_time(store.synced.wait(Some(&needs::SETTINGS)).boxed()).await;
    let mut follow = |kind: &'static str, watch: BoxFuture<'static, ()>| {
        store.synced.follow(kind);
        spawn(kind, watch);
    };
    follow("Secret", Box::pin(kinds::credentials(watches.clone())));
    follow("EndpointSlice", Box::pin(kinds::dns_endpoints(watches.clone())));
    let cilium = |installed: Installed| installed.cilium;
    let policies = kinds::plugin_policies::<CiliumNetworkPolicy>(watches.clone(), "CiliumNetworkPolicy", cilium);
    follow("CiliumNetworkPolicy", Box::pin(policies));
    let cluster = |installed: Installed| installed.cluster.is_some();
    let policies = kinds::plugin_policies::<ClusterNetworkPolicy>(watches.clone(), "ClusterNetworkPolicy", cluster);
    follow("ClusterNetworkPolicy", Box::pin(policies));
    macro_rules! everywhere {
        ($kind:literal, $type:ty) => {
            let watched = store.synced.begin($kind);
            spawn($kind, Box::pin(kinds::everywhere::<$type>(watches.clone(), $kind, watched)));
        };
    }
    everywhere!("Node", NodeNetworks);
    everywhere!("ServiceCIDR", ServiceCIDR);
    everywhere!("StorageClass", PartialObjectMeta<StorageClass>);
    everywhere!("CSIDriver", PartialObjectMeta<CSIDriver>);
    everywhere!("PriorityClass", PartialObjectMeta<PriorityClass>);
    store.synced.complete();
    end_what_is_over(reconciler, begun).await;
    let _ = in_time(store.synced.wait(None).boxed()).await;
    let missing = store.synced.missing(None);
    if missing.is_empty() {
        reconciler.sources.audit.forget_the_gone(&store.index());
    } else {
        warn!(?missing, "not all kinds are listed; what depends on them waits");
    }
    let (objects, backend) = {
        let index = store.index();
        (index.sizes(), index.settings().backend)
    };
    info!(?objects, ?backend, "the stores are filled");
}

/// Takes away what ended while nobody was there, before anything is opened. What does not go at the first try is tried
/// again as long as the start may take, and afterwards beside what opens.
async fn end_what_is_over(reconciler: &Reconciler, begun: Instant) {
    let store = &reconciler.sources.store;
    let needs = needs::of_ends();
    loop {
        let _ = timeout(LISTS.saturating_sub(begun.elapsed()), store.synced.wait(Some(&needs))).await;
        let overdue = store.index().overdue(store.clock.now());
        if overdue.is_empty() {
            return;
        }
        info!(grants = overdue.len(), "removing what ended while no operator was running");
        dispatcher::once(reconciler, overdue.clone()).await;
        let is_left = {
            let index = store.index();
            overdue.iter().any(|key| index.stands_for(key))
        };
        if !is_left || begun.elapsed() + AGAIN > LISTS {
            return;
        }
        sleep(AGAIN).await;
    }
}
