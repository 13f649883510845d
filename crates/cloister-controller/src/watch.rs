//! The one way in: a watch for each kind, which fills the index and queues the keys that a change concerns.

use crate::{
    context::Context,
    index::{Dirty, Indexed, Listed},
    key::ObjectName,
};
use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{Config, Error, Event, InitialListStrategy, watcher},
    },
};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, sync::Arc};
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
    // One object at a time is read and decoded, so that the largest one decides how much memory that takes.
    let mut config = config.page_size(PAGE).streaming_lists();
    let ours = K::group(&()) == cloister_api::GROUP;
    let begin = |config: &Config| watcher(api.clone(), config.clone()).default_backoff().boxed();
    let mut events = begin(&config);
    let mut definitions = context.definitions.subscribe();
    context.metrics.watches(kind);
    // While a list is under way: the names seen so far. Those that are missing at its end are gone.
    let mut listed: Option<Listed> = None;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            Ok(()) = definitions.changed(), if ours => {
                events = begin(&config);
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
                listed = Some(Listed::default());
            }
            Ok(Event::InitApply(object)) => {
                if let Some(listed) = &mut listed {
                    listed.insert(&ObjectName::of(object.meta()));
                }
                object.upsert(&mut context.index_mut(), &mut dirty);
            }
            Ok(Event::InitDone) => {
                let listed = listed.take().unwrap_or_default();
                K::forget_unlisted(&mut context.index_mut(), namespace.as_deref(), &listed, &mut dirty);
                synced.send_replace(true);
            }
            Err(error)
                if !*synced.borrow()
                    && does_not_stream(&error)
                    && config.initial_list_strategy == InitialListStrategy::StreamingList =>
            {
                debug!(kind, %error, "the API server streams no lists; they are read by small pages");
                config.initial_list_strategy = InitialListStrategy::ListWatch;
                events = begin(&config);
                continue;
            }
            Err(error) => {
                context.metrics.watch_restarted(kind);
                warn!(kind, %error, "the watch failed and is begun again");
            }
        }
        context.enqueue(dirty);
    }
}

/// How many objects a page of a list has, where lists are not streamed.
const PAGE: u32 = 50;

/// Whether the API server refuses to stream a list.
fn does_not_stream(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 400 | 422))
}

/// Makes a streamed list one of what is stored, as other lists are: the client asks for whatever the API server has in its
/// cache, which may be old.
pub fn consistent<B>(mut request: http::Request<B>) -> http::Request<B> {
    let Some((path, query)) = request.uri().path_and_query().and_then(|all| all.as_str().split_once('?')) else {
        return request;
    };
    if query.split('&').any(|part| part == "sendInitialEvents=true") {
        let kept: Vec<&str> = query.split('&').filter(|part| *part != "resourceVersion=0").collect();
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = format!("{path}?{}", kept.join("&")).parse().ok();
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str) -> String {
        consistent(http::Request::get(uri).body(()).unwrap()).uri().to_string()
    }

    #[test]
    fn a_streamed_list_is_never_an_old_one() {
        let streamed =
            "https://api:6443/api/v1/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert_eq!(asked(&format!("{streamed}&resourceVersion=0")), streamed);
        let watched = "https://api:6443/api/v1/pods?watch=true&resourceVersion=0";
        assert_eq!(asked(watched), watched);
        assert_eq!(asked("https://api:6443/livez"), "https://api:6443/livez");
    }
}
