//! What pods, Services and claims of research namespaces may use, by list.

use crate::schema::{QUALIFIED_NAME, looks_like, qualified_name, rule::rule, subdomain};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What pods, Services and PersistentVolumeClaims of research namespaces may use. Admission rejects what is not listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadsConfig {
    /// The PriorityClasses that pods may name. Those of the system (`system-*`) are rejected even if they are listed. If the
    /// cluster has a default PriorityClass, list it: Kubernetes sets it on every pod that names none.
    #[schemars(schema_with = "priority_classes")]
    pub priority_classes: Vec<String>,
    /// The types that Services may have. ClusterIP: Reached only inside the cluster. NodePort: Reached at a port of every
    /// Node. LoadBalancer: Reached through a load balancer, also from outside the cluster. ExternalName: A name outside the
    /// cluster.
    #[schemars(schema_with = "service_types")]
    pub service_types: Vec<String>,
    /// The volumes that pods may use beyond those of their own namespace: `csi:DRIVER` (inline), `image`,
    /// `podCertificate:SIGNER`; and what PersistentVolumeClaims may name: `storageClass:NAME`, also the default of the
    /// cluster, and `persistentVolume:NAME`. List only StorageClasses that provision volumes: the volumes of other
    /// StorageClasses exist already, and may belong to another team.
    #[schemars(schema_with = "volumes")]
    pub volumes: Vec<String>,
    /// The keys of the taints that pods may tolerate, besides those that Kubernetes adds automatically. List those that the
    /// RuntimeClass of a tier adds.
    #[schemars(schema_with = "qualified_names")]
    pub tolerations: Vec<String>,
    /// The annotations that change the network of a pod and that pods may have, such as `k8s.v1.cni.cncf.io/networks`. No
    /// NetworkPolicy applies to what a pod reaches through an additional network.
    #[schemars(schema_with = "qualified_names")]
    pub pod_annotations: Vec<String>,
    /// The annotations that ServiceAccounts may have. Some of them give an identity in a cloud, without a grant. `KEY`, or
    /// `KEY=BEGINNING` with the beginning of its value, such as `eks.amazonaws.com/role-arn=arn:aws:iam::1:role/research-`.
    /// A `KEY` without a beginning admits every value: if the annotation gives identities, a stolen token of the operator
    /// can use every identity whose trust policy admits a research namespace. Write the beginning for such annotations.
    #[schemars(schema_with = "annotation_entries")]
    pub service_account_annotations: Vec<String>,
    /// The namespaces whose ServiceAccounts may be members of research namespaces: those of controllers that create pods for
    /// people. None of them can become a research namespace; an entry that names an existing research namespace is not in
    /// force. The operator enforces this, but admission does not: a stolen token of the operator can bind ServiceAccounts of
    /// a namespace that is named here, even if it is a research namespace.
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
