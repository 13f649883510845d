//! Clusters to compare.

use super::{namespaces::World, spoil::sorted};
use cloister_core::child::Child;

impl World {
    /// The same cluster in which everything is declared as in another.
    pub fn with_declarations_of(self, other: &World) -> Self {
        let mut declared = other.declared.clone();
        if let (Some(declared), Some(before)) = (&mut declared, self.declared) {
            declared.metadata.finalizers = before.metadata.finalizers;
            declared.status = before.status;
        }
        World { declared, namespace: self.namespace, objects: self.objects, ..other.clone() }
    }

    /// Everything that stands, whatever the order of lists, and of the positions in names.
    pub fn unordered(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .objects
            .0
            .values()
            .map(|child| match child {
                Child::NetworkPolicy(object) => named(child, &object.spec),
                Child::ResourceQuota(object) => named(child, &object.spec),
                Child::LimitRange(object) => named(child, &object.spec),
                Child::ServiceAccount(object) => named(child, &object.metadata.annotations),
                Child::RoleBinding(object) => named(child, &(&object.role_ref, &object.subjects)),
                Child::GrantMount(object) => named(child, &object.spec),
            })
            .collect();
        all.sort();
        all
    }

    /// Everything that the operator answers for, without the times in the status.
    pub fn outcome(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let status = self.declared.as_ref().and_then(|object| object.status.clone()).map(|status| {
            let conditions: Vec<_> =
                status.conditions.into_iter().map(|c| (c.type_, c.status, c.reason, c.message)).collect();
            (status.egress_summary, status.egress, conditions)
        });
        let finalizers = self.declared.as_ref().map(|object| object.metadata.finalizers.clone());
        (self.namespace.clone().map(|namespace| namespace.labels), self.objects.observe(), finalizers, status)
    }
}

fn named(child: &Child, content: &impl serde::Serialize) -> String {
    let name = child.metadata().name.as_deref().unwrap_or_default();
    let name = if name.starts_with("cloister-access.") { "cloister-access" } else { name };
    format!("{} {name} {}", child.kind().as_str(), sorted(content))
}
