//! Alarms and transitions, as Events of the objects that they are about.
//!
//! Events are for people who look; what must not be lost is in the status, the metrics and the audit record. So they
//! wait in a bounded queue, and where that is full they are dropped and counted.

use super::{metrics::Metrics, notification::Notification};
use crate::{error::Error, requests::Requests};
use cloister_api::{GROUP, ResearchNamespace, VERSION};
use cloister_core::grant::Grant;
use cloister_index::key::{Key, ObjectName};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, warn};

/// How many Events may wait to be written.
const WAITING: usize = 4096;

/// The longest name of an object that an Event can be named after.
const LONGEST_NAME: usize = 230;

/// How long the API server may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// A grant as an Event refers to it.
pub fn reference(grant: &Grant) -> ObjectReference {
    let metadata = grant.metadata();
    ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some(grant.kind().as_str().to_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// A research namespace as an Event refers to it.
pub fn namespace_reference(namespace: &ResearchNamespace) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some("ResearchNamespace".to_owned()),
        name: namespace.metadata.name.clone(),
        uid: namespace.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The settings of the cluster as an Event refers to them, for what concerns the operator as a whole.
pub fn settings_reference() -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{GROUP}/{VERSION}")),
        kind: Some("CloisterConfig".to_owned()),
        name: Some("cloister".to_owned()),
        ..ObjectReference::default()
    }
}

/// What an Event about a binding refers to. The Event is named after it, and a binding's name may be one that no Event
/// can have: then it is about the binding's namespace, or the settings of the cluster.
pub fn binding_reference(at: &ObjectName) -> ObjectReference {
    let reference = |api_version: &str, kind: &str, name: &str, namespace: &str| ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        ..ObjectReference::default()
    };
    let can_name = at.name.len() < LONGEST_NAME
        && at.name.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || "-.".contains(one));
    match (can_name, at.namespace.is_empty()) {
        (true, _) => reference("rbac.authorization.k8s.io/v1", binding_kind(at), &at.name, &at.namespace),
        (false, false) => reference("v1", "Namespace", &at.namespace, &at.namespace),
        (false, true) => settings_reference(),
    }
}

/// The kind of a binding.
pub fn binding_kind(at: &ObjectName) -> &'static str {
    if at.namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" }
}

/// Where alarms go.
pub struct Alerts {
    sender: mpsc::Sender<(ObjectReference, Notification)>,
    receiver: Mutex<Option<mpsc::Receiver<(ObjectReference, Notification)>>>,
    /// What was raised of objects whose status could not be written, so that it is not raised at each try.
    unwritten: Mutex<HashMap<Key, Vec<Notification>>>,
    /// The objects whose status the API server refuses for good.
    refused: Mutex<HashSet<Key>>,
    /// Whether it has taken any since the process began.
    any_taken: AtomicBool,
}

impl Default for Alerts {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Alerts {
            sender,
            receiver: Mutex::new(Some(receiver)),
            unwritten: Mutex::default(),
            refused: Mutex::default(),
            any_taken: AtomicBool::new(false),
        }
    }
}

impl Alerts {
    /// Reports the notifications about a new status of an object, once. Alarms are reported even if the status cannot be written,
    /// other notifications when it is written.
    pub fn report_transition(
        &self,
        key: &Key,
        about: &ObjectReference,
        notifications: Vec<Notification>,
        written: bool,
    ) {
        let reported = {
            let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            let reported = unwritten.remove(key).unwrap_or_default();
            let alarms: Vec<Notification> = notifications.iter().filter(|one| one.alarm && !written).cloned().collect();
            if !alarms.is_empty() {
                unwritten.insert(key.clone(), alarms);
            }
            reported
        };
        let new = notifications.into_iter().filter(|one| (written || one.alarm) && !reported.contains(one));
        new.for_each(|notification| self.raise(about.clone(), notification));
    }

