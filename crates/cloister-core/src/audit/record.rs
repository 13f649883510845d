//! The records that follow from what is written in the cluster.

use crate::{
    child::{Children, GrantRef},
    grant::{Grant, is_given_up},
    ownership::is_made_for,
};
use cloister_api::{
    AccessReview, BreakGlassStatus, GrantPhase, GrantStatus, Identity, RecordedReview,
    condition::{COUNTED, reason::RECORD_NOT_BORNE_OUT},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

/// What happened, and to which object.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Names the record: the object's uid and what happened.
    pub id: String,
    /// What happened, as `dev.cloister.grant.approved.v1`.
    pub r#type: String,
    /// When.
    pub time: Timestamp,
    /// The object, as `StorageAccessGrant/interp/eval-run`.
    pub subject: String,
    /// The rest.
    pub data: Value,
}

/// The records that follow from what is said of a grant, but for those whose ids are known.
pub fn of_grant(grant: &Grant, namespace: &str, children: &Children, is_known: impl Fn(&str) -> bool) -> Vec<Record> {
    let Some(status) = grant.status() else { return Vec::new() };
    let (metadata, uid) = (grant.metadata(), grant.metadata().uid.as_deref().unwrap_or_default());
    let mut records = Vec::new();
    // What is known already is asked for at every look, and costs no more than its id.
    let mut add = |what: &str, time: Option<&Time>, more: &dyn Fn() -> Value| {
        let id = format!("{uid}.{what}");
        let Some(time) = time.filter(|_| !is_known(&id)) else { return };
        let mut data = common(grant, status);
        if let Value::Object(more) = more() {
            data.extend(more);
        }
        records.push(Record {
            id,
            r#type: format!("dev.cloister.grant.{what}.v1"),
            time: time.0,
            subject: format!("{}/{namespace}/{}", grant.kind().as_str(), grant.name()),
            data: Value::Object(data),
        });
    };
    let reviews = || status.reviews.iter().map(review).collect::<Vec<_>>();
    add("requested", metadata.creation_timestamp.as_ref(), &|| asked(grant));
    // What is not borne out was not approved, unless it was so before; why it ended is said.
    let was_approved = status.reason != RECORD_NOT_BORNE_OUT || is_known(&format!("{uid}.approved"));
    add("approved", status.approved_at.as_ref().filter(|_| was_approved), &|| {
        json!({
            "reason": reason_of_approval(status),
            "approvals": status.approvals,
            "reviews": reviews(),
            "policy": status.policy,
            "expiresAt": status.expires_at,
            "breakGlass": status.break_glass.as_ref().map(broken),
        })
    });
    add("activated", status.activated_at.as_ref().filter(|_| was_approved), &|| {
        json!({
            "opened": opened(grant, children),
            // What that allows: the rules of the ClusterRole, and where the names of the endpoint or the rule led.
            "clusterRoleRules": status.target_rules,
            "hosts": status.hosts,
            "expiresAt": status.expires_at,
        })
    });
    let end = match status.phase {
        GrantPhase::Expired => Some("expired"),
        GrantPhase::Revoked => Some("revoked"),
        GrantPhase::Denied => Some("denied"),
        GrantPhase::TimedOut => Some("timedout"),
        GrantPhase::Pending | GrantPhase::Approved | GrantPhase::Active | GrantPhase::Revoking => None,
    };
    if status.phase == GrantPhase::Pending {
        // Nobody decided, and nobody will. Who deleted it is in the API server's own audit log.
        add(
            "deleted",
            metadata.deletion_timestamp.as_ref(),
            &|| json!({"reason": status.reason, "message": message(status)}),
        );
    }
    if let Some(end) = end {
        let more = || json!({"reason": status.reason, "message": message(status), "reviews": reviews()});
        add(end, status.ended_at.as_ref(), &more);
    }
    if let Some(glass) = &status.break_glass {
        let more = || json!({"reviewedBy": glass.reviewed_by, "reviews": reviews()});
        add("reviewed", glass.reviewed_at.as_ref(), &more);
        // Nobody can make the review any more: its Namespace is gone.
        let given_up = is_given_up(status).then_some(metadata.deletion_timestamp.as_ref()).flatten();
        add("neverreviewed", given_up, &|| json!({"breakGlass": broken(glass)}));
    }
    records
}

