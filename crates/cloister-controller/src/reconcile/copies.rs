//! The copies of credentials that are mounted, compared with their sources again and again.
//!
//! Who holds the operator's token can write other content into a copy, and no watch tells of it: the operator may read no
//! Secrets but where credentials are kept. What it writes it is shown, though, so a write that is only tried shows what
//! stands. A copy that holds something else is taken out of new pods at once; the grants that share it copy it anew, as
//! they do whenever its mount has no version.

use super::Reconciler;
use crate::{
    error::Error,
    report::Notification,
    snapshot::{Snapshot, reference_of},
};
use cloister_api::SecretReference;
use cloister_core::grant::{content_version, secret_of};
use cloister_index::key::Key;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tracing::warn;

/// How long it takes to notice the first copy.
const IDLE: Duration = Duration::from_secs(30);

/// The namespace of a mount, and its name.
type Place = (Arc<str>, Arc<str>);

/// The mounts behind which something else than their credential was found, as long as they are mounted.
#[derive(Debug, Default)]
pub struct Replaced(Mutex<BTreeSet<Place>>);

impl Replaced {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn note(&self, place: &Place) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(place.clone());
    }

    fn keep(&self, mounted: &BTreeSet<Place>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|place| mounted.contains(place));
    }
}

/// A copy that is mounted.
struct Mounted {
    from: SecretReference,
    version: Box<str>,
    /// One of the grants that it is mounted for.
    grant: ObjectReference,
}

impl Reconciler {
    /// Compares every copy once in this time, and has those destroyed that outlasted their grants, spread over it, until the
    /// process ends.
    pub async fn compare_copies(&self, every: Duration) {
        loop {
            let places = self.places();
            let count = u32::try_from(places.len()).unwrap_or(u32::MAX);
            let pause = every / count.max(1);
            if places.is_empty() {
                tokio::time::sleep(pause.min(IDLE)).await;
            }
            for place in places {
                tokio::time::sleep(pause).await;
                if let Err(error) = self.look_at(&place).await {
                    warn!(
                        category = error.category(),
                        "a copy of a credential could not be compared with its source: {error}"
                    );
                }
            }
        }
    }

    /// The mounts of grants that have not ended, and those of others whose copy is not known to be gone.
    fn places(&self) -> BTreeSet<Place> {
        let index = self.sources.store.index();
        self.writer.destroyed.keep_in(|namespace| index.namespaces.contains_key(namespace));
        let mut places: BTreeSet<Place> = index.mounts().collect();
        self.replaced.keep(&places);
        let left = index.ended_mounts().filter(|(namespace, mount)| {
            index.namespaces.contains_key(namespace) && !self.writer.destroyed.has(namespace, &secret_of(mount))
        });
        places.extend(left);
        places
    }

    async fn look_at(&self, place: &Place) -> Result<(), Error> {
        let (namespace, mount) = place;
        if self.sources.store.index().of_mount(namespace, mount).next().is_none() {
            self.sources.store.enqueue([Key::Mount(namespace.clone(), mount.clone())].into());
            return Ok(());
        }
        let Some(copy) = self.mounted_at(place) else { return Ok(()) };
        let secret = secret_of(mount);
        if self.is_as_its_source(namespace, &secret, &copy).await? {
            return Ok(());
        }
        let message = format!(
            "Secret {namespace}/{secret} differed from the credential in Secret {}/{}, or was missing: somebody other than the \
             operator changed it. The operator copies it again. Find out who may write Secrets in {namespace}; pods of the \
             ServiceAccount may have read the other content",
            copy.from.namespace, copy.from.name
        );
        self.replaced.note(place);
        self.alerts.raise(copy.grant, Notification::warning("CredentialReplaced", message));
        // Those that share it copy it anew.
        let key = Key::Mount(namespace.clone(), mount.clone());
        self.writer.unmount(&key, namespace, mount, self.sources.store.clock.now()).await
    }

    /// What is mounted there, as the grants say that it is mounted for.
    fn mounted_at(&self, (namespace, mount): &Place) -> Option<Mounted> {
        let snapshot = Snapshot::look(&self.sources);
        let mut grants = snapshot.index.of_mount(namespace, mount);
        grants.find_map(|(grant, _)| {
            let (from, version) = snapshot.mounted_for(namespace, grant)?;
            Some(Mounted { from, version, grant: reference_of(&snapshot.index, namespace, grant)? })
        })
    }

    /// Whether a copy holds what its source does. A source that has changed meanwhile is copied anyway.
    async fn is_as_its_source(&self, namespace: &str, secret: &str, copy: &Mounted) -> Result<bool, Error> {
        let Mounted { from, version, .. } = copy;
        let requests = &self.writer.requests;
        let source: Api<Secret> = Api::namespaced(requests.client(), &from.namespace);
        let what = || format!("read Secret {}/{}", from.namespace, from.name);
        let kept = match requests.request(what, source.get(&from.name)).await {
            Ok(kept) => kept,
            Err(error) if error.category() == "not_found" => return Ok(true),
            Err(error) => return Err(error),
        };
        let data = kept.data.unwrap_or_default();
        let content = data.iter().map(|(key, value)| (key.as_str(), value.0.as_slice()));
        if content_version(kept.metadata.uid.as_deref().unwrap_or_default(), content).as_ref() != Some(version) {
            return Ok(true);
        }
        let copies: Api<Secret> = Api::namespaced(requests.client(), namespace);
        let tried = PatchParams { dry_run: true, ..PatchParams::default() };
        let what = || format!("compare Secret {namespace}/{secret} with its source");
        match requests.request(what, copies.patch(secret, &tried, &Patch::Merge(json!({})))).await {
            Ok(stands) => Ok(stands.data.unwrap_or_default() == data),
            Err(error) if error.category() == "not_found" => Ok(false),
            Err(error) => Err(error),
        }
    }
}
