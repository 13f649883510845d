//! The operator's metrics, in OpenMetrics.

use cloister_api::{
    GrantPhase,
    condition::{REVIEWED, REVOCATION_UNCONFIRMED},
};
use cloister_core::cluster::networks_condition::not_believed_of;
use cloister_index::index::Index;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use std::{sync::atomic::Ordering, time::Duration};

/// A kind of object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    kind: &'static str,
}

/// A kind of object, and why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Failure {
    kind: &'static str,
    category: &'static str,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Write {
    verb: &'static str,
    kind: &'static str,
}

/// What deserves somebody's attention.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Alert {
    alert: &'static str,
}

/// How a look-up ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Lookup {
    outcome: &'static str,
}

/// A grant's phase.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Phase {
    phase: &'static str,
}

/// What is counted at the moment of asking, beside the index.
#[derive(Debug, Default)]
pub struct Counts {
    /// The names that are looked up, and those of them that were led astray.
    pub names: usize,
    pub rebound: usize,
    /// The audit records that wait, and those that were written.
    pub records: (usize, u64),
    /// Whether nothing can be recorded.
    pub record_fails: bool,
    /// The keys that are ready, and those that wait for their time.
    pub queue: (usize, usize),
    /// The bindings by which tenants may act as somebody else.
    pub impersonators: usize,
    /// Whether the clocks disagree.
    pub clocks_disagree: bool,
    /// The kinds of which nothing is heard.
    pub silent: usize,
    /// The objects whose status is refused.
    pub refused: usize,
    /// The copies of credentials that somebody else has written.
    pub replaced: usize,
}

