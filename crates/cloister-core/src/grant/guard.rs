//! What the source of a right says of who may decide about it: the Secret of a credential, or a ClusterRole. It is written
//! where the source is kept, so that who publishes the catalogue cannot make it weaker.

use cloister_api::{Sensitivity, labels};

/// Reason of what an AccessPolicy would decide about that its source does not name.
pub const POLICY_NOT_ALLOWED: &str = "PolicyNotAllowed";

/// What the annotations of a source say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// The AccessPolicies that may decide; `None` where it says nothing.
    policies: Option<Vec<Box<str>>>,
    /// How sensitive it is at least.
    pub sensitivity: Option<Sensitivity>,
    /// What it says of its sensitivity, where that is none.
    pub misread: Option<Box<str>>,
}

impl Guard {
    /// What annotations say.
    pub fn of<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Self {
        let said = annotation(labels::MINIMUM_SENSITIVITY).map(str::trim);
        let sensitivity = said.and_then(Sensitivity::named);
        let misread = said.filter(|_| sensitivity.is_none()).map(Into::into);
        Guard { policies: annotation(labels::ACCESS_POLICIES).map(listed), sensitivity, misread }
    }

    /// Why a policy may not decide about this source, if it may not. `source` names it, to begin a sentence with.
    pub fn refuses(&self, source: &str, policy: &str) -> Option<String> {
        let policies = self.policies.as_ref().filter(|policies| policies.iter().all(|one| **one != *policy))?;
        let named = if policies.is_empty() { "none".to_owned() } else { policies.join(", ") };
        Some(format!(
            "{source} names the AccessPolicies that may decide about it ({named}), and {policy} is not among them; name one that \
             is, or ask whoever keeps it to change annotation {}",
            labels::ACCESS_POLICIES
        ))
    }

    /// What is wrong with what it says, if anything is.
    pub fn unreadable(&self, source: &str) -> Option<String> {
        let misread = self.misread.as_ref()?;
        Some(format!(
            "{source} says a minimum sensitivity {misread:?}, which is none of Low, Moderate, High and Critical; whoever keeps it \
             must correct annotation {}",
            labels::MINIMUM_SENSITIVITY
        ))
    }
}

/// Names that are separated by commas.
pub(super) fn listed(names: &str) -> Vec<Box<str>> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect()
}
