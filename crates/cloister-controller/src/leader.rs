//! The Lease by which one operator acts at a time. See `cloister_core::lease`.

use crate::clock::elapsed;
use cloister_api::labels;
use cloister_core::cluster::lease::{ACTS, Candidate, Claim, DURATION, Seen};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;
use tracing::{info, warn};

/// The name of the Lease, in the operator's own namespace.
pub const LEASE: &str = "cloister-operator";

/// How often the Lease is renewed, and looked at by those that wait for it.
const RENEW: Duration = Duration::from_secs(3);

/// How long a request about it may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Whether this operator may act.
#[derive(Debug, Default)]
pub struct Leadership {
    /// Until when, in milliseconds of elapsed time.
    until: AtomicU64,
    /// Who acts instead.
    held_by: Mutex<Option<String>>,
    /// How many grants are open past their end, as one that stands by sees it.
    overdue: AtomicUsize,
}

impl Leadership {
    /// Whether this operator may act now.
    pub fn holds(&self) -> bool {
        elapsed() < Duration::from_millis(self.until.load(Ordering::Relaxed))
    }

    /// Who acts instead, while this one waits.
    pub fn held_by(&self) -> Option<String> {
        self.held_by.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of how many grants are open past their end while this one stands by.
    pub fn note_overdue(&self, count: usize) {
        self.overdue.store(count, Ordering::Relaxed);
    }

    /// How many grants are open past their end while this one stands by.
    pub fn overdue(&self) -> usize {
        self.overdue.load(Ordering::Relaxed)
    }

    fn renewed(&self, began: Duration) {
        let until = u64::try_from((began + ACTS).as_millis()).unwrap_or(u64::MAX);
        self.until.store(until, Ordering::Relaxed);
        *self.held_by.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_held_by(&self, holder: &str) -> bool {
        let mut held_by = self.held_by.lock().unwrap_or_else(PoisonError::into_inner);
        held_by.replace(holder.to_owned()).as_deref() != Some(holder)
    }
}

/// Somebody else holds the Lease.
#[derive(Debug, thiserror::Error)]
#[error("{holder} holds Lease {}/{LEASE} now", labels::SYSTEM_NAMESPACE)]
pub struct Lost {
    /// Who.
    pub holder: String,
}

/// What keeps the Lease.
pub struct Keeper {
    api: Api<Lease>,
    candidate: Candidate,
    leadership: Arc<Leadership>,
    /// The Lease as this operator last wrote it.
    written: Option<Lease>,
    /// Whether no other process can have the same identity: it is the name of a pod, which the API server checks.
    is_pod: bool,
}

/// What became of a renewal.
enum Renewal {
    Done,
    /// Somebody wrote it in this operator's name meanwhile, or took that out: it is tried again at once.
    Again,
    Lost(Lost),
}

/// How many times in a row a renewal is tried again at once.
const TRIES: u32 = 10;

/// What became of one try.
enum Tried {
    Written,
    /// It is to be looked at again after this.
    Wait(Duration),
}

impl Keeper {
    /// One that has nothing to keep yet.
    pub fn new(client: Client, identity: String, is_pod: bool, leadership: Arc<Leadership>) -> Self {
        let api = Api::namespaced(client, labels::SYSTEM_NAMESPACE);
        Keeper { api, candidate: Candidate::new(identity), leadership, written: None, is_pod }
    }

    /// Waits until the Lease is this operator's.
    pub async fn acquire(&mut self) {
        let mut failing = false;
        loop {
            let wait = match self.take().await {
                Ok(Tried::Written) => break,
                Ok(Tried::Wait(wait)) => wait.min(RENEW),
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(%error, "cannot take Lease {}/{LEASE}; trying again", labels::SYSTEM_NAMESPACE);
                    }
                    RENEW / 3
                }
            };
            tokio::time::sleep(wait).await;
        }
        info!(identity = self.candidate.identity(), "this operator is the leader");
    }

    /// Renews the Lease until somebody else holds it.
    pub async fn keep(&mut self) -> Lost {
        let mut again = 0;
        loop {
            if again == 0 {
                tokio::time::sleep(RENEW).await;
            }
            let renewal = self.renew().await;
            again = if matches!(renewal, Ok(Renewal::Again)) { (again + 1) % TRIES } else { 0 };
            match renewal {
                Ok(Renewal::Done | Renewal::Again) => {}
                Ok(Renewal::Lost(lost)) => return lost,
                Err(error) => warn!(%error, "cannot renew the Lease; nothing is written until it can be"),
            }
        }
    }

    /// Gives the Lease up, so that another need not wait for its end.
    pub async fn release(&mut self) {
        let Some(mut lease) = self.written.take() else { return };
        self.leadership.until.store(0, Ordering::Relaxed);
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        // It runs out by itself.
        let _ = timeout(ANSWER, self.api.replace(LEASE, &params(), &lease)).await;
    }