/// What was asked for, and for how long.
fn asked(grant: &Grant) -> Value {
    let (mut asks, terms) = (grant.asks(), grant.terms());
    if let Value::Object(asks) = &mut asks {
        asks.insert("requestedDuration".into(), json!(terms.requested_duration));
        asks.insert("startTime".into(), json!(terms.start_time));
        asks.insert("breakGlass".into(), json!(terms.break_glass));
    }
    asks
}

/// What stands in a grant's name.
fn opened(grant: &Grant, children: &Children) -> Vec<Value> {
    let this = GrantRef { kind: grant.kind(), name: grant.name().into() };
    let uid = grant.metadata().uid.as_deref().unwrap_or_default();
    let own = children.iter().filter(|(_, child)| is_made_for(child, &this, uid));
    own.map(|(key, child)| json!({"kind": key.kind.as_str(), "name": key.name, "uid": child.uid})).collect()
}

/// The record of a review: that it counts, or why not. None where nothing was said of it yet.
pub fn of_review(review: &AccessReview, namespace: &str) -> Option<Record> {
    let conditions = review.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    // One that waits until it can be judged has no answer yet.
    let counted = conditions.iter().find(|condition| condition.type_ == COUNTED && condition.status != "Unknown")?;
    // What counted counted once, also when it is said later that its grant is gone.
    let (what, reason) =
        if counted.status == "True" { ("counted", COUNTED) } else { ("refused", counted.reason.as_str()) };
    let spec = &review.spec;
    let uid = review.metadata.uid.as_deref().unwrap_or_default();
    Some(Record {
        // What counts may cease to count, and count again.
        id: format!("{uid}.{what}.{reason}.{}", counted.last_transition_time.0.as_second()),
        r#type: format!("dev.cloister.review.{what}.v1"),
        time: counted.last_transition_time.0,
        subject: format!("AccessReview/{namespace}/{}", review.metadata.name.as_deref().unwrap_or_default()),
        data: json!({
            "uid": uid,
            "request": {"kind": spec.request_ref.kind, "name": spec.request_ref.name, "uid": spec.request_ref.uid},
            "digest": spec.digest,
            "decision": spec.decision,
            "reviewer": spec.reviewer.as_ref().map(person),
            "reason": reason,
            "message": counted.message,
        }),
    })
}

fn common(grant: &Grant, status: &GrantStatus) -> Map<String, Value> {
    let terms = grant.terms();
    let mut data = Map::new();
    data.insert("uid".into(), json!(grant.metadata().uid));
    data.insert("digest".into(), json!(status.digest));
    data.insert("requestedBy".into(), json!(terms.requested_by.map(person)));
    data.insert("justification".into(), json!(terms.justification));
    data.insert("ticketRef".into(), json!(terms.ticket_ref));
    data
}

/// A person without the groups, which may be hundreds.
fn person(identity: &Identity) -> Value {
    let mut person = json!({"username": identity.username, "uid": identity.uid, "personKey": identity.person_key});
    if !identity.person_keys.is_empty() {
        person["personKeys"] = json!(identity.person_keys);
    }
    person
}

fn review(review: &RecordedReview) -> Value {
    json!({"uid": review.uid, "decision": review.decision, "reviewer": person(&review.reviewer)})
}

fn broken(glass: &BreakGlassStatus) -> Value {
    json!({"skipped": glass.skipped, "reviewDueAt": glass.review_due_at})
}

fn reason_of_approval(status: &GrantStatus) -> &'static str {
    match (&status.break_glass, status.reviews.is_empty()) {
        (Some(_), _) => "BreakGlass",
        (None, true) => "AutoApproved",
        (None, false) => "Approved",
    }
}

fn message(status: &GrantStatus) -> &str {
    let ready = status.conditions.iter().find(|condition| condition.type_ == cloister_api::condition::READY);
    ready.map(|ready| ready.message.as_str()).unwrap_or_default()
}

/// The type of the record that says why a new chain begins.
pub const RESUMED: &str = "dev.cloister.audit.resumed.v1";
