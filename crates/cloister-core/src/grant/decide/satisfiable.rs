//! Whether there are people enough to meet the rules of a policy.

use super::{
    assignment::{Person, assign},
    eligibility::pattern_error,
};
use crate::{auto_approve, model::text::counted};
use cloister_api::{AccessPolicySpec, ApprovalRule, Principal, Subject, SubjectKind};
use std::collections::BTreeSet;

/// Reason of a policy that lets nobody ask.
pub const NOBODY_MAY_ASK: &str = "NobodyMayAsk";

/// Reason of a policy under which nobody and nothing approves.
pub const NEVER_APPROVES: &str = "NeverApproves";

/// Whether a policy's rules can be met at all, as far as is known: `None` where that depends on who is in a group.
///
/// # Errors
///
/// The rule that cannot be met, and why.
pub fn satisfiable(policy: &AccessPolicySpec) -> Result<Option<()>, String> {
    let rules = &policy.approval_rules;
    let found = can_be_met(rules)?;
    let is_met = |requester: Option<&Principal>, gets: Option<&Subject>| can_be_met(&left(rules, requester, gets));
    // Whoever can be met once keeps the policy of use.
    let fault = |gets: &[Option<&Subject>]| {
        let mut first = None;
        for requester in or_nobody(&policy.requesters) {
            for gets in gets {
                match is_met(requester, *gets) {
                    Ok(_) => return None,
                    Err(why) => first = first.or(Some(why)),
                }
            }
        }
        first
    };
    if let Some(why) = fault(&[None]) {
        let by_account = policy.requesters.first().is_some_and(|one| one.kind == SubjectKind::ServiceAccount);
        return Err(if by_account {
            format!("a request of a ServiceAccount needs the approvals of {FOR_SERVICE_ACCOUNTS} people, and {why}")
        } else {
            format!("a requester cannot approve; without the requester, {why}")
        });
    }
    if let Some(why) = fault(&or_nobody(&policy.beneficiaries)) {
        return Err(format!("a beneficiary cannot approve; without the beneficiary, {why}"));
    }
    Ok(found)
}

/// Why nothing is ever given under a policy that is valid, and the reason of it.
pub fn useless(policy: &AccessPolicySpec) -> Option<(&'static str, String)> {
    let but = if policy.break_glass.is_some() { ", except with break-glass" } else { "" };
    if policy.requesters.is_empty() {
        return Some((NOBODY_MAY_ASK, format!("requesters is empty, so nobody may ask{but}")));
    }
    if policy.ticket.required && policy.ticket.pattern.as_deref().and_then(pattern_error).is_some() {
        let why = "a ticket is required, but ticket.pattern cannot be read, so no ticket is accepted".to_owned();
        return Some(("PatternInvalid", why));
    }
    let people_ask = policy.requesters.iter().any(|one| one.kind != SubjectKind::ServiceAccount);
    let is_evaluated = || auto_approve::check(&policy.auto_approve).len() < policy.auto_approve.len();
    if people_ask && is_evaluated() {
        return None;
    }
    if policy.approval_rules.is_empty() {
        let why = if policy.auto_approve.is_empty() {
            "there are neither approvalRules nor autoApprove"
        } else if people_ask {
            "no expression of autoApprove can be evaluated, and there are no approvalRules"
        } else {
            "only ServiceAccounts may ask, autoApprove never approves their requests, and there are no approvalRules"
        };
        return Some((NEVER_APPROVES, format!("{why}, so it never approves{but}")));
    }
    let why = satisfiable(policy).err()?;
    Some(("TooFewPeople", format!("its approvalRules can never be met{but}: {why}")))
}

/// All of these, or nobody in particular.
fn or_nobody<T>(all: &[T]) -> Vec<Option<&T>> {
    if all.is_empty() { vec![None] } else { all.iter().map(Some).collect() }
}

/// What rules ask for, and of whom, where these ask and get it.
fn left(rules: &[ApprovalRule], requester: Option<&Principal>, gets: Option<&Subject>) -> Vec<ApprovalRule> {
    let by_account = requester.is_some_and(|requester| requester.kind == SubjectKind::ServiceAccount);
    let asks = |approver: &Principal| approver.kind == SubjectKind::User && requester == Some(approver);
    let is_got = |approver: &Principal| gets.is_some_and(|one| one.kind == approver.kind && one.name == approver.name);
    let of_rule = |rule: &ApprovalRule| ApprovalRule {
        required: if by_account && rules.len() == 1 { rule.required.max(FOR_SERVICE_ACCOUNTS) } else { rule.required },
        approvers: rule.approvers.iter().filter(|approver| !asks(approver) && !is_got(approver)).cloned().collect(),
        ..rule.clone()
    };
    rules.iter().map(of_rule).collect()
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
    match too_few(rules, &closed, &people, &assigned) {
        Some(why) => Err(why),
        None => Ok(if rules.iter().any(groups) { None } else { Some(()) }),
    }
}

/// The rules that share too few people, where some rule has too few: those that lack somebody, and those that need whom
/// these name. Nobody whom they name is needed elsewhere, or an approval of theirs would have been found for one of them.
fn too_few(
    rules: &[ApprovalRule],
    required: &[u32],
    people: &[Person<'_>],
    assigned: &[Option<usize>],
) -> Option<String> {
    let filled = |at: usize| assigned.iter().filter(|rule| **rule == Some(at)).count() as u64;
    let lacking = required.iter().enumerate().filter(|(at, required)| filled(*at) < u64::from(**required));
    let mut short: BTreeSet<usize> = lacking.map(|(at, _)| at).collect();
    if short.is_empty() {
        return None;
    }
    let is_named = |person: &Person<'_>, short: &BTreeSet<usize>| short.iter().any(|at| person.rules.contains_key(at));
    loop {
        let named = people.iter().zip(assigned).filter(|(person, _)| is_named(person, &short));
        let needed: BTreeSet<usize> = named.filter_map(|(_, rule)| *rule).collect();
        if needed.is_subset(&short) {
            break;
        }
        short.extend(needed);
    }
    let names: Vec<&str> = short.iter().map(|at| rules[*at].name.as_str()).collect();
    let required = short.iter().map(|at| required[*at] as usize).sum();
    let required = counted(required, "approval", "approvals");
    let who = match names[..] {
        [one] => format!("rule {one} requires {required}"),
        _ => format!("rules {} together require {required} by different people", names.join(" and ")),
    };
    let has = if short.len() == 1 { "has" } else { "have" };
    let people = people.iter().filter(|person| is_named(person, &short)).count();
    Some(format!(
        "{who}, and {has} {}; name more people or another group, who are neither requester nor beneficiary",
        counted(people, "approver", "approvers")
    ))
}

fn users(rule: &ApprovalRule) -> impl Iterator<Item = &str> {
    let users = rule.approvers.iter().filter(|principal| principal.kind == SubjectKind::User);
    users.map(|principal| principal.name.as_str())
}

fn users_name(rule: &ApprovalRule, user: &str) -> bool {
    users(rule).any(|named| named == user)
}

/// The least number of people who agree to what a ServiceAccount asks for: nobody stands behind it.
pub const FOR_SERVICE_ACCOUNTS: u32 = 2;
