//! The audit record: each decision and transition of a grant as one CloudEvents 1.0 line, chained by hashes.
//!
//! Records are made from what is written in the cluster, never from what is about to be written, and each has an id that
//! follows from it. So a record that was lost in a crash is made again from the status, and one that was written twice
//! is seen to be the same. Each line carries the hash of the line before and its own, over its canonical JSON
//! (RFC 8785): a line that is changed, taken out or put in breaks the chain.

use crate::{
    child::{Children, GrantRef},
    grant::{Grant, digest::hash},
    ownership::is_made_for,
};
use cloister_api::{
    AccessReview, BreakGlassStatus, GrantPhase, GrantStatus, Identity, RecordedReview, condition::COUNTED,
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
    add("requested", metadata.creation_timestamp.as_ref(), &|| grant.asks());
    add("approved", status.approved_at.as_ref(), &|| {
        json!({
            "reason": reason_of_approval(status),
            "approvals": status.approvals,
            "reviews": reviews(),
            "policy": status.policy,
            "expiresAt": status.expires_at,
            "breakGlass": status.break_glass.as_ref().map(broken),
        })
    });
    add(
        "activated",
        status.activated_at.as_ref(),
        &|| json!({"opened": opened(grant, children), "expiresAt": status.expires_at}),
    );
    let end = match status.phase {
        GrantPhase::Expired => Some("expired"),
        GrantPhase::Revoked => Some("revoked"),
        GrantPhase::Denied => Some("denied"),
        GrantPhase::TimedOut => Some("timedout"),
        GrantPhase::Pending | GrantPhase::Approved | GrantPhase::Active | GrantPhase::Revoking => None,
    };
    if let Some(end) = end {
        let more = || json!({"reason": status.reason, "message": message(status), "reviews": reviews()});
        add(end, status.ended_at.as_ref(), &more);
    }
    if let Some(glass) = &status.break_glass {
        let more = || json!({"reviewedBy": glass.reviewed_by, "reviews": reviews()});
        add("reviewed", glass.reviewed_at.as_ref(), &more);
    }
    records
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
    let counted = conditions.iter().find(|condition| condition.type_ == COUNTED)?;
    let what = if counted.status == "True" { "counted" } else { "refused" };
    let spec = &review.spec;
    let uid = review.metadata.uid.as_deref().unwrap_or_default();
    Some(Record {
        id: format!("{uid}.{what}.{}", counted.reason),
        r#type: format!("dev.cloister.review.{what}.v1"),
        time: counted.last_transition_time.0,
        subject: format!("AccessReview/{namespace}/{}", review.metadata.name.as_deref().unwrap_or_default()),
        data: json!({
            "uid": uid,
            "request": {"kind": spec.request_ref.kind, "name": spec.request_ref.name, "uid": spec.request_ref.uid},
            "digest": spec.digest,
            "decision": spec.decision,
            "reviewer": spec.reviewer.as_ref().map(person),
            "reason": counted.reason,
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

/// Where the chain is: the number and the hash of its last line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How many lines there are.
    pub length: u64,
    /// The hash of the last; empty where there is none.
    pub hash: String,
}

impl Head {
    /// The next line of the chain, without its line break.
    pub fn append(&mut self, record: &Record) -> String {
        let mut line = json!({
            "specversion": "1.0",
            "id": record.id,
            "source": SOURCE,
            "type": record.r#type,
            "time": record.time.to_string(),
            "subject": record.subject,
            "datacontenttype": "application/json",
            "data": record.data,
            "sequence": self.length.to_string(),
            "previoushash": self.hash,
        });
        self.hash = hash(&line);
        self.length += 1;
        if let Some(line) = line.as_object_mut() {
            line.insert("hash".into(), json!(self.hash));
        }
        line.to_string()
    }
}

/// The source of every record.
const SOURCE: &str = "/cloister.dev/operator";

/// A chain that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// How many records there are.
    pub records: u64,
    /// How many chains: a sink that cannot be read back begins a new one with each start of the operator.
    pub chains: u64,
    /// Where the last chain is.
    pub head: Head,
}

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Broken {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

impl Proof {
    /// Takes the next line into the proof.
    ///
    /// # Errors
    ///
    /// It does not follow from the lines before.
    pub fn take(&mut self, line: &str) -> Result<String, Broken> {
        let broken = |why: String| Broken { line: self.records + 1, why };
        let mut value: Value =
            serde_json::from_str(line).map_err(|error| broken(format!("it is not JSON: {error}")))?;
        let Some(fields) = value.as_object_mut() else { return Err(broken("it is not a record".into())) };
        let text =
            |fields: &Map<String, Value>, name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(claimed), Some(previous), Some(sequence)) =
            (text(fields, "hash"), text(fields, "previoushash"), text(fields, "sequence"))
        else {
            return Err(broken("it has no hash, previoushash or sequence".into()));
        };
        let id = text(fields, "id").unwrap_or_default();
        fields.remove("hash");
        if hash(&value) != claimed {
            return Err(broken(format!("record {id} is not as it was written: its hash is another")));
        }
        let begins = previous.is_empty() && sequence == "0";
        if begins {
            self.chains += 1;
            self.head = Head::default();
        }
        if previous != self.head.hash || sequence != self.head.length.to_string() {
            return Err(broken(format!(
                "record {id} does not follow the one before: number {sequence} after {} records of the chain; \
                 something was taken out or put in",
                self.head.length
            )));
        }
        self.records += 1;
        self.head = Head { length: self.head.length + 1, hash: claimed };
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<String> {
        let mut head = Head::default();
        let record = |n: i64| Record {
            id: format!("u{n}.requested"),
            r#type: "dev.cloister.grant.requested.v1".into(),
            time: Timestamp::from_second(n).unwrap(),
            subject: "StorageAccessGrant/interp/run".into(),
            data: json!({"n": n, "b": [1, 2], "a": "\u{e9}"}),
        };
        (0..5).map(|n| head.append(&record(n))).collect()
    }

    fn verify(lines: &[String]) -> Result<Proof, Broken> {
        let mut proof = Proof::default();
        lines.iter().try_for_each(|line| proof.take(line).map(drop))?;
        Ok(proof)
    }

    #[test]
    fn a_chain_holds() {
        let proof = verify(&lines()).unwrap();
        assert_eq!((proof.records, proof.chains, proof.head.length), (5, 1, 5));
        let twice = [lines(), lines()].concat();
        assert_eq!(verify(&twice).unwrap().chains, 2);
    }

    #[test]
    fn the_first_broken_line_is_named() {
        let mut changed = lines();
        changed[2] = changed[2].replace("\"n\":2", "\"n\":7");
        assert_eq!(verify(&changed).unwrap_err().line, 3);
        let mut without = lines();
        without.remove(1);
        assert_eq!(verify(&without).unwrap_err().line, 2);
        let mut swapped = lines();
        swapped.swap(3, 4);
        assert_eq!(verify(&swapped).unwrap_err().line, 4);
        let mut torn = lines();
        torn[4].truncate(30);
        assert_eq!(verify(&torn).unwrap_err().line, 5);
        // Without its beginning it is no chain.
        assert_eq!(verify(&lines()[1..]).unwrap_err().line, 1);
    }

    #[test]
    fn whoever_writes_the_hash_anew_breaks_the_next_line() {
        let mut forged = lines();
        let mut value: Value = serde_json::from_str(&forged[1]).unwrap();
        value["data"]["n"] = json!(7);
        value.as_object_mut().unwrap().remove("hash");
        let hash = hash(&value);
        value["hash"] = json!(hash);
        forged[1] = value.to_string();
        assert_eq!(verify(&forged).unwrap_err().line, 3);
    }
}
