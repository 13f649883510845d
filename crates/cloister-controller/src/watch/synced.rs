//! Which watches have seen all that there is, and of which nothing is heard.

use crate::{clock::elapsed, connection::Ear};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// How long a watch may hear nothing until that is said.
const SILENT: Duration = Duration::from_secs(60);

/// How long the first list of a kind may take until that is said.
const LATE: Duration = Duration::from_secs(10);

/// What is known of each watch. A kind of which no watch was begun is not known to have no objects: it is missing, as one
/// whose list is under way.
#[derive(Clone, Default)]
pub struct Synced {
    state: Arc<Mutex<State>>,
    /// Notified when a list is complete, or the watches of a kind were begun.
    progress: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    watches: Vec<Weak<WatchState>>,
    kinds: BTreeMap<&'static str, Begun>,
    /// How often the settings may have changed, and with them what is to be watched.
    settings: Version,
    /// Whether every kind is among `kinds`.
    complete: bool,
}

/// A version of the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Version(u64);

/// Which watches of a kind were begun.
#[derive(Clone, Copy)]
enum Begun {
    /// The one that there is.
    All,
    /// Those that the settings of this version want; `None` before the first was looked at.
    By(Option<Version>),
}

impl State {
    /// Whether all watches of a kind that there should be were begun.
    fn is_begun(&self, kind: &str) -> bool {
        match self.kinds.get(kind) {
            Some(Begun::All) => true,
            Some(Begun::By(version)) => *version == Some(self.settings),
            None => false,
        }
    }
}

/// The state of one watch.
struct WatchState {
    kind: &'static str,
    /// The namespace, where it is of one alone.
    namespace: Option<Arc<str>>,
    begun: Duration,
    listed: AtomicBool,
    ear: OnceLock<Arc<Ear>>,
    progress: watch::Sender<()>,
}

impl WatchState {
    fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    /// Whether its first list takes too long.
    fn is_late(&self) -> bool {
        !self.is_listed() && elapsed().saturating_sub(self.begun) > LATE
    }

    /// Whether nothing is heard for too long.
    fn is_silent(&self) -> bool {
        self.is_late() || self.ear.get().is_some_and(|ear| ear.silence() > SILENT)
    }
}

impl Drop for WatchState {
    /// Nobody waits for its list any more.
    fn drop(&mut self) {
        self.progress.send_replace(());
    }
}

/// A watch, as whoever runs it tells of it. It is known as long as it is held.
#[derive(Clone)]
pub struct Watched(Arc<WatchState>);

impl Watched {
    /// Says how it is known when something is heard.
    pub fn listens(&self, ear: Arc<Ear>) {
        // It listens once.
        let _ = self.0.ear.set(ear);
    }

    /// Says that its first list is complete.
    pub fn complete(&self) {
        self.0.listed.store(true, Ordering::Release);
        self.0.progress.send_replace(());
    }

    /// Whether its first list is complete.
    pub fn is_listed(&self) -> bool {
        self.0.is_listed()
    }
}

impl Synced {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up the one watch of a kind.
    pub fn begin(&self, kind: &'static str) -> Watched {
        self.state().kinds.insert(kind, Begun::All);
        self.begin_in(kind, None)
    }

    /// Takes up a kind whose watches follow the settings.
    pub fn follow(&self, kind: &'static str) {
        self.state().kinds.insert(kind, Begun::By(None));
    }

    /// Takes up a watch of one namespace, or of all, of a kind whose watches follow the settings.
    pub fn begin_in(&self, kind: &'static str, namespace: Option<Arc<str>>) -> Watched {
        let (listed, ear, progress) = (AtomicBool::new(false), OnceLock::new(), self.progress.clone());
        let known = Arc::new(WatchState { kind, namespace, begun: elapsed(), listed, ear, progress });
        let mut state = self.state();
        state.watches.retain(|known| known.strong_count() > 0);
        state.watches.push(Arc::downgrade(&known));
        Watched(known)
    }

    /// Says that the settings may have changed: kinds whose watches follow them are missing until that was looked at.
    pub fn settings_changed(&self) {
        self.state().settings.0 += 1;
    }

    /// The version of the settings now, to be asked before they are read.
    pub fn settings(&self) -> Version {
        self.state().settings
    }

