use crate::{GrantStatus, Identity, Subject, grant::grant_spec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema, core::Duration};
use serde::{Deserialize, Serialize};

grant_spec! {
    /// Asks for an AccessRole in this namespace, and becomes the grant.
    #[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
    #[kube(
        group = "cloister.dev",
        version = "v1alpha1",
        kind = "RoleGrant",
        plural = "rolegrants",
        shortname = "rgr",
        category = "cloister",
        namespaced,
        status = "GrantStatus",
        derive = "PartialEq",
        doc = "Asks for an AccessRole in this namespace, and becomes the grant: a RoleBinding that ends.",
        validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
            .message(Message::Message("the name must be a DNS label of at most 63 characters".into())),
        printcolumn(name = "Role", type_ = "string", json_path = ".spec.role"),
        printcolumn(name = "Requested by", type_ = "string", json_path = ".spec.requestedBy.username"),
        printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
        printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
        printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
        printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
    )]
    #[serde(rename_all = "camelCase")]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message(Message::Message("a grant cannot be changed; delete it and ask again".into()))
        .reason(Reason::FieldValueForbidden))]
    pub struct RoleGrantSpec {
        /// The AccessRole.
        #[schemars(schema_with = "crate::schema::dns_label")]
        pub role: String,
        /// Who gets it.
        #[schemars(length(min = 1, max = 16))]
        pub subjects: Vec<Subject>,
    }
}
