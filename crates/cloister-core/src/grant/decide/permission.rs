//! Who may ask under a policy, and who may use break-glass.

use crate::{
    grant::{
        kinds::ineligible::Ineligible,
        model::{
            people::{is, is_service_account},
            words::{principals, seen},
        },
    },
    model::writers::POLICY_WRITERS,
};
use cloister_api::{AccessPolicy, BreakGlass, Identity};

/// Whether a policy names somebody among those who may ask.
pub fn may_ask(who: &Identity, policy: &AccessPolicy) -> bool {
    policy.spec.requesters.iter().any(|principal| is(principal, who))
}

/// Why somebody may not use break-glass under a policy, and what they can do: nobody is sent to what would be refused too.
pub fn no_break_glass(who: &Identity, policy: &AccessPolicy) -> Ineligible {
    let (name, user) = (policy.metadata.name.as_deref().unwrap_or_default(), &who.username);
    let (refused, by_groups) = match &policy.spec.break_glass {
        None => (format!("AccessPolicy {name} does not allow break-glass"), false),
        Some(_) if is_service_account(who) => {
            (format!("{user} is a ServiceAccount, and only people may use break-glass"), false)
        }
        Some(glass) => {
            let wanted = principals(&glass.requesters);
            (format!("{user} may not use break-glass under AccessPolicy {name}, which allows it for {wanted}"), true)
        }
    };
    Ineligible::BreakGlassNotAllowed(if may_ask(who, policy) {
        // Where nobody may, or no account of its kind, no group helps.
        let seen = if by_groups { format!(": {}", seen(who)) } else { String::new() };
        format!("{refused}{seen}. Ask without spec.breakGlass")
    } else {
        let wanted = principals(&policy.spec.requesters);
        format!(
            "{refused}, and {user} is not among the requesters of AccessPolicy {name} ({wanted}): {}. Ask {POLICY_WRITERS} to add you",
            seen(who)
        )
    })
}

/// The terms under which somebody may use break-glass.
pub fn permitted<'a>(policy: &'a AccessPolicy, requester: &Identity) -> Result<&'a BreakGlass, Ineligible> {
    let named = |glass: &&BreakGlass| glass.requesters.iter().any(|principal| is(principal, requester));
    let glass = policy.spec.break_glass.as_ref().filter(named).filter(|_| !is_service_account(requester));
    glass.ok_or_else(|| no_break_glass(requester, policy))
}
