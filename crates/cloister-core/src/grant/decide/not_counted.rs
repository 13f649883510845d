//! Why somebody's decision about a grant does not count.

use crate::model::writers::POLICY_WRITERS;

/// Why somebody's decision does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    #[error("the API server did not say who decided: the admission policy reviewer.cloister.dev is missing")]
    ReviewerUnknown,
    #[error("a ServiceAccount cannot review; a person must")]
    ServiceAccount,
    #[error(
        "the API server did not say which person {0} is: CloisterConfig names {1} as the personKey, and the account has no \
         such value; review with an account that has it, or ask the administrator of the identity provider to give it one"
    )]
    PersonUnknown(String, String),
    #[error(
        "{who} is not among the approvers of AccessPolicy {policy} ({wanted}): {seen}. While the grant needs a decision, ask \
         one of them, or write another review with an account that is an approver"
    )]
    NotAnApprover { who: String, policy: String, wanted: String, seen: String },
    #[error("AccessPolicy {0} names no approvers, so nobody can decide about it; ask {POLICY_WRITERS} to name some")]
    NoApprovers(String),
    #[error("{0} is the requester, with this or another account, and cannot decide about it")]
    Requester(String),
    #[error("{0} is a beneficiary, and cannot decide about it")]
    Beneficiary(String),
    #[error("{0} is in group {1}, which is a beneficiary, and cannot decide about it")]
    InBeneficiaryGroup(String, String),
    #[error("{0} is a member of research namespace {1}, whose pods would use the grant, and cannot decide about it")]
    Member(String, String),
    #[error(
        "{0} has a RoleGrant in research namespace {1}, whose pods would use the grant, and cannot decide about it; \
         while the grant needs a decision, ask somebody else, or wait for the end of that RoleGrant"
    )]
    RoleHolder(String, String),
    #[error(
        "{who} may not revoke it; an approver of AccessPolicy {policy} ({approvers}), an owner of the namespace, the requester \
         {requester} or a beneficiary may"
    )]
    MayNotRevoke { who: String, policy: String, approvers: String, requester: String },
}

impl NotCounted {
    /// Why, in one word.
    pub fn reason(&self) -> &'static str {
        match self {
            NotCounted::ReviewerUnknown => "ReviewerUnknown",
            NotCounted::ServiceAccount => "ServiceAccount",
            NotCounted::PersonUnknown(..) => "PersonUnknown",
            NotCounted::NotAnApprover { .. } | NotCounted::NoApprovers(_) => "NotAnApprover",
            NotCounted::Requester(_) => "Requester",
            NotCounted::Beneficiary(_) => "Beneficiary",
            NotCounted::InBeneficiaryGroup(..) => "InBeneficiaryGroup",
            NotCounted::Member(..) => "Member",
            NotCounted::RoleHolder(..) => "RoleHolder",
            NotCounted::MayNotRevoke { .. } => "MayNotRevoke",
        }
    }
}
