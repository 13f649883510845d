//! The copies of credentials that are mounted, compared with their sources again and again.
//!
//! Who holds the operator's token can write other content into a copy, and no watch tells of it: the operator may read no
//! Secrets but where credentials are kept. What it writes it is shown, though, so a write that is only tried shows what
//! stands. A copy that holds something else is taken out of new pods at once; the grants that share it copy it anew, as
//! they do whenever its mount has no version.

use super::{
    asking::Asking,
    grant::{reference_of, with_input},
};
use crate::{context::Context, error::Error, key::Key, news::News, write::Writer};
use cloister_api::SecretReference;
use cloister_core::grant::{content_version, mounted, secret_of};
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// The copies that this process has destroyed, or found gone, and not made again since: by the names of their Secrets.
#[derive(Debug, Default)]
pub struct Destroyed(Mutex<BTreeSet<Place>>);

impl Destroyed {
    /// Whether a copy is among them.
    pub fn has(&self, namespace: &str, secret: &str) -> bool {
        self.all().contains(&(namespace.into(), secret.into()))
    }

    /// One is gone.
    pub fn note(&self, namespace: &str, secret: &str) {
        self.all().insert((namespace.into(), secret.into()));
    }

    /// One is made.
    pub fn forget(&self, namespace: &str, secret: &str) {
        self.all().remove(&(namespace.into(), secret.into()));
    }

    fn keep_in(&self, exists: impl Fn(&str) -> bool) {
        self.all().retain(|(namespace, _)| exists(namespace));
    }

    fn all(&self) -> MutexGuard<'_, BTreeSet<Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy that is mounted.
struct Mounted {
    from: SecretReference,
    version: Box<str>,
    /// One of the grants that it is mounted for.
    grant: ObjectReference,
}

/// Compares every copy once in this time, and has those destroyed that outlasted their grants, spread over it, until the
/// process ends.
pub async fn look_after(context: Arc<Context>, every: Duration) {
    loop {
        let places = places(&context);
        let count = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let pause = every / count.max(1);
        if places.is_empty() {
            tokio::time::sleep(pause.min(IDLE)).await;
        }
        for place in places {
            tokio::time::sleep(pause).await;
            context.queue.calm().await;
            if let Err(error) = look_at(&context, &place).await {
                warn!(
                    category = error.category(),
                    "a copy of a credential could not be compared with its source: {error}"
                );
            }
        }
    }
}

/// The mounts of grants that have not ended, and those of others whose copy is not known to be gone.
fn places(context: &Context) -> BTreeSet<Place> {
    let index = context.index();
    context.destroyed.keep_in(|namespace| index.namespaces.contains_key(namespace));
    let mut places: BTreeSet<Place> = index.mounts().collect();
    context.replaced.keep(&places);
    let left = index.ended_mounts().filter(|(namespace, mount)| {
        index.namespaces.contains_key(namespace) && !context.destroyed.has(namespace, &secret_of(mount))
    });
    places.extend(left);
    places
}

async fn look_at(context: &Context, place: &Place) -> Result<(), Error> {
    let (namespace, mount) = place;
    if context.index().of_mount(namespace, mount).next().is_none() {
        context.enqueue([Key::Mount(namespace.clone(), mount.clone())].into());
        return Ok(());
    }
    let Some(copy) = mounted_at(context, place) else { return Ok(()) };
    let secret = secret_of(mount);
    if is_as_its_source(context, namespace, &secret, &copy).await? {
        return Ok(());
    }
    let message = format!(
        "Secret {namespace}/{secret} held something else than the credential in Secret {}/{}, or nothing: somebody else has written \
         or deleted it. It is copied anew. Find out who may write Secrets in {namespace}; pods of the account may have read what \
         was there",
        copy.from.namespace, copy.from.name
    );
    context.replaced.note(place);
    context.alerts.raise(copy.grant, News::warning("CredentialReplaced", message));
    // Those that share it copy it anew.
    let key = Key::Mount(namespace.clone(), mount.clone());
    Writer::new(context).unmount(&key, namespace, mount, context.clock.now()).await
}

/// What is mounted there, as the grants say that it is mounted for.
fn mounted_at(context: &Context, (namespace, mount): &Place) -> Option<Mounted> {
    let (now, asking) = (context.clock.now(), Asking::new(context));
    let index = context.index();
    let mut grants = index.of_mount(namespace, mount);
    grants.find_map(|(grant, _)| {
        let (from, version) = with_input(&asking, &index, namespace, grant, now, mounted)??;
        Some(Mounted { from, version, grant: reference_of(&index, namespace, grant)? })
    })
}

/// Whether a copy holds what its source does. A source that has changed meanwhile is copied anyway.
async fn is_as_its_source(context: &Context, namespace: &str, secret: &str, copy: &Mounted) -> Result<bool, Error> {
    let Mounted { from, version, .. } = copy;
    let writer = Writer::new(context);
    let source: Api<Secret> = Api::namespaced(context.client.clone(), &from.namespace);
    let what = || format!("read Secret {}/{}", from.namespace, from.name);
    let kept = match writer.request(what, source.get(&from.name)).await {
        Ok(kept) => kept,
        Err(error) if error.category() == "not_found" => return Ok(true),
        Err(error) => return Err(error),
    };
    let data = kept.data.unwrap_or_default();
    let content = data.iter().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    if content_version(kept.metadata.uid.as_deref().unwrap_or_default(), content).as_ref() != Some(version) {
        return Ok(true);
    }
    let copies: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let tried = PatchParams { dry_run: true, ..PatchParams::default() };
    let what = || format!("compare Secret {namespace}/{secret} with its source");
    match writer.request(what, copies.patch(secret, &tried, &Patch::Merge(json!({})))).await {
        Ok(stands) => Ok(stands.data.unwrap_or_default() == data),
        Err(error) if error.category() == "not_found" => Ok(false),
        Err(error) => Err(error),
    }
}
