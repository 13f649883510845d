use crate::EgressRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When an allowlist opens in a namespace that it allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Attach {
    /// If the ResearchNamespace names the allowlist, or has a rule of its own that the allowlist covers.
    #[default]
    OnRequest,
    /// In every ResearchNamespace that the selector allows.
    Always,
}

/// Destinations that a catalogue administrator publishes, and which research namespaces may use them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
#[kube(
    group = "cloister.dev",
    version = "v1alpha1",
    kind = "EgressAllowlist",
    plural = "egressallowlists",
    shortname = "eal",
    category = "cloister",
    status = "EgressAllowlistStatus",
    derive = "PartialEq",
    doc = "Destinations that a catalogue administrator publishes, and which research namespaces may use them.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
        .message(Message::Message("the name must be a DNS label of at most 63 characters".into())),
    printcolumn(name = "Attach", type_ = "string", json_path = ".spec.attach"),
    printcolumn(name = "Used by", type_ = "integer", json_path = ".status.namespaces"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".spec.expiresAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct EgressAllowlistSpec {
    /// What these destinations are for, in a sentence.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::schema::text")]
    pub description: String,
    /// Which research namespaces may use it, by the labels of the ResearchNamespace. Labels that tools set on it (such as
    /// `app.kubernetes.io/name`) cannot be used, because its owners may write them. `{}` allows all; absent allows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::namespace_selector")]
    pub namespace_selector: Option<LabelSelector>,
    /// When it opens in a namespace that may use it.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub attach: Attach,
    /// When it ends, as an RFC 3339 time. If it is absent, the allowlist does not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub expires_at: Option<Time>,
    /// The destinations. Each becomes a NetworkPolicy of its own.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<EgressRule>,
}

/// A Service as it was when the allowlist was published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedService {
    /// The rule that names it.
    pub rule: String,
    /// A hash of its uid, its selector and the target ports of the rule. The rule stays closed while the Service differs
    /// from it.
    pub hash: String,
}

/// What the operator found out about an allowlist.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressAllowlistStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How many research namespaces use it: it allows them, and they name it or it is attached to all. Those that only declare
    /// a rule which it covers are not counted.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub namespaces: i64,
    /// The first 32 of them, by name.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub used_by: Vec<String>,
    /// The Services that its rules name, as they were when this generation of the allowlist was first seen.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub services: Vec<PublishedService>,
    /// Ready, and Stalled if something is broken.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
