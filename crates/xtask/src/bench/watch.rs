//! The independent watcher: a client and a watch of its own, which sees what stands in the cluster and when.

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    core::{ObjectMeta, PartialObjectMeta},
    runtime::watcher::{Config, Event, watcher},
};
use serde::de::DeserializeOwned;
use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    pin::pin,
    time::{Duration, Instant},
};
use tokio::{
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::JoinHandle,
    time::timeout,
};

/// Something that was seen.
#[derive(Debug)]
pub struct Sighting {
    /// When.
    pub at: Instant,
    /// The namespace of the object, or its name where it has no namespace.
    pub place: String,
    /// Its metadata, as it was then.
    pub metadata: ObjectMeta,
    /// Whether it is gone.
    pub gone: bool,
}

/// A running watch; it ends with this value.
#[derive(Debug)]
pub struct Watch {
    sightings: UnboundedReceiver<Sighting>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins a watch, and waits until it has seen what is there already.
    ///
    /// # Errors
    ///
    /// The first list does not come.
    pub async fn begin<K>(api: Api<PartialObjectMeta<K>>, config: Config) -> Result<Self>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let (sender, sightings) = unbounded_channel();
        let (listed, is_listed) = oneshot::channel();
        let task = tokio::spawn(follow(api, config, sender, listed));
        timeout(Duration::from_secs(30), is_listed).await.context("the watch does not begin")??;
        Ok(Watch { sightings, task })
    }

    /// Waits until all these keys have been seen as they should be, and says when each was first.
    ///
    /// `key` gives the key of a sighting that counts.
    ///
    /// # Errors
    ///
    /// They have not been seen within that time.
    pub async fn all(
        &mut self,
        mut wanted: HashSet<String>,
        patience: Duration,
        key: impl Fn(&Sighting) -> Option<String>,
    ) -> Result<HashMap<String, Instant>> {
        let (count, deadline) = (wanted.len(), Instant::now() + patience);
        let mut seen = HashMap::with_capacity(count);
        while !wanted.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(sighting) = timeout(left, self.sightings.recv()).await else {
                let example = wanted.iter().next().map_or("", String::as_str);
                bail!("{} of {count} were not seen within {patience:?}, such as {example}", wanted.len());
            };
            let sighting = sighting.context("the watch ended")?;
            if let Some(key) = key(&sighting)
                && let Some(key) = wanted.take(&key)
            {
                seen.insert(key, sighting.at);
            }
        }
        Ok(seen)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow<K>(
    api: Api<PartialObjectMeta<K>>,
    config: Config,
    sender: UnboundedSender<Sighting>,
    listed: oneshot::Sender<()>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut listed = Some(listed);
    let mut events = pin!(watcher(api, config));
    while let Some(event) = events.next().await {
        let (object, gone): (PartialObjectMeta<K>, bool) = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
            Ok(Event::Delete(object)) => (object, true),
            Ok(Event::InitDone) => {
                if let Some(listed) = listed.take() {
                    // Whoever waited may have given up.
                    let _ = listed.send(());
                }
                continue;
            }
            // It begins again by itself.
            Ok(Event::Init) | Err(_) => continue,
        };
        let place = object.namespace().unwrap_or_else(|| object.name_any());
        if sender.send(Sighting { at: Instant::now(), place, metadata: object.metadata, gone }).is_err() {
            return;
        }
    }
}
