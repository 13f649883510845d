//! Which watches have seen all that there is, and of which nothing is heard.

use crate::{clock::elapsed, connection::Ear};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::watch;

/// How long a watch may hear nothing until that is said.
const SILENT: Duration = Duration::from_secs(60);

/// How long the first list of a kind may take until that is said.
const LATE: Duration = Duration::from_secs(10);

/// What is known of each watch.
#[derive(Clone, Default)]
pub struct Synced {
    all: Arc<Mutex<Vec<Weak<Known>>>>,
}

/// What is known of one watch.
struct Known {
    kind: &'static str,
    /// The namespace, where it is of one alone.
    namespace: Option<Arc<str>>,
    begun: Duration,
    listed: watch::Sender<bool>,
    ear: OnceLock<Arc<Ear>>,
}

impl Known {
    /// Whether its first list takes too long.
    fn is_late(&self) -> bool {
        !*self.listed.borrow() && elapsed().saturating_sub(self.begun) > LATE
    }

    /// Whether nothing is heard for too long.
    fn is_silent(&self) -> bool {
        self.is_late() || self.ear.get().is_some_and(|ear| ear.silence() > SILENT)
    }
}

/// A watch, as whoever runs it tells of it. It is known as long as it is held.
#[derive(Clone)]
pub struct Watched(Arc<Known>);

impl Watched {
    /// Says how it is known when something is heard.
    pub fn listens(&self, ear: Arc<Ear>) {
        // It listens once.
        let _ = self.0.ear.set(ear);
    }

    /// Says that its first list is complete.
    pub fn complete(&self) {
        self.0.listed.send_replace(true);
    }

    /// Whether its first list is complete.
    pub fn is_listed(&self) -> bool {
        *self.0.listed.borrow()
    }

    /// Waits until its first list is complete.
    pub async fn listed(&self) {
        // The sender is held here.
        let _ = self.0.listed.subscribe().wait_for(|listed| *listed).await;
    }
}

impl Synced {
    /// Takes up a watch.
    pub fn begin(&self, kind: &'static str) -> Watched {
        self.begin_in(kind, None)
    }

    /// Takes up a watch of one namespace, or of all.
    pub fn begin_in(&self, kind: &'static str, namespace: Option<Arc<str>>) -> Watched {
        let listed = watch::Sender::new(false);
        let known = Arc::new(Known { kind, namespace, begun: elapsed(), listed, ear: OnceLock::new() });
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&known));
        Watched(known)
    }

    fn all(&self) -> Vec<Arc<Known>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    }

    /// The kinds among these, or of all, that are still being listed, each once.
    pub fn missing(&self, among: Option<&[&'static str]>) -> Vec<&'static str> {
        let all = self.all();
        let wanted = all.iter().filter(|known| among.is_none_or(|among| among.contains(&known.kind)));
        each_once(wanted.filter(|known| !*known.listed.borrow()))
    }

    /// The kinds of which nothing is heard for too long, each once.
    pub fn silent(&self) -> Vec<&'static str> {
        each_once(self.all().iter().filter(|known| known.is_silent()))
    }

    /// The same two of the kinds that the operator watches whatever the settings say. Whether it is ready does not depend on what
    /// the settings alone name, such as a namespace in which it may not read: that is said of the settings.
    pub fn missing_of_all_namespaces(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let all = self.all();
        let own = || all.iter().filter(|known| known.namespace.is_none());
        (each_once(own().filter(|known| !*known.listed.borrow())), each_once(own().filter(|known| known.is_silent())))
    }

    /// The namespaces in which a kind could not be listed for too long.
    pub fn late_in(&self, kind: &str) -> BTreeSet<Arc<str>> {
        let all = self.all().into_iter().filter(|known| known.kind == kind && known.is_late());
        all.filter_map(|known| known.namespace.clone()).collect()
    }

    /// Waits until these kinds are listed, or all that there are now.
    pub async fn wait(&self, among: Option<&[&'static str]>) {
        for known in self.all() {
            if among.is_none_or(|among| among.contains(&known.kind)) {
                Watched(known).listed().await;
            }
        }
    }
}

fn each_once<'a>(all: impl Iterator<Item = &'a Arc<Known>>) -> Vec<&'static str> {
    let kinds: BTreeSet<&'static str> = all.map(|known| known.kind).collect();
    kinds.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kind_is_listed_when_all_watches_of_it_are() {
        let synced = Synced::default();
        let (one, other, pods) = (synced.begin("Secret"), synced.begin("Secret"), synced.begin("Pod"));
        assert_eq!(synced.missing(None), ["Pod", "Secret"]);
        one.complete();
        assert_eq!(synced.missing(None), ["Pod", "Secret"]);
        pods.complete();
        assert!(synced.missing(Some(&["Pod"])).is_empty());
        synced.wait(Some(&["Pod"])).await;
        // A watch that is run no more holds up nothing.
        drop(other);
        assert!(synced.missing(None).is_empty() && synced.silent().is_empty());
        synced.wait(None).await;
        let _within = synced.begin_in("Secret", Some("vault".into()));
        assert!(synced.late_in("Secret").is_empty(), "it has only begun");
    }

    #[test]
    fn what_the_settings_alone_name_does_not_make_the_operator_unready() {
        let synced = Synced::default();
        let (_named, own) = (synced.begin_in("Secret", Some("vault".into())), synced.begin("Namespace"));
        assert_eq!(synced.missing(None), ["Namespace", "Secret"]);
        assert_eq!(synced.missing_of_all_namespaces(), (vec!["Namespace"], vec![]));
        own.complete();
        assert_eq!(synced.missing(None), ["Secret"], "what depends on it waits");
        assert_eq!(synced.missing_of_all_namespaces(), (vec![], vec![]));
    }
}