    /// Says that the watches of a kind were begun by the settings of this version.
    pub fn followed(&self, kind: &'static str, version: Version) {
        self.state().kinds.insert(kind, Begun::By(Some(version)));
        self.progress.send_replace(());
    }

    /// Says that every kind was taken up.
    pub fn complete(&self) {
        self.state().complete = true;
    }

    fn all(&self) -> Vec<Arc<WatchState>> {
        self.state().watches.iter().filter_map(Weak::upgrade).collect()
    }

    /// The kinds among these, or of all, that are not all listed, each once. A decision asks [`Store::park`] instead, so that
    /// it is made again when they are listed.
    ///
    /// [`Store::park`]: crate::store::Store::park
    pub fn missing(&self, among: Option<&[&'static str]>) -> Vec<&'static str> {
        let state = self.state();
        let wanted = |kind| among.is_none_or(|among| among.contains(&kind));
        let kinds = among.map_or_else(|| state.kinds.keys().copied().collect(), <[_]>::to_vec);
        let not_begun = kinds.into_iter().filter(|kind| !state.is_begun(kind));
        let all = state.watches.iter().filter_map(Weak::upgrade);
        let unlisted = all.filter(|known| wanted(known.kind) && !known.is_listed()).map(|known| known.kind);
        let missing: BTreeSet<&'static str> = not_begun.chain(unlisted).collect();
        missing.into_iter().collect()
    }

    /// The kinds of which nothing is heard for too long, each once.
    pub fn silent(&self) -> Vec<&'static str> {
        each_once(self.all().iter().filter(|known| known.is_silent()))
    }

    /// The namespaces in which nothing is heard of a kind; none where that is so of all namespaces.
    pub fn silent_in(&self, kind: &str) -> BTreeSet<Arc<str>> {
        let silent = self.all().into_iter().filter(|known| known.kind == kind && known.is_silent());
        within(silent.map(|known| known.namespace.clone()))
    }

    /// The same two of the kinds that the operator watches whatever the settings say; nothing before all of them were taken up.
    /// Whether it is ready does not depend on what the settings alone name, such as a namespace in which it may not read: that is
    /// said of the settings.
    pub fn missing_of_all_namespaces(&self) -> Option<(Vec<&'static str>, Vec<&'static str>)> {
        let all = {
            let state = self.state();
            let is_begun = |begun: &Begun| !matches!(begun, Begun::By(None));
            if !state.complete || !state.kinds.values().all(is_begun) {
                return None;
            }
            state.watches.iter().filter_map(Weak::upgrade).collect::<Vec<_>>()
        };
        let own = || all.iter().filter(|known| known.namespace.is_none());
        Some((each_once(own().filter(|known| !known.is_listed())), each_once(own().filter(|known| known.is_silent()))))
    }

    /// The namespaces in which a kind could not be listed for too long.
    pub fn late_in(&self, kind: &str) -> BTreeSet<Arc<str>> {
        let all = self.all().into_iter().filter(|known| known.kind == kind && known.is_late());
        all.filter_map(|known| known.namespace.clone()).collect()
    }

    /// Waits until these kinds, or all that were taken up, are listed.
    pub async fn wait(&self, among: Option<&[&'static str]>) {
        // The sender is held here.
        let _ = self.progress.subscribe().wait_for(|()| self.missing(among).is_empty()).await;
    }
}

/// The namespaces of watches, unless one of them is of all namespaces.
fn within(watches: impl Iterator<Item = Option<Arc<str>>>) -> BTreeSet<Arc<str>> {
    watches.collect::<Option<_>>().unwrap_or_default()
}

fn each_once<'a>(all: impl Iterator<Item = &'a Arc<WatchState>>) -> Vec<&'static str> {
    let kinds: BTreeSet<&'static str> = all.map(|known| known.kind).collect();
    kinds.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kind_is_listed_when_all_watches_of_it_are() {
        let synced = Synced::default();
        synced.follow("Secret");
        let (one, other, pods) =
            (synced.begin_in("Secret", None), synced.begin_in("Secret", None), synced.begin("Pod"));
        synced.followed("Secret", synced.settings());
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

    #[tokio::test]
    async fn whoever_waits_for_a_kind_waits_until_nothing_of_it_is_missing() {
        let synced = Synced::default();
        synced.follow("Secret");
        let waits = async |kinds: &[&'static str]| {
            tokio::time::timeout(Duration::from_millis(20), synced.wait(Some(kinds))).await.is_err()
        };
        assert!(waits(&["Secret"]).await, "nobody has looked at the settings");
        assert!(waits(&["Node"]).await, "nobody watches it");
        synced.followed("Secret", synced.settings());
        let watched = synced.begin_in("Secret", None);
        assert!(waits(&["Secret"]).await, "its list is under way");
        let (all, ()) = tokio::join!(synced.wait(None), async { drop(watched) });
        assert_eq!(all, (), "the watch is run no more");
        synced.settings_changed();
        assert!(waits(&["Secret"]).await, "others are in force");
        tokio::join!(synced.wait(Some(&["Secret"])), async { synced.followed("Secret", synced.settings()) });
    }

    #[test]
    fn a_kind_that_nobody_watches_yet_is_missing() {
        let synced = Synced::default();
        assert_eq!(synced.missing(Some(&["Namespace"])), ["Namespace"]);
        synced.begin("Namespace").complete();
        assert!(synced.missing(Some(&["Namespace"])).is_empty());
    }

    #[test]
    fn a_kind_whose_watches_follow_the_settings_is_missing_until_they_were_looked_at() {
        let synced = Synced::default();
        synced.follow("CiliumNetworkPolicy");
        assert_eq!(synced.missing(None), ["CiliumNetworkPolicy"]);
        synced.followed("CiliumNetworkPolicy", synced.settings());
        assert!(synced.missing(None).is_empty(), "the settings want none");
        let before = synced.settings();
        synced.settings_changed();
        synced.followed("CiliumNetworkPolicy", before);
        assert_eq!(synced.missing(None), ["CiliumNetworkPolicy"], "others are in force by now");
        let cilium = synced.begin_in("CiliumNetworkPolicy", None);
        synced.followed("CiliumNetworkPolicy", synced.settings());
        assert_eq!(synced.missing(None), ["CiliumNetworkPolicy"], "its list is under way");
        cilium.complete();
        assert!(synced.missing(None).is_empty());
    }

    #[test]
    fn where_nothing_is_heard_of_a_kind_is_told_by_namespace() {
        let named = |names: &[Option<&str>]| within(names.iter().map(|name| name.map(Into::into)));
        assert_eq!(named(&[Some("vault"), Some("teams"), Some("vault")]), ["teams".into(), "vault".into()].into());
        assert!(named(&[Some("vault"), None]).is_empty(), "it is so everywhere");
    }

    #[test]
    fn nothing_is_ready_before_every_kind_was_taken_up() {
        let synced = Synced::default();
        assert_eq!(synced.missing_of_all_namespaces(), None, "nothing is watched");
        let own = synced.begin("Namespace");
        own.complete();
        synced.follow("Node");
        assert_eq!(synced.missing_of_all_namespaces(), None, "others are to come");
        synced.complete();
        assert_eq!(synced.missing_of_all_namespaces(), None, "it is not known which Nodes are to be watched");
        synced.followed("Node", synced.settings());
        assert_eq!(synced.missing_of_all_namespaces(), Some((vec![], vec![])));
        // A change of the settings makes nothing unready that was ready.
        synced.settings_changed();
        assert_eq!(synced.missing_of_all_namespaces(), Some((vec![], vec![])));
    }

    #[test]
    fn what_the_settings_alone_name_does_not_make_the_operator_unready() {
        let synced = Synced::default();
        synced.follow("Secret");
        let (_named, own) = (synced.begin_in("Secret", Some("vault".into())), synced.begin("Namespace"));
        synced.followed("Secret", synced.settings());
        synced.complete();
        assert_eq!(synced.missing(None), ["Namespace", "Secret"]);
        assert_eq!(synced.missing_of_all_namespaces(), Some((vec!["Namespace"], vec![])));
        own.complete();
        assert_eq!(synced.missing(None), ["Secret"], "what depends on it waits");
        assert_eq!(synced.missing_of_all_namespaces(), Some((vec![], vec![])));
    }
}
