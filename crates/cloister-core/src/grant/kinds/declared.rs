//! How the rule of an EgressGrant stands to what its namespace declares and has: said before anybody is asked.

use super::obstacle::{Effect, Missing, Obstacle};
use crate::{
    egress::{AllowRule, Allowed, is_within, open_covered_by, overlap, target::destinations},
    grant::Input,
};
use cloister_api::{EgressRule, EgressState, condition::ACTIVE};

/// Reason of a rule that goes beyond the declared rule of its name.
pub const RULE_DIFFERS: &str = "RuleDiffers";

/// Reason of a rule that is open without a grant.
pub const ALREADY_OPEN: &str = "AlreadyOpen";

/// Whether the namespace declares a rule of the same name that is another: who decides would take the one for the other.
pub fn differs(rule: &EgressRule, input: &Input<'_>) -> Option<Obstacle> {
    let declared = another(rule, input)?;
    let (name, namespace) = (&rule.name, input.namespace);
    let (of_declared, own) = destinations(declared, rule);
    let said = |what_to_do: &str| {
        format!(
            "ResearchNamespace {namespace} declares rule {name} as {of_declared}, and the grant's rule of that name is {own}, which \
             is not a part of it (destination, ports or podSelector); {what_to_do} the rule as it is declared, or with one of \
             another name",
        )
    };
    let (waiting, refused) = (said("delete the grant and ask again with"), said("ask with"));
    Some(Obstacle { reason: RULE_DIFFERS, waiting, refused, effect: Effect::Holds })
}

/// The declared rule of the same name, where it does not hold all of this one.
fn another<'a>(rule: &EgressRule, input: &Input<'a>) -> Option<&'a EgressRule> {
    let declared = input.rules.iter().find(|declared| declared.name == rule.name)?;
    let surroundings = input.surroundings();
    let of_declared = Allowed::of(&[(declared.name.as_str(), declared)], &surroundings);
    (open_covered_by(rule, &of_declared, &surroundings).state != EgressState::Active).then_some(declared)
}

/// That an open grant goes beyond what the namespace declares by now. What people agreed to stays open until it ends: the owners
/// say what the namespace needs, and whoever wants less of it revokes the grant.
pub fn goes_beyond(rule: &EgressRule, input: &Input<'_>) -> Option<Missing> {
    const REVOKE: &str = "the grant keeps its own rule open until it ends; revoke it if that is not needed (an AccessReview with the \
                          decision Revoke)";
    if let Some(undeclared) = is_undeclared(rule, input) {
        return Some(Missing { reason: ACTIVE, message: format!("{undeclared}, and {REVOKE}") });
    }
    let declared = another(rule, input)?;
    let (of_declared, own) = destinations(declared, rule);
    let message = format!(
        "ResearchNamespace {} now declares rule {} as {of_declared}, which does not cover all of {own}, and {REVOKE}",
        input.namespace, rule.name
    );
    Some(Missing { reason: RULE_DIFFERS, message })
}

/// Whether allowlists have all of it open already, so that a grant would open nothing.
pub fn is_open(opening: &AllowRule, input: &Input<'_>) -> Option<Obstacle> {
    let said = |what_to_do: &str| {
        format!(
            "all of it is open in ResearchNamespace {} without a grant, by allowlists (see its status.egress), so {what_to_do}",
            input.namespace
        )
    };
    is_within(opening, &(input.beside.agreed)()).then(|| Obstacle {
        reason: ALREADY_OPEN,
        waiting: said("nobody is asked; delete the grant, or leave it pending in case this is closed again"),
        refused: format!(
            "when this was decided, all of it was open in ResearchNamespace {} without a grant, by allowlists, so there was no \
             need to ask; the status.egress of the namespace says what is open now",
            input.namespace
        ),
        effect: Effect::Holds,
    })
}

/// That the namespace declares no rule of this name, and which of its rules leads to the same.
pub fn is_undeclared(rule: &EgressRule, input: &Input<'_>) -> Option<String> {
    if input.rules.iter().any(|declared| declared.name == rule.name) {
        return None;
    }
    let same = input.rules.iter().find(|declared| overlap(declared, rule));
    let same =
        same.map(|declared| format!(" (rule {} has some of the same destinations)", declared.name)).unwrap_or_default();
    Some(format!("ResearchNamespace {} declares no egress rule {}{same}", input.namespace, rule.name))
}
