//! Condition types and reasons. A reason is part of the contract: people search for it, and tools match on it.

/// `Ready`: nothing is broken. A pending or an ended grant is ready, and so is a namespace with a rule that needs a
/// grant, so that a tool that waits does not hang.
pub const READY: &str = "Ready";

/// `Stalled`: broken until somebody changes something (kstatus).
pub const STALLED: &str = "Stalled";

/// `Enforced`: the namespace denies by default, and pods are admitted.
pub const ENFORCED: &str = "Enforced";

/// `Decided`: the grant was approved or refused, or nobody decided in time.
pub const DECIDED: &str = "Decided";

/// `Approved`: the grant's policy was met.
pub const APPROVED: &str = "Approved";

/// `Active`: what the grant opens stands.
pub const ACTIVE: &str = "Active";

/// `RevocationUnconfirmed`: something that the grant opened could not yet be confirmed gone.
pub const REVOCATION_UNCONFIRMED: &str = "RevocationUnconfirmed";

/// `Counted`: the review counts for its grant, or why not.
pub const COUNTED: &str = "Counted";

/// `Satisfiable`: as far as is known, there are enough people to meet the policy's rules.
pub const SATISFIABLE: &str = "Satisfiable";

/// `Reviewed`: a grant that broke the glass was reviewed by an approver.
pub const REVIEWED: &str = "Reviewed";

/// `ResolutionStable`: all names that are to be open have addresses that can be opened, or why not.
pub const RESOLUTION_STABLE: &str = "ResolutionStable";

/// `BackendAvailable`: what CloisterConfig wants egress to be opened by is there, or why not.
pub const BACKEND_AVAILABLE: &str = "BackendAvailable";

/// `ClusterNetworksKnown`: which networks are the cluster's own, and so never opened by address, is known; or what is not.
pub const CLUSTER_NETWORKS_KNOWN: &str = "ClusterNetworksKnown";

/// `DNSReachable`: pods reach the DNS that CloisterConfig names, as far as can be seen, or why not.
pub const DNS_REACHABLE: &str = "DNSReachable";

/// `PolicyKindsWatched`: no kind of network policy is installed that the operator does not watch, or which are.
pub const POLICY_KINDS_WATCHED: &str = "PolicyKindsWatched";

/// `ReferencesFound`: what CloisterConfig names is there, or what is not.
pub const REFERENCES_FOUND: &str = "ReferencesFound";

/// `AuditAvailable`: what is decided about grants can be recorded, or why not.
pub const AUDIT_AVAILABLE: &str = "AuditAvailable";

/// The reasons of conditions.
pub mod reason {
    /// The operator has not looked at the object yet: what the API server says of it by default.
    pub const WAITING_FOR_OPERATOR: &str = "WaitingForOperator";
    /// A namespaceSelector asks for labels that owners may write.
    pub const SELECTOR_REFUSED: &str = "SelectorRefused";
    /// First sight: nothing was decided yet.
    pub const PROGRESSING: &str = "Progressing";
    /// All that was declared stands.
    pub const RECONCILED: &str = "Reconciled";
    /// The object cannot be read by this version of the operator; what it governs is closed.
    pub const UNDECODABLE: &str = "Undecodable";
    /// The name belongs to the system, to the operator, or to a credential namespace.
    pub const NAME_RESERVED: &str = "NameReserved";
    /// A Namespace of that name exists and was not offered for adoption.
    pub const NAMESPACE_EXISTS: &str = "NamespaceExists";
    /// The Namespace is offered for adoption, and is being closed and looked through.
    pub const ADOPTING: &str = "Adopting";
    /// The Namespace to adopt holds what no research namespace may hold, or somebody else's Roles or RoleBindings stand in
    /// a research namespace.
    pub const FOREIGN_OBJECTS: &str = "ForeignObjects";
    /// The Namespace is being deleted.
    pub const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";
    /// The object is being deleted.
    pub const DELETING: &str = "Deleting";
    /// The object is being deleted, and only finalizers of others hold it.
    pub const HELD_BY_FINALIZERS: &str = "HeldByFinalizers";
    /// Pods are still running in a namespace that is being deleted.
    pub const WAITING_FOR_PODS: &str = "WaitingForPods";
    /// A grant is still being revoked in a namespace that is being closed.
    pub const WAITING_FOR_GRANTS: &str = "WaitingForGrants";
    /// A RuntimeClass for the tier is not configured.
    pub const RUNTIME_CLASS_MISSING: &str = "RuntimeClassMissing";
    /// The API server could not be reached, or could not do a write now; it is tried again.
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// The API server refused a write for good: the same is refused again until somebody changes something.
    pub const APPLY_REFUSED: &str = "ApplyRefused";
    /// The quota has keys that would count what the operator writes itself.
    pub const QUOTA_REFUSED: &str = "QuotaRefused";
    /// A setting would open everything.
    pub const SETTING_REFUSED: &str = "SettingRefused";
    /// A grant that broke the glass owes its review, for which the deletion of its namespace waits.
    pub const WAITING_FOR_REVIEW: &str = "WaitingForReview";
    /// The allowlist has ended.
    pub const EXPIRED: &str = "Expired";
    /// A NetworkPolicy of somebody else allows what nobody agreed to.
    pub const DENY_DEFEATED: &str = "DenyDefeated";
    /// The configuration cannot be read by this version of the operator; nothing is opened meanwhile.
    pub const CONFIG_UNDECODABLE: &str = "ConfigUndecodable";
    /// The operator's clock and the API server's disagree, so nothing is opened.
    pub const CLOCK_SKEW: &str = "ClockSkew";
    /// What the status of a grant says was decided does not follow from what people have written, so the grant ends.
    pub const RECORD_NOT_BORNE_OUT: &str = "RecordNotBorneOut";
    /// The audit record cannot be written; no grant is approved or opened meanwhile.
    pub const AUDIT_UNAVAILABLE: &str = "AuditUnavailable";
}
