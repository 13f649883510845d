//! How many grants for one target somebody may hold, and have waiting.

use crate::{
    egress::overlap,
    grant::{
        Grant, Input, Other,
        kinds::ineligible::Ineligible,
        may_hold,
        model::{any_grant::place, target::Target},
    },
    model::text::{counted, first_of},
};
use cloister_api::{GrantPhase, Identity};

/// The grants of a requester for the same target.
pub struct Others {
    /// Those that are approved, and not yet confirmed to be over.
    held: Vec<String>,
    /// Those that were asked for earlier, and wait.
    waiting: Vec<String>,
}

impl Others {
    /// Those that had their place before a grant that is said to be approved.
    pub fn before(grant: &Grant, requester: &Identity, input: &Input<'_>) -> Self {
        let all = (input.catalogue.others)(requester);
        let held = all.iter().filter(|other| {
            other.grant.status().is_some_and(may_hold)
                && place(other.grant) < place(grant)
                && same_target(grant, other.grant)
        });
        Others { held: held.map(name_of).collect(), waiting: Vec::new() }
    }

    /// Those that count against this request.
    pub fn of(grant: &Grant, requester: &Identity, input: &Input<'_>) -> Self {
        let all = (input.catalogue.others)(requester);
        let same: Vec<&Other<'_>> = all.iter().filter(|other| same_target(grant, other.grant)).collect();
        let those = |counts: &dyn Fn(&Other<'_>) -> bool| {
            same.iter().filter(|other| counts(other)).map(|other| name_of(other)).collect()
        };
        Others {
            held: those(&|other| other.grant.status().is_some_and(may_hold)),
            waiting: those(&|other| other.is_earlier && other.grant.phase() == GrantPhase::Pending),
        }
    }

    /// Whether one more may wait.
    ///
    /// # Errors
    ///
    /// The policy allows no more.
    pub fn may_wait(&self, requester: &Identity, target: &Target<'_>) -> Result<(), Ineligible> {
        let limit = target.policy.spec.limits.pending;
        within(&self.waiting, limit, ["pending request for this", "pending requests for this"], requester, target)
    }

    /// Whether the requester may hold one more grant. An automatic approval also reserves a place for each pending request.
    ///
    /// # Errors
    ///
    /// The policy allows no more.
    pub fn may_hold(&self, auto_approval: bool, requester: &Identity, target: &Target<'_>) -> Result<(), Ineligible> {
        let limit = target.policy.spec.limits.active;
        let waiting: &[String] = if auto_approval { &self.waiting } else { &[] };
        within(&[&self.held, waiting].concat(), limit, ["grant for this", "grants for this"], requester, target)
    }
}

/// How many of them are named.
const NAMED: usize = 4;

fn within(
    those: &[String],
    limit: u32,
    [one, many]: [&str; 2],
    requester: &Identity,
    target: &Target<'_>,
) -> Result<(), Ineligible> {
    let count = those.len();
    if u32::try_from(count).unwrap_or(u32::MAX) < limit {
        return Ok(());
    }
    let policy = target.policy.metadata.name.as_deref().unwrap_or_default();
    let mut names: Vec<&str> = those.iter().map(String::as_str).collect();
    names.sort_unstable();
    let named = if names.is_empty() { String::new() } else { format!(" ({})", first_of(names, NAMED, ", ")) };
    Err(Ineligible::TooMany(format!(
        "{} already has {}{named}, and AccessPolicy {policy} allows {limit} to one person (spec.limits); delete one that is not \
         needed, or ask again after one has ended",
        requester.username,
        counted(count, one, many)
    )))
}

/// Another grant, with the namespace that it is in: a person may have asked in several.
fn name_of(other: &Other<'_>) -> String {
    let namespace = other.grant.metadata().namespace.as_deref().unwrap_or_default();
    format!("{} {namespace}/{}", other.grant.kind().as_str(), other.grant.name())
}

/// Whether two grants are for the same: the same role of a storage, the same role in the same namespace, or in the same
/// namespace egress that overlaps.
fn same_target(one: &Grant, other: &Grant) -> bool {
    let same_namespace = || one.metadata().namespace == other.metadata().namespace;
    match (one, other) {
        (Grant::Storage(one), Grant::Storage(other)) => {
            one.spec.storage == other.spec.storage && one.spec.role == other.spec.role
        }
        (Grant::Role(one), Grant::Role(other)) => one.spec.role == other.spec.role && same_namespace(),
        (Grant::Egress(one), Grant::Egress(other)) => same_namespace() && overlap(&one.spec.rule, &other.spec.rule),
        _ => false,
    }
}
