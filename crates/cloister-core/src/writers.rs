//! Who may change what, as messages name them.

/// Who may change what an AccessPolicy says.
pub const POLICY_WRITERS: &str = "whoever publishes AccessPolicies (ClusterRole cloister:policy-admin)";

/// Who may change what CloisterConfig says.
pub const CONFIG_WRITERS: &str = "whoever writes CloisterConfig (ClusterRole cloister:policy-admin)";

/// Who may change storage and roles.
pub const CATALOGUE_WRITERS: &str = "whoever publishes the catalogue (ClusterRole cloister:catalogue-admin)";

/// Who may change ClusterRoles, and which of them the operator may bind.
pub const CLUSTER_ADMINS: &str = "whoever runs the cluster";

/// Who puts credentials where grants take them from.
pub const SECRET_KEEPERS: &str = "whoever keeps the Secrets of that Namespace";
