//! What the source of a right says of who may decide about it: the Secret of a credential, or a ClusterRole. It is written
//! where the source is kept, so that who publishes the catalogue cannot make it weaker.

use crate::model::{
    suggest::{closest, did_you_mean},
    text::{first_of, shown},
    writers::CATALOGUE_WRITERS,
};
use cloister_api::{Sensitivity, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What the keys of Cloister begin with, before the slash.
const DOMAIN: &str = "cloister.dev";

/// By how many letters a domain that is meant to be [`DOMAIN`] may differ from it.
const SLIPS: usize = 2;

/// How many mistaken keys are named.
const NAMED: usize = 4;

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
    /// The annotations and labels by which it says what nobody reads, each with what may have been meant.
    pub unknown: Box<[Box<str>]>,
}

impl Guard {
    /// What the annotations of a source say, of which these are read.
    pub fn of(source: &ObjectMeta, read: &[&str]) -> Self {
        let annotation = |key| source.annotations.as_ref()?.get(key).map(String::as_str);
        let said = annotation(labels::MINIMUM_SENSITIVITY).map(str::trim);
        let sensitivity = said.and_then(Sensitivity::named);
        let misread = said.filter(|_| sensitivity.is_none()).map(Into::into);
        let policies = annotation(labels::ACCESS_POLICIES).map(listed);
        Guard { policies, sensitivity, misread, unknown: unknown(source, read) }
    }

    /// Why a policy may not decide about this source, if it may not. `source` names it, to begin a sentence with.
    pub fn refuses(&self, source: &str, policy: &str) -> Option<String> {
        let policies = self.policies.as_ref().filter(|policies| policies.iter().all(|one| **one != *policy))?;
        let named = if policies.is_empty() { "none".to_owned() } else { policies.join(", ") };
        Some(format!(
            "{source} names the AccessPolicies that may decide about it ({named}), and {policy} is not among them; ask \
             {CATALOGUE_WRITERS} to name one that is, or ask the owner of {source} to change annotation {}",
            labels::ACCESS_POLICIES
        ))
    }

    /// What is wrong with what it says, if anything is.
    pub fn unreadable(&self, source: &str) -> Option<String> {
        if !self.unknown.is_empty() {
            let keys = first_of(&self.unknown, NAMED, ", ");
            return Some(format!(
                "{source} has the unknown {keys}. It is given to nobody anew while this is so; ask its owner to correct it"
            ));
        }
        let misread = self.misread.as_ref()?;
        Some(format!(
            "{source} has the invalid minimum sensitivity {misread:?}; it must be Low, Moderate, High or Critical; its owner \
             must correct annotation {}",
            labels::MINIMUM_SENSITIVITY
        ))
    }
}

/// The annotations and labels of a source that are Cloister's by their key, or are meant to be, and that are not read.
fn unknown(source: &ObjectMeta, read: &[&str]) -> Box<[Box<str>]> {
    let annotations = source.annotations.iter().flat_map(|all| all.keys());
    let annotations = annotations.filter(|key| is_of_cloister(key) && !read.contains(&key.as_str())).map(|key| {
        let meant = did_you_mean(closest(key, read.iter().copied()));
        format!("annotation {}{meant}", shown(key)).into()
    });
    let labels = source.labels.iter().flat_map(|all| all.keys());
    let labels = labels.filter(|key| is_of_cloister(key) && !key.starts_with(labels::AGGREGATE_TO)).map(|key| {
        let same = read.iter().copied().find(|known| known == key);
        let meant = same.or_else(|| closest(key, read.iter().copied()));
        let meant = meant.map(|known| format!(" (did you mean annotation {known}?)")).unwrap_or_default();
        format!("label {}{meant}", shown(key)).into()
    });
    annotations.chain(labels).collect()
}

/// Whether a key is one of Cloister's, or a slip of one.
fn is_of_cloister(key: &str) -> bool {
    key.split_once('/').is_some_and(|(domain, _)| strsim::osa_distance(domain, DOMAIN) <= SLIPS)
}

/// Names that are separated by commas.
pub(crate) fn listed(names: &str) -> Vec<Box<str>> {
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(Into::into).collect()
}
