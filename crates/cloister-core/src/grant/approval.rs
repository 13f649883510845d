//! Whether the people who must agree have agreed.
//!
//! All rules of a policy must be met, by distinct people, and each person counts for one rule. Who counts for which is
//! solved as an assignment.

use super::{
    Input,
    assignment::{Person, assign},
    bars::{Bar, People},
    kind::Kind,
    not_counted::NotCounted,
    people::{is, is_known, is_service_account},
    satisfiable::can_be_met,
    taken_back::may_always_end,
    words::{principals, seen},
};
use crate::{settings::Settings, text::written};
use cloister_api::{
    AccessPolicySpec, AccessReview, ApprovalRule, Decision, Identity, Member, MemberRole, Principal, RecordedReview,
    RuleApprovals, Subject, SubjectKind,
};
use std::collections::BTreeMap;

/// The least number of people who agree to what a ServiceAccount asks for: nobody stands behind it.
pub const FOR_SERVICE_ACCOUNTS: u32 = 2;

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

    /// The rules that somebody who decides now may decide under, by their positions: at least one. It must be known who they
    /// are.
    ///
    /// # Errors
    ///
    /// Why they may not decide.
    pub fn may_decide_now(
        &self,
        reviewer: &Identity,
        people: &People,
        settings: &Settings,
    ) -> Result<Vec<usize>, NotCounted> {
        let rules = self.judge(reviewer, people)?;
        if is_known(reviewer, settings) {
            Ok(rules)
        } else {
            Err(NotCounted::PersonUnknown(reviewer.username.clone(), settings.spec.person_key.clone()))
        }
    }

    /// The same of somebody who has decided, as it is recorded.
    ///
    /// # Errors
    ///
    /// Why they may not decide.
    pub fn judge(&self, reviewer: &Identity, people: &People) -> Result<Vec<usize>, NotCounted> {
        if is_service_account(reviewer) {
            return Err(NotCounted::ServiceAccount);
        }
        let rules = self.policy.approval_rules.iter().enumerate();
        let rules: Vec<usize> = rules.filter(|(_, rule)| names(&rule.approvers, reviewer)).map(|(at, _)| at).collect();
        let who = reviewer.username.clone();
        // Who may not decide by any account is told that first.
        match people.barred(reviewer) {
            None if self.policy.approval_rules.is_empty() => Err(NotCounted::NoApprovers(self.policy_name.to_owned())),
            None if rules.is_empty() => {
                let all = self.policy.approval_rules.iter().flat_map(|rule| rule.approvers.iter().cloned());
                let (policy, wanted) = (self.policy_name.to_owned(), principals(&all.collect::<Vec<_>>()));
                Err(NotCounted::NotAnApprover { who, policy, wanted, seen: seen(reviewer) })
            }
            None => Ok(rules),
            Some(Bar::Requester) => Err(NotCounted::Requester(who)),
            Some(Bar::Beneficiary) => Err(NotCounted::Beneficiary(who)),
            Some(Bar::InBeneficiaryGroup(group)) => Err(NotCounted::InBeneficiaryGroup(who, group.clone())),
            Some(Bar::Member) => Err(NotCounted::Member(who, self.namespace.to_owned())),
            Some(Bar::RoleHolder) => Err(NotCounted::RoleHolder(who, self.namespace.to_owned())),
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

    /// Whether somebody may end what was approved.
    ///
    /// # Errors
    ///
    /// Why they may not.
    pub fn may_revoke(&self, reviewer: &Identity) -> Result<(), NotCounted> {
        if is_service_account(reviewer) {
            return Err(NotCounted::ServiceAccount);
        }
        let is_approver = self.policy.approval_rules.iter().any(|rule| names(&rule.approvers, reviewer));
        if is_approver || may_always_end(Some(self.requester), self.subjects, self.members, reviewer) {
            Ok(())
        } else {
            let approvers = self.policy.approval_rules.iter().flat_map(|rule| rule.approvers.iter().cloned());
            Err(NotCounted::MayNotRevoke {
                who: reviewer.username.clone(),
                policy: self.policy_name.to_owned(),
                approvers: principals(&approvers.collect::<Vec<_>>()),
                requester: self.requester.username.clone(),
            })
        }
    }

    fn is_member(&self, account: &Identity, roles: &[MemberRole]) -> bool {
        let members = self.members.iter().filter(|member| roles.contains(&member.role));
        members.flat_map(|member| &member.subjects).any(|subject| is_named(subject.kind, &subject.name, account))
    }

    /// Why the rules cannot be met any more, whoever decides: too few are left of those whom they name.
    pub fn out_of_reach(&self, accounts: &[&Identity]) -> Option<String> {
        let people = People::of(self, accounts.iter().copied());
        let may_decide = |approver: &Principal| {
            let (name, groups) = (approver.name.clone(), Vec::new());
            match approver.kind {
                // Everybody of the group is barred by it.
                SubjectKind::Group => self.bar(&Identity { groups: vec![name], ..Identity::default() }).is_none(),
                _ => {
                    let account = Identity { username: name, groups, ..Identity::default() };
                    people.barred(&account).is_none() && self.bar(&account).is_none()
                }
            }
        };
        let left = self.policy.approval_rules.iter().zip(self.required()).map(|(rule, required)| ApprovalRule {
            required,
            approvers: rule.approvers.iter().filter(|approver| may_decide(approver)).cloned().collect(),
            ..rule.clone()
        });
        can_be_met(&left.collect::<Vec<_>>()).err()
    }

    /// How many people each rule asks for. Where a ServiceAccount asks, an only rule asks for as many as must agree at least.
    fn required(&self) -> Vec<u32> {
        let mut required: Vec<u32> = self.policy.approval_rules.iter().map(|rule| rule.required).collect();
        if let [only] = &mut *required {
            *only = (*only).max(self.least());
        }
        required
    }

    /// How many people must agree at least, over all rules.
    fn least(&self) -> u32 {
        if is_service_account(self.requester) { FOR_SERVICE_ACCOUNTS } else { 1 }
    }

    /// How far the rules are met by those who agreed. `accounts` are those of everybody who has decided anything, by
    /// which it shows that two who agreed are one person, or somebody who may not decide.
    pub fn tally(&self, agreed: &[&Identity], accounts: &[&Identity]) -> Tally {
        let (rules, required) = (&self.policy.approval_rules, self.required());
        let known = People::of(self, agreed.iter().chain(accounts).copied());
        let mut people: Vec<Person<'_>> = Vec::new();
        let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
        for account in agreed {
            let (Ok(eligible), Some(person)) = (self.judge(account, &known), known.person(account)) else { continue };
            let at = *seen.entry(person).or_insert_with(|| {
                people.push(Person::default());
                people.len() - 1
            });
            people[at].add(account, eligible);
        }
        let assigned = assign(&people, &required);
        let approvals: Vec<RuleApprovals> = rules
            .iter()
            .zip(&required)
            .enumerate()
            .map(|(at, (rule, required))| RuleApprovals {
                rule: rule.name.clone(),
                required: *required,
                approved_by: people
                    .iter()
                    .zip(&assigned)
                    .filter(|(_, rule)| **rule == Some(at))
                    .filter_map(|(person, _)| person.rules.get(&at))
                    .map(|account| (*account).to_owned())
                    .collect(),
            })
            .collect();
        let full = |one: &RuleApprovals| one.approved_by.len() as u64 >= u64::from(one.required);
        let enough = people.len() as u64 >= u64::from(self.least());
        Tally { is_met: !rules.is_empty() && approvals.iter().all(full) && enough, approvals }
    }
}

/// How far a policy's rules are met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Whether all are.
    pub is_met: bool,
    /// Who counts for which rule.
    pub approvals: Vec<RuleApprovals>,
}