    async fn take(&mut self) -> kube::Result<Tried> {
        let began = elapsed();
        let Some(lease) = in_time(self.api.get_opt(LEASE)).await? else {
            let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(None, Timestamp::now())) };
            let made = in_time(self.api.create(&params(), &lease)).await?;
            return Ok(self.wrote(made, began));
        };
        let identity = self.candidate.identity().to_owned();
        match self.candidate.claim(&seen(&lease), began, |holder| is_gone(holder, &identity)) {
            Claim::Take => {
                let spec = self.spec(lease.spec.as_ref(), Timestamp::now());
                let taken = Lease { spec: Some(spec), ..lease };
                Ok(match in_time(self.api.replace(LEASE, &params(), &taken)).await {
                    Ok(taken) => self.wrote(taken, began),
                    // Somebody was faster.
                    Err(kube::Error::Api(status)) if status.is_conflict() => Tried::Wait(RENEW / 3),
                    Err(error) => return Err(error),
                })
            }
            Claim::Wait(left, holder) => {
                if self.leadership.is_held_by(&holder) {
                    info!(holder, "another operator is the leader; this one stands by");
                }
                Ok(Tried::Wait(left))
            }
        }
    }

    async fn renew(&mut self) -> kube::Result<Renewal> {
        let Some(mut lease) = self.written.clone() else { return Ok(Renewal::Done) };
        let began = elapsed();
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match in_time(self.api.replace(LEASE, &params(), &lease)).await {
            Ok(renewed) => {
                self.wrote(renewed, began);
                return Ok(Renewal::Done);
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {}
            Err(error) => return Err(error),
        }
        // Whose is it? A renewal of this operator's own may have arrived without its answer.
        let Some(found) = in_time(self.api.get_opt(LEASE)).await? else {
            self.take().await?;
            return Ok(Renewal::Done);
        };
        let acquired = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.acquire_time.clone());
        let holder = seen(&found).holder.unwrap_or_default();
        let is_own = holder == self.candidate.identity() && (self.is_pod || acquired(&found) == acquired(&lease));
        if is_own || holder.is_empty() {
            // Nobody acts: whoever writes it first goes on.
            let identity = Some(self.candidate.identity().to_owned());
            let spec = LeaseSpec { holder_identity: identity, ..found.spec.clone().unwrap_or_default() };
            self.written = Some(Lease { spec: Some(spec), ..found });
            return Ok(Renewal::Again);
        }
        Ok(Renewal::Lost(Lost { holder }))
    }

    fn wrote(&mut self, lease: Lease, began: Duration) -> Tried {
        self.written = Some(lease);
        self.leadership.renewed(began);
        Tried::Written
    }

    fn spec(&self, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let transitions = before.map_or(0, |before| before.lease_transitions.unwrap_or(0) + 1);
        LeaseSpec {
            holder_identity: Some(self.candidate.identity().to_owned()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(labels::MANAGER.to_owned()), ..PostParams::default() }
}

fn seen(lease: &Lease) -> Seen {
    Seen {
        holder: lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

async fn in_time<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    timeout(ANSWER, request).await.unwrap_or_else(|_| Err(kube::Error::Service("no answer in time".into())))
}

/// Who this operator is where nobody says so: its pod, which admission holds it to, or else its host and its process.
pub fn identity(pod: Option<&str>) -> String {
    let place = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    pod.map_or_else(|| format!("{}_{}", place(), std::process::id()), str::to_owned)
}

/// Whether the holder of a Lease is known to have ended: a process in the same place that is no more. So one that is
/// started again where it was killed need not wait.
fn is_gone(holder: &str, identity: &str) -> bool {
    let (Some((place, process)), Some((here, _))) = (holder.rsplit_once('_'), identity.rsplit_once('_')) else {
        return false;
    };
    let process = process.parse().ok().and_then(rustix::process::Pid::from_raw);
    let gone = |process| rustix::process::test_kill_process(process) == Err(rustix::io::Errno::SRCH);
    place == here && process.is_some_and(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_the_same_place_can_be_known_to_be_gone() {
        assert_eq!(identity(Some("cloister-0")), "cloister-0", "it is one and the same when it is started again");
        let me = format!("cloister-0_{}", std::process::id());
        assert!(identity(None).ends_with(&format!("_{}", std::process::id())));
        assert!(!is_gone(&me, &me), "it lives");
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = child.id();
        child.wait().unwrap();
        assert!(is_gone(&format!("cloister-0_{ended}"), &me));
        for other in [format!("cloister-1_{ended}"), "cloister-0".into(), "cloister-0_x".into(), "cloister-0_0".into()]
        {
            assert!(!is_gone(&other, &me), "{other}");
        }
    }
}
