use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Protocol {
    /// Transmission Control Protocol.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// User Datagram Protocol.
    #[serde(rename = "UDP")]
    Udp,
    /// Stream Control Transmission Protocol.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl Protocol {
    /// The protocol as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }
}

/// A port, or a range of ports, of one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.endPort) || self.endPort >= self.port")
    .message(Message::Message("endPort must not be less than port".into()))
    .reason(Reason::FieldValueInvalid))]
pub struct Port {
    /// The port, or the first of a range.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The last port of a range. If it is absent, the range is only `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<u16>,
    /// The transport protocol. If it is absent, TCP.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub protocol: Protocol,
}

/// A Service of this cluster. It must have a selector: a Service without one, or of type ExternalName, could lead anywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReference {
    /// The Service's namespace.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub namespace: String,
    /// The Service's name.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub name: String,
}

/// A name that must resolve inside the given networks, such as the private link of a cloud.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrivateEndpoint {
    /// The name that the operator resolves.
    #[schemars(schema_with = "crate::schema::one_domain_name")]
    pub domain_name: String,
    /// The networks that its addresses must be in. The rule closes if an address is in another network.
    #[schemars(schema_with = "crate::schema::cidrs")]
    pub expected_networks: Vec<String>,
}

/// Destinations that pods may reach, and on which ports: exactly one of `domainNames`, `networks`, `service` and
/// `privateEndpoint`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.domainNames), has(self.networks), has(self.service), has(self.privateEndpoint)].filter(x, x).size() == 1")
    .message(Message::Message("a rule names exactly one of domainNames, networks, service and privateEndpoint".into()))
    .reason(Reason::FieldValueInvalid))]
pub struct EgressRule {
    /// The name of the rule in messages and in the name of its NetworkPolicy; unique in its list.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub name: String,
    /// Names to reach. `*.` at the beginning stands for one or more labels, and never for the name itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::domain_names")]
    pub domain_names: Option<Vec<String>>,
    /// Networks outside the cluster, in CIDR notation. Metadata services and the networks of the cluster are never opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::cidrs")]
    pub networks: Option<Vec<String>>,
    /// A Service of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceReference>,
    /// A name that must resolve inside the given networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_endpoint: Option<PrivateEndpoint>,
    /// The ports to reach. For a Service, these are the ports of the Service, not of its pods.
    #[schemars(length(min = 1, max = 32))]
    pub ports: Vec<Port>,
    /// The pods that the rule applies to. If it is absent, all pods of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub pod_selector: Option<LabelSelector>,
}