impl Tally {
    /// Who must still agree, in words.
    pub fn missing(&self, rules: &[ApprovalRule]) -> String {
        let missing = self.approvals.iter().zip(rules).filter_map(|(one, rule)| {
            let left = u64::from(one.required).saturating_sub(one.approved_by.len() as u64);
            let why = if one.required > rule.required { ", because a ServiceAccount asks" } else { "" };
            (left > 0).then(|| format!("{left} more of {} ({}){why}", one.rule, principals(&rule.approvers)))
        });
        let missing: Vec<String> = missing.collect();
        missing.join(", and ")
    }
}

/// The reviews of a grant, with those who made them.
pub fn reviews_of<'a>(uid: &str, input: &Input<'a>) -> Vec<(&'a AccessReview, &'a Identity)> {
    let about_it = input.reviews.iter().filter(|review| review.spec.request_ref.uid == uid);
    about_it.filter_map(|review| Some((*review, review.spec.reviewer.as_ref()?))).collect()
}

/// What somebody did about a grant, with what they said of it.
pub fn in_words(review: &AccessReview, reviewer: &Identity, did: &str) -> String {
    let why = written(&review.spec.comment).map(|comment| format!(": {comment}")).unwrap_or_default();
    format!("{} {did}{why}", reviewer.username)
}

/// A review as it is recorded.
pub fn recorded(review: &AccessReview, reviewer: &Identity) -> RecordedReview {
    RecordedReview {
        name: review.metadata.name.clone().unwrap_or_default(),
        uid: review.metadata.uid.clone().unwrap_or_default(),
        decision: review.spec.decision,
        reviewer: reviewer.clone(),
    }
}

/// Those who agreed by what is recorded.
pub fn agreed(reviews: &[RecordedReview]) -> Vec<&Identity> {
    reviews.iter().filter(|review| review.decision == Decision::Approve).map(|review| &review.reviewer).collect()
}

fn names(principals: &[Principal], identity: &Identity) -> bool {
    // A ServiceAccount that is named as an approver does not count either.
    principals.iter().any(|principal| principal.kind != SubjectKind::ServiceAccount && is(principal, identity))
}

pub fn means(subject: &Subject, identity: &Identity) -> bool {
    is_named(subject.kind, &subject.name, identity)
}

/// Whether a user or a group of this name is, or holds, this person.
pub fn is_named(kind: SubjectKind, name: &String, identity: &Identity) -> bool {
    match kind {
        SubjectKind::User => *name == identity.username,
        SubjectKind::Group => identity.groups.contains(name),
        SubjectKind::ServiceAccount => false,
    }
}

#[cfg(test)]
mod tests;
