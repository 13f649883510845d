use crate::{Subject, grant::grant_spec};

grant_spec! {
    /// A request for an AccessRole in this namespace.
    #[kube(
        kind = "RoleGrant",
        plural = "rolegrants",
        shortname = "rgr",
        doc = "A request for an AccessRole in this namespace. Once approved, a RoleBinding exists until the grant ends.",
    )]
    pub struct RoleGrantSpec {
        /// The AccessRole.
        #[schemars(schema_with = "crate::schema::role_name")]
        pub role: String,
        /// The beneficiaries: who gets the role.
        #[schemars(length(min = 1, max = 16))]
        pub subjects: Vec<Subject>,
    }
}
