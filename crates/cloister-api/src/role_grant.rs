use crate::{Subject, grant::grant_spec};

grant_spec! {
    /// Asks for an AccessRole in this namespace, and becomes the grant.
    #[kube(
        kind = "RoleGrant",
        plural = "rolegrants",
        shortname = "rgr",
        doc = "Asks for an AccessRole in this namespace, and becomes the grant: a RoleBinding that ends.",
    )]
    pub struct RoleGrantSpec {
        /// The AccessRole.
        #[schemars(schema_with = "crate::schema::dns_label")]
        pub role: String,
        /// Who gets it.
        #[schemars(length(min = 1, max = 16))]
        pub subjects: Vec<Subject>,
    }
}
