//! What is to be decided, by whom, and whom it concerns.

use super::{
    Input,
    kind::Kind,
    people::{is_named, is_service_account, means, same_person},
};
use cloister_api::{AccessPolicySpec, Identity, Member, MemberRole, Subject, SubjectKind};

/// Why a person may not decide, by whichever of their accounts.
#[derive(Clone, Debug)]
pub enum Bar {
    Requester,
    Beneficiary,
    InBeneficiaryGroup(String),
    Member,
    /// What an AccessRole allows is not looked into: most lead into pods, and nobody needs one to decide.
    RoleHolder,
}

/// Whether somebody may end a grant whatever decides about it: who asked, who gets it, and the owners of its namespace.
pub fn may_always_end(
    requester: Option<&Identity>,
    subjects: &[Subject],
    members: &[Member],
    reviewer: &Identity,
) -> bool {
    let owners = members.iter().filter(|member| member.role == MemberRole::Owner);
    let owns = || owners.flat_map(|member| &member.subjects).any(|one| is_named(one.kind, &one.name, reviewer));
    !is_service_account(reviewer)
        && (requester.is_some_and(|requester| same_person(requester, reviewer))
            || subjects.iter().any(|subject| means(subject, reviewer))
            || owns())
}

/// What is to be decided, and by whom.
pub struct Case<'a> {
    /// The research namespace.
    pub namespace: &'a str,
    /// Its members.
    pub members: &'a [Member],
    /// Who has an AccessRole in it, by another grant.
    pub role_holders: &'a [&'a Subject],
    /// Who asks.
    pub requester: &'a Identity,
    /// Who gets it.
    pub subjects: &'a [Subject],
    /// Whether the pods of the namespace profit.
    pub for_namespace: bool,
    /// The name of the policy.
    pub policy_name: &'a str,
    /// Who must agree.
    pub policy: &'a AccessPolicySpec,
}

impl<'a> Case<'a> {
    /// The case of a grant under a policy.
    pub fn of(
        kind: &'a dyn Kind,
        requester: &'a Identity,
        policy: &'a cloister_api::AccessPolicy,
        input: &'a Input<'_>,
    ) -> Self {
        Case {
            namespace: input.namespace,
            members: input.members,
            role_holders: input.role_holders,
            requester,
            subjects: kind.subjects(),
            for_namespace: kind.is_for_namespace(input),
            policy_name: policy.metadata.name.as_deref().unwrap_or_default(),
            policy: &policy.spec,
        }
    }

    /// Why an account, and with it its person, may not decide.
    pub fn bar(&self, account: &Identity) -> Option<Bar> {
        let of_subjects = self.subjects.iter().find_map(|subject| match subject.kind {
            SubjectKind::User if subject.name == account.username => Some(Bar::Beneficiary),
            SubjectKind::Group if account.groups.contains(&subject.name) => {
                Some(Bar::InBeneficiaryGroup(subject.name.clone()))
            }
            _ => None,
        });
        let is_member = || self.for_namespace && self.is_member(account, &[MemberRole::Owner, MemberRole::Researcher]);
        let has_role = || self.for_namespace && self.role_holders.iter().any(|subject| means(subject, account));
        of_subjects.or_else(|| is_member().then_some(Bar::Member)).or_else(|| has_role().then_some(Bar::RoleHolder))
    }

    fn is_member(&self, account: &Identity, roles: &[MemberRole]) -> bool {
        let members = self.members.iter().filter(|member| roles.contains(&member.role));
        members.flat_map(|member| &member.subjects).any(|subject| is_named(subject.kind, &subject.name, account))
    }
}
