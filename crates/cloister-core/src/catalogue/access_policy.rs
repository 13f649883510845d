//! Whether an AccessPolicy can decide, and what is said of it.

use crate::{
    auto_approve,
    grant::{NEVER_APPROVES, NOBODY_MAY_ASK, decide::eligibility, matches_nobody, satisfiable, useless},
    model::{
        condition::{ConditionUpdate, conditions, ready, stalled},
        durations::signed,
        text::first_of,
        writers::POLICY_WRITERS,
    },
};
use cloister_api::{
    AccessPolicy, AccessPolicySpec, AccessPolicyStatus, Principal,
    condition::{SATISFIABLE, reason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How many mistakes a message names.
pub const NAMED: usize = 8;

/// That an object is broken: all that somebody must correct, at once, under the reason of the first; nothing where there is
/// nothing.
pub fn broken(faults: &[(&'static str, String)]) -> Option<Vec<ConditionUpdate>> {
    let (reason, _) = faults.first()?;
    Some(stalled(*reason, first_of(faults.iter().map(|(_, message)| message), NAMED, "; ")))
}

/// The status of a policy.
pub fn policy(policy: &AccessPolicy, now: Timestamp) -> Option<AccessPolicyStatus> {
    let before = policy.status.as_ref();
    let spec = &policy.spec;
    let expressions = auto_approve::check(&spec.auto_approve);
    let expressions = expressions
        .into_iter()
        .map(|fault| ("ExpressionInvalid", format!("{fault}; it counts as false until it is corrected")));
    let pattern = spec.ticket.pattern.as_deref().and_then(eligibility::pattern_error);
    let pattern = pattern.map(|error| {
        (
            "PatternInvalid",
            format!("ticket.pattern: {}; no ticket is accepted until it is corrected", in_one_line(&error)),
        )
    });
    let nobody = principals(spec).filter_map(|(at, principal)| {
        let why = matches_nobody(principal)?;
        Some(("PrincipalInvalid", format!("{at}: {why}; {POLICY_WRITERS} can do that")))
    });
    let faults: Vec<(&'static str, String)> = expressions.chain(pattern).chain(nobody).collect();
    let mut updates = broken(&faults).unwrap_or_else(|| {
        useless(spec).map_or_else(
            || ready(reason::RECONCILED, format!("the policy can be used{}", longer(spec))),
            |(reason, why)| ready(reason, format!("{why}{}", step(reason))),
        )
    });
    updates.extend(quorum(spec));
    let generation = policy.metadata.generation;
    let status = AccessPolicyStatus {
        observed_generation: generation,
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), updates, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

/// Everybody whom a policy names as a principal, and where. The schema refuses those that match nobody, but one that was
/// stored before it did keeps them.
fn principals(spec: &AccessPolicySpec) -> impl Iterator<Item = (String, &Principal)> {
    let rules =
        spec.approval_rules.iter().map(|rule| (format!("approvalRules[{}].approvers", rule.name), &rule.approvers));
    let glass = spec.break_glass.iter().map(|glass| ("breakGlass.requesters".to_owned(), &glass.requesters));
    let fields = std::iter::once(("requesters".to_owned(), &spec.requesters)).chain(rules).chain(glass);
    fields.flat_map(|(field, all)| all.iter().enumerate().map(move |(at, one)| (format!("{field}[{at}]"), one)))
}

/// That break-glass gives more time than approvals do, which few people mean.
fn longer(spec: &AccessPolicySpec) -> String {
    let (usual, glass) = (signed(spec.max_duration), spec.break_glass.as_ref().map(|glass| signed(glass.max_duration)));
    glass.filter(|glass| *glass > usual).map_or_else(String::new, |glass| {
        format!(
            "; breakGlass.maxDuration ({glass:#}) is longer than maxDuration ({usual:#}): without approvals, a grant may last \
             longer than with them"
        )
    })
}

/// What to do about a policy of no use, and who can, where that does not follow from why it is.
fn step(reason: &str) -> String {
    let what = match reason {
        NEVER_APPROVES => "name approvers in approvalRules, or correct autoApprove",
        NOBODY_MAY_ASK => "name those who may in requesters",
        _ => return String::new(),
    };
    format!("; {what}; {POLICY_WRITERS} can do that")
}

/// What is wrong with an expression, where it is said by a mark in a line of its own: by the number of the character.
fn in_one_line(error: &str) -> String {
    let lines: Vec<&str> = error.lines().collect();
    let [begin, _, mark, what] = lines[..] else { return error.split_whitespace().collect::<Vec<_>>().join(" ") };
    match (begin.strip_suffix(" parse error:"), mark.find('^'), what.strip_prefix("error: ")) {
        // Both lines are indented by four.
        (Some(_), Some(at), Some(what)) => format!("{what}, at character {}", at.saturating_sub(4) + 1),
        _ => error.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// Whether the people who must agree are there at all, as far as is known.
fn quorum(spec: &AccessPolicySpec) -> Option<ConditionUpdate> {
    if spec.approval_rules.is_empty() {
        let (_, why) = useless(spec).filter(|(reason, _)| *reason == NEVER_APPROVES)?;
        return Some(ConditionUpdate::new(
            SATISFIABLE,
            false,
            NEVER_APPROVES,
            format!("{why}{}", step(NEVER_APPROVES)),
        ));
    }
    Some(match satisfiable(spec) {
        Ok(Some(())) => {
            ConditionUpdate::new(SATISFIABLE, true, "EnoughPeople", "enough people are named for all rules")
        }
        Ok(None) => ConditionUpdate {
            type_: SATISFIABLE,
            status: None,
            reason: "GroupsUnknown".into(),
            message: "it depends on who is in the groups, which the cluster does not know".into(),
        },
        Err(why) => ConditionUpdate::new(SATISFIABLE, false, "TooFewPeople", why),
    })
}

/// The conditions of an object that this version of the operator cannot read.
pub fn undecodable(error: &str) -> Vec<ConditionUpdate> {
    let message = format!(
        "this version of the operator cannot read it ({error}); it opens nothing until the field is removed or the operator is \
         updated"
    );
    stalled(reason::UNDECODABLE, message)
}

pub(crate) fn conditions_of(before: Option<&Vec<Condition>>) -> &[Condition] {
    before.map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::in_one_line;
    use crate::grant::decide::eligibility::pattern_error;

    #[test]
    fn what_is_wrong_with_a_pattern_is_said_in_one_line() {
        for (pattern, told) in [
            ("^SEC-[0-9+$", "unclosed character class, at character 6"),
            ("(", "unclosed group, at character 1"),
            ("a**{", "unclosed counted repetition, at character 4"),
        ] {
            let error = pattern_error(pattern).unwrap();
            assert!(!in_one_line(&error).contains("  "), "{error}");
            assert_eq!(in_one_line(&error), told, "{error}");
        }
    }
}
