use crate::{Principal, Subject, schema::no_longer};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// People of whom some must approve.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.approvers.all(p, p.kind != 'ServiceAccount')")
    .message(Message::Message("a ServiceAccount does not approve: name Users or Groups as approvers".into()))
    .reason(Reason::FieldValueForbidden))]
pub struct ApprovalRule {
    /// What the rule is called in a grant's status; unique in its list.
    #[schemars(schema_with = "crate::schema::dns_label")]
    pub name: String,
    /// How many of them must approve.
    #[schemars(range(min = 1, max = 16))]
    pub required: u32,
    /// Who may approve.
    #[schemars(length(min = 1, max = 64))]
    pub approvers: Vec<Principal>,
}

/// Whether a justification is required.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JustificationRequirement {
    /// Whether a grant without one is denied.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub required: bool,
}

/// Whether a ticket is required.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TicketRequirement {
    /// Whether a grant without one is denied.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub required: bool,
    /// The pattern of a ticket, as an RE2 expression. If it is absent, any text is a ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::pattern")]
    pub pattern: Option<String>,
}

/// How many grants for one target a person may have. A target is one role of a storage, one AccessRole in one namespace, or
/// overlapping egress in one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RequesterLimits {
    /// How many may be approved at a time. Grants that start later count.
    #[schemars(range(min = 1, max = 10000))]
    pub active: u32,
    /// How many may be pending.
    #[schemars(range(min = 1, max = 10000))]
    pub pending: u32,
}

impl Default for RequesterLimits {
    fn default() -> Self {
        RequesterLimits { active: 4, pending: 8 }
    }
}

/// Who may use break-glass: a grant opens without approval, and an approver must review it afterwards.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.requesters.all(p, p.kind != 'ServiceAccount')")
    .message(Message::Message("a ServiceAccount cannot use break-glass: name Users or Groups as requesters".into()))
    .reason(Reason::FieldValueForbidden))]
pub struct BreakGlass {
    /// Who may use break-glass.
    #[schemars(length(min = 1, max = 64))]
    pub requesters: Vec<Principal>,
    /// The longest duration of a break-glass grant.
    #[schemars(schema_with = "crate::schema::duration")]
    pub max_duration: Duration,
    /// How soon after the grant is opened an approver must review it.
    #[schemars(schema_with = "crate::schema::duration")]
    pub review_within: Duration,
}

/// What happens to the grants of a person who is no longer a member of the research namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum WhenRequesterLeaves {
    /// They end.
    #[default]
    Revoke,
    /// They continue until their end, and their status says so.
    Keep,
}

/// Who may request, who must approve, how many approvals are needed, for how long, and with which justification.
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
    doc = "Who may request, who must approve, how many approvals are needed, for how long, and with which justification.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63")
        .message(Message::Message("the name must be a DNS label of at most 63 characters".into())),
    printcolumn(name = "Max duration", type_ = "string", json_path = ".spec.maxDuration"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
// A rule that requires what none may has its own sentence, and could be too large to add.
#[x_kube(validation = Rule::new("!has(self.approvalRules) || self.approvalRules.exists(r, r.required < 1 || r.required > 16) || self.approvalRules.map(r, r.required).sum() <= 32")
    .message(Message::Message("all approvalRules together may require at most 32 people".into()))
    .reason(Reason::FieldValueInvalid))]
#[x_kube(validation = no_longer("defaultDuration", "maxDuration"))]
pub struct AccessPolicySpec {
    /// Who may request. If it is empty, nobody may.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub requesters: Vec<Principal>,
    /// Subjects that a grant may name; names match exactly. If it is empty: the requester, and ServiceAccounts of the
    /// namespace.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub beneficiaries: Vec<Subject>,
    /// Who must approve. All rules must be met, by different people: each person counts for one rule.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub approval_rules: Vec<ApprovalRule>,
    /// The longest duration of a grant.
    #[schemars(schema_with = "crate::schema::duration")]
    pub max_duration: Duration,
    /// The duration of a grant that names none. If it is absent, `maxDuration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub default_duration: Option<Duration>,
    /// How long a request waits for a decision. If it is absent, 24h. A request whose target or policy does not exist also
    /// waits 24h.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "pendingRequestTTL")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub pending_request_ttl: Option<Duration>,
    /// How far in the future a grant may start. If it is absent, 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub max_start_delay: Option<Duration>,
    /// How many active and pending grants for one target a person may have.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub limits: RequesterLimits,
    /// What happens to a grant if the requester, or a user who is a beneficiary, was a member of the research namespace while
    /// the request was pending and no longer is: Revoke or Keep. With Revoke, a pending request is denied too. With Keep,
    /// people can still approve a pending request, but it is not approved automatically. It does not apply to people who
    /// were never members in that time.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub when_requester_leaves: WhenRequesterLeaves,
    /// Whether a justification is required.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub justification: JustificationRequirement,
    /// Whether a ticket is required.
    #[serde(default, deserialize_with = "crate::null::absent")]
    pub ticket: TicketRequirement,
    /// CEL expressions over `request`. If one is true, it replaces all approvalRules. Fields that the requester did not set
    /// are absent. An expression with an unknown name or a wrong type counts as false, and the policy is Stalled.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::expressions")]
    pub auto_approve: Vec<String>,
    /// Who may use break-glass, for how long, and how soon an approver must review it. If it is absent, nobody may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<BreakGlass>,
}

/// What the operator found out about a policy.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicyStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Satisfiable if the people who must approve are known, and Stalled if something is broken, such as an
    /// expression that does not compile.
    #[serde(default, deserialize_with = "crate::null::absent", skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
