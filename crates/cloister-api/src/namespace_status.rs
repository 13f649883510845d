use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a need is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum EgressState {
    /// Open, all of it.
    Active,
    /// Not, or not wholly, covered by an allowlist that the namespace may use; what is covered is open.
    NeedsGrant,
    /// Closed in whole or in part because of something beyond the rule: a name of it cannot be opened, or the other research
    /// namespace has not agreed; the message says why.
    Unresolved,
    /// Closed, because it cannot be opened as it stands; the message says why.
    Refused,
}

/// What holds the names of a need to what they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Enforcement {
    /// The addresses that the operator was answered, and whatever else is behind them.
    AddressSet,
    /// The addresses that the pods themselves were answered, as the network plugin saw.
    DNSObserved,
    /// The name that the connection itself asks for.
    NameVerified,
}

/// What is known of a name.
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
    /// For how many seconds the answer was good when this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
    /// The look-up that this speaks of. Later ones that found the same are not written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_up_at: Option<Time>,
    /// Why nothing is open of it, in one word.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// What became of one allowlist or one rule.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressStatus {
    /// The allowlist (`allowlist/NAME`), the namespace's own rule (`rule/NAME`), the peer (`to/NAME`, `from/NAME`), the access
    /// rule (`access/POSITION`) or the gateway (`gateway/POSITION`).
    pub name: String,
    /// Active, NeedsGrant, Unresolved or Refused.
    pub state: EgressState,
    /// Why, in one word.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, in a sentence that says what to do.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What holds its names to what they stand for, where it has names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// What is known of its names; those that are not open come first, at most 32, and fewer where the status
    /// would get too large.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub hosts: Vec<HostStatus>,
    /// How many names it has, where not all of them are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_count: Option<u32>,
}

/// A part of a declaration that is not in force, beside its needs: a member, an annotation, a key of the quota.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedPart {
    /// Why, in one word.
    pub reason: String,
    /// Which part it is, why it is not in force, and who can do what about it.
    pub message: String,
}

/// What the operator made of a ResearchNamespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResearchNamespaceStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the namespace was first closed, so that pods were admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforced_at: Option<Time>,
    /// How many of the needs are open: `open/declared`.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub egress_summary: String,
    /// What became of each allowlist, rule and peer; those that are not open come first, at most 256.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub egress: Vec<EgressStatus>,
    /// What of the declaration is not in force beside its needs; at most 64.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub refused: Vec<RefusedPart>,
    /// NetworkPolicies of others that allow what nobody agreed to; the first 16, by name.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub deny_defeated_by: Vec<String>,
    /// Roles and RoleBindings of others, which give what nobody agreed to; the first 16, by kind and name.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub foreign_objects: Vec<String>,
    /// Ready, Enforced, ResolutionStable, and Stalled where something is broken.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
