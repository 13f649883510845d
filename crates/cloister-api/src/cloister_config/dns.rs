//! Where the cluster's own DNS is, and how the addresses of names are held.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Where the DNS of the cluster is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsConfig {
    /// The namespace of its pods and of its Service.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub namespace: String,
    /// Its pods, by the selector of its Service. If it is absent: those with the label `k8s-app: kube-dns`.
    // No default in the schema: client-side apply would merge its label with those that are written later.
    #[serde(deserialize_with = "usual_unless_written", skip_serializing_if = "is_usual")]
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub pod_selector: LabelSelector,
    /// Its Service; the Service's addresses are opened too.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub service: String,
    /// Addresses of a DNS cache on each node: link-local, private, or in a network of the cluster. Any other address, and
    /// that of a metadata service, is not in force.
    #[schemars(schema_with = "crate::schema::addresses")]
    pub node_local_addresses: Vec<String>,
    /// The DNS servers that the operator queries, as `address:port`. If there are none, the endpoints of the Service.
    #[schemars(schema_with = "crate::schema::sockets")]
    pub servers: Vec<String>,
    /// How long the operator uses the addresses of names.
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

/// How long the operator uses the addresses of names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResolutionConfig {
    /// How long an answer is valid at least, whatever its TTL: no name is queried more often.
    #[serde(rename = "minimumTTL")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub minimum_ttl: Duration,
    /// How long an address stays open after the last answer that contained it has expired.
    #[schemars(schema_with = "crate::schema::duration")]
    pub grace: Duration,
    /// How long the last answer is used if no server answers.
    #[schemars(schema_with = "crate::schema::duration")]
    pub stale: Duration,
    /// How many addresses a name may have at a time. A name with more stays closed.
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
