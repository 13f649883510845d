//! What a decision is about, in one hash: `v1:sha256:` over canonical JSON (RFC 8785).
//!
//! The fields are listed here one by one, never taken from a stored object as a whole: a field that a later version adds
//! with a default, a description, or the order of a list that has none must not change what was decided. A field that
//! changes the meaning of a grant is listed, or a new version of the digest is.

use super::target::Target;
use crate::{
    address::Selector,
    egress::ServiceFacts,
    grant::Grant,
    model::hash::{hash, hash_of_fields},
};
use cloister_api::{
    AccessPolicy, CredentialSource, EgressRule, Identity, Port, Principal, PrivateEndpoint, RequesterLimits,
    ServiceReference, StorageEndpoint, Subject, WhenRequesterLeaves,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Duration;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The digest that a review must name: of the grant, of the policy that decides, and of what the grant is for.
pub fn of(grant: &Grant, namespace: &str, target: &Target<'_>) -> String {
    of_fields(&request(grant, namespace), [("policy", policy(target)), ("target", &target.meaning)])
}

/// The digest of a request alone, while it is not known what it is for: no review that names it approves anything.
pub fn without_target(grant: &Grant, namespace: &str) -> String {
    of_fields(&request(grant, namespace), [])
}

fn of_fields<'a, const N: usize>(request: &'a [(&str, Value)], others: [(&'a str, &'a Value); N]) -> String {
    let fields = request.iter().map(|(field, value)| (*field, value)).chain(others);
    format!("v1:sha256:{}", hash_of_fields(&fields.collect()))
}

