//! The notifications about a new status: what has changed since the status before.

use cloister_api::{
    EgressState, GrantPhase, GrantStatus, ResearchNamespaceStatus,
    condition::{
        CLUSTER_NETWORKS_KNOWN, ENFORCED, READY, REVIEWED, REVOCATION_UNCONFIRMED,
        reason::{DENY_DEFEATED, FOREIGN_OBJECTS, RECORD_NOT_BORNE_OUT},
    },
};
use cloister_core::namespace::allowlist_of_entry;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The longest action of an Event, in bytes.
const LONGEST_ACTION: usize = 128;

/// A change to report as an Event, and as an alarm if it needs attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub(crate) alarm: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// What it is about within the object, such as a name or an entry. Without a subject, the message identifies it.
    subject: Option<String>,
}

impl Notification {
    /// A notification that raises an alarm.
    pub fn warning(reason: &str, message: String) -> Self {
        Notification { alarm: true, reason: reason.to_owned(), message, subject: None }
    }

    /// Sets the subject: a name or an entry, which stays the same if the message changes.
    #[must_use]
    pub fn about(self, subject: impl Into<String>) -> Self {
        Notification { subject: Some(subject.into()), ..self }
    }

    /// Whether it has this reason.
    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }

    /// The action of its Event. Kubernetes counts Events of one object, reason and action as one, and keeps the first note. So
    /// each subject has an action of its own.
    pub(crate) fn action(&self) -> String {
        let (reason, subject) = (&self.reason, self.subject.as_deref());
        let named = subject.map(|subject| format!("{reason}: {subject}")).filter(|named| named.len() <= LONGEST_ACTION);
        named.unwrap_or_else(|| {
            let mut hasher = DefaultHasher::new();
            subject.unwrap_or(&self.message).hash(&mut hasher);
            format!("{reason}: {:016x}", hasher.finish())
        })
    }

    pub(crate) fn normal(reason: &str, message: String) -> Self {
        Notification { alarm: false, ..Notification::warning(reason, message) }
    }
}

/// The notifications about a new status of a grant.
pub fn grant_notifications(before: Option<&GrantStatus>, after: &GrantStatus) -> Vec<Notification> {
    let mut notifications = Vec::new();
    let phase = before.map(|before| before.phase).unwrap_or_default();
    if after.phase != phase {
        let broke = after.phase == GrantPhase::Approved && after.break_glass.is_some();
        let ready = after.conditions.iter().find(|condition| condition.type_ == READY);
        let said = ready.map(|ready| ready.message.clone()).unwrap_or_default();
        notifications.push(if broke {
            Notification::warning("BreakGlass", said)
        } else {
            Notification::normal(after.phase.as_str(), said)
        });
    }
    let glass = |status: &GrantStatus| status.break_glass.as_ref().is_some_and(|glass| glass.reviewed_by.is_some());
    let unbacked = |status: &GrantStatus| status.reason == RECORD_NOT_BORNE_OUT;
    if unbacked(after) && !before.is_some_and(unbacked) {
        let ready = after.conditions.iter().find(|condition| condition.type_ == READY);
        notifications.push(Notification::warning(
            RECORD_NOT_BORNE_OUT,
            ready.map(|ready| ready.message.clone()).unwrap_or_default(),
        ));
    }
    if before.is_some_and(glass) && !glass(after) {
        let message = "the status said that the break-glass review was done, but that AccessReview does not exist: it was \
                       deleted, or somebody other than the operator wrote the status. The review is required again";
        notifications.push(Notification::warning(RECORD_NOT_BORNE_OUT, message.to_owned()));
    }
    let conditions = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    for type_ in [REVIEWED, REVOCATION_UNCONFIRMED] {
        let Some(Condition { reason, message, .. }) = with_new_reason(type_, conditions, &after.conditions) else {
            continue;
        };
        match reason.as_str() {
            "Reviewed" => notifications.push(Notification::normal(reason, message.clone())),
            "ReviewOwed" => {}
            _ => notifications.push(Notification::warning(reason, message.clone())),
        }
    }
    // A pending request with such a host opens nothing, and its status says so.
    let astray = with_new_reason(READY, conditions, &after.conditions)
        .filter(|ready| after.phase == GrantPhase::Active && ASTRAY.contains(&ready.reason.as_str()));
    notifications
        .extend(astray.map(|ready| Notification::warning(&ready.reason, without_end(&ready.message).to_owned())));
    notifications
}

/// The message of an open grant without its end time.
fn without_end(message: &str) -> &str {
    match message.split_once("; ") {
        Some((end, rest)) if end.starts_with("open until ") || end.starts_with("lasts until ") => rest,
        _ => message,
    }
}

