//! Alarms and transitions, as Events of the objects that they are about.
//!
//! Events are for people who look; what must not be lost is in the status, the metrics and the audit record. So they
//! wait in a bounded queue, and where that is full they are dropped and counted.

use crate::{
    context::Context,
    error::Error,
    key::{Key, ObjectName},
};
use cloister_api::{
    GROUP, GrantPhase, GrantStatus, ResearchNamespace, ResearchNamespaceStatus, VERSION,
    condition::{
        CLUSTER_NETWORKS_KNOWN, ENFORCED, READY, REVIEWED, REVOCATION_UNCONFIRMED,
        reason::{DENY_DEFEATED, FOREIGN_OBJECTS, RECORD_NOT_BORNE_OUT},
    },
};
use cloister_core::{cluster_networks::NODE_NOT_BELIEVED, grant::Grant};
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
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

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    alarm: bool,
    reason: String,
    message: String,
}

impl News {
    /// Something that deserves an alarm.
    pub fn warning(reason: &str, message: String) -> Self {
        News { alarm: true, reason: reason.to_owned(), message }
    }

    /// Whether it is of this reason.
    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }

    fn normal(reason: &str, message: String) -> Self {
        News { alarm: false, ..News::warning(reason, message) }
    }
}

/// What a grant's new status tells beyond the one before.
pub fn of_grant(before: Option<&GrantStatus>, after: &GrantStatus) -> Vec<News> {
    let mut news = Vec::new();
    let phase = before.map(|before| before.phase).unwrap_or_default();
    if after.phase != phase {
        let broke = after.phase == GrantPhase::Approved && after.break_glass.is_some();
        let ready = after.conditions.iter().find(|condition| condition.type_ == READY);
        let said = ready.map(|ready| ready.message.clone()).unwrap_or_default();
        news.push(if broke { News::warning("BreakGlass", said) } else { News::normal(after.phase.as_str(), said) });
    }
    let glass = |status: &GrantStatus| status.break_glass.as_ref().is_some_and(|glass| glass.reviewed_by.is_some());
    let unbacked = |status: &GrantStatus| status.reason == RECORD_NOT_BORNE_OUT;
    if unbacked(after) && !before.is_some_and(unbacked) {
        let ready = after.conditions.iter().find(|condition| condition.type_ == READY);
        news.push(News::warning(RECORD_NOT_BORNE_OUT, ready.map(|ready| ready.message.clone()).unwrap_or_default()));
    }
    if before.is_some_and(glass) && !glass(after) {
        let message = "its status said that the review which it owed was made, and there is no such AccessReview: it was deleted, \
                       or somebody else than the operator has written the status. The review is owed again";
        news.push(News::warning(RECORD_NOT_BORNE_OUT, message.to_owned()));
    }
    let conditions = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    for type_ in [REVIEWED, REVOCATION_UNCONFIRMED] {
        let Some(Condition { reason, message, .. }) = with_new_reason(type_, conditions, &after.conditions) else {
            continue;
        };
        match reason.as_str() {
            "Reviewed" => news.push(News::normal(reason, message.clone())),
            "ReviewOwed" => {}
            _ => news.push(News::warning(reason, message.clone())),
        }
    }
    // A request that names such a host opens nothing, and is told so.
    let astray = with_new_reason(READY, conditions, &after.conditions)
        .filter(|ready| after.phase == GrantPhase::Active && ASTRAY.contains(&ready.reason.as_str()));
    news.extend(astray.map(|ready| News::warning(&ready.reason, ready.message.clone())));
    news
}

/// Reasons of names that lead where they must not.
const ASTRAY: [&str; 2] = ["Rebinding", "OutsideExpectedNetworks"];

/// What a namespace's new status tells beyond the one before: that somebody else has opened it. Of names that lead where they
/// must not, one alarm is raised for each name.
pub fn of_namespace(before: Option<&ResearchNamespaceStatus>, after: &ResearchNamespaceStatus) -> Vec<News> {
    let conditions = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    let told = |type_: &str, reasons: &[&str]| {
        let condition = with_new_reason(type_, conditions, &after.conditions)?;
        let deserves_it = reasons.contains(&condition.reason.as_str());
        deserves_it.then(|| News::warning(&condition.reason, condition.message.clone()))
    };
    let intruded = told(READY, &[FOREIGN_OBJECTS]).filter(|_| !after.foreign_objects.is_empty());
    told(ENFORCED, &[DENY_DEFEATED]).into_iter().chain(intruded).collect()
}

/// What the new conditions of the settings tell beyond those before: that a Node says of its networks what no Node has.
pub fn of_settings(before: &[Condition], after: &[Condition]) -> Option<News> {
    let known = with_new_reason(CLUSTER_NETWORKS_KNOWN, before, after)?;
    (known.reason == NODE_NOT_BELIEVED).then(|| News::warning(&known.reason, known.message.clone()))
}

