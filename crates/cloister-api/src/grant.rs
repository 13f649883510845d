use crate::{Decision, HostStatus, Identity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The phase of a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum GrantPhase {
    /// Waits for a decision.
    #[default]
    Pending,
    /// The grant is approved, and waits for its start.
    Approved,
    /// The grant is open.
    Active,
    /// Has ended; the operator removes what it opened.
    Revoking,
    /// Ended at its time, and nothing of it is left.
    Expired,
    /// Ended before its time, and nothing of it is left.
    Revoked,
    /// Was refused, or did not meet the policy.
    Denied,
    /// Nobody decided in time.
    TimedOut,
}

impl GrantPhase {
    /// All phases, in the order of a grant's life.
    pub const ALL: [GrantPhase; 8] = [
        GrantPhase::Pending,
        GrantPhase::Approved,
        GrantPhase::Active,
        GrantPhase::Revoking,
        GrantPhase::Expired,
        GrantPhase::Revoked,
        GrantPhase::Denied,
        GrantPhase::TimedOut,
    ];

    /// Whether the grant is over for good.
    pub fn has_ended(self) -> bool {
        matches!(self, GrantPhase::Expired | GrantPhase::Revoked | GrantPhase::Denied | GrantPhase::TimedOut)
    }

    /// The phase as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            GrantPhase::Pending => "Pending",
            GrantPhase::Approved => "Approved",
            GrantPhase::Active => "Active",
            GrantPhase::Revoking => "Revoking",
            GrantPhase::Expired => "Expired",
            GrantPhase::Revoked => "Revoked",
            GrantPhase::Denied => "Denied",
            GrantPhase::TimedOut => "TimedOut",
        }
    }
}

/// What happens to running pods when a grant ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum OnExpiry {
    /// Pods that hold the credential are deleted.
    #[default]
    Terminate,
    /// Pods keep running; their copy of the credential is emptied.
    Empty,
}

/// What every kind of grant asks for in the same words.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// How long.
    pub requested_duration: Option<Duration>,
    /// When it starts.
    pub start_time: Option<&'a Time>,
    /// Why the grant is needed.
    pub justification: &'a str,
    /// The ticket it belongs to.
    pub ticket_ref: Option<&'a str>,
    /// Whether it opens at once and is reviewed afterwards.
    pub break_glass: bool,
    /// Who asked.
    pub requested_by: Option<&'a Identity>,
}

/// Declares a kind of grant: its own names, columns, rules and fields, and what all kinds have.
macro_rules! grant_spec {
    (
        $(#[doc = $doc:literal])*
        #[kube($($kube:tt)*)]
        $(#[$attribute:meta])*
        pub struct $name:ident { $($own:tt)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(
            Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize, kube::KubeSchema, kube::CustomResource,
        )]
        #[kube(
            group = "cloister.dev",
            version = "v1alpha1",
            category = "cloister",
            namespaced,
            status = "crate::GrantStatus",
            derive = "PartialEq",
            validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
                .message(Message::Message("the name must be a DNS label of at most 63 characters".into())),
            $($kube)*
            selectable = ".status.phase",
            printcolumn(name = "Target", type_ = "string", json_path = ".status.summary.target"),
            printcolumn(name = "By", type_ = "string", json_path = ".spec.requestedBy.username"),
            printcolumn(name = "Duration", type_ = "string", json_path = ".status.summary.duration"),
            printcolumn(name = "Approvals", type_ = "string", json_path = ".status.summary.approvals"),
            printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
            printcolumn(name = "Reason", type_ = "string", json_path = ".status.summary.reason"),
            printcolumn(name = "Until", type_ = "string", json_path = ".status.summary.until"),
            printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 1),
            printcolumn(name = "Ticket", type_ = "string", json_path = ".spec.ticketRef", priority = 1),
            printcolumn(name = "Justification", type_ = "string", json_path = ".spec.justification", priority = 1),
            printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
        )]
        #[serde(rename_all = "camelCase")]
        #[x_kube(validation = Rule::new("self == oldSelf")
            .message(Message::Message("a grant cannot be changed; delete it and ask again".into()))
            .reason(Reason::FieldValueForbidden))]
        $(#[$attribute])*
        pub struct $name {
            $($own)*
            /// How long the grant lasts, with the units h, m, s and ms, such as 4h or 1h30m; a day is 24h. If it is absent, the
            /// `defaultDuration` of the policy, or its `maxDuration` if it has no default.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "crate::schema::duration")]
            pub requested_duration: Option<kube::core::Duration>,
            /// When the grant starts. If it is absent, immediately. The end is this time plus the duration: a grant that is
            /// approved later is shorter.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "crate::schema::time")]
            pub start_time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
            /// Why the grant is needed.
            #[serde(default, deserialize_with = "crate::null::absent")]
            #[schemars(schema_with = "crate::schema::text")]
            pub justification: String,
            /// The ticket it belongs to.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(schema_with = "crate::schema::ticket")]
            pub ticket_ref: Option<String>,
            /// Opens immediately, without approval, for the people in `breakGlass` of the policy. It raises an alert, and an
            /// approver must review it.
            #[serde(default, deserialize_with = "crate::null::absent")]
            pub break_glass: bool,
            /// The requester, as the API server authenticated them. Set by admission, never by the author.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub requested_by: Option<crate::Identity>,
        }

        impl $name {
            /// What every kind of grant asks for in the same words.
            pub fn terms(&self) -> crate::Terms<'_> {
                crate::Terms {
                    requested_duration: self.requested_duration,
                    start_time: self.start_time.as_ref(),
                    justification: &self.justification,
                    ticket_ref: self.ticket_ref.as_deref(),
                    break_glass: self.break_glass,
                    requested_by: self.requested_by.as_ref(),
                }
            }
        }
    };
}
pub(crate) use grant_spec;

