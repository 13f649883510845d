//! The names that something is open to: each is looked up once for the whole cluster, when its answer has run out, and a
//! change queues what depends on it.

mod resolver;
mod silence;

use crate::{
    report::{Alerts, Metrics, Notification, settings_reference},
    store::Store,
};
use cloister_core::{
    dns::{Answer, Held, Host, KnownName, Limits, Outcome},
    namespace::what_to_do,
};
use cloister_index::{index::Index, key::Key};
use jiff::Timestamp;
use resolver::{Resolvers, Response};
use silence::Silences;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet, time::timeout};
use tracing::debug;

/// How many names are asked for at a time.
const AT_A_TIME: usize = 64;

/// How late the machine's waking up or a set clock may be noticed.
const TICK: Duration = Duration::from_secs(2);

/// What is known of names, and who wants to know. There are at most as many as objects name.
#[derive(Default)]
pub struct Names {
    inner: Mutex<Inner>,
    changed: Notify,
    answered: Notify,
    silences: Mutex<Silences>,
}

#[derive(Default)]
struct Inner {
    hosts: HashMap<Host, Entry>,
    wants: HashMap<Key, BTreeSet<Host>>,
    due: BTreeSet<(Timestamp, Host)>,
}

struct Entry {
    known: KnownName,
    wanted_by: HashSet<Key>,
    /// Whether it is being asked for.
    asking: bool,
}

impl Names {
    /// What is known of a name.
    pub fn known(&self, host: &Host) -> Option<KnownName> {
        self.lock().hosts.get(host).map(|entry| entry.known.clone())
    }

    /// From now on an object depends on a name and is told of each answer that changes something; what is known of it by now is
    /// returned. A name that is new is looked up, and `remembered` says what was known of it in an earlier life.
    pub fn want(&self, key: &Key, host: &Host, remembered: impl FnOnce() -> Option<KnownName>) -> KnownName {
        let mut inner = self.lock();
        let is_new = inner.hold(host, key, remembered);
        let known = inner.hosts.get(host).map(|entry| entry.known.clone()).unwrap_or_default();
        drop(inner);
        if is_new {
            self.changed.notify_one();
        }
        known
    }

    /// An object depends on these names and on no others; what nobody depends on is forgotten.
    pub fn want_only(&self, key: &Key, hosts: &BTreeSet<Host>) {
        let mut inner = self.lock();
        // Most objects depend on no name, and those that do on the same as before.
        let Some(before) = inner.wants.get_mut(key) else { return };
        let others: Vec<Host> = before.extract_if(.., |host| !hosts.contains(host)).collect();
        if before.is_empty() {
            inner.wants.remove(key);
        }
        for host in others {
            inner.release(&host, key);
        }
    }

    /// How many names there are, and how many of them were led to where they must not lead.
    pub fn count(&self) -> (usize, usize) {
        let inner = self.lock();
        let rebound = inner.hosts.iter().filter(|(host, entry)| host.is_rebound(&entry.known)).count();
        (inner.hosts.len(), rebound)
    }

    /// Waits until every name that is wanted was looked up once, though not for ever.
    pub async fn first_answers(&self, limit: Duration) {
        let answers = async {
            while self.unanswered() {
                self.answered.notified().await;
            }
        };
        let _ = timeout(limit, answers).await;
    }

    /// Those of these servers that are asked and do not answer, each with what happens instead.
    pub fn silent_among(&self, servers: &[SocketAddr]) -> Vec<(SocketAddr, String)> {
        self.silences().among(servers)
    }

    /// Whether a name has not been answered yet.
    fn unanswered(&self) -> bool {
        self.lock().hosts.values().any(|entry| !entry.known.was_asked())
    }

    fn silences(&self) -> MutexGuard<'_, Silences> {
        self.silences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No step can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes up a name for an object, and answers whether it is new.
    fn hold(&mut self, host: &Host, key: &Key, remembered: impl FnOnce() -> Option<KnownName>) -> bool {
        if let Some(entry) = self.hosts.get_mut(host) {
            if entry.wanted_by.insert(key.clone()) {
                self.wants.entry(key.clone()).or_default().insert(host.clone());
            }
            return false;
        }
        let known = remembered().unwrap_or_default();
        self.due.insert((known.due(), host.clone()));
        self.hosts.insert(host.clone(), Entry { known, wanted_by: [key.clone()].into(), asking: false });
        self.wants.entry(key.clone()).or_default().insert(host.clone());
        true
    }

