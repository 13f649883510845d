//! The first lists: what they take, and what is done as soon as enough is seen.

use crate::{
    dispatcher,
    index::NodeNetworks,
    reconcile::Reconciler,
    watch::{Watches, bindable, definitions, kinds, needs},
};
use cloister_api::plugin::{CiliumNetworkPolicy, ClusterNetworkPolicy};
use cloister_core::egress::Installed;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
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
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tracing::{info, warn};

/// How long the start waits for lists. What depends on a kind that is not listed by then waits on, and nothing else does.
const LISTS: Duration = Duration::from_secs(5);

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
    let mut first_lists = Vec::new();
    let mut follow = |kind: &'static str, watch: &dyn Fn(watch::Sender<bool>) -> BoxFuture<'static, ()>| {
        store.synced.follow(kind);
        let (sender, mut first) = watch::channel(false);
        spawn(kind, watch(sender));
        first_lists.push(async move {
            let _ = first.wait_for(|complete| *complete).await;
        });
    };
    follow("Secret", &|first| Box::pin(kinds::credentials(watches.clone(), first)));
    follow("EndpointSlice", &|first| Box::pin(kinds::dns_endpoints(watches.clone(), first)));
    follow("Node", &|first| Box::pin(kinds::everywhere::<NodeNetworks>(watches.clone(), "Node", first)));
    follow("ServiceCIDR", &|first| Box::pin(kinds::everywhere::<ServiceCIDR>(watches.clone(), "ServiceCIDR", first)));
    macro_rules! follow_names {
        ($kind:literal, $type:ty) => {
            follow($kind, &|first| {
                Box::pin(kinds::everywhere::<PartialObjectMeta<$type>>(watches.clone(), $kind, first))
            });
        };
    }
    follow_names!("StorageClass", StorageClass);
    follow_names!("CSIDriver", CSIDriver);
    follow_names!("PriorityClass", PriorityClass);
    let cilium = |installed: Installed| installed.cilium;
    follow("CiliumNetworkPolicy", &|first| {
        let watch = kinds::plugin_policies::<CiliumNetworkPolicy>;
        Box::pin(watch(watches.clone(), "CiliumNetworkPolicy", cilium, first))
    });
    let cluster = |installed: Installed| installed.cluster.is_some();
    follow("ClusterNetworkPolicy", &|first| {
        let watch = kinds::plugin_policies::<ClusterNetworkPolicy>;
        Box::pin(watch(watches.clone(), "ClusterNetworkPolicy", cluster, first))
    });
    store.synced.complete();
    let ends = [&needs::GRANTS[..], &needs::OPENED[..]].concat();
    let seen = async {
        join_all(first_lists).await;
        store.synced.wait(Some(&ends)).await;
    };
    let _ = in_time(seen.boxed()).await;
    // What ended while nobody was there goes before anything is opened.
    let overdue = store.index().overdue(store.clock.now());
    dispatcher::once(reconciler, overdue).await;
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
