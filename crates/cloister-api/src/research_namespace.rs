use crate::{
    EgressRule, MemberSubject, Port, ResearchNamespaceStatus,
    quantities::{at_least, at_most},
    schema::{QUALIFIED_NAME, rule::keys},
};
use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How strongly the pods of a namespace are isolated from the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Tier {
    /// The restricted Pod Security Standard.
    Standard,
    /// The restricted Pod Security Standard, and every pod must name the sandboxing RuntimeClass.
    Sandboxed,
}

/// What a member may do in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum MemberRole {
    /// Runs workloads, requests grants, and edits the other members and the network access in the ResearchNamespace.
    Owner,
    /// Runs workloads and requests grants.
    Researcher,
    /// Only reads.
    Viewer,
}

/// The people of one role.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// What they may do.
    pub role: MemberRole,
    /// Who has the role.
    #[schemars(length(min = 1, max = 64))]
    pub subjects: Vec<MemberSubject>,
}

/// What the pods of the namespace need to reach.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceEgress {
    /// EgressAllowlists to open: all their rules, if their selector allows this namespace.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::dns_labels")]
    pub allowlists: Vec<String>,
    /// Own rules. Each opens as far as an allowlist that this namespace may use, or an active EgressGrant, covers it.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<EgressRule>,
    /// ResearchNamespaces to reach. Each opens if the other one names this one in `ingress.fromResearchNamespaces`.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::dns_labels")]
    pub to_research_namespaces: Vec<String>,
}

/// Pods that people reach from the access networks of the cluster (CloisterConfig), such as notebooks.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessNetworkRule {
    /// The pods to reach. `{}` is all of them.
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub pod_selector: LabelSelector,
    /// The ports to reach them on.
    #[schemars(length(min = 1, max = 32))]
    pub ports: Vec<Port>,
}

/// Pods that are reached through a gateway of the cluster (CloisterConfig), such as that of a notebook hub.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRule {
    /// The gateway, by its name in `gateways` of CloisterConfig.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub gateway: String,
    /// The pods to reach. `{}` is all of them.
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub pod_selector: LabelSelector,
    /// The ports to reach them on.
    #[schemars(length(min = 1, max = 32))]
    pub ports: Vec<Port>,
}

/// Who may reach the pods of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceIngress {
    /// ResearchNamespaces that may reach this one. Each opens if the other one names this one in
    /// `egress.toResearchNamespaces`.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::dns_labels")]
    pub from_research_namespaces: Vec<String>,
    /// Pods that people reach from the access networks.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub from_access_networks: Vec<AccessNetworkRule>,
    /// Pods that are reached through a gateway of the cluster.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub from_gateways: Vec<GatewayRule>,
}

/// What a [`LimitRangeItem`] limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum LimitType {
    /// Each container.
    Container,
    /// Each pod, over its containers.
    Pod,
    /// Each PersistentVolumeClaim.
    PersistentVolumeClaim,
}

/// Limits of single objects, as in a Kubernetes LimitRange.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = at_most("min", "max"), validation = at_most("min", "defaultRequest"), validation = at_most("min", "default"))]
#[x_kube(validation = at_most("defaultRequest", "default"), validation = at_most("defaultRequest", "max"))]
#[x_kube(validation = at_most("default", "max"))]
#[x_kube(validation = Rule::new("self.type != 'Pod' || !has(self.default) && !has(self.defaultRequest)")
    .message(Message::Message("Pod cannot have default and defaultRequest: they are for Container".into()))
    .reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("self.type == 'PersistentVolumeClaim' || [has(self.default) && 'storage' in self.default, has(self.defaultRequest) && 'storage' in self.defaultRequest, has(self.max) && 'storage' in self.max, has(self.min) && 'storage' in self.min, has(self.maxLimitRequestRatio) && 'storage' in self.maxLimitRequestRatio].all(named, !named)")
    .message(Message::Message("Container and Pod cannot limit storage, which is for PersistentVolumeClaim; use ephemeral-storage".into()))
    .reason(Reason::FieldValueInvalid))]
#[x_kube(validation = Rule::new("self.type != 'PersistentVolumeClaim' || has(self.min) && 'storage' in self.min || has(self.max) && 'storage' in self.max")
    .message(Message::Message("PersistentVolumeClaim needs a min or a max of storage".into()))
    .reason(Reason::FieldValueRequired))]
#[x_kube(validation = at_least("maxLimitRequestRatio", "1", "maxLimitRequestRatio must be at least 1: no limit is less than its request"))]
pub struct LimitRangeItem {
    /// What is limited.
    #[serde(rename = "type")]
    pub type_: LimitType,
    /// The limit of a container that names none.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantities::limits")]
    pub default: BTreeMap<String, Quantity>,
    /// The request of a container that names none.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantities::limits")]
    pub default_request: BTreeMap<String, Quantity>,
    /// The maximum.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantities::limits")]
    pub max: BTreeMap<String, Quantity>,
    /// The minimum.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantities::limits")]
    pub min: BTreeMap<String, Quantity>,
    /// The maximum ratio of limit to request.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::quantities::limits")]
    pub max_limit_request_ratio: BTreeMap<String, Quantity>,
}