    /// The API server refuses the status of an object: that is told once, until it has been written.
    pub fn status_refused(&self, key: &Key, about: impl FnOnce() -> ObjectReference, error: &Error) {
        if self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            let message = format!(
                "the API server rejects the status that the operator writes ({error}); the operator tries again. Find out what \
                 rejects it: a policy, the size of the object, or the permissions of the operator"
            );
            self.raise(about(), Notification::warning("StatusRefused", message));
        }
    }

    /// All was well with an object.
    pub fn status_taken(&self, key: &Key) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// The API server has taken a status.
    pub fn status_written(&self) {
        self.any_taken.store(true, Relaxed);
    }

    /// Whether the API server has refused every status that this process wrote: then the operator does not act as its own
    /// account, or may not write.
    pub fn refused_always(&self) -> bool {
        self.refused() > 0 && !self.any_taken.load(Relaxed)
    }

    /// Of how many objects the status is refused.
    pub fn refused(&self) -> usize {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Queues the Event of a notification, and logs an alarm.
    pub fn raise(&self, about: ObjectReference, notification: Notification) {
        if notification.alarm {
            let (kind, name) = (about.kind.as_deref(), about.name.as_deref());
            warn!(
                reason = notification.reason,
                kind,
                name,
                namespace = about.namespace,
                "alarm: {}",
                notification.message
            );
        }
        if self.sender.try_send((about, notification)).is_err() {
            debug!("too many Events are waiting; one is dropped");
        }
    }

    /// Writes the Events, one after the other, until the process ends.
    pub async fn write(&self, requests: &Requests, metrics: &Metrics) {
        let Some(mut receiver) = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let reporter = Reporter { controller: "cloister".into(), instance: None };
        let recorder = Recorder::new(requests.client(), reporter);
        while let Some((about, notification)) = receiver.recv().await {
            let event = Event {
                type_: if notification.alarm { EventType::Warning } else { EventType::Normal },
                action: notification.action(),
                reason: notification.reason,
                note: Some(clipped(notification.message)),
                secondary: None,
            };
            let _permit = requests.permit().await;
            if !requests.may_act() {
                debug!("another operator may be the leader by now; an Event is dropped");
                continue;
            }
            metrics.wrote("create", "Event");
            match timeout(LIMIT, recorder.publish(&event, &about)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "an Event could not be written"),
                Err(_) => debug!("an Event could not be written in time"),
            }
        }
    }
}

/// An Event's note has at most 1,024 bytes.
fn clipped(mut message: String) -> String {
    const MOST: usize = 1024;
    if message.len() > MOST {
        let end = (0..=MOST).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
    }
    message
}

/// The bindings by which tenants may act as somebody else.
#[derive(Default)]
pub struct Impersonators(Mutex<BTreeMap<ObjectName, String>>);

impl Impersonators {
    /// Takes what was found, and answers what of it is new.
    pub fn replace(&self, found: BTreeMap<ObjectName, String>) -> BTreeMap<ObjectName, String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = found.iter().filter(|(at, who)| known.get(at) != Some(who));
        let new = new.map(|(at, who)| (at.clone(), who.clone())).collect();
        *known = found;
        new
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_whose_every_status_is_refused_is_told_from_one_with_a_single_object_that_is() {
        let refused = |alerts: &Alerts, name: &str| {
            let error = Error::Timeout { what: "write".into(), limit: LIMIT };
            alerts.status_refused(&Key::Namespace(name.into()), ObjectReference::default, &error);
        };
        let alerts = Alerts::default();
        assert!(!alerts.refused_always());
        refused(&alerts, "a");
        assert!(alerts.refused_always());
        alerts.status_written();
        refused(&alerts, "b");
        assert!(!alerts.refused_always());
        assert_eq!(alerts.refused(), 2);
    }

    #[test]
    fn an_alarm_does_not_wait_for_the_status_and_is_raised_once() {
        let alerts = Alerts::default();
        let mut receiver = alerts.receiver.lock().unwrap().take().unwrap();
        let (key, about) = (Key::Namespace("interp".into()), ObjectReference::default());
        let notifications =
            || vec![Notification::warning("Rebinding", "a".into()), Notification::normal("Active", "b".into())];
        let mut told = || {
            std::iter::from_fn(|| receiver.try_recv().ok())
                .map(|(_, notification)| notification.reason)
                .collect::<Vec<_>>()
        };
        alerts.report_transition(&key, &about, notifications(), false);
        assert_eq!(told(), ["Rebinding"]);
        alerts.report_transition(&key, &about, notifications(), false);
        assert!(told().is_empty());
        alerts.report_transition(&key, &about, notifications(), true);
        assert_eq!(told(), ["Active"]);
        assert!(alerts.unwritten.lock().unwrap().is_empty());
        alerts.report_transition(&key, &about, notifications(), true);
        assert_eq!(told(), ["Rebinding", "Active"]);
    }
}
