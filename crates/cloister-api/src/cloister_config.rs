use crate::{
    Sensitivity, Tier,
    schema::{QUALIFIED_NAME, looks_like, qualified_name, rule::rule, subdomain},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema, core::Duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long what is over is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionConfig {
    /// How long after its end a grant and its reviews stay in the cluster; for ever where it is absent. The audit record
    /// keeps what happened. What is applied from Git is made again, and asks the approvers again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub ended_grants: Option<Duration>,
}

/// Where the cluster's own DNS is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsConfig {
    /// The namespace of its pods and of its Service.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub namespace: String,
    /// Its pods.
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub pod_selector: LabelSelector,
    /// Its Service; the Service's addresses are opened too.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub service: String,
    /// Addresses of a cache on each node.
    #[schemars(schema_with = "crate::schema::addresses")]
    pub node_local_addresses: Vec<String>,
    /// The servers that the operator asks for names, as `address:port`. The endpoints of the Service where there are none.
    #[schemars(schema_with = "crate::schema::sockets")]
    pub servers: Vec<String>,
    /// How the addresses of names are held.
    pub resolution: ResolutionConfig,
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

/// How long what Kubernetes cannot take back may last after the end of a grant: what the cluster is set up for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResidualExposureConfig {
    /// A watch: twice the API server's `--min-request-timeout`.
    #[schemars(schema_with = "crate::schema::duration")]
    pub watches: Duration,
    /// A session in a pod that nobody uses: the kubelet's `streamingConnectionIdleTimeout`.
    #[schemars(schema_with = "crate::schema::duration")]
    pub sessions: Duration,
}

impl Default for ResidualExposureConfig {
    fn default() -> Self {
        ResidualExposureConfig {
            watches: std::time::Duration::from_hours(1).into(),
            sessions: std::time::Duration::from_hours(4).into(),
        }
    }
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

impl Default for DnsConfig {
    fn default() -> Self {
        DnsConfig {
            namespace: "kube-system".into(),
            pod_selector: LabelSelector {
                match_labels: Some([("k8s-app".to_owned(), "kube-dns".to_owned())].into()),
                match_expressions: None,
            },
            service: "kube-dns".into(),
            node_local_addresses: vec!["169.254.20.10".into()],
            servers: Vec::new(),
            resolution: ResolutionConfig::default(),
        }
    }
}

/// How many people must agree at least, by sensitivity. A weaker policy opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct MinimumApprovals {
    /// For Low.
    #[schemars(range(max = 16))]
    pub low: u32,
    /// For Moderate.
    #[schemars(range(max = 16))]
    pub moderate: u32,
    /// For High.
    #[schemars(range(max = 16))]
    pub high: u32,
    /// For Critical.
    #[schemars(range(max = 16))]
    pub critical: u32,
}

impl Default for MinimumApprovals {
    fn default() -> Self {
        MinimumApprovals { low: 0, moderate: 0, high: 1, critical: 2 }
    }
}

impl MinimumApprovals {
    /// How many for this sensitivity.
    pub fn of(&self, sensitivity: Sensitivity) -> u32 {
        match sensitivity {
            Sensitivity::Low => self.low,
            Sensitivity::Moderate => self.moderate,
            Sensitivity::High => self.high,
            Sensitivity::Critical => self.critical,
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

/// What pods, Services and claims of research namespaces may reach for, by list. What is not listed is refused at admission.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadsConfig {
    /// The PriorityClasses that pods may name. Those of the system (`system-*`) are refused whether they are listed or not.
    /// Where the cluster has a default PriorityClass, list it: Kubernetes gives it to every pod that names none.
    #[schemars(schema_with = "priority_classes")]
    pub priority_classes: Vec<String>,
    /// The types that Services may have: ClusterIP, NodePort, LoadBalancer, ExternalName. Each as in Kubernetes; all but
    /// ClusterIP are reached from outside of the cluster, or lead out of it.
    #[schemars(schema_with = "service_types")]
    pub service_types: Vec<String>,
    /// The volumes that pods may use beyond those of their own namespace: `csi:DRIVER` (inline), `image`,
    /// `podCertificate:SIGNER`; and what claims may name: `storageClass:NAME`, also the cluster's default, and
    /// `persistentVolume:NAME`. List only StorageClasses that provision: of others the volumes are there already, and may be
    /// another team's.
    #[schemars(schema_with = "volumes")]
    pub volumes: Vec<String>,
    /// The keys of the taints that pods may tolerate, beyond those that Kubernetes adds by itself. List those that the
    /// RuntimeClass of a tier adds.
    #[schemars(schema_with = "qualified_names")]
    pub tolerations: Vec<String>,
    /// The annotations that pods may have of those that change their network, such as `k8s.v1.cni.cncf.io/networks`. What a
    /// pod reaches by a further network is seen by no NetworkPolicy.
    #[schemars(schema_with = "qualified_names")]
    pub pod_annotations: Vec<String>,
    /// The annotations that ServiceAccounts may have: by some of them a cloud hands out identities, past all grants. `KEY`,
    /// or `KEY=BEGINNING` of the values that it may have, as in `eks.amazonaws.com/role-arn=arn:aws:iam::1:role/research-`. A
    /// `KEY` alone admits every value: for one that hands out identities, whoever steals the operator's token has every
    /// identity whose trust policy admits a research namespace. Write the beginning there.
    #[schemars(schema_with = "annotation_entries")]
    pub service_account_annotations: Vec<String>,
    /// The namespaces whose ServiceAccounts may be members of research namespaces: where something runs that makes pods for
    /// people. None of them can be a research namespace.
    #[schemars(schema_with = "crate::schema::own_dns_labels")]
    pub controller_namespaces: Vec<String>,
}

impl WorkloadsConfig {
    /// Whether a ServiceAccount may have this annotation.
    pub fn allows_annotation(&self, key: &str, value: &str) -> bool {
        self.service_account_annotations.iter().any(|entry| match entry.split_once('=') {
            Some((listed, beginning)) => listed == key && value.starts_with(beginning),
            None => entry == key,
        })
    }
}

/// Pods through which others reach pods of research namespaces, such as those of an ingress controller.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayConfig {
    /// The name that ResearchNamespaces name it by.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub name: String,
    /// The namespace of its pods.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub namespace: String,
    /// Its pods. `{}` is all of the namespace.
    #[schemars(schema_with = "crate::schema::label_selector")]
    pub pod_selector: LabelSelector,
    /// The ResearchNamespaces that may name it, by their labels. `{}` is all of them; absent, none. The operator keeps to
    /// this; admission holds its token to the pods of listed gateways alone, since it sees no labels of ResearchNamespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::namespace_selector")]
    pub namespace_selector: Option<LabelSelector>,
}

impl Default for WorkloadsConfig {
    fn default() -> Self {
        WorkloadsConfig {
            priority_classes: Vec::new(),
            service_types: vec!["ClusterIP".into()],
            volumes: Vec::new(),
            tolerations: Vec::new(),
            pod_annotations: Vec::new(),
            service_account_annotations: Vec::new(),
            controller_namespaces: Vec::new(),
        }
    }
}

fn priority_classes(_: &mut SchemaGenerator) -> Schema {
    let system = rule(
        "!self.startsWith('system-')",
        "is for the system: PriorityClasses system-* are never admitted in research namespaces",
    );
    json_schema!({
        "type": "array", "maxItems": 32, "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "maxLength": 253, "x-kubernetes-validations": [subdomain(), system]},
    })
}

fn service_types(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 4, "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]},
    })
}