/// A ServiceAccount to keep in the namespace.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountTemplate {
    /// Its name. `default` always exists, without a token in pods.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub name: String,
    /// Its annotations, such as those for the workload identity of a cloud. `workloads.serviceAccountAnnotations` of
    /// CloisterConfig must list them. Annotations of `cloister.dev` and `kubernetes.io` are not allowed.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Secrets of the namespace with which its pods pull images.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "pull_secrets")]
    pub image_pull_secrets: Vec<String>,
}

fn pull_secrets(generator: &mut SchemaGenerator) -> Schema {
    let name = crate::schema::dns_subdomain(generator);
    json_schema!({
        "type": "array", "maxItems": 8, "x-kubernetes-list-type": "atomic", "items": name,
        "x-kubernetes-validations": [{
            "rule": "self.all(n, !n.startsWith('cloister-grant-'))",
            "message": "a Secret named cloister-grant-* is the copy of a credential, and cannot be used to pull images",
            "reason": "FieldValueForbidden",
        }],
    })
}

fn annotations(generator: &mut SchemaGenerator) -> Schema {
    let text = crate::schema::text(generator);
    // Kubernetes takes capitals in the domain of an annotation.
    let key = QUALIFIED_NAME.replacen("a-z", "A-Za-z", 4);
    json_schema!({
        "type": "object", "maxProperties": 16,
        "additionalProperties": text,
        "x-kubernetes-validations": [
            keys(
                &format!("k.size() <= 317 && k.matches('{key}')"),
                "is not a valid key of an annotation; a valid key, such as example.com/role, has \
                 letters, digits, -, _ and dots, and at most one /",
            ),
            keys(
                "k.size() > 317 || !k.lowerAscii().matches('(^|[.])(cloister[.]dev|kubernetes[.]io|k8s[.]io)/')",
                "is reserved: annotations of cloister.dev, kubernetes.io and k8s.io cannot be set here",
            ),
        ],
    })
}

/// What happens to the Namespace when the ResearchNamespace is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The Namespace stays, closed and sealed, and its grants end.
    #[default]
    Retain,
    /// The Namespace is deleted with all its content; the policies that deny traffic go last, after the pods.
    Delete,
}

/// A namespace of the same name: its people, isolation tier, needed egress and quota.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
#[kube(
    group = "cloister.dev",
    version = "v1alpha1",
    kind = "ResearchNamespace",
    plural = "researchnamespaces",
    shortname = "rns",
    category = "cloister",
    status = "ResearchNamespaceStatus",
    derive = "PartialEq",
    doc = "A namespace of the same name that is closed by default: its people, isolation tier, needed egress and quota.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
        .message(Message::Message("the name must be a DNS label of at most 63 characters: the Namespace has the same name".into())),
    validation = Rule::new("!(self.metadata.name in ['default', 'cloister-system']) && !self.metadata.name.startsWith('kube-')")
        .message(Message::Message("the name belongs to the system: default, cloister-system and kube-* cannot be research namespaces".into())),
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Enforced", type_ = "string", json_path = ".status.conditions[?(@.type==\"Enforced\")].status"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Egress", type_ = "string", json_path = ".status.egressSummary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct ResearchNamespaceSpec {
    /// How strongly its pods are isolated from the node.
    pub tier: Tier,
    /// The people, by role.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["role".into()]))]
    pub members: Vec<Member>,
    /// What its pods need to reach. If it is absent, only DNS and the namespace itself.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub egress: NamespaceEgress,
    /// Who may reach its pods. If it is absent, only the namespace itself.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub ingress: NamespaceIngress,
    /// The maximum that the namespace may use, by resource name, as in a ResourceQuota. Quote fractions, such as "1.5".
    /// Kubernetes does not check the name of a device (`requests.nvidia.com/gpu`) or of a kind (`count/jobs.batch`): a
    /// misspelt name limits nothing. `kubectl describe quota` shows the use of each.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::quantities::quota")]
    pub quota: BTreeMap<String, Quantity>,
    /// Limits and defaults for containers, pods and PersistentVolumeClaims.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(length(max = 3))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub limit_range: Vec<LimitRangeItem>,
    /// ServiceAccounts to keep in the namespace.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub service_accounts: Vec<ServiceAccountTemplate>,
    /// What happens to the Namespace when the ResearchNamespace is deleted.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub deletion_policy: DeletionPolicy,
}
