//! Whether there are people enough to meet the rules of a policy.

use super::assignment::{Person, assign};
use cloister_api::{AccessPolicySpec, ApprovalRule, Principal, SubjectKind};
use std::collections::BTreeSet;

/// Whether a policy's rules can be met at all, as far as is known: `None` where that depends on who is in a group.
///
/// # Errors
///
/// The rule that cannot be met, and why.
pub fn satisfiable(policy: &AccessPolicySpec) -> Result<Option<()>, String> {
    let without = |requester: &Principal| {
        let rules = policy.approval_rules.iter().map(|rule| ApprovalRule {
            approvers: rule.approvers.iter().filter(|approver| *approver != requester).cloned().collect(),
            ..rule.clone()
        });
        can_be_met(&rules.collect::<Vec<_>>()).err()
    };
    let found = can_be_met(&policy.approval_rules)?;
    let users = policy.requesters.iter().all(|requester| requester.kind == SubjectKind::User);
    let faults: Option<Vec<String>> = policy.requesters.iter().filter(|_| users).map(without).collect();
    match faults.and_then(|faults| faults.into_iter().next()) {
        Some(why) => Err(format!("whoever of its requesters asks does not decide, and without them {why}")),
        None => Ok(found),
    }
}

/// Whether rules can be met by those whom they name: `None` where that depends on who is in a group.
///
/// # Errors
///
/// The rule that cannot be met, and why.
pub fn can_be_met(rules: &[ApprovalRule]) -> Result<Option<()>, String> {
    let groups = |rule: &ApprovalRule| rule.approvers.iter().any(|principal| principal.kind == SubjectKind::Group);
    let users: BTreeSet<&str> = rules.iter().flat_map(users).collect();
    let people: Vec<Person<'_>> = users
        .into_iter()
        .map(|user| {
            let named = |rule: &&ApprovalRule| users_name(rule, user);
            let rules = rules.iter().enumerate().filter(|(_, rule)| named(rule)).map(|(at, _)| (at, user)).collect();
            Person { rules }
        })
        .collect();
    // Rules that name groups may be met by anybody; those that do not have only the users whom they name.
    let closed: Vec<u32> = rules.iter().map(|rule| if groups(rule) { 0 } else { rule.required }).collect();
    let assigned = assign(&people, &closed);
    for (at, (rule, required)) in rules.iter().zip(&closed).enumerate() {
        let filled = assigned.iter().filter(|rule| **rule == Some(at)).count() as u64;
        if filled < u64::from(*required) {
            return Err(format!(
                "rule {} asks for {}, and only {filled} that no other rule needs are named; name more, or a group",
                rule.name, rule.required
            ));
        }
    }
    Ok(if rules.iter().any(groups) { None } else { Some(()) })
}

fn users(rule: &ApprovalRule) -> impl Iterator<Item = &str> {
    let users = rule.approvers.iter().filter(|principal| principal.kind == SubjectKind::User);
    users.map(|principal| principal.name.as_str())
}

fn users_name(rule: &ApprovalRule, user: &str) -> bool {
    users(rule).any(|named| named == user)
}
