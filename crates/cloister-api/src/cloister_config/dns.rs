//! Where the cluster's own DNS is, and how the addresses of names are held.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Where the cluster's own DNS is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsConfig {
    /// The namespace of its pods and of its Service.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub namespace: String,
    /// Its pods, by the selector of its Service. Where it is absent: those with the label `k8s-app: kube-dns`.
    // No default in the schema: client-side apply would merge its label with those that are written later.
    #[serde(deserialize_with = "usual_unless_written", skip_serializing_if = "is_usual")]
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub pod_selector: LabelSelector,
    /// Its Service; the Service's addresses are opened too.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub service: String,
    /// Addresses of a cache on each node: link-local, private, or in a network of the cluster. One of a metadata service, and
    /// any other, is not in force.
    #[schemars(schema_with = "crate::schema::addresses")]
    pub node_local_addresses: Vec<String>,
    /// The servers that the operator asks for names, as `address:port`. The endpoints of the Service where there are none.
    #[schemars(schema_with = "crate::schema::sockets")]
    pub servers: Vec<String>,
    /// How the addresses of names are held.
    pub resolution: ResolutionConfig,
}

/// The label by which most clusters select the pods of their DNS.
fn usual() -> LabelSelector {
    let label = ("k8s-app".to_owned(), "kube-dns".to_owned());
    LabelSelector { match_labels: Some([label].into()), match_expressions: None }
}

fn is_usual(selector: &LabelSelector) -> bool {
    *selector == usual()
}

/// `null` is as good as absent, and absent is not all pods.
fn usual_unless_written<'de, D: Deserializer<'de>>(from: D) -> Result<LabelSelector, D::Error> {
    Option::deserialize(from).map(|selector| selector.unwrap_or_else(usual))
}

impl Default for DnsConfig {
    fn default() -> Self {
        DnsConfig {
            namespace: "kube-system".into(),
            pod_selector: usual(),
            service: "kube-dns".into(),
            node_local_addresses: vec!["169.254.20.10".into()],
            servers: Vec::new(),
            resolution: ResolutionConfig::default(),
        }
    }
}

/// How the addresses of names are held.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResolutionConfig {
    /// An answer is good for at least this long, whatever its TTL: no name is asked for more often.
    #[serde(rename = "minimumTTL")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub minimum_ttl: Duration,
    /// How long an address stays open after the last answer with it has run out.
    #[schemars(schema_with = "crate::schema::duration")]
    pub grace: Duration,
    /// How long the last answer counts while no server answers.
    #[schemars(schema_with = "crate::schema::duration")]
    pub stale: Duration,
    /// How many addresses a name may have at a time. One with more stays closed.
    #[schemars(range(min = 1, max = 256))]
    pub maximum_addresses: u32,
}

impl Default for ResolutionConfig {
    fn default() -> Self {
        ResolutionConfig {
            minimum_ttl: std::time::Duration::from_secs(5).into(),
            grace: std::time::Duration::from_mins(5).into(),
            stale: std::time::Duration::from_hours(1).into(),
            maximum_addresses: 64,
        }
    }
}
