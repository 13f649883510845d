//! The labels of a Namespace that are the operator's to set.

use crate::{
    cluster::settings::{NoRuntimeClass, Settings},
    model::plan::NamespaceLabels,
};
use cloister_api::{Tier, labels};

/// The labels of a Namespace of this tier that is not yet enforced, and whether the RuntimeClass that it needs is missing.
pub(crate) fn namespace_labels<'a>(
    name: &str,
    tier: Tier,
    settings: &'a Settings,
) -> (NamespaceLabels, Result<(), NoRuntimeClass<'a>>) {
    let mut all = NamespaceLabels::from([
        (labels::MANAGED_BY, labels::MANAGER.to_owned()),
        (labels::RESEARCH_NAMESPACE, name.to_owned()),
    ]);
    let tier_name = match tier {
        Tier::Standard => "Standard",
        Tier::Sandboxed => "Sandboxed",
    };
    all.insert(labels::TIER, tier_name.to_owned());
    for mode in POD_SECURITY {
        all.insert(mode, "restricted".to_owned());
    }
    if settings.spec.lists() {
        all.insert(labels::WORKLOADS, "listed".to_owned());
    }
    // Admission holds pods to it, whether it is there or not.
    if let Ok(Some(class)) = settings.spec.runtime_class(tier) {
        all.insert(labels::RUNTIME_CLASS, class.to_owned());
    }
    (all, settings.runtime_class(tier).map(|_| ()))
}

const POD_SECURITY: [&str; 3] =
    ["pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/audit", "pod-security.kubernetes.io/warn"];

/// The labels of a Namespace that are the operator's to set.
pub fn is_owned_label(key: &str) -> bool {
    key == labels::MANAGED_BY || key.starts_with("cloister.dev/") || POD_SECURITY.contains(&key)
}

pub fn with(mut all: NamespaceLabels, key: &'static str, value: &str) -> NamespaceLabels {
    all.insert(key, value.to_owned());
    all
}
