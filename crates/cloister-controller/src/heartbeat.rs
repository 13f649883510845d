//! The heartbeat: a small question to the API server, again and again.
//!
//! Its answers keep the clock, it notices a connection that is dead, an API server that is back, a store that was put back
//! to an earlier state, a watch that hears nothing, and clocks that disagree or agree again; and it tells of them.

use crate::{
    connection::Connection,
    report::{Alerts, Notification, settings_reference},
    store::Store,
};
use cloister_core::{
    cluster::clock::{Agreement, Skew},
    model::text::first_of,
};
use cloister_index::key::Key;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams, core::PartialObjectMeta};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

/// How often the API server is asked.
const EVERY: Duration = Duration::from_secs(2);

/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// At which of these it is asked how far its store has come.
const STORE_EVERY: u32 = 5;

/// How many namespaces are named.
const NAMED: usize = 3;

/// What was seen at the heartbeats before.
#[derive(Default)]
struct Before {
    count: u32,
    /// Whether the API server did not answer.
    away: bool,
    skewed: bool,
    silent: Vec<&'static str>,
    unreadable: BTreeSet<Arc<str>>,
    version: StoreVersion,
}

/// What beats.
pub struct Heartbeat {
    pub connection: Connection,
    pub store: Arc<Store>,
    pub alerts: Arc<Alerts>,
}

/// Beats until the process ends.
pub async fn run(heart: Heartbeat) {
    let mut before = Before::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        ask(&heart, &mut before).await;
        look_at_clocks(&heart, &mut before);
        look_at_watches(&heart, &mut before);
    }
}

async fn ask(heart: &Heartbeat, before: &mut Before) {
    let number = heart.connection.generation();
    let version = http::Request::get("/version").body(Vec::new());
    let answer = async {
        let version = version.map_err(kube::Error::HttpError)?;
        heart.connection.client().request_text(version).await.map(drop)
    };
    match timeout(ANSWER, answer).await {
        // That it refuses is an answer, too.
        Ok(Ok(())) => {}
        Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 429 => {}
        Ok(Err(error)) => {
            if !std::mem::replace(&mut before.away, true) {
                warn!(%error, "the API server does not answer");
            }
            return;
        }
        Err(_) => {
            heart.connection.renew(number);
            before.away = true;
            return;
        }
    }
    if std::mem::take(&mut before.away) {
        info!("the API server answers again");
        // What failed meanwhile need not wait for its turn.
        heart.store.retry_all();
    }
    before.count += 1;
    if before.count % STORE_EVERY == 1 {
        look_at_store(heart, before).await;
    }
}

/// How far the API server's store has come. It never goes back, unless it was put back.
#[derive(Debug, Default)]
struct StoreVersion(u64);

impl StoreVersion {
    /// Takes note of a version of the store, and answers from which one to which it went back, if it did.
    fn went_back(&mut self, version: u64) -> Option<(u64, u64)> {
        let before = std::mem::replace(&mut self.0, version);
        (version < before).then_some((before, version))
    }
}

async fn look_at_store(heart: &Heartbeat, before: &mut Before) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(heart.connection.client());
    // Not from a cache: this is the newest version at the time of asking, whichever API server answers.
    let Ok(Ok(list)) = timeout(ANSWER, api.list(&ListParams::default().limit(1))).await else { return };
    let version = list.metadata.resource_version.and_then(|version| version.parse().ok());
    let Some((from, to)) = version.and_then(|version| before.version.went_back(version)) else { return };
    let message = format!(
        "the API server's store went back from version {from} to {to}: it was restored. The operator reads everything again. \
         Grants that were revoked since may be active again: set invalidateGrantsBefore of CloisterConfig to the time of the \
         restore"
    );
    heart.alerts.raise(settings_reference(), Notification::warning("StoreRestored", message));
    heart.store.restored.send_modify(|count| *count += 1);
}

fn look_at_clocks(heart: &Heartbeat, before: &mut Before) {
    let (skewed, message) = match heart.store.clock.agreement() {
        Agreement::Unknown => return,
        Agreement::Sane => (false, String::new()),
        Agreement::Skewed(skew) => (true, in_words(&skew)),
    };
    let was = std::mem::replace(&mut before.skewed, skewed);
    if skewed && !was {
        heart.alerts.raise(settings_reference(), Notification::warning("ClockSkew", message));
    }
    if !skewed {
        if was {
            info!("the clocks agree again");
        }
        heart.store.release_held();
    }
}

/// What is said of clocks that disagree.
pub fn in_words(skew: &Skew) -> String {
    let Skew { machine_ahead, server_ahead } = skew;
    format!(
        "the clocks of the operator and the API server differ by more than {} s (the operator's is {} s off, the API server's \
         {} s); nothing is opened until they agree, and active grants end at their time. Correct the clock that is wrong",
        cloister_core::cluster::clock::SKEW_LIMIT.as_secs(),
        machine_ahead.as_secs(),
        server_ahead.as_secs(),
    )
}

fn look_at_watches(heart: &Heartbeat, before: &mut Before) {
    let silent = heart.store.synced.silent();
    for kind in silent.iter().filter(|kind| !before.silent.contains(kind)) {
        let within = heart.store.synced.silent_in(kind);
        let (place, these) = match within.is_empty() {
            true => (String::new(), "this kind"),
            false => (format!(" in namespace {}", first_of(&within, NAMED, ", ")), "these objects"),
        };
        let message = format!(
            "the operator gets no answer about {kind}{place} from the API server: it decides and confirms nothing that depends \
             on {these}. See the log of the operator for the reason; the permission to list and watch may be missing"
        );
        heart.alerts.raise(settings_reference(), Notification::warning("WatchStale", message));
    }
    for kind in before.silent.iter().filter(|kind| !silent.contains(kind)) {
        info!(kind, "the API server answers about it again");
    }
    before.silent = silent;
    // What the settings name may be there and not be readable.
    let unreadable = heart.store.synced.late_in("Secret");
    if before.unreadable != unreadable {
        before.unreadable = unreadable;
        heart.store.enqueue([Key::Config].into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_goes_back_was_restored() {
        let mut store = StoreVersion::default();
        assert_eq!([7, 7, 9].map(|version| store.went_back(version)), [None; 3]);
        assert_eq!(store.went_back(3), Some((9, 3)));
        assert_eq!([3, 4].map(|version| store.went_back(version)), [None; 2], "it is said once");
    }
}