/// The metrics.
pub struct Metrics {
    registry: Registry,
    reconcile_seconds: Family<Kind, Histogram>,
    reconcile_errors: Family<Failure, Counter>,
    queue_age_seconds: Histogram,
    queue_depth: Gauge,
    queue_later: Gauge,
    store_objects: Family<Kind, Gauge>,
    watch_restarts: Family<Kind, Counter>,
    enforcement_seconds: Histogram,
    grants: Family<Phase, Gauge>,
    revocation_lag_seconds: Histogram,
    alerts: Family<Alert, Gauge>,
    drift_corrected: Family<Kind, Counter>,
    writes: Family<Write, Counter>,
    audit_waiting: Gauge,
    audit_written: Counter,
    lookups: Counter,
    lookup_outcomes: Family<Lookup, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 18));
        let mut metrics = Metrics {
            registry: Registry::with_prefix("cloister"),
            reconcile_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 18))),
            reconcile_errors: Family::default(),
            queue_age_seconds: seconds(),
            queue_depth: Gauge::default(),
            queue_later: Gauge::default(),
            store_objects: Family::default(),
            watch_restarts: Family::default(),
            enforcement_seconds: seconds(),
            grants: Family::default(),
            revocation_lag_seconds: seconds(),
            alerts: Family::default(),
            drift_corrected: Family::default(),
            writes: Family::default(),
            audit_waiting: Gauge::default(),
            audit_written: Counter::default(),
            lookups: Counter::default(),
            lookup_outcomes: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    /// Counts a look-up of a name.
    pub fn looked_up(&self) {
        self.lookups.inc();
    }

    /// Counts how it ended.
    pub fn answered(&self, outcome: &'static str) {
        self.lookup_outcomes.get_or_create(&Lookup { outcome }).inc();
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let unit = || Unit::Seconds;
        registry.register_with_unit("reconcile", "How long a reconcile took", unit(), self.reconcile_seconds.clone());
        registry.register("reconcile_errors", "Reconciles that failed, by category", self.reconcile_errors.clone());
        registry.register_with_unit(
            "queue_age",
            "How long a key waited in the queue",
            unit(),
            self.queue_age_seconds.clone(),
        );
        registry.register("queue_depth", "Keys that are ready to be reconciled", self.queue_depth.clone());
        registry.register("queue_later", "Keys that wait for a later time", self.queue_later.clone());
        registry.register("store_objects", "Objects in the cache", self.store_objects.clone());
        registry.register("watch_restarts", "Watches that were restarted", self.watch_restarts.clone());
        registry.register_with_unit(
            "enforcement",
            "Time from the creation of a ResearchNamespace until its namespace was enforced",
            unit(),
            self.enforcement_seconds.clone(),
        );
        registry.register("name_lookups", "Lookups of names; each queries all DNS servers", self.lookups.clone());
        registry.register("name_answers", "Results of lookups of names", self.lookup_outcomes.clone());
        registry.register("grants", "Grants, by phase", self.grants.clone());
        registry.register_with_unit(
            "revocation_lag",
            "Time from the end of a grant until its revocation was confirmed",
            unit(),
            self.revocation_lag_seconds.clone(),
        );
        registry.register(
            "alerts",
            "What needs attention now: required and overdue break-glass reviews, revocations that are not confirmed, tenants \
             who can impersonate somebody else, a status that is rejected, an audit record that cannot be written",
            self.alerts.clone(),
        );
        registry.register(
            "drift_corrected",
            "Objects that the operator corrected in namespaces that had been enforced",
            self.drift_corrected.clone(),
        );
        registry.register(
            "audit_records_waiting",
            "Audit records that wait in memory to be written",
            self.audit_waiting.clone(),
        );
        registry.register(
            "audit_records_written",
            "Audit records that were written since the start",
            self.audit_written.clone(),
        );
        registry.register("writes", "Requests that change something, by verb and kind", self.writes.clone());
    }

    /// A reconcile that took this long.
    pub fn reconciled(&self, kind: &'static str, took: Duration) {
        self.reconcile_seconds.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// A reconcile that failed.
    pub fn failed(&self, kind: &'static str, category: &'static str) {
        self.reconcile_errors.get_or_create(&Failure { kind, category }).inc();
    }

    /// A key that waited this long.
    pub fn waited(&self, age: Duration) {
        self.queue_age_seconds.observe(age.as_secs_f64());
    }

    /// A watch that begins, and is to be seen before anything happens to it.
    pub fn watches(&self, kind: &'static str) {
        drop(self.watch_restarts.get_or_create(&Kind { kind }));
    }

    /// A watch that was begun again.
    pub fn watch_restarted(&self, kind: &'static str) {
        self.watch_restarts.get_or_create(&Kind { kind }).inc();
    }

    /// A namespace that was enforced this many seconds after it was declared.
    pub fn enforced(&self, seconds: f64) {
        self.enforcement_seconds.observe(seconds.max(0.0));
    }

    /// A grant whose revocation was confirmed this many seconds after its end.
    pub fn revoked(&self, seconds: f64) {
        self.revocation_lag_seconds.observe(seconds.max(0.0));
    }

    /// A child that was put right.
    pub fn drift_corrected(&self, kind: &'static str) {
        self.drift_corrected.get_or_create(&Kind { kind }).inc();
    }

    /// A request that changes something.
    pub fn wrote(&self, verb: &'static str, kind: &'static str) {
        self.writes.get_or_create(&Write { verb, kind }).inc();
    }

    /// All metrics as text, with what is counted at the moment of asking.
    pub fn render(&self, counts: &Counts, index: &Index) -> String {
        self.attention(index, counts);
        let (waiting, written) = counts.records;
        self.audit_waiting.set(gauge(waiting));
        self.audit_written.inner().store(written, Ordering::Relaxed);
        self.store_objects.get_or_create(&Kind { kind: "Name" }).set(gauge(counts.names));
        let (ready, later) = counts.queue;
        self.queue_depth.set(gauge(ready));
        self.queue_later.set(gauge(later));
        for (kind, size) in index.sizes() {
            self.store_objects.get_or_create(&Kind { kind }).set(gauge(size));
        }
        let mut phases = [0_usize; GrantPhase::ALL.len()];
        for grant in index.all_grants() {
            let phase = grant.status().map(|status| status.phase).unwrap_or_default();
            if let Some(at) = GrantPhase::ALL.iter().position(|known| *known == phase) {
                phases[at] += 1;
            }
        }
        for (_, _, ended) in index.all_ended() {
            if let Some(at) = GrantPhase::ALL.iter().position(|known| *known == ended.phase) {
                phases[at] += 1;
            }
        }
        for (phase, count) in GrantPhase::ALL.iter().zip(phases) {
            self.grants.get_or_create(&Phase { phase: phase.as_str() }).set(gauge(count));
        }
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

impl Metrics {
    fn attention(&self, index: &Index, counts: &Counts) {
        // What has ended and is settled needs nobody's attention.
        let says = |type_: &str, reason: Option<&str>| {
            let grants = index.all_grants().filter_map(|grant| grant.status());
            let all = grants.flat_map(|status| &status.conditions);
            all.filter(|condition| condition.type_ == type_ && reason.is_none_or(|reason| condition.reason == reason))
                .count()
        };
        for (alert, count) in [
            ("ReviewOwed", says(REVIEWED, Some("ReviewOwed"))),
            ("ReviewOverdue", says(REVIEWED, Some("ReviewOverdue"))),
            ("RevocationUnconfirmed", says(REVOCATION_UNCONFIRMED, None)),
            ("Impersonation", counts.impersonators),
            ("ClockSkew", usize::from(counts.clocks_disagree)),
            ("WatchStale", counts.silent),
            ("Rebinding", counts.rebound),
            ("DenyDefeated", index.defeated()),
            ("NodeNotBelieved", not_believed_of(&index.cluster, &index.settings().never).len()),
            ("ForeignObjects", index.intruded()),
            ("StatusRefused", counts.refused),
            ("CredentialReplaced", counts.replaced),
            ("AuditSinkFailed", usize::from(counts.record_fails)),
        ] {
            self.alerts.get_or_create(&Alert { alert }).set(gauge(count));
        }
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