/// Reasons of names that resolve to addresses that they must not resolve to.
const ASTRAY: [&str; 2] = ["Rebinding", "OutsideExpectedNetworks"];

/// The notifications about a new status of a namespace: unmanaged objects open it, or entries that were open are not open any
/// more, such as after the end of an allowlist. A name that resolves to a wrong address also raises one alarm of its
/// own.
pub fn namespace_notifications(
    before: Option<&ResearchNamespaceStatus>,
    after: &ResearchNamespaceStatus,
) -> Vec<Notification> {
    let conditions = before.map(|before| before.conditions.as_slice()).unwrap_or_default();
    let told = |type_: &str, reasons: &[&str]| {
        let condition = with_new_reason(type_, conditions, &after.conditions)?;
        let deserves_it = reasons.contains(&condition.reason.as_str());
        deserves_it.then(|| Notification::warning(&condition.reason, condition.message.clone()))
    };
    let intruded = told(READY, &[FOREIGN_OBJECTS]).filter(|_| !after.foreign_objects.is_empty());
    let closed = before.into_iter().flat_map(|before| closed(before, after));
    told(ENFORCED, &[DENY_DEFEATED]).into_iter().chain(intruded).chain(closed).collect()
}

/// The most notifications about closed entries at a time.
const CLOSED: usize = 8;

/// The entries that were open and are not any more. If all egress of a namespace is closed, its condition reports that
/// instead.
fn closed(before: &ResearchNamespaceStatus, after: &ResearchNamespaceStatus) -> Vec<Notification> {
    let is_ready = |one: &Condition| one.type_ == READY && one.status == "True";
    if after.egress.is_empty() && !after.conditions.iter().any(is_ready) {
        return Vec::new();
    }
    let were_open = before.egress.iter().filter(|need| need.state == EgressState::Active);
    were_open.filter_map(|need| now_closed(&need.name, after)).take(CLOSED).collect()
}

fn now_closed(name: &str, after: &ResearchNamespaceStatus) -> Option<Notification> {
    let Some(need) = after.egress.iter().find(|need| need.name == name) else {
        // The grant itself reports what it had open, and a list at its limit may have lost entries.
        let is_told = name.starts_with("grant/") || after.egress.len() >= LISTED;
        return (!is_told).then(|| Notification::normal(NOT_OPEN, gone(name)).about(name));
    };
    let message = || format!("{name}: {}", need.message);
    match need.state {
        EgressState::Active => None,
        // An operator that has just started resolves it again.
        _ if need.reason == RESOLVING => None,
        // No change of its own object has closed it.
        _ if need.reason == NETWORKS_TOO_MANY => Some(Notification::warning(&need.reason, message()).about(name)),
        _ => Some(Notification::normal(&need.reason, message()).about(name)),
    }
}

/// The message about an entry that is not in the status any more.
fn gone(name: &str) -> String {
    match allowlist_of_entry(name) {
        Some(allowlist) => format!(
            "{name}: EgressAllowlist {allowlist} no longer opens anything here: it does not exist, it does not select the \
             ResearchNamespace, or the ResearchNamespace does not name it"
        ),
        None => format!("{name}: the ResearchNamespace no longer declares it"),
    }
}

/// The reason of an entry that was open and is not in the status any more.
const NOT_OPEN: &str = "NotDeclared";

/// The reason of a name that is not resolved yet.
const RESOLVING: &str = "Resolving";

/// The reason of networks that addresses which are never opened split into too many.
const NETWORKS_TOO_MANY: &str = "NetworksTooMany";

/// The longest list in the status: a list of this length may be incomplete.
const LISTED: usize = 256;

/// The notification about new conditions of CloisterConfig: the networks of the cluster are not known any more, such as when a
/// Node reports impossible networks.
pub fn settings_notification(before: &[Condition], after: &[Condition]) -> Option<Notification> {
    let known = with_new_reason(CLUSTER_NETWORKS_KNOWN, before, after)?;
    (known.status == "False").then(|| Notification::warning(&known.reason, known.message.clone()))
}

