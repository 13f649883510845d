use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A ClusterRole that people can request, and the policy that decides.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
#[kube(
    group = "cloister.dev",
    version = "v1alpha1",
    kind = "AccessRole",
    plural = "accessroles",
    shortname = "arole",
    category = "cloister",
    status = "AccessRoleStatus",
    derive = "PartialEq",
    doc = "A ClusterRole that people can request, and the policy that decides.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
        .message(Message::Message("the name must be a DNS label of at most 63 characters".into())),
    printcolumn(name = "ClusterRole", type_ = "string", json_path = ".spec.clusterRole"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.accessPolicy"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct AccessRoleSpec {
    /// What it is for.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "crate::schema::text")]
    pub description: String,
    /// The ClusterRole that a RoleGrant binds in its namespace. A ClusterRole that would let its holder keep access after
    /// the grant is rejected.
    #[schemars(schema_with = "crate::schema::rbac_name")]
    pub cluster_role: String,
    /// The AccessPolicy that decides who gets it.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub access_policy: String,
}

/// What the operator found out about a role.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessRoleStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and Stalled if the role cannot be granted.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
