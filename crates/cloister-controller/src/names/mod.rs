//! The names that something is open to: each is looked up once for the whole cluster, when its answer has run out, and a
//! change queues what depends on it.

mod resolver;

use crate::{context::Context, key::Key};
use cloister_core::names::{Answer, Host, Known, Limits, Outcome};
use jiff::Timestamp;
use resolver::{Resolvers, Response};
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
}

#[derive(Default)]
struct Inner {
    hosts: HashMap<Host, Entry>,
    wants: HashMap<Key, BTreeSet<Host>>,
    due: BTreeSet<(Timestamp, Host)>,
}

struct Entry {
    known: Known,
    wanted_by: HashSet<Key>,
    /// Whether it is being asked for.
    asking: bool,
}

impl Names {
    /// What is known of a name.
    pub fn known(&self, host: &Host) -> Option<Known> {
        self.lock().hosts.get(host).map(|entry| entry.known.clone())
    }

    /// Says which names an object depends on from now on; what nobody depends on is forgotten. What is new is looked up,
    /// and `remembered` says what was known of it in an earlier life.
    pub fn want(&self, key: &Key, hosts: BTreeSet<Host>, remembered: impl Fn(&Host) -> Option<Known>) {
        let mut inner = self.lock();
        // Most objects depend on no name, and those that do on the same as before.
        if inner.wants.get(key).map_or(hosts.is_empty(), |before| *before == hosts) {
            return;
        }
        let before = inner.wants.remove(key).unwrap_or_default();
        for host in before.difference(&hosts) {
            inner.release(host, key);
        }
        for host in &hosts {
            inner.hold(host, key, || remembered(host));
        }
        if !hosts.is_empty() {
            inner.wants.insert(key.clone(), hosts);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// How many names there are, and how many of them were led to where they must not lead.
    pub fn count(&self) -> (usize, usize) {
        let inner = self.lock();
        let rebound = inner.hosts.values().filter(|entry| entry.known.is_rebound()).count();
        (inner.hosts.len(), rebound)
    }

    /// Whether a name has not been answered yet.
    fn unanswered(&self) -> bool {
        self.lock().hosts.values().any(|entry| !entry.known.was_asked())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No step can leave it half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hold(&mut self, host: &Host, key: &Key, remembered: impl FnOnce() -> Option<Known>) {
        if let Some(entry) = self.hosts.get_mut(host) {
            entry.wanted_by.insert(key.clone());
            return;
        }
        let known = remembered().unwrap_or_default();
        self.due.insert((known.due(), host.clone()));
        self.hosts.insert(host.clone(), Entry { known, wanted_by: [key.clone()].into(), asking: false });
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

    /// Takes in how a look-up ended, and answers who must hear of it.
    fn learn(&mut self, host: &Host, outcome: Outcome, now: Timestamp, limits: &Limits) -> HashSet<Key> {
        // Nobody may want it any more.
        let Some(entry) = self.hosts.get_mut(host).filter(|entry| entry.asking) else { return HashSet::new() };
        let what = |known: &Known| (known.addresses(now, limits), known.standing(now, limits));
        let before = what(&entry.known);
        entry.known.learn(outcome, now, limits);
        entry.asking = false;
        self.due.insert((entry.known.due(), host.clone()));
        if what(&entry.known) == before { HashSet::new() } else { entry.wanted_by.clone() }
    }
}

/// Looks names up until the process ends.
pub async fn run(context: Arc<Context>) {
    let mut resolvers = Resolvers::default();
    let mut asking: JoinSet<(Host, Vec<Response>)> = JoinSet::new();
    loop {
        let now = context.clock.now();
        let (taken, next) = {
            let mut inner = context.names.lock();
            let taken = inner.take(AT_A_TIME - asking.len(), now);
            (taken, inner.due.first().map(|(at, _)| *at))
        };
        let servers = if taken.is_empty() { Vec::new() } else { servers(&context) };
        for host in taken {
            let asked = resolvers.ask(&servers, host.name.name());
            context.metrics.looked_up();
            asking.spawn(async move { (host, asked.await) });
        }
        let room = asking.len() < AT_A_TIME;
        let wait = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
        let wait = wait.filter(|_| room).map_or(TICK, |wait| wait.min(TICK));
        tokio::select! {
            Some(Ok((host, responses))) = asking.join_next(), if !asking.is_empty() => {
                answered(&context, &host, responses);
            }
            _ = timeout(wait, context.names.changed.notified()) => {}
        }
    }
}

fn answered(context: &Context, host: &Host, responses: Vec<Response>) {
    let now = context.clock.now();
    let settings = context.index().settings().clone();
    let outcome = match resolver::merge(responses) {
        Ok(None) => Outcome::NoSuchName,
        Ok(Some(records)) => match Answer::believed(records, host.expected(), &settings.never) {
            Ok(answer) => Outcome::Answered(answer),
            Err(why) => Outcome::Refused(why),
        },
        Err(why) => Outcome::Failed(why),
    };
    debug!(%host, ?outcome, "looked up");
    context.metrics.answered(match &outcome {
        Outcome::Answered(_) => "answered",
        Outcome::NoSuchName => "no_such_name",
        Outcome::Refused(_) => "refused",
        Outcome::Failed(_) => "failed",
    });
    let dirty = context.names.lock().learn(host, outcome, now, &settings.names);
    // One waits at most, and what it missed is kept for it.
    context.names.answered.notify_one();
    context.enqueue(dirty);
}

/// The servers to ask: those that the settings name, or the endpoints of the cluster's own DNS.
fn servers(context: &Context) -> Vec<SocketAddr> {
    let index = context.index();
    let named = &index.settings().spec.dns.servers;
    if named.is_empty() { index.dns_servers() } else { named.iter().filter_map(|server| server.parse().ok()).collect() }
}

/// Waits until every name that is wanted was looked up once, though not for ever.
pub async fn first_answers(context: &Context, limit: Duration) {
    let answers = async {
        while context.names.unanswered() {
            context.names.answered.notified().await;
        }
    };
    let _ = timeout(limit, answers).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_core::{egress::NeverOpened, names::Where};
    use jiff::SignedDuration;

    fn key(name: &str) -> Key {
        Key::Namespace(name.into())
    }

    fn host(name: &str) -> Host {
        Host { name: name.parse().unwrap(), expected: None }
    }

    fn answer(address: &str) -> Outcome {
        let records = [(address.parse().unwrap(), SignedDuration::from_secs(30))];
        Outcome::Answered(Answer::believed(records, Where::Public, &NeverOpened::new(&[])).unwrap())
    }

    #[test]
    fn a_name_is_looked_up_once_for_all_who_want_it() {
        let (names, limits, now) = (Names::default(), Limits::default(), Timestamp::UNIX_EPOCH);
        let www = host("www.example.com");
        for name in ["a", "b"] {
            names.want(&key(name), [www.clone()].into(), |_| None);
        }
        assert_eq!(names.lock().take(8, now), std::slice::from_ref(&www));
        assert!(names.lock().take(8, now).is_empty(), "it is being asked for");
        let told = names.lock().learn(&www, answer("198.51.100.1"), now, &limits);
        assert_eq!(told, [key("a"), key("b")].into());
        assert!(names.lock().take(8, now).is_empty(), "its answer is good for a while");

        let later = now + SignedDuration::from_secs(60);
        assert_eq!(names.lock().take(8, later).len(), 1);
        let told = names.lock().learn(&www, answer("198.51.100.1"), later, &limits);
        assert!(told.is_empty(), "nothing is new");
    }

    #[test]
    fn what_nobody_wants_is_forgotten() {
        let (names, limits, now) = (Names::default(), Limits::default(), Timestamp::UNIX_EPOCH);
        let (www, other) = (host("www.example.com"), host("other.example.com"));
        names.want(&key("a"), [www.clone(), other.clone()].into(), |_| None);
        names.want(&key("b"), [www.clone()].into(), |_| None);
        names.want(&key("a"), BTreeSet::new(), |_| None);
        assert_eq!(names.count(), (1, 0));
        assert!(names.known(&www).is_some() && names.known(&other).is_none());
        assert_eq!(names.lock().take(8, now).len(), 1);
        names.want(&key("b"), BTreeSet::new(), |_| None);
        let told = names.lock().learn(&www, answer("198.51.100.1"), now, &limits);
        assert!(
            told.is_empty() && names.count() == (0, 0) && names.lock().due.is_empty(),
            "an answer brings nothing back"
        );
    }
}