/// The policy that decided about a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReference {
    /// Its name.
    pub name: String,
    /// Its uid at the time.
    pub uid: String,
}

/// How far one of a policy's rules is met.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleApprovals {
    /// The rule's name.
    pub rule: String,
    /// How many people must approve.
    pub required: u32,
    /// Who has approved, by user name. Each person counts for one rule.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<String>,
}

/// A review that counted. A grant that it approved ends when the AccessReview is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedReview {
    /// The AccessReview's name.
    pub name: String,
    /// The AccessReview's uid.
    pub uid: String,
    /// What was decided.
    pub decision: Decision,
    /// Who decided, as the API server authenticated them.
    pub reviewer: Identity,
}

/// The review that a break-glass grant requires.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakGlassStatus {
    /// The approvals that break-glass bypassed, such as `2 approvals of weights-owners (Group weights-owners)`.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// When the review of an approver is due.
    pub review_due_at: Time,
    /// Who reviewed it, by user name. Absent until the review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_by: Option<String>,
    /// When the operator saw the review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_at: Option<Time>,
}

/// Access that may outlast a grant, because Kubernetes cannot take it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum ResidualExposure {
    /// A watch that was opened while the grant was active: the API server checks permissions only when a watch starts.
    Watches,
    /// A session in a pod or to a pod: exec, attach, port-forward, proxy.
    Sessions,
    /// The files of the credential, until the kubelet removes them from the pods that keep running (`onExpiry: Empty`).
    MountedFiles,
    /// What a process has read of the credential.
    CredentialRead,
    /// Open connections: some network plugins do not close them.
    Connections,
}

/// A short summary of the grant, for lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantSummary {
    /// The target: `export.arxiv.org:443`, `frontier-weights/reader` or `namespace-debugger`.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The requested duration. Empty if the request names none.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub duration: String,
    /// The approvals given and required, such as `1/3`; `policy` if the policy approved it automatically, `nobody` if
    /// break-glass was used.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub approvals: String,
    /// The reason, if it says more than the phase, and whether a break-glass review is required.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it ends, to the minute; see `expiresAt`.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub until: String,
}

impl GrantSummary {
    fn is_empty(&self) -> bool {
        *self == GrantSummary::default()
    }
}

/// The status of a grant; the same for every kind of grant.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pending, Approved, Active, Revoking, Expired, Revoked, Denied or TimedOut.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub phase: GrantPhase,
    /// The reason for the phase, in one word.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The hash of everything that reviewers decide about. A review must name it. It does not change after the approval.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// A hash of the target of the grant, as it was at the approval. The grant ends when the target changes.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "String::is_empty")]
    pub target_digest: String,
    /// A hash of each part of the target. It shows which part has changed.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "BTreeMap::is_empty")]
    pub target_parts: BTreeMap<String, String>,
    /// What the ClusterRole allowed at the approval, one line for each rule, at most 64. It shows what has changed.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub target_rules: Vec<String>,
    /// The grant in a few words, for lists.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "GrantSummary::is_empty")]
    pub summary: GrantSummary,
    /// The requester and the beneficiaries (users and ServiceAccounts) that were members of the research namespace while the
    /// request was pending, by user name. See `whenRequesterLeaves` of AccessPolicy.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 17))]
    pub members: Vec<String>,
    /// The policy that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyReference>,
    /// How far each of the policy's rules is met.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<RuleApprovals>,
    /// The reviews of the decision.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<RecordedReview>,
    /// The required review, if break-glass was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlassStatus>,
    /// When it was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Time>,
    /// When it was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Time>,
    /// When it ends. Written before anything is opened, and never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When the end was confirmed: nothing that it opened is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// What may outlast the grant, because Kubernetes cannot take it back.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub residual_exposure: Vec<ResidualExposure>,
    /// When the residual exposure of an ended grant is over, as far as that is known. The Ready condition names the exposure
    /// that has no known end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual_exposure_until: Option<Time>,
    /// The Secret with the copy of the credential. Set before the Secret is created, until its deletion is confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Whether that Secret is deleted, and the operator waits only for the pods that held it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret_destroyed: bool,
    /// The names that it opens, at most 32; names that are not open come first.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub hosts: Vec<HostStatus>,
    /// Ready, Decided, Approved and Active; Reviewed for break-glass; and Stalled or RevocationUnconfirmed if something is
    /// broken.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
