//! The finalizers of others on an object that is being deleted.

use super::text::first_of;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// How many finalizers a message names.
const NAMED: usize = 4;

/// The finalizers that are not the operator's, for the end of a sentence; `None` if there are none.
pub fn of_others(metadata: &ObjectMeta, own: &str) -> Option<String> {
    let all = metadata.finalizers.as_deref().unwrap_or_default();
    let others = first_of(all.iter().filter(|one| *one != own), NAMED, ", ");
    (!others.is_empty()).then_some(others)
}

pub fn has_finalizer(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, finalizer: &str) -> bool {
    metadata.finalizers.iter().flatten().any(|held| held == finalizer)
}
