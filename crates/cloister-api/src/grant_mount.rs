use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// A credential that is mounted in new pods of a ServiceAccount. Only the operator writes it. There is one for each
/// namespace, storage, role and ServiceAccount; overlapping grants share it. The policy that injects the mount reads it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
#[kube(
    group = "cloister.dev",
    version = "v1alpha1",
    kind = "GrantMount",
    plural = "grantmounts",
    category = "cloister",
    namespaced,
    derive = "PartialEq",
    doc = "A credential that is mounted in new pods of a ServiceAccount while a grant is active. Only the operator writes it.",
    printcolumn(name = "Service account", type_ = "string", json_path = ".spec.serviceAccountName"),
    printcolumn(name = "Path", type_ = "string", json_path = ".spec.mountPath"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretName", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct GrantMountSpec {
    /// The ServiceAccount whose new pods get the mount.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub service_account_name: String,
    /// The Secret that is mounted.
    #[schemars(schema_with = "crate::schema::dns_subdomain")]
    pub secret_name: String,
    /// The name of the volume: unique in a pod.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub volume_name: String,
    /// The folder in every container.
    #[schemars(schema_with = "crate::schema::mount_path")]
    pub mount_path: String,
}
