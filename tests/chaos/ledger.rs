//! What stands in the cluster, and since when it is gone, seen by a watch that no fault touches.

use anyhow::{Context, Result};
use cloister_api::GrantMount;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Secret, networking::v1::NetworkPolicy, rbac::v1::RoleBinding};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::watcher::{Config, Event, watcher},
};
use serde::de::DeserializeOwned;
use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::task::JoinSet;

/// An object: its kind, its namespace and its name.
pub type Place = (&'static str, String, String);

/// What was seen of an object.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When it was there first.
    pub since: Option<Timestamp>,
    /// When it was gone last; `None` while it is there.
    pub gone: Option<Timestamp>,
    /// How often it went.
    pub times_gone: usize,
}

/// The watch.
#[derive(Clone, Default)]
pub struct Ledger {
    all: Arc<Mutex<HashMap<Place, Seen>>>,
    watches: Arc<Mutex<JoinSet<()>>>,
}

impl Ledger {
    /// Begins to watch bindings, policies, mounts and Secrets.
    pub fn begin(client: &Client) -> Self {
        let ledger = Ledger::default();
        ledger.watch::<RoleBinding>("RoleBinding", client);
        ledger.watch::<NetworkPolicy>("NetworkPolicy", client);
        ledger.watch::<GrantMount>("GrantMount", client);
        ledger.watch::<Secret>("Secret", client);
        ledger
    }

    fn watch<K>(&self, kind: &'static str, client: &Client)
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (ledger, api) = (self.clone(), Api::<PartialObjectMeta<K>>::all(client.clone()));
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.spawn(async move {
            let mut events = Box::pin(watcher(api, Config::default()));
            while let Some(event) = events.next().await {
                let now = Timestamp::now();
                let place =
                    |object: &PartialObjectMeta<K>| (kind, object.namespace().unwrap_or_default(), object.name_any());
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        let mut all = ledger.lock();
                        let seen = all.entry(place(&object)).or_default();
                        seen.since.get_or_insert(now);
                        seen.gone = None;
                    }
                    Ok(Event::Delete(object)) => {
                        let mut all = ledger.lock();
                        let seen = all.entry(place(&object)).or_default();
                        seen.gone = Some(now);
                        seen.times_gone += 1;
                    }
                    _ => {}
                }
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Seen>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of an object.
    ///
    /// # Errors
    ///
    /// It was never there.
    pub fn seen(&self, place: &Place) -> Result<Seen> {
        self.lock().get(place).cloned().with_context(|| format!("{place:?} was never there"))
    }

    /// The objects of these for which this holds.
    pub fn which(&self, holds: impl Fn(&Place, &Seen) -> bool) -> Vec<Place> {
        self.lock().iter().filter(|(place, seen)| holds(place, seen)).map(|(place, _)| place.clone()).collect()
    }
}
