//! The one way in: a watch for each kind, which fills the index and queues the keys that a change concerns.

use super::synced::Watched;
use crate::{connection::Connection, report::Metrics, store::Store};
use cloister_index::{
    index::{Dirty, Index, Indexed, Listed},
    key::ObjectName,
};
use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{Config, Error, Event, InitialListStrategy, watcher},
    },
};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, ops::RangeInclusive, sync::Arc, time::Duration};
use tracing::{debug, warn};

/// The seconds after which the API server ends a watch, to be begun again where it was: so something is heard of each
/// kind at least that often, and a connection that is silent for longer is dead.
const WATCH: RangeInclusive<u32> = 28..=36;

/// The milliseconds to wait before a list or a watch that failed is begun again.
const AGAIN: RangeInclusive<u64> = 500..=3_000;

/// What watches need: where they listen, and what they fill.
pub struct Watches {
    /// The connection to the API server.
    pub connection: Connection,
    /// What they fill.
    pub store: Arc<Store>,
    /// Where it is counted how often they begin again.
    pub metrics: Arc<Metrics>,
}

/// What a watch is of.
pub struct Scope {
    /// The kind, for logs and metrics.
    pub kind: &'static str,
    /// The namespace, where the watch is of one alone.
    pub namespace: Option<Arc<str>>,
    /// Which objects.
    pub config: Config,
}

/// Short waits, at random, so that an API server that is back is noticed soon, and not by all watches at once.
pub struct Soon;

impl Iterator for Soon {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(fastrand::u64(AGAIN)))
    }
}

impl Backoff for Soon {
    fn reset(&mut self) {}
}

/// The same watch, ended by the API server now and then.
pub fn with_ends(config: Config) -> Config {
    config.timeout(fastrand::u32(WATCH))
}

/// Watches a kind until the process ends, and tells `watched` what it hears.
pub async fn run<K>(watches: Arc<Watches>, api: Api<K>, scope: Scope, watched: Watched)
where
    K: Indexed + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let Watches { connection, store, metrics } = &*watches;
    let Scope { kind, namespace, config } = scope;
    // One object at a time is read and decoded, so that the largest one decides how much memory that takes.
    let mut config = with_ends(config.page_size(PAGE).streaming_lists());
    watched.listens(connection.listen(api.resource_url()));
    let ours = K::group(&()) == cloister_api::GROUP;
    let begin = |config: &Config| watcher(api.clone(), config.clone()).backoff(Soon).boxed();
    let mut events = begin(&config);
    let mut definitions = store.definitions.subscribe();
    let mut restored = store.restored.subscribe();
    metrics.watches(kind);
    let mut intake = Intake { namespace, ..Intake::default() };
    let mut failing = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            Ok(()) = definitions.changed(), if ours => {
                events = begin(&config);
                continue;
            }
            Ok(()) = restored.changed() => {
                intake.whatever_its_version = true;
                events = begin(&config);
                continue;
            }
        };
        let Some(event) = event else { return };
        let event = match event {
            Ok(event) => event,
            Err(error)
                if !watched.is_listed()
                    && does_not_stream(&error)
                    && config.initial_list_strategy == InitialListStrategy::StreamingList =>
            {
                debug!(kind, %error, "the API server does not stream lists; the operator reads them in small pages");
                config.initial_list_strategy = InitialListStrategy::ListWatch;
                events = begin(&config);
                continue;
            }
            Err(error) => {
                metrics.watch_restarted(kind);
                // Said once: it is tried again soon and often.
                if std::mem::replace(&mut failing, true) {
                    debug!(kind, %error, "the watch failed again");
                } else {
                    warn!(kind, %error, "the watch failed; the operator restarts it");
                }
                continue;
            }
        };
        if matches!(event, Event::Init) {
            if watched.is_listed() {
                metrics.watch_restarted(kind);
                debug!(kind, "the watch was restarted");
            }
        } else if std::mem::take(&mut failing) {
            debug!(kind, "the watch continues");
        }
        let complete = matches!(event, Event::InitDone);
        let mut dirty = Dirty::new();
        intake.take(event, &mut store.index_mut(), &mut dirty);
        store.enqueue(dirty);
        if complete {
            watched.complete();
            store.resume();
        }
    }
}

