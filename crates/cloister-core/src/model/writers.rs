//! Who may change what, as messages name them.

/// Who may change an AccessPolicy.
pub const POLICY_WRITERS: &str = "a policy administrator (ClusterRole cloister:policy-admin)";

/// Who may change CloisterConfig.
pub const CONFIG_WRITERS: &str = "a policy administrator (ClusterRole cloister:policy-admin)";

/// Who may change StorageResources and AccessRoles.
pub const CATALOGUE_WRITERS: &str = "a catalogue administrator (ClusterRole cloister:catalogue-admin)";

/// Who may change ClusterRoles, and which of them the operator may bind.
pub const CLUSTER_ADMINS: &str = "a cluster administrator";

/// Who may change the Secrets with the credentials.
pub const SECRET_KEEPERS: &str = "the owner of the Secrets in that Namespace";
