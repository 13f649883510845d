use crate::{Port, PrivateEndpoint, ServiceReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The damage if the content became public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Sensitivity {
    /// Public, or soon to be.
    Low,
    /// Internal.
    Moderate,
    /// Confidential.
    High,
    /// The organisation's most valuable content, such as unreleased weights.
    Critical,
}

impl Sensitivity {
    /// The sensitivity of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Sensitivity::Low, Sensitivity::Moderate, Sensitivity::High, Sensitivity::Critical];
        all.into_iter().find(|one| format!("{one:?}") == name)
    }
}

/// Where the storage is reached: exactly one of `domainNames`, `networks`, `service` and `privateEndpoint`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.domainNames), has(self.networks), has(self.service), has(self.privateEndpoint)].filter(x, x).size() == 1")
    .message(Message::Message("an endpoint names exactly one of domainNames, networks, service and privateEndpoint".into()))
    .reason(Reason::FieldValueInvalid))]
pub struct StorageEndpoint {
    /// Names to reach. `*.` at the beginning stands for one or more labels, and never for the name itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::domain_names")]
    pub domain_names: Option<Vec<String>>,
    /// Networks outside the cluster, in CIDR notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::cidrs")]
    pub networks: Option<Vec<String>>,
    /// A Service of this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceReference>,
    /// A name that must resolve inside the given networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_endpoint: Option<PrivateEndpoint>,
    /// The ports to reach.
    #[schemars(length(min = 1, max = 32))]
    pub ports: Vec<Port>,
}

/// A Secret that holds a credential, in one of the `credentialNamespaces` of CloisterConfig.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// The Secret's namespace.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub namespace: String,
    /// The Secret's name.
    #[schemars(schema_with = "crate::schema::dns_subdomain")]
    pub name: String,
}

/// Where a role's credential is kept: exactly one of the fields.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef)")
    .message(Message::Message("a credential must say where it is kept: set secretRef".into()))
    .reason(Reason::FieldValueRequired))]
pub struct Credential {
    /// A Secret. Its data is copied to the namespace of the grant and mounted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// Where a credential is kept, as one of the ways that this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialSource<'a> {
    /// In a Secret whose data is copied.
    Secret(&'a SecretReference),
}

impl Credential {
    /// Where it is kept. `None` where a newer version knows, and this one does not.
    pub fn source(&self) -> Option<CredentialSource<'_>> {
        // A field that is added is a source that this must return.
        let Credential { secret_ref } = self;
        secret_ref.as_ref().map(CredentialSource::Secret)
    }
}

/// A way to use the storage, such as reading.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageRole {
    /// The name of the role in a grant; unique in its list.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub name: String,
    /// What the role allows, in a sentence.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::schema::text")]
    pub description: String,
    /// What the credential allows at the storage itself, for people to read.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::permissions")]
    pub permissions: Vec<String>,
    /// The AccessPolicy that decides who gets it.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub access_policy: String,
    /// A ClusterRole that is bound to the subjects of the grant in its namespace while the grant is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::rbac_name")]
    pub cluster_role: Option<String>,
    /// Where its credential is kept. A role without a credential only opens the endpoint and binds the ClusterRole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Credential>,
}

impl StorageRole {
    /// Where its credential is kept, where it has one: see [`Credential::source`].
    pub fn credential_source(&self) -> Option<CredentialSource<'_>> {
        self.credential.as_ref()?.source()
    }
}

/// A storage account, bucket or share: its endpoint, its sensitivity, and the roles it offers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
#[kube(
    group = "cloister.dev",
    version = "v1alpha1",
    kind = "StorageResource",
    plural = "storageresources",
    shortname = "stor",
    category = "cloister",
    status = "StorageResourceStatus",
    derive = "PartialEq",
    doc = "A storage account, bucket or share: its endpoint, its sensitivity, the roles it offers, and where their credentials are kept.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
        .message(Message::Message("the name must be a DNS label of at most 63 characters".into())),
    printcolumn(name = "Sensitivity", type_ = "string", json_path = ".spec.sensitivity"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct StorageResourceSpec {
    /// What is kept there, in a sentence.
    #[serde(default, deserialize_with = "crate::null::absent")]
    #[schemars(schema_with = "crate::schema::text")]
    pub description: String,
    /// Low, Moderate, High or Critical. `minimumApprovals` of CloisterConfig says how many approvals each needs at least.
    pub sensitivity: Sensitivity,
    /// Where the storage is reached. It is open while a grant is active: for the pods of the mount of the grant, or, if
    /// there is no mount, for the whole namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<StorageEndpoint>,
    /// The ways to use it.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub roles: Vec<StorageRole>,
}

/// What the operator found out about a storage resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageResourceStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and Stalled if something is broken.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
