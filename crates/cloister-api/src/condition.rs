//! Condition types and reasons. A reason is part of the API: people search for it, and tools match on it.

/// `Ready`: nothing is broken. A pending grant, an ended grant and a namespace with a rule that needs a grant are all
/// ready, so that a tool that waits for Ready does not hang.
pub const READY: &str = "Ready";

/// `Stalled`: the object is broken until somebody changes something (kstatus).
pub const STALLED: &str = "Stalled";

/// `Enforced`: traffic of the namespace is denied by default, and pods are admitted.
pub const ENFORCED: &str = "Enforced";

/// `Decided`: the grant was approved or refused, or nobody decided in time.
pub const DECIDED: &str = "Decided";

/// `Approved`: the grant meets its policy.
pub const APPROVED: &str = "Approved";

/// `Active`: everything that the grant opens exists.
pub const ACTIVE: &str = "Active";

/// `RevocationUnconfirmed`: the removal of something that the grant opened is not confirmed yet.
pub const REVOCATION_UNCONFIRMED: &str = "RevocationUnconfirmed";

/// `Counted`: whether the review counts for its grant, and if not, why.
pub const COUNTED: &str = "Counted";

/// `Satisfiable`: as far as the operator knows, there are enough people to meet the policy's rules.
pub const SATISFIABLE: &str = "Satisfiable";

/// `Reviewed`: an approver reviewed a break-glass grant.
pub const REVIEWED: &str = "Reviewed";

/// `ResolutionStable`: whether every name that should be open has addresses that can be opened, and if not, why.
pub const RESOLUTION_STABLE: &str = "ResolutionStable";

/// `BackendAvailable`: whether the egress backend that CloisterConfig selects is installed, and if not, why.
pub const BACKEND_AVAILABLE: &str = "BackendAvailable";

/// `ClusterNetworksKnown`: whether the operator knows the networks of the cluster, which it never opens by address, and if
/// not, which are unknown.
pub const CLUSTER_NETWORKS_KNOWN: &str = "ClusterNetworksKnown";

/// `DNSReachable`: whether pods reach the DNS that CloisterConfig names, as far as the operator sees, and if not, why.
pub const DNS_REACHABLE: &str = "DNSReachable";

/// `PolicyKindsWatched`: whether the operator watches all kinds of network policies that are installed, and if not, which
/// it does not watch.
pub const POLICY_KINDS_WATCHED: &str = "PolicyKindsWatched";

/// `ReferencesFound`: whether everything that CloisterConfig names exists, and if not, what is missing.
pub const REFERENCES_FOUND: &str = "ReferencesFound";

/// `AuditAvailable`: whether decisions about grants can be recorded, and if not, why.
pub const AUDIT_AVAILABLE: &str = "AuditAvailable";

/// The reasons of conditions.
pub mod reason {
    /// The operator has not reconciled the object yet. The API server sets this reason by default.
    pub const WAITING_FOR_OPERATOR: &str = "WaitingForOperator";
    /// A namespaceSelector selects by labels that owners may write, or Kubernetes would refuse it.
    pub const SELECTOR_REFUSED: &str = "SelectorRefused";
    /// The first reconciliation: nothing is decided yet.
    pub const PROGRESSING: &str = "Progressing";
    /// Everything that was declared exists.
    pub const RECONCILED: &str = "Reconciled";
    /// This version of the operator cannot decode the object; what the object governs is closed.
    pub const UNDECODABLE: &str = "Undecodable";
    /// The name belongs to the system, to the operator, or to a credential namespace.
    pub const NAME_RESERVED: &str = "NameReserved";
    /// A Namespace of that name exists, and nobody has offered it for adoption or, if it was retained, asked for it back.
    pub const NAMESPACE_EXISTS: &str = "NamespaceExists";
    /// The Namespace is offered for adoption; the operator closes it and checks what it contains.
    pub const ADOPTING: &str = "Adopting";
    /// The Namespace to adopt contains something that a research namespace may not contain, or a research namespace contains
    /// Roles or RoleBindings that Cloister does not manage.
    pub const FOREIGN_OBJECTS: &str = "ForeignObjects";
    /// The operator could not look at everything in the Namespace to adopt: it lacks a permission, or a request failed.
    pub const INSPECTION_INCOMPLETE: &str = "InspectionIncomplete";
    /// The Namespace is being deleted.
    pub const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";
    /// The object is being deleted.
    pub const DELETING: &str = "Deleting";
    /// The object is being deleted, and only finalizers of others remain.
    pub const HELD_BY_FINALIZERS: &str = "HeldByFinalizers";
    /// Pods are still running in a namespace that is being deleted.
    pub const WAITING_FOR_PODS: &str = "WaitingForPods";
    /// A grant is still being revoked in a namespace that is being closed.
    pub const WAITING_FOR_GRANTS: &str = "WaitingForGrants";
    /// A RuntimeClass for the tier is not configured.
    pub const RUNTIME_CLASS_MISSING: &str = "RuntimeClassMissing";
    /// The API server could not be reached, or could not do a write now; the operator tries again.
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// The API server rejected a write permanently: it rejects the same write until somebody changes something.
    pub const APPLY_REFUSED: &str = "ApplyRefused";
    /// The quota has keys that would count objects that the operator itself writes.
    pub const QUOTA_REFUSED: &str = "QuotaRefused";
    /// A setting would open everything.
    pub const SETTING_REFUSED: &str = "SettingRefused";
    /// The deletion of the namespace waits for the review of a break-glass grant.
    pub const WAITING_FOR_REVIEW: &str = "WaitingForReview";
    /// The allowlist has ended.
    pub const EXPIRED: &str = "Expired";
    /// A network policy that Cloister does not manage allows traffic that nobody approved.
    pub const DENY_DEFEATED: &str = "DenyDefeated";
    /// This version of the operator cannot decode the CloisterConfig; it opens nothing meanwhile.
    pub const CONFIG_UNDECODABLE: &str = "ConfigUndecodable";
    /// The operator's clock and the API server's disagree, so nothing is opened.
    pub const CLOCK_SKEW: &str = "ClockSkew";
    /// The decision in the status of a grant does not follow from the reviews that people wrote, so the grant ends.
    pub const RECORD_NOT_BORNE_OUT: &str = "RecordNotBorneOut";
    /// The audit record cannot be written; no grant is approved or opened meanwhile.
    pub const AUDIT_UNAVAILABLE: &str = "AuditUnavailable";
}
