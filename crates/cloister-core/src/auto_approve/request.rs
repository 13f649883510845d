//! What an expression sees as `request`: the request's own form. What the requester did not set is not there, so that
//! `has()` says what was asked for. The digest has a form of its own, which must not change.

use crate::grant::Grant;
use cloister_api::{EgressRule, GrantKind, Identity, Mount, OnExpiry, Sensitivity, Subject};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Serialize;

/// A request as an expression sees it. Its schema says which fields there are, over all kinds of grants.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    kind: GrantKind,
    namespace: &'a str,
    name: &'a str,
    /// How long the grant would last: what is asked for, or else what the policy gives.
    requested_duration: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    justification: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_ref: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    break_glass: Option<bool>,
    requested_by: Person<'a>,
    /// How much is at stake, where a storage says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    sensitivity: Option<Sensitivity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mount: Option<&'a Mount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_expiry: Option<OnExpiry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subjects: Option<Vec<Subject>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<EgressRule>,
}

/// Who asks.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Person<'a> {
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    groups: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    person_key: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    person_keys: &'a [String],
}

impl<'a> Request<'a> {
    /// The request of a grant.
    pub fn of(
        grant: &'a Grant,
        namespace: &'a str,
        requester: &'a Identity,
        duration: SignedDuration,
        sensitivity: Option<Sensitivity>,
    ) -> Self {
        let terms = grant.terms();
        let mut request = Request {
            kind: grant.kind(),
            namespace,
            name: grant.name(),
            requested_duration: format!("{}s", duration.as_secs()),
            start_time: terms.start_time.map(|start| start.0.to_string()),
            justification: terms.justification,
            ticket_ref: terms.ticket_ref,
            break_glass: terms.break_glass.then_some(true),
            requested_by: Person {
                username: &requester.username,
                uid: &requester.uid,
                groups: &requester.groups,
                person_key: &requester.person_key,
                person_keys: &requester.person_keys,
            },
            sensitivity,
            storage: None,
            role: None,
            mount: None,
            on_expiry: None,
            subjects: None,
            rule: None,
        };
        match grant {
            Grant::Storage(grant) => {
                request.storage = Some(&grant.spec.storage);
                request.role = Some(&grant.spec.role);
                request.mount = grant.spec.mount.as_ref();
                request.on_expiry = Some(grant.spec.on_expiry);
                request.subjects = Some(sorted(&grant.spec.subjects));
            }
            Grant::Role(grant) => {
                request.role = Some(&grant.spec.role);
                request.subjects = Some(sorted(&grant.spec.subjects));
            }
            Grant::Egress(grant) => request.rule = Some(rule(&grant.spec.rule)),
        }
        request
    }
}

/// A rule with its lists in a fixed order: in the spec, their order means nothing.
fn rule(rule: &EgressRule) -> EgressRule {
    let mut rule = rule.clone();
    for texts in [&mut rule.domain_names, &mut rule.networks].into_iter().flatten() {
        *texts = sorted(texts);
    }
    if let Some(endpoint) = &mut rule.private_endpoint {
        endpoint.expected_networks = sorted(&endpoint.expected_networks);
    }
    rule.ports = sorted(&rule.ports);
    rule
}

fn sorted<T: Serialize + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort_by_cached_key(|item| serde_json::to_string(item).unwrap_or_default());
    items
}
