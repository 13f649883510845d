use crate::{OnExpiry, Subject, grant::grant_spec};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Where, and for whose pods, the credential is mounted.
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
    /// Asks for a role of a StorageResource, and becomes the grant.
    #[kube(
        kind = "StorageAccessGrant",
        plural = "storageaccessgrants",
        shortname = "sag",
        doc = "Asks for a role of a StorageResource, and becomes the grant: RoleBinding, mounted credential, opened endpoint, end time.",
    )]
    #[x_kube(validation = Rule::new("!has(self.mount) || self.subjects.exists(s, s.kind == 'ServiceAccount' && s.name == self.mount.serviceAccountName)")
        .message(Message::Message("mount.serviceAccountName must be among the subjects, as a ServiceAccount".into()))
        .reason(Reason::FieldValueInvalid))]
    pub struct StorageAccessGrantSpec {
        /// The StorageResource.
        #[schemars(schema_with = "crate::schema::dns_label")]
        pub storage: String,
        /// One of its roles.
        #[schemars(schema_with = "crate::schema::dns_label")]
        pub role: String,
        /// Where the credential is mounted; nowhere where it is absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub mount: Option<Mount>,
        /// What happens to running pods when it ends.
        #[serde(default, deserialize_with = "crate::null::absent")]
        pub on_expiry: OnExpiry,
        /// Who gets it.
        #[schemars(length(min = 1, max = 16))]
        pub subjects: Vec<Subject>,
    }
}
