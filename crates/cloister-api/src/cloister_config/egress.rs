//! What opens egress, and how wide allowlists may open it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Egress that no allowlist covers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressConfig {
    /// The AccessPolicy that EgressGrants are decided under.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub access_policy: String,
    /// What opens egress, beside the NetworkPolicies that are always written. Where it is not installed, nothing opens by
    /// name.
    pub backend: EgressBackend,
    /// The widest public ranges that allowlists may open. A wider one needs an EgressGrant.
    pub max_public_prefix: MaxPublicPrefix,
    /// Domains under which anybody can have storage, beyond those that are known: a name at or below one of them is opened
    /// as a private endpoint, or by an EgressGrant.
    #[schemars(schema_with = "crate::schema::shared_suffixes")]
    pub shared_suffixes: Vec<String>,
    /// Whether network policies of others that allow something in a research namespace, and Roles and RoleBindings of
    /// others in it, are deleted. They are told of either way.
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

/// What opens egress, beside the NetworkPolicies that are always written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum EgressBackend {
    /// What is installed beside NetworkPolicies, where that is one thing alone.
    #[default]
    Auto,
    /// NetworkPolicies alone: names are held by their addresses.
    NetworkPolicy,
    /// CiliumNetworkPolicies for names.
    Cilium,
    /// ClusterNetworkPolicies of the Admin tier, which no NetworkPolicy overrides, as a bound of each research namespace; and
    /// for names where their definition has `domainNames`.
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