/// What a request says.
fn request(grant: &Grant, namespace: &str) -> [(&'static str, Value); 7] {
    // As it is written: how texts are read must not change what was decided about.
    let terms = grant.as_written();
    let asked = json!({
        "requestedDuration": terms.requested_duration.map(duration),
        "startTime": terms.start_time.map(|time| time.0.to_string()),
        "justification": terms.justification,
        "ticketRef": terms.ticket_ref,
        "breakGlass": terms.break_glass,
        "requestedBy": terms.requested_by.map(identity),
    });
    [
        ("group", json!(cloister_api::GROUP)),
        ("kind", json!(grant.kind())),
        ("namespace", json!(namespace)),
        ("name", json!(grant.name())),
        ("uid", json!(grant.uid())),
        ("asks", grant.of_kind().asks()),
        ("terms", asked),
    ]
}

/// The digest of what the grant is for alone, which must stay as it is while the grant lasts.
pub fn of_target<'t>(target: &'t Target<'_>) -> &'t str {
    target.hashes.whole.get_or_init(|| format!("v1:sha256:{}", hash(&target.meaning)))
}

/// What a policy says.
fn policy<'t>(target: &'t Target<'_>) -> &'t Value {
    target.hashes.policy.get_or_init(|| of_spec(target.policy))
}

fn of_spec(policy: &AccessPolicy) -> Value {
    let spec = &policy.spec;
    let rules = spec.approval_rules.iter().map(
        |rule| json!({"name": rule.name, "required": rule.required, "approvers": sorted(&rule.approvers, principal)}),
    );
    let mut value = json!({
        "uid": policy.metadata.uid,
        "requesters": sorted(&spec.requesters, principal),
        "beneficiaries": subjects(&spec.beneficiaries),
        "approvalRules": by_text(rules.collect()),
        "maxDuration": duration(spec.max_duration),
        "defaultDuration": spec.default_duration.map(duration),
        "pendingRequestTTL": spec.pending_request_ttl.map(duration),
        "maxStartDelay": spec.max_start_delay.map(duration),
        "justification": spec.justification.required,
        "ticket": {"required": spec.ticket.required, "pattern": spec.ticket.pattern},
        "autoApprove": by_text(spec.auto_approve.iter().map(|expression| json!(expression)).collect()),
        "breakGlass": spec.break_glass.as_ref().map(|glass| json!({
            "requesters": sorted(&glass.requesters, principal),
            "maxDuration": duration(glass.max_duration),
            "reviewWithin": duration(glass.review_within),
        })),
    });
    // A policy of an older version has none, and keeps its digest: where nothing is said the defaults hold.
    if spec.limits != RequesterLimits::default() {
        value["limits"] = json!({"active": spec.limits.active, "pending": spec.limits.pending});
    }
    if spec.when_requester_leaves != WhenRequesterLeaves::default() {
        value["whenRequesterLeaves"] = json!(spec.when_requester_leaves);
    }
    value
}

/// Subjects, whose order means nothing.
pub fn subjects(subjects: &[Subject]) -> Value {
    sorted(subjects, |subject| json!({"kind": subject.kind, "name": subject.name}))
}

/// An egress rule.
pub fn rule(rule: &EgressRule) -> Value {
    json!({
        "name": rule.name,
        "domainNames": rule.domain_names.as_deref().map(texts),
        "networks": rule.networks.as_deref().map(texts),
        "service": rule.service.as_ref().map(service),
        "privateEndpoint": rule.private_endpoint.as_ref().map(private_endpoint),
        "ports": sorted(&rule.ports, port),
        "podSelector": rule.pod_selector.as_ref().map(selector),
    })
}

/// The endpoint of a storage.
pub fn endpoint(endpoint: &StorageEndpoint) -> Value {
    json!({
        "domainNames": endpoint.domain_names.as_deref().map(texts),
        "networks": endpoint.networks.as_deref().map(texts),
        "service": endpoint.service.as_ref().map(service),
        "privateEndpoint": endpoint.private_endpoint.as_ref().map(private_endpoint),
        "ports": sorted(&endpoint.ports, port),
    })
}

/// Where a credential is kept.
pub fn credential_source(source: CredentialSource<'_>) -> Value {
    match source {
        CredentialSource::Secret(secret) => json!({"namespace": secret.namespace, "name": secret.name}),
    }
}

/// A Service as it is: what somebody who may change it could lead elsewhere. Nothing where there is none.
pub fn service_as_it_is(
    service: &ServiceReference,
    ports: &[Port],
    services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
) -> Value {
    services(service).map_or(Value::Null, |facts| facts.pinned(ports))
}

/// A hash of each part of what a grant is for, by which it can be said what has changed.
pub fn parts<'t>(target: &'t Target<'_>) -> &'t BTreeMap<String, String> {
    target.hashes.parts.get_or_init(|| {
        let parts = target.meaning.as_object().into_iter().flatten();
        parts.map(|(part, value)| (part.clone(), hash(value).chars().take(16).collect())).collect()
    })
}

/// The part that is what a grant's Service is.
const SERVICE: &str = "service";

/// Whether it leads to a Service that is not there.
pub fn lacks_its_service(target: &Target<'_>) -> bool {
    target.meaning.get(SERVICE).is_some_and(Value::is_null)
}

/// The part that stands for the policy under which people decide.
const POLICY: &str = "policy";

/// The same, with the policy under which people decide about it.
pub fn as_seen(target: &Target<'_>) -> BTreeMap<String, String> {
    let mut parts = parts(target).clone();
    parts.insert(POLICY.to_owned(), of_policy(target));
    parts
}

/// Whether the policy is the one that people saw. `None` where it is not written down which that was.
pub fn is_policy_as_seen(before: &BTreeMap<String, String>, target: &Target<'_>) -> Option<bool> {
    before.get(POLICY).map(|seen| *seen == of_policy(target))
}

fn of_policy(target: &Target<'_>) -> String {
    hash(policy(target)).chars().take(16).collect()
}

/// The parts of what a grant is for that are others than they were. A Service that is not there is no other: what it would
/// open is closed as long.
pub fn changed<'a>(before: &'a BTreeMap<String, String>, target: &Target<'_>) -> Vec<&'a str> {
    let now = parts(target);
    let is_absent = |part: &str| part == SERVICE && lacks_its_service(target);
    let others =
        before.iter().filter(|(part, hash)| *part != POLICY && now.get(*part) != Some(*hash) && !is_absent(part));
    others.map(|(part, _)| part.as_str()).collect()
}

fn service(service: &ServiceReference) -> Value {
    json!({"namespace": service.namespace, "name": service.name})
}

fn private_endpoint(endpoint: &PrivateEndpoint) -> Value {
    json!({"domainName": endpoint.domain_name, "expectedNetworks": texts(&endpoint.expected_networks)})
}

fn port(port: &Port) -> Value {
    json!({"port": port.port, "endPort": port.end_port, "protocol": port.protocol})
}

/// A selector in its canonical form; as it is written where it has none, which opens nothing.
fn selector(selector: &LabelSelector) -> Value {
    let canonical = Selector::parse(Some(selector)).map_or_else(|_| selector.clone(), LabelSelector::from);
    json!({"matchLabels": canonical.match_labels, "matchExpressions": canonical.match_expressions})
}

fn principal(principal: &Principal) -> Value {
    json!({"kind": principal.kind, "name": principal.name, "namespace": principal.namespace})
}

fn identity(identity: &Identity) -> Value {
    let mut value = json!({
        "username": identity.username,
        "uid": identity.uid,
        "groups": texts(&identity.groups),
        "personKey": identity.person_key,
    });
    // What an older version attested had none, and keeps its digest.
    if !identity.person_keys.is_empty() {
        value["personKeys"] = texts(&identity.person_keys);
    }
    value
}

/// A duration in milliseconds: `1h` and `60m` are one.
fn duration(duration: Duration) -> Value {
    let signed = crate::model::durations::signed(duration);
    json!(i64::try_from(signed.as_millis()).unwrap_or(i64::MAX))
}

/// Texts, whose order means nothing.
pub fn texts(texts: &[String]) -> Value {
    sorted(texts, |text| json!(text))
}

fn sorted<T>(items: &[T], value: impl Fn(&T) -> Value) -> Value {
    by_text(items.iter().map(value).collect())
}

/// A list whose order and repetitions mean nothing.
fn by_text(mut values: Vec<Value>) -> Value {
    values.sort_by_cached_key(Value::to_string);
    values.dedup();
    Value::Array(values)
}
