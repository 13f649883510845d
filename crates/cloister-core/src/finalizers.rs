//! Who else holds an object that is being deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// How many finalizers are named.
const NAMED: usize = 4;

/// The finalizers that are not the operator's, to end a sentence with; none where there are none.
pub fn of_others(metadata: &ObjectMeta, own: &str) -> Option<String> {
    let all = metadata.finalizers.as_deref().unwrap_or_default();
    let others: Vec<&str> = all.iter().map(String::as_str).filter(|one| *one != own).collect();
    let more = others.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!others.is_empty()).then(|| format!("{}{more}", others[..others.len().min(NAMED)].join(", ")))
}
