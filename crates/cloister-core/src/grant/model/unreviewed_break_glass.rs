//! The review that somebody owes, and who can make it.

use cloister_api::GrantStatus;
use std::fmt;

/// A grant by which somebody used break-glass, and which nobody has reviewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreviewedBreakGlass {
    /// The grant, as `RoleGrant interp/night-shift`.
    grant: String,
    /// Who can review it.
    by: String,
}

impl UnreviewedBreakGlass {
    /// That of a grant with this status.
    pub fn of(grant: String, status: Option<&GrantStatus>) -> Self {
        let policy = status.and_then(|status| status.policy.as_ref());
        let policy = policy.map(|policy| format!(" of AccessPolicy {}", policy.name)).unwrap_or_default();
        let skipped = status.and_then(|status| status.break_glass.as_ref()).map(|glass| glass.skipped.as_slice());
        // One of them is enough, whatever a rule asks for.
        let rules: Vec<&str> = skipped
            .into_iter()
            .flatten()
            .map(|rule| rule.split_once(" of ").map_or(&**rule, |(_, rule)| rule))
            .collect();
        let rules = if rules.is_empty() { String::new() } else { format!(", one of {}", rules.join(" or ")) };
        UnreviewedBreakGlass { grant, by: format!("an approver{policy}{rules}") }
    }

    /// Who can review it.
    pub fn by(&self) -> &str {
        &self.by
    }
}

impl fmt::Display for UnreviewedBreakGlass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.grant)
    }
}
