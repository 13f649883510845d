//! The settings of the whole cluster, by subject.

mod dns;
mod egress;
mod grants;
mod workloads;

pub use dns::*;
pub use egress::*;
pub use grants::*;
pub use workloads::*;

use crate::Tier;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Pods through which others reach pods of research namespaces, such as those of an ingress controller.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayConfig {
    /// The name by which ResearchNamespaces refer to it.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub name: String,
    /// The namespace of its pods. It cannot be a research namespace.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub namespace: String,
    /// Its pods. `{}` is all of the namespace.
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub pod_selector: LabelSelector,
    /// The ResearchNamespaces that may name it, by their labels. `{}` is all of them; absent, none. The operator enforces
    /// this. Admission does not see the labels of ResearchNamespaces: it limits the operator only to the pods of listed
    /// gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::namespace_selector")]
    pub namespace_selector: Option<LabelSelector>,
}

/// The settings of the whole cluster: one object, named `cloister`. If it is absent, the defaults apply.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
#[kube(
    group = "cloister.dev",
    version = "v1alpha1",
    kind = "CloisterConfig",
    plural = "cloisterconfigs",
    category = "cloister",
    status = "CloisterConfigStatus",
    derive = "PartialEq",
    doc = "The settings of the whole cluster: one object, named cloister.",
    validation = Rule::new("self.metadata.name == 'cloister'")
        .message(Message::Message("the only CloisterConfig is named cloister".into())),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Backend", type_ = "string", json_path = ".status.egressBackend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct CloisterConfigSpec {
    /// Where the DNS of the cluster is.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub dns: DnsConfig,
    /// The networks that people connect from, such as the VPN: `fromAccessNetworks` opens to these. The networks of the
    /// cluster are removed from them. An entry that contains nothing else is not in force.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::schema::openable_cidrs")]
    pub access_networks: Vec<String>,
    /// The networks of pods, Services and nodes. A `networks` rule never opens them.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::schema::own_cidrs")]
    pub cluster_networks: Vec<String>,
    /// The namespaces that the operator may read credentials from. Each needs the Role of the operator. An entry that names
    /// an existing research namespace is not in force.
    #[serde(default = "credential_namespaces")]
    #[schemars(schema_with = "crate::schema::own_dns_labels")]
    pub credential_namespaces: Vec<String>,
    /// How many people must approve at least, by sensitivity.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub minimum_approvals: MinimumApprovals,
    /// Egress that no allowlist covers.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub egress: EgressConfig,
    /// The key of `userInfo.extra` that is the same for all accounts of a person, if the identity provider sets one. Two
    /// accounts that share a value of it are one person. An account without a value can neither request nor decide. In lower
    /// case, as the API server writes such keys.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::schema::extra_key")]
    pub person_key: String,
    /// For use after a restore of etcd: grants that were approved before this time end, and requests from before it are
    /// denied. A time that is more than an hour in the future is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub invalidate_grants_before: Option<Time>,
    /// How long ended grants and their reviews are kept.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub retention: RetentionConfig,
    /// How long access that Kubernetes cannot take back may last after the end of a grant in this cluster.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub residual_exposure: ResidualExposureConfig,
    /// The RuntimeClass of each tier that needs one.
    #[serde(default = "runtime_class_names", deserialize_with = "crate::null::texts")]
    #[schemars(schema_with = "runtime_classes")]
    pub runtime_classes: BTreeMap<String, String>,
    /// What pods, Services and PersistentVolumeClaims of research namespaces may use. What is not listed is rejected.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub workloads: WorkloadsConfig,
    /// The gateways through which people reach pods from outside their namespace. `ingress.fromGateways` of a
    /// ResearchNamespace names one of these, and opens to no other pods.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub gateways: Vec<GatewayConfig>,
}

impl CloisterConfigSpec {
    /// Whether it lists something that admission looks for in the objects of research namespaces.
    pub fn lists(&self) -> bool {
        self.workloads != WorkloadsConfig::default() || !self.gateways.is_empty() || !self.access_networks.is_empty()
    }

    /// The RuntimeClass that pods of this tier must name: `None` where they need none.
    ///
    /// # Errors
    ///
    /// They need one, and none is configured.
    pub fn runtime_class(&self, tier: Tier) -> Result<Option<&str>, RuntimeClassMissing> {
        match tier {
            Tier::Standard => Ok(None),
            Tier::Sandboxed => match self.runtime_classes.get("Sandboxed") {
                Some(name) => Ok(Some(name)),
                None => Err(RuntimeClassMissing),
            },
        }
    }
}

/// A tier needs a RuntimeClass, and CloisterConfig names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeClassMissing;

fn runtime_classes(generator: &mut SchemaGenerator) -> Schema {
    let mut name = crate::schema::dns_label(generator);
    name.insert("description".into(), "The RuntimeClass of the tier Sandboxed, such as gVisor's.".into());
    json_schema!({"type": "object", "properties": {"Sandboxed": name}})
}

fn credential_namespaces() -> Vec<String> {
    vec!["cloister-credentials".into()]
}

fn runtime_class_names() -> BTreeMap<String, String> {
    [("Sandboxed".to_owned(), "gvisor".to_owned())].into()
}

impl Default for CloisterConfigSpec {
    fn default() -> Self {
        CloisterConfigSpec {
            dns: DnsConfig::default(),
            access_networks: Vec::new(),
            cluster_networks: Vec::new(),
            credential_namespaces: credential_namespaces(),
            minimum_approvals: MinimumApprovals::default(),
            egress: EgressConfig::default(),
            person_key: String::new(),
            invalidate_grants_before: None,
            retention: RetentionConfig::default(),
            residual_exposure: ResidualExposureConfig::default(),
            runtime_classes: runtime_class_names(),
            workloads: WorkloadsConfig::default(),
            gateways: Vec::new(),
        }
    }
}

/// What the operator found out about the settings.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloisterConfigStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What opens egress now, besides NetworkPolicies. NetworkPolicy if nothing else does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_backend: Option<EgressBackend>,
    /// Ready, the conditions of what the settings depend on, and Stalled if something is broken.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