/// The condition of this type, where its reason is another than before.
fn with_new_reason<'a>(type_: &str, before: &[Condition], after: &'a [Condition]) -> Option<&'a Condition> {
    let is = after.iter().find(|condition| condition.type_ == type_)?;
    let was = before.iter().find(|condition| condition.type_ == type_);
    was.is_none_or(|was| was.reason != is.reason).then_some(is)
}

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
    sender: mpsc::Sender<(ObjectReference, News)>,
    receiver: Mutex<Option<mpsc::Receiver<(ObjectReference, News)>>>,
    /// What was raised of objects whose status could not be written, so that it is not raised at each try.
    unwritten: Mutex<HashMap<Key, Vec<News>>>,
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
    /// Tells what the new status of an object says, once, whether the status could be written or not. What is no alarm is
    /// told when it is written.
    pub fn tell(&self, key: &Key, about: &ObjectReference, news: Vec<News>, written: bool) {
        let told = {
            let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            let told = unwritten.remove(key).unwrap_or_default();
            let alarms: Vec<News> = news.iter().filter(|news| news.alarm && !written).cloned().collect();
            if !alarms.is_empty() {
                unwritten.insert(key.clone(), alarms);
            }
            told
        };
        let new = news.into_iter().filter(|news| (written || news.alarm) && !told.contains(news));
        new.for_each(|news| self.raise(about.clone(), news));
    }

    /// The API server refuses the status of an object: that is told once, until it has been written.
    pub fn status_refused(&self, key: &Key, about: impl FnOnce() -> ObjectReference, error: &Error) {
        if self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            let message = format!(
                "the API server refuses what the operator says of it ({error}); it is tried again. See what refuses it: a policy, \
                 the size of the object, or the rights of the operator"
            );
            self.raise(about(), News::warning("StatusRefused", message));
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

    /// Tells, and logs what deserves an alarm.
    pub fn raise(&self, about: ObjectReference, news: News) {
        if news.alarm {
            let (kind, name) = (about.kind.as_deref(), about.name.as_deref());
            warn!(reason = news.reason, kind, name, namespace = about.namespace, "alarm: {}", news.message);
        }
        if self.sender.try_send((about, news)).is_err() {
            debug!("too many Events are waiting; one is dropped");
        }
    }

    /// Writes the Events, one after the other, until the process ends.
    pub async fn write(context: Arc<Context>) {
        let Some(mut receiver) = context.alerts.receiver.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let reporter = Reporter { controller: "cloister".into(), instance: None };
        let recorder = Recorder::new(context.client.clone(), reporter);
        while let Some((about, news)) = receiver.recv().await {
            let event = Event {
                type_: if news.alarm { EventType::Warning } else { EventType::Normal },
                action: news.reason.clone(),
                reason: news.reason,
                note: Some(clipped(news.message)),
                secondary: None,
            };
            context.queue.calm().await;
            if !context.leadership.holds() {
                debug!("another operator may act by now; an Event is dropped");
                continue;
            }
            context.metrics.wrote("create", "Event");
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
    fn a_name_of_a_grant_that_leads_astray_is_an_alarm_while_it_is_open() {
        let said = |phase: GrantPhase, reason: &str| {
            let ready = serde_json::json!({"type": "Ready", "status": "True", "reason": reason, "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            GrantStatus { phase, conditions: vec![serde_json::from_value(ready).unwrap()], ..GrantStatus::default() }
        };
        let told = |before: &GrantStatus, after: &GrantStatus| {
            of_grant(Some(before), after).into_iter().map(|news| (news.alarm, news.reason)).collect::<Vec<_>>()
        };
        let open = said(GrantPhase::Active, "Active");
        for reason in ASTRAY {
            let astray = said(GrantPhase::Active, reason);
            assert_eq!(told(&open, &astray), [(true, reason.to_owned())]);
            assert!(told(&astray, &astray).is_empty() && told(&astray, &open).is_empty());
            let pending = said(GrantPhase::Pending, reason);
            assert!(told(&said(GrantPhase::Pending, "Resolving"), &pending).is_empty());
        }
    }

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
        let news = || vec![News::warning("Rebinding", "a".into()), News::normal("Active", "b".into())];
        let mut told =
            || std::iter::from_fn(|| receiver.try_recv().ok()).map(|(_, news)| news.reason).collect::<Vec<_>>();
        alerts.tell(&key, &about, news(), false);
        assert_eq!(told(), ["Rebinding"]);
        alerts.tell(&key, &about, news(), false);
        assert!(told().is_empty());
        alerts.tell(&key, &about, news(), true);
        assert_eq!(told(), ["Active"]);
        assert!(alerts.unwritten.lock().unwrap().is_empty());
        alerts.tell(&key, &about, news(), true);
        assert_eq!(told(), ["Rebinding", "Active"]);
    }
}