/// The condition of this type, if its reason has changed.
fn with_new_reason<'a>(type_: &str, before: &[Condition], after: &'a [Condition]) -> Option<&'a Condition> {
    let is = after.iter().find(|condition| condition.type_ == type_)?;
    let was = before.iter().find(|condition| condition.type_ == type_);
    was.is_none_or(|was| was.reason != is.reason).then_some(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_has_an_action_of_its_own_that_an_event_can_have() {
        let long = |end: &str| format!("{}.{end}", "x".repeat(250));
        let about =
            |subject: &str, message: &str| Notification::warning("Rebinding", message.into()).about(subject).action();
        assert_eq!(about("www.example.com", "a"), "Rebinding: www.example.com");
        assert_eq!(about("www.example.com", "a"), about("www.example.com", "b"), "one name is one Event");
        assert_ne!(about(&long("a"), "m"), about(&long("b"), "m"));
        assert_eq!(about(&long("a"), "m"), about(&long("a"), "n"));
        let said = |message: &str| Notification::warning("WatchStale", message.into()).action();
        assert_ne!(said("Secrets"), said("Nodes"));
        assert_eq!(said("Nodes"), said("Nodes"));
        assert!(about(&long("a"), "m").len() <= LONGEST_ACTION && said(&"x".repeat(2000)).len() <= LONGEST_ACTION);
    }

    #[test]
    fn a_name_of_a_grant_that_leads_astray_is_an_alarm_while_it_is_open() {
        let said = |phase: GrantPhase, reason: &str| {
            let ready = serde_json::json!({"type": "Ready", "status": "True", "reason": reason, "lastTransitionTime": "2026-01-01T00:00:00Z",
                "message": "open until 2026-01-02T00:00:00Z; a.example leads to 10.0.0.1; ask"});
            GrantStatus { phase, conditions: vec![serde_json::from_value(ready).unwrap()], ..GrantStatus::default() }
        };
        let told = |before: &GrantStatus, after: &GrantStatus| {
            grant_notifications(Some(before), after).into_iter().map(|one| (one.alarm, one.reason)).collect::<Vec<_>>()
        };
        let open = said(GrantPhase::Active, "Active");
        for reason in ASTRAY {
            let astray = said(GrantPhase::Active, reason);
            assert_eq!(told(&open, &astray), [(true, reason.to_owned())]);
            assert!(told(&astray, &astray).is_empty() && told(&astray, &open).is_empty());
            let message = grant_notifications(Some(&open), &astray).remove(0).message;
            assert_eq!(message, "a.example leads to 10.0.0.1; ask");
            let pending = said(GrantPhase::Pending, reason);
            assert!(told(&said(GrantPhase::Pending, "Resolving"), &pending).is_empty());
        }
    }

    #[test]
    fn a_need_that_was_open_and_is_not_covered_any_more_is_told_once() {
        let said = |state: &str, reason: &str| -> ResearchNamespaceStatus {
            let need =
                serde_json::json!({"name": "allowlist/lab", "state": state, "reason": reason, "message": "it ended"});
            serde_json::from_value(serde_json::json!({"egress": [need]})).unwrap()
        };
        let told = |before: &ResearchNamespaceStatus, after: &ResearchNamespaceStatus| {
            let notifications = namespace_notifications(Some(before), after).into_iter();
            notifications.map(|one| (one.alarm, one.reason, one.message)).collect::<Vec<_>>()
        };
        let (open, ended) = (said("Active", ""), said("Refused", "AllowlistExpired"));
        let event = (false, "AllowlistExpired".to_owned(), "allowlist/lab: it ended".to_owned());
        assert_eq!(told(&open, &ended), [event]);
        assert!(told(&ended, &ended).is_empty() && told(&ended, &open).is_empty());
        // What an operator that has just begun does not know yet needs no notification; that a name may not be opened does.
        assert!(told(&open, &said("Unresolved", "Resolving")).is_empty());
        for reason in ["DNSUnanswered", "Rebinding", "NotCovered"] {
            let state = if reason == "NotCovered" { "NeedsGrant" } else { "Unresolved" };
            let event = (false, reason.to_owned(), "allowlist/lab: it ended".to_owned());
            assert_eq!(told(&open, &said(state, reason)), [event]);
        }
        assert!(told(&open, &said("Refused", "NetworksTooMany"))[0].0, "nobody who works on it has done that");
        // It may leave the status, too; where all of it is closed, that is what is told.
        let without = |ready: &str| -> ResearchNamespaceStatus {
            let ready = serde_json::json!({"type": "Ready", "status": ready, "reason": "x", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            serde_json::from_value(serde_json::json!({"egressSummary": "0/0", "conditions": [ready]})).unwrap()
        };
        let message = "allowlist/lab: EgressAllowlist lab no longer opens anything here: it does not exist, it does not select \
                       the ResearchNamespace, or the ResearchNamespace does not name it";
        assert_eq!(told(&open, &without("True")), [(false, "NotDeclared".to_owned(), message.to_owned())]);
        assert!(told(&open, &without("False")).is_empty());
    }
}