    fn release(&mut self, host: &Host, key: &Key) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        entry.wanted_by.remove(key);
        if entry.wanted_by.is_empty() {
            self.due.remove(&(entry.known.due(), host.clone()));
            self.hosts.remove(host);
        }
    }

    /// The names that are due, no more than `most`; each must be answered.
    fn take(&mut self, most: usize, now: Timestamp) -> Vec<Host> {
        let mut taken = Vec::new();
        while taken.len() < most && self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, host)) = self.due.pop_first() else { break };
            if let Some(entry) = self.hosts.get_mut(&host) {
                entry.asking = true;
                taken.push(host);
            }
        }
        taken
    }

    /// Takes in how a look-up ended, and answers who must hear of it, and how the name stands if it is rebound only now.
    fn take_in(
        &mut self,
        host: &Host,
        outcome: Outcome,
        now: Timestamp,
        limits: &Limits,
    ) -> (HashSet<Key>, Option<Held>) {
        let was_rebound = self.hosts.get(host).is_some_and(|entry| host.is_rebound(&entry.known));
        let dirty = self.learn(host, outcome, now, limits);
        let known = self.hosts.get(host).map(|entry| &entry.known);
        let rebound = known.filter(|known| !was_rebound && host.is_rebound(known));
        let held = rebound.and_then(|known| {
            let state = host.led_astray(known.refused()?.clone());
            let addresses = known.addresses(now, limits);
            Some(Held { host: host.clone(), addresses, state, answered: None, changes_at: None })
        });
        (dirty, held)
    }

    /// Takes in how a look-up ended, and answers who must hear of it.
    fn learn(&mut self, host: &Host, outcome: Outcome, now: Timestamp, limits: &Limits) -> HashSet<Key> {
        // Nobody may want it any more.
        let Some(entry) = self.hosts.get_mut(host).filter(|entry| entry.asking) else { return HashSet::new() };
        let what = |known: &KnownName| (known.addresses(now, limits), known.state(now, limits));
        let before = what(&entry.known);
        entry.known.learn(outcome, now, limits);
        entry.asking = false;
        self.due.insert((entry.known.due(), host.clone()));
        if what(&entry.known) == before {
            return HashSet::new();
        }
        entry.wanted_by.clone()
    }
}

/// Looks names up.
pub struct Resolution {
    pub names: Arc<Names>,
    pub store: Arc<Store>,
    pub alerts: Arc<Alerts>,
    pub metrics: Arc<Metrics>,
}

impl Resolution {
    /// Looks names up until the process ends.
    pub async fn run(self) {
        let mut resolvers = Resolvers::default();
        let mut asking: JoinSet<(Host, Vec<(SocketAddr, Response)>)> = JoinSet::new();
        loop {
            let now = self.store.clock.now();
            let (taken, next) = {
                let mut inner = self.names.lock();
                let taken = inner.take(AT_A_TIME - asking.len(), now);
                (taken, inner.due.first().map(|(at, _)| *at))
            };
            let servers = if taken.is_empty() { Vec::new() } else { servers(&self.store.index()) };
            for host in taken {
                let asked = resolvers.ask(&servers, host.name.name());
                self.metrics.looked_up();
                asking.spawn(async move { (host, asked.await) });
            }
            let room = asking.len() < AT_A_TIME;
            let wait = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
            let wait = wait.filter(|_| room).map_or(TICK, |wait| wait.min(TICK));
            tokio::select! {
                Some(Ok((host, responses))) = asking.join_next(), if !asking.is_empty() => {
                    self.answered(&host, responses);
                }
                _ = timeout(wait, self.names.changed.notified()) => {}
            }
        }
    }

    fn answered(&self, host: &Host, responses: Vec<(SocketAddr, Response)>) {
        if self.names.silences().hear(&responses) {
            self.store.enqueue([Key::Config].into());
        }
        let now = self.store.clock.now();
        let settings = self.store.index().settings().clone();
        let outcome = match resolver::merge(responses) {
            Ok(None) => Outcome::NoSuchName,
            Ok(Some(records)) => match Answer::believed(records, host.expected(), &settings.never) {
                Ok(answer) => Outcome::Answered(answer),
                Err(why) => Outcome::Refused(why),
            },
            Err(why) => Outcome::Failed(why),
        };
        debug!(%host, ?outcome, "looked up");
        self.metrics.answered(match &outcome {
            Outcome::Answered(answer) if answer.refused().is_none() => "answered",
            Outcome::Answered(_) | Outcome::Refused(_) => "refused",
            Outcome::NoSuchName => "no_such_name",
            Outcome::Failed(_) => "failed",
        });
        let (dirty, rebound) = self.names.lock().take_in(host, outcome, now, &settings.names);
        // One name is one alarm, however many are to reach it.
        if let Some(held) = rebound {
            // The same name may be a privateEndpoint elsewhere, and open.
            let place = if host.expected.is_none() { "under domainNames, " } else { "" };
            let message = format!("{place}{}", what_to_do(&held));
            let notification = Notification::warning(held.state.reason(), message).about(host.to_string());
            self.alerts.raise(settings_reference(), notification);
        }
        // One waits at most, and what it missed is kept for it.
        self.names.answered.notify_one();
        self.store.enqueue(dirty);
    }
}

/// The servers to ask: those that the settings name, or the endpoints of the cluster's own DNS.
pub fn servers(index: &Index) -> Vec<SocketAddr> {
    let named = &index.settings().spec.dns.servers;
    if named.is_empty() { index.dns_servers() } else { named.iter().filter_map(|server| server.parse().ok()).collect() }
}

#[cfg(test)]
mod tests;
