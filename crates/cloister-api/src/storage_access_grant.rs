use crate::{OnExpiry, Subject, grant::grant_spec};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Where the credential is mounted, and in whose pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// The ServiceAccount whose new pods get the credential mounted. It must be among the subjects.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub service_account_name: String,
    /// The folder in every container of those pods.
    #[schemars(schema_with = "crate::schema::mount_path")]
    pub mount_path: String,
}

grant_spec! {
    /// A request for a role of a StorageResource.
    #[kube(
        kind = "StorageAccessGrant",
        plural = "storageaccessgrants",
        shortname = "sag",
        doc = "A request for a role of a StorageResource: RoleBinding, mounted credential and opened endpoint, until the grant ends.",
    )]
    #[x_kube(validation = Rule::new("!has(self.mount) || self.subjects.exists(s, s.kind == 'ServiceAccount' && s.name == self.mount.serviceAccountName)")
        .message(Message::Message("mount.serviceAccountName must be among the subjects, as a ServiceAccount".into()))
        .reason(Reason::FieldValueInvalid))]
    pub struct StorageAccessGrantSpec {
        /// The StorageResource.
        #[schemars(schema_with = "crate::schema::dns_label")]
        pub storage: String,
        /// One of its roles.
        #[schemars(schema_with = "crate::schema::role_name")]
        pub role: String,
        /// Where the credential is mounted. If it is absent, it is not mounted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mount: Option<Mount>,
        /// What happens to running pods when the grant ends.
        #[serde(default, deserialize_with = "crate::null::absent")]
        pub on_expiry: OnExpiry,
        /// The beneficiaries: who gets the role.
        #[schemars(length(min = 1, max = 16))]
        pub subjects: Vec<Subject>,
    }
}