/// Takes what a watch hears into the index.
#[derive(Default)]
struct Intake {
    /// The namespace, where the watch is of one alone.
    namespace: Option<Arc<str>>,
    /// While a list is under way: the names seen so far. Those that are missing at its end are gone.
    listed: Option<Listed>,
    /// Whether what is listed next counts although something newer is known: the API server's store was restored.
    whatever_its_version: bool,
}

impl Intake {
    fn take<K>(&mut self, event: Event<K>, index: &mut Index, dirty: &mut Dirty)
    where
        K: Indexed + Resource<DynamicType = ()>,
    {
        match event {
            Event::Apply(object) => object.upsert(index, dirty),
            Event::Delete(object) => K::remove(index, &ObjectName::of(object.meta()), dirty),
            Event::Init => self.listed = Some(Listed::default()),
            Event::InitApply(object) => {
                let name = ObjectName::of(object.meta());
                if self.whatever_its_version && K::BY_VERSION {
                    K::remove(index, &name, dirty);
                }
                if let Some(listed) = &mut self.listed {
                    listed.insert(&name);
                }
                object.upsert_listed(index, dirty);
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                self.whatever_its_version = false;
                K::forget_unlisted(index, self.namespace.as_deref(), &listed, dirty);
            }
        }
    }
}

/// How many objects a page of a list has, where lists are not streamed.
const PAGE: u32 = 50;

/// Whether the API server refuses to stream a list.
fn does_not_stream(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 400 | 422))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_api::EgressAllowlist;
    use cloister_index::decode::Decoded;
    use serde_json::json;

    fn allowlist(name: &str, version: u64) -> Decoded<EgressAllowlist> {
        let object = json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist",
            "metadata": {"name": name, "uid": name, "resourceVersion": version.to_string(), "generation": version},
            "spec": {"rules": []},
        });
        serde_json::from_value(object).unwrap()
    }

    fn known(index: &Index) -> Vec<(String, u64)> {
        index.allowlists.iter().map(|(name, found)| (name.to_string(), found.version())).collect()
    }

    fn list(intake: &mut Intake, index: &mut Index, all: &[(&str, u64)]) {
        let mut dirty = Dirty::new();
        intake.take(Event::<Decoded<EgressAllowlist>>::Init, index, &mut dirty);
        for (name, version) in all {
            intake.take(Event::InitApply(allowlist(name, *version)), index, &mut dirty);
        }
        intake.take(Event::<Decoded<EgressAllowlist>>::InitDone, index, &mut dirty);
    }

    #[test]
    fn what_is_newer_than_the_list_stays_unless_the_store_was_restored() {
        let (mut intake, mut index) = (Intake::default(), Index::default());
        list(&mut intake, &mut index, &[("a", 5), ("b", 6)]);
        // The answer to a write comes before the list that is under way.
        intake.take(Event::Apply(allowlist("a", 9)), &mut index, &mut Dirty::new());
        list(&mut intake, &mut index, &[("a", 5), ("b", 6)]);
        assert_eq!(known(&index), [("a".into(), 9), ("b".into(), 6)]);

        intake.whatever_its_version = true;
        list(&mut intake, &mut index, &[("a", 3)]);
        assert_eq!(known(&index), [("a".into(), 3)], "that is what the API server has now");
        list(&mut intake, &mut index, &[("a", 2)]);
        assert_eq!(known(&index), [("a".into(), 3)], "once");
    }

    #[test]
    fn waits_are_short() {
        assert!(Soon.take(200).all(|wait| wait <= Duration::from_secs(3)));
    }
}
