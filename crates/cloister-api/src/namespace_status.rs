use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of an entry of `status.egress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum EgressState {
    /// All of it is open, except for networks that are never opened by address: the message names them.
    Active,
    /// No allowlist that the namespace may use covers all of it; what is covered is open. Request an EgressGrant for the
    /// rest.
    NeedsGrant,
    /// Closed in whole or in part because of something outside the rule: one of its names cannot be opened, or the other
    /// research namespace does not name this one. The message says why.
    Unresolved,
    /// Closed, because it cannot be opened as it is written. The message says why.
    Refused,
}

/// How the names of an entry are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Enforcement {
    /// Pods reach the addresses that the operator resolved, and everything that uses the same addresses.
    AddressSet,
    /// Pods reach the addresses that DNS answered to the pods, as the network plugin observed.
    DNSObserved,
    /// The name that the connection requests is verified.
    NameVerified,
}

/// The state of a name.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// The name.
    pub name: String,
    /// Its addresses that are open, the first 16 of them.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub addresses: Vec<String>,
    /// How many there are.
    pub count: u32,
    /// How many seconds the answer was still valid when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
    /// When the name was resolved. A later lookup with the same result is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_up_at: Option<Time>,
    /// The reason why the name is not open, in one word.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The state of one allowlist, rule, peer, access rule or gateway.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressStatus {
    /// The allowlist (`allowlist/NAME`), the own rule of the namespace (`rule/NAME`), the peer (`to/NAME`, `from/NAME`), the
    /// access rule (`access/POSITION`) or the gateway (`gateway/POSITION`).
    pub name: String,
    /// Active, NeedsGrant, Unresolved or Refused.
    pub state: EgressState,
    /// The reason, in one word.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The reason, and what to do about it.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How its names are enforced, if it has names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// The state of its names; those that are not open come first. At most 32, and fewer if the status would become too
    /// large.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub hosts: Vec<HostStatus>,
    /// How many names it has, if not all of them are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_count: Option<u32>,
}

/// A part of the spec that is not in force, besides egress and ingress: a member, an annotation, a key of the quota.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedPart {
    /// The reason, in one word.
    pub reason: String,
    /// Which part it is, why it is not in force, and who can do what about it.
    pub message: String,
}

/// What the operator found out about a ResearchNamespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResearchNamespaceStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the namespace was first enforced: traffic is denied by default, and pods are admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced_at: Option<Time>,
    /// How many entries of `egress` are open: `open/declared`.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub egress_summary: String,
    /// The state of each allowlist, rule, peer and gateway; those that are not open come first, at most 256.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub egress: Vec<EgressStatus>,
    /// The parts of the spec that are not in force, besides egress and ingress; at most 64.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub refused: Vec<RefusedPart>,
    /// Network policies that Cloister does not manage and that allow traffic that nobody approved; the first 16, by name.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub deny_defeated_by: Vec<String>,
    /// Roles and RoleBindings that Cloister does not manage, which give permissions that nobody approved; the first 16, by
    /// kind and name.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub foreign_objects: Vec<String>,
    /// Ready, Enforced, ResolutionStable, and Stalled if something is broken.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