fn volumes(_: &mut SchemaGenerator) -> Schema {
    let rule = looks_like(
        "^(image|(csi|podCertificate|storageClass|persistentVolume):[!-~]+)$",
        "must be image, csi:DRIVER, podCertificate:SIGNER, storageClass:NAME or persistentVolume:NAME",
    );
    json_schema!({
        "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "maxLength": 320, "x-kubernetes-validations": [rule]},
    })
}

/// What an entry of that list looks like.
fn annotation_entry() -> String {
    QUALIFIED_NAME.replacen("a-z", "A-Za-z", 4).replace('$', "(=[!-~]*)?$")
}

fn annotation_entries(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "string", "maxLength": 512,
            "x-kubernetes-validations": [looks_like(
                &annotation_entry(),
                "must be the key of an annotation, or KEY=BEGINNING of its value, like eks.amazonaws.com/role-arn=arn:aws:iam::1:role/research-",
            )],
        },
    })
}

fn qualified_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 64, "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "maxLength": 317, "x-kubernetes-validations": [qualified_name()]},
    })
}

/// The settings of the whole cluster: one object, called `cloister`. Where it is absent the defaults hold.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
#[kube(
    group = "cloister.dev",
    version = "v1alpha1",
    kind = "CloisterConfig",
    plural = "cloisterconfigs",
    category = "cloister",
    status = "CloisterConfigStatus",
    derive = "PartialEq",
    doc = "The settings of the whole cluster: one object, called cloister.",
    validation = Rule::new("self.metadata.name == 'cloister'")
        .message(Message::Message("there is one CloisterConfig, and it is called cloister".into())),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Backend", type_ = "string", json_path = ".status.egressBackend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CloisterConfigSpec {
    /// Where the cluster's own DNS is.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub dns: DnsConfig,
    /// Where people come from, such as the VPN: what `fromAccessNetworks` opens to.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::schema::openable_cidrs")]
    pub access_networks: Vec<String>,
    /// The networks of pods, Services and nodes: never part of a `networks` rule.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::schema::own_cidrs")]
    pub cluster_networks: Vec<String>,
    /// The namespaces that credentials are read from, and no others. Each needs the operator's Role.
    #[serde(default = "credential_namespaces")]
    #[schemars(schema_with = "crate::schema::own_dns_labels")]
    pub credential_namespaces: Vec<String>,
    /// How many people must agree at least, by sensitivity.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub minimum_approvals: MinimumApprovals,
    /// Egress that no allowlist covers.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub egress: EgressConfig,
    /// The key of `userInfo.extra` that stays the same over a person's accounts, where the identity provider gives one.
    /// Two accounts that share a value of it are one person, and an account without one neither asks nor decides. In lower
    /// case, as the API server writes such keys.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::schema::extra_key")]
    pub person_key: String,
    /// After etcd was restored: grants that were approved before this time end, and requests made before it are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::time")]
    pub invalidate_grants_before: Option<Time>,
    /// How long what is over is kept.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub retention: RetentionConfig,
    /// How long what Kubernetes cannot take back may last after the end of a grant, as the cluster is set up.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub residual_exposure: ResidualExposureConfig,
    /// The RuntimeClass of each tier that needs one.
    #[serde(default = "runtime_class_names", deserialize_with = "crate::null::texts")]
    #[schemars(schema_with = "runtime_classes")]
    pub runtime_classes: BTreeMap<String, String>,
    /// What pods, Services and claims of research namespaces may reach for, by list.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub workloads: WorkloadsConfig,
    /// What lets people into pods from outside of their namespace, by name: `ingress.fromGateways` of a ResearchNamespace opens
    /// to these, and to no other pods.
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

/// What the operator made of the settings.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloisterConfigStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What opens egress now, beside NetworkPolicies; NetworkPolicy where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_backend: Option<EgressBackend>,
    /// Ready, BackendAvailable, and Stalled where something is broken.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
