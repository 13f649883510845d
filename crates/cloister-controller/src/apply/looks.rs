//! Looks at the pods of a namespace as the API server has them, for what must not rest on a watch.
//!
//! Who asks while a look is under way may not use it: it may have begun before the asker's last write. All of them share
//! the next one.

use crate::{error::Error, requests::Requests, store::Store};
use cloister_index::{
    index::{Dirty, GatedPod, HeldCopy, Indexed},
    key::ObjectName,
};
use kube::{Api, api::ListParams};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many pods are read at a time.
const PAGE: u32 = 100;

/// The looks that are under way or asked for.
#[derive(Default)]
pub struct Looks {
    asked: AtomicU64,
    places: Mutex<HashMap<Arc<str>, Arc<Place>>>,
}

/// The looks at one namespace, one after the other.
#[derive(Default)]
struct Place(tokio::sync::Mutex<Option<Look>>);

/// A look that has come to its end.
#[derive(Clone)]
struct Look {
    /// How many had asked for one when it began.
    began: u64,
    result: Result<Arc<[Seen]>, Arc<Error>>,
}

/// A pod that was seen to hold copies of credentials.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its name.
    pub name: Arc<str>,
    /// What it holds.
    pub copies: Vec<HeldCopy>,
}

impl Looks {
    /// Looks at all pods of a namespace, and returns those that hold copies. The index knows of them afterwards.
    ///
    /// # Errors
    ///
    /// The API server does not answer, or refuses.
    pub async fn at(
        &self,
        requests: &Requests,
        store: &Store,
        namespace: &Arc<str>,
    ) -> Result<Arc<[Seen]>, Arc<Error>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let place = self.places().entry(namespace.clone()).or_default().clone();
        let mut last = place.0.lock().await;
        let result = match &*last {
            Some(look) if look.began > asked => look.result.clone(),
            _ => {
                let began = self.asked.load(Ordering::SeqCst);
                let result = look(requests, store, namespace).await.map_err(Arc::new);
                *last = Some(Look { began, result: result.clone() });
                result
            }
        };
        drop(last);
        // The last one takes it away: this one and the map hold it.
        let mut places = self.places();
        if Arc::strong_count(&place) <= 2 {
            places.remove(namespace);
        }
        result
    }

    fn places(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Place>>> {
        // No step leaves it half changed.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lists the pods page by page, and puts right what is known of them.
async fn look(requests: &Requests, store: &Store, namespace: &Arc<str>) -> Result<Arc<[Seen]>, Error> {
    let api: Api<GatedPod> = Api::namespaced(requests.client(), namespace);
    let before: Vec<(ObjectName, Box<str>)> = {
        let index = store.index();
        let pods = index.pods.get(namespace).into_iter().flatten();
        let at = |name: &Arc<str>| ObjectName { namespace: namespace.clone(), name: name.clone() };
        pods.map(|(name, pod)| (at(name), pod.uid.clone())).collect()
    };
    let (mut seen, mut holding) = (HashSet::new(), Vec::new());
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let what = || format!("list the pods of {namespace}");
        let page = requests.request(what, api.list(&params)).await?;
        let mut dirty = Dirty::new();
        {
            let mut index = store.index_mut();
            for pod in page.items {
                let at = ObjectName::of(kube::Resource::meta(&pod));
                let copies = pod.copies();
                if !copies.is_empty() {
                    holding.push(Seen { name: at.name.clone(), copies });
                }
                seen.insert(at);
                pod.upsert(&mut index, &mut dirty);
            }
        }
        store.enqueue(dirty);
        match page.metadata.continue_.filter(|more| !more.is_empty()) {
            Some(more) => params.continue_token = Some(more),
            None => break,
        }
    }
    let mut dirty = Dirty::new();
    {
        // What was there before and is not there now is gone, whatever the watch has missed.
        let mut index = store.index_mut();
        for (at, uid) in before.into_iter().filter(|(at, _)| !seen.contains(at)) {
            let same =
                index.pods.get(&at.namespace).and_then(|pods| pods.get(&at.name)).is_some_and(|pod| pod.uid == uid);
            if same {
                GatedPod::remove(&mut index, &at, &mut dirty);
            }
        }
    }
    store.enqueue(dirty);
    Ok(holding.into())
}
