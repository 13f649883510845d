use crate::{Principal, Subject, schema::no_longer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// People of whom some must agree.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.approvers.all(p, p.kind != 'ServiceAccount')")
    .message(Message::Message("a ServiceAccount does not approve: name Users or Groups as approvers".into()))
    .reason(Reason::FieldValueForbidden))]
pub struct ApprovalRule {
    /// What the rule is called in a grant's status; unique in its list.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub name: String,
    /// How many of them must agree.
    #[schemars(range(min = 1, max = 16))]
    pub required: u32,
    /// Who may.
    #[schemars(length(min = 1, max = 64))]
    pub approvers: Vec<Principal>,
}

/// Whether a reason must be given.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JustificationRequirement {
    /// Whether a grant without one is refused.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub required: bool,
}

/// Whether a ticket must be named.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketRequirement {
    /// Whether a grant without one is refused.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub required: bool,
    /// What a ticket looks like, as an RE2 expression; anything where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::pattern")]
    pub pattern: Option<String>,
}

/// How many grants for one target somebody may have: for one role of a storage, for one AccessRole in one namespace, or, in
/// one namespace, for egress that overlaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RequesterLimits {
    /// How many may be approved at a time, those that start later included.
    #[schemars(range(min = 1, max = 10000))]
    pub active: u32,
    /// How many may wait for a decision.
    #[schemars(range(min = 1, max = 10000))]
    pub pending: u32,
}

impl Default for RequesterLimits {
    fn default() -> Self {
        RequesterLimits { active: 4, pending: 8 }
    }
}

/// Who may open first and be reviewed afterwards.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.requesters.all(p, p.kind != 'ServiceAccount')")
    .message(Message::Message("a ServiceAccount cannot use break-glass: name Users or Groups as requesters".into()))
    .reason(Reason::FieldValueForbidden))]
pub struct BreakGlass {
    /// Who may.
    #[schemars(length(min = 1, max = 64))]
    pub requesters: Vec<Principal>,
    /// The longest that such a grant may last.
    #[schemars(schema_with = "crate::schema::duration")]
    pub max_duration: Duration,
    /// How soon after its opening an approver must have reviewed it.
    #[schemars(schema_with = "crate::schema::duration")]
    pub review_within: Duration,
}

/// What becomes of the grants of somebody who was a member of the research namespace, and is none any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum WhenRequesterLeaves {
    /// They end.
    #[default]
    Revoke,
    /// They stay until their end, and say so.
    Keep,
}

/// Who may ask, who must agree, how many, for how long, and with what justification.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema, CustomResource)]
#[kube(
    group = "cloister.dev",
    version = "v1alpha1",
    kind = "AccessPolicy",
    plural = "accesspolicies",
    shortname = "apol",
    category = "cloister",
    status = "AccessPolicyStatus",
    derive = "PartialEq",
    doc = "Who may ask, who must agree, how many, for how long, and with what justification.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
        .message(Message::Message("the name must be a DNS label of at most 63 characters".into())),
    printcolumn(name = "Max duration", type_ = "string", json_path = ".spec.maxDuration"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.approvalRules) || self.approvalRules.map(r, r.required).sum() <= 32")
    .message(Message::Message("all approvalRules together may ask for at most 32 people".into()))
    .reason(Reason::FieldValueInvalid))]
#[x_kube(validation = no_longer("defaultDuration", "maxDuration"))]
pub struct AccessPolicySpec {
    /// Who may ask. Nobody where it is empty.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub requesters: Vec<Principal>,
    /// Subjects, matched literally, that a grant may name. Where it is empty: the requester, and ServiceAccounts of the namespace.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub beneficiaries: Vec<Subject>,
    /// Who must agree: all rules, by distinct people, each person counted for one rule.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub approval_rules: Vec<ApprovalRule>,
    /// The longest that a grant may last.
    #[schemars(schema_with = "crate::schema::duration")]
    pub max_duration: Duration,
    /// How long a grant lasts that names no duration; `maxDuration` where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub default_duration: Option<Duration>,
    /// How long a request waits for a decision; 24h where it is absent. So long does one wait whose policy is not known, since
    /// what it asks for is not there.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "pendingRequestTTL")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub pending_request_ttl: Option<Duration>,
    /// How far in the future a grant may start; 168h where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub max_start_delay: Option<Duration>,
    /// How many grants for one target one person may hold, and have waiting.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub limits: RequesterLimits,
    /// What becomes of a grant when who asked for it, or a user who gets it, was a member of the research namespace while it
    /// was asked for, and is none any more: Revoke or Keep. With Revoke a request that waits is denied, too; with Keep people
    /// may still approve it, and the policy alone does not. Who asked without being a member does not leave.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub when_requester_leaves: WhenRequesterLeaves,
    /// Whether a reason must be given.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub justification: JustificationRequirement,
    /// Whether a ticket must be named.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub ticket: TicketRequirement,
    /// CEL expressions over `request`; one that is true replaces all approvalRules. What the requester
    /// did not set is absent. One that is misspelt or of a wrong type makes the policy Stalled, and counts as false.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::expressions")]
    pub auto_approve: Vec<String>,
    /// Who may open first and be reviewed afterwards; nobody where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

/// What the operator made of a policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicyStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Satisfiable where the people who must agree are known, and Stalled where something is broken, such as an
    /// expression that does not compile.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
