//! What opens egress, and how wide allowlists may open it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Egress that no allowlist covers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressConfig {
    /// The AccessPolicy that decides about EgressGrants.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub access_policy: String,
    /// What opens egress, besides the NetworkPolicies that are always written. If it is not installed, nothing opens by
    /// name.
    pub backend: EgressBackend,
    /// The widest public ranges that allowlists may open. A wider one needs an EgressGrant.
    pub max_public_prefix: MaxPublicPrefix,
    /// Domains under which anybody can have storage, besides those that Cloister knows. A name at or below one of them opens
    /// only as a private endpoint, or with an EgressGrant.
    #[schemars(schema_with = "crate::schema::shared_suffixes")]
    pub shared_suffixes: Vec<String>,
    /// Whether the operator deletes network policies that it does not manage and that allow something in a research
    /// namespace, and Roles and RoleBindings there that it does not manage. The status reports them in both cases.
    pub remove_foreign_policies: bool,
}

impl Default for EgressConfig {
    fn default() -> Self {
        EgressConfig {
            access_policy: "egress".into(),
            backend: EgressBackend::Auto,
            max_public_prefix: MaxPublicPrefix::default(),
            shared_suffixes: Vec::new(),
            remove_foreign_policies: false,
        }
    }
}

/// What opens egress, besides the NetworkPolicies that are always written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum EgressBackend {
    /// What is installed besides NetworkPolicies, if that is exactly one.
    #[default]
    Auto,
    /// Only NetworkPolicies: names open by their addresses.
    NetworkPolicy,
    /// CiliumNetworkPolicies for names.
    Cilium,
    /// ClusterNetworkPolicies of the Admin tier, which no NetworkPolicy overrides, as an outer limit of each research
    /// namespace; and for names, if their definition has `domainNames`.
    ClusterNetworkPolicy,
}

impl EgressBackend {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            EgressBackend::Auto => "Auto",
            EgressBackend::NetworkPolicy => "NetworkPolicy",
            EgressBackend::Cilium => "Cilium",
            EgressBackend::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        }
    }
}

/// The shortest prefix of a public range, by family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct MaxPublicPrefix {
    /// For IPv4.
    #[schemars(range(min = 8, max = 32))]
    pub ipv4: u8,
    /// For IPv6.
    #[schemars(range(min = 16, max = 128))]
    pub ipv6: u8,
}

impl Default for MaxPublicPrefix {
    fn default() -> Self {
        MaxPublicPrefix { ipv4: 16, ipv6: 32 }
    }
}
