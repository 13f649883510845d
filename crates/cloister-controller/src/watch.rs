//! The one way in: a watch for each kind, which fills the index and queues the keys that a change concerns.

use crate::{
    context::Context,
    index::{Dirty, Indexed},
    key::ObjectName,
};
use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{Config, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use std::{collections::HashSet, fmt::Debug, sync::Arc};
use tokio::sync::watch;
use tracing::{debug, warn};

/// What a watch is of.
pub struct Scope {
    /// The kind, for logs and metrics.
    pub kind: &'static str,
    /// The namespace, where the watch is of one alone.
    pub namespace: Option<Arc<str>>,
    /// Which objects.
    pub config: Config,
}

/// Watches a kind until the process ends. Says through `synced` when the first list is complete.
pub async fn run<K>(context: Arc<Context>, api: Api<K>, scope: Scope, synced: watch::Sender<bool>)
where
    K: Indexed + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let Scope { kind, namespace, config } = scope;
    let config = config.page_size(500);
    let ours = K::group(&()) == cloister_api::GROUP;
    let begin = || watcher(api.clone(), config.clone()).default_backoff().boxed();
    let mut events = begin();
    let mut definitions = context.definitions.subscribe();
    context.metrics.watches(kind);
    // While a list is under way: the names seen so far. Those that are missing at its end are gone.
    let mut listed: Option<HashSet<ObjectName>> = None;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            Ok(()) = definitions.changed(), if ours => {
                events = begin();
                continue;
            }
        };
        let Some(event) = event else { return };
        let mut dirty = Dirty::new();
        match event {
            Ok(Event::Apply(object)) => object.upsert(&mut context.index_mut(), &mut dirty),
            Ok(Event::Delete(object)) => {
                K::remove(&mut context.index_mut(), &ObjectName::of(object.meta()), &mut dirty);
            }
            Ok(Event::Init) => {
                if *synced.borrow() {
                    context.metrics.watch_restarted(kind);
                    debug!(kind, "the watch began again");
                }
                listed = Some(HashSet::new());
            }
            Ok(Event::InitApply(object)) => {
                if let Some(listed) = &mut listed {
                    listed.insert(ObjectName::of(object.meta()));
                }
                object.upsert(&mut context.index_mut(), &mut dirty);
            }
            Ok(Event::InitDone) => {
                let listed = listed.take().unwrap_or_default();
                let mut index = context.index_mut();
                for name in K::known(&index) {
                    let mine = namespace.as_ref().is_none_or(|namespace| *namespace == name.namespace);
                    if mine && !listed.contains(&name) {
                        K::remove(&mut index, &name, &mut dirty);
                    }
                }
                drop(index);
                synced.send_replace(true);
            }
            Err(error) => {
                context.metrics.watch_restarted(kind);
                warn!(kind, %error, "the watch failed and is begun again");
            }
        }
        context.enqueue(dirty);
    }
}
