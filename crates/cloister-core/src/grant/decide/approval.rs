//! Whether the people who must agree have agreed.
//!
//! All rules of a policy must be met, by distinct people, and each person counts for one rule. Who counts for which is
//! solved as an assignment.

use super::{
    assignment::{Person, assign},
    bars::People,
    case::{Bar, Case, may_always_end},
    not_counted::NotCounted,
    satisfiable::{FOR_SERVICE_ACCOUNTS, can_be_met},
};
use crate::{
    cluster::settings::Settings,
    grant::model::{
        people::{is, is_known, is_service_account},
        words::{principals, seen},
    },
};
use cloister_api::{ApprovalRule, Identity, Principal, RuleApprovals, SubjectKind};
use std::collections::BTreeMap;

impl<'a> Case<'a> {
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
        let why = can_be_met(&left.collect::<Vec<_>>()).err()?;
        let is_raised = self.required().iter().zip(&self.policy.approval_rules).any(|(now, rule)| *now > rule.required);
        let why = if is_raised {
            format!("{why} (what a ServiceAccount asks for needs {FOR_SERVICE_ACCOUNTS} people)")
        } else {
            why
        };
        let requester = &self.requester.username;
        let asks = |one: &Principal| one.kind == SubjectKind::User && one.name == *requester;
        let is_named = self.policy.approval_rules.iter().any(|rule| rule.approvers.iter().any(asks));
        Some(if is_named { format!("a requester cannot approve; without {requester}, {why}") } else { why })
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
            let why = if one.required > rule.required { ", because the requester is a ServiceAccount" } else { "" };
            (left > 0).then(|| format!("{left} more of {} ({}){why}", one.rule, principals(&rule.approvers)))
        });
        let missing: Vec<String> = missing.collect();
        missing.join(", and ")
    }
}

fn names(principals: &[Principal], identity: &Identity) -> bool {
    // A ServiceAccount that is named as an approver does not count either.
    principals.iter().any(|principal| principal.kind != SubjectKind::ServiceAccount && is(principal, identity))
}

#[cfg(test)]
mod tests;
