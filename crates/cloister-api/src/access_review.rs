use crate::{GrantKind, Identity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a reviewer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Decision {
    /// Approves the request. It counts for one rule of the policy.
    Approve,
    /// Refuses the request. A Deny that counts ends it.
    Deny,
    /// Ends an approved grant.
    Revoke,
}

/// The grant that the review is about. A grant of the same name that is created later is another one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestReference {
    /// StorageAccessGrant, EgressGrant or RoleGrant.
    pub kind: GrantKind,
    /// Its name, in the review's namespace.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub name: String,
    /// Its `metadata.uid`.
    #[schemars(schema_with = "crate::schema::uid")]
    pub uid: String,
}

/// One person's decision on one grant.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
#[kube(
    group = "cloister.dev",
    version = "v1alpha1",
    kind = "AccessReview",
    plural = "accessreviews",
    shortname = "arev",
    category = "cloister",
    namespaced,
    status = "AccessReviewStatus",
    derive = "PartialEq",
    doc = "One person's decision on one grant. Whether it counts is said in its status.",
    selectable = ".spec.requestRef.kind",
    selectable = ".spec.requestRef.name",
    selectable = ".spec.decision",
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.requestRef.kind"),
    printcolumn(name = "Request", type_ = "string", json_path = ".spec.requestRef.name"),
    printcolumn(name = "Decision", type_ = "string", json_path = ".spec.decision"),
    printcolumn(name = "Reviewer", type_ = "string", json_path = ".spec.reviewer.username"),
    printcolumn(name = "Counted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Counted\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Counted\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Comment", type_ = "string", json_path = ".spec.comment", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Counted\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf")
    .message(Message::Message("a review cannot be changed; create another".into()))
    .reason(Reason::FieldValueForbidden))]
pub struct AccessReviewSpec {
    /// The grant.
    pub request_ref: RequestReference,
    /// The `status.digest` of the grant as the reviewer read it. A review with another digest does not count.
    #[schemars(schema_with = "crate::schema::digest")]
    pub digest: String,
    /// The decision.
    pub decision: Decision,
    /// The reason for the decision.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "crate::schema::text")]
    pub comment: String,
    /// Who decided, as the API server saw them. Written by admission, never by the author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<Identity>,
}

/// Whether the review counts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessReviewStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Counted, or why not, and Ready.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
