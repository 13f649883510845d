//! The alarm when a tenant may act as somebody else.

use super::Reconciler;
use crate::report::{Notification, binding_kind, binding_reference};
use cloister_core::cluster::impersonation::Tenants;
use cloister_index::key::ObjectName;
use std::collections::BTreeMap;

impl Reconciler {
    /// Looks at all bindings, and raises an alarm for each that is new.
    pub(super) fn impersonation(&self) {
        let found: BTreeMap<ObjectName, String> = {
            let index = self.sources.store.index();
            let mut tenants = Tenants::default();
            for (name, research) in &index.research {
                if let Ok(research) = &research.object {
                    tenants.add_namespace(name, &research.spec);
                }
            }
            for policy in index.policies.values().filter_map(|policy| policy.object.as_ref().ok()) {
                tenants.add_policy(&policy.spec);
            }
            let suspects = index.bindings.iter().filter_map(|(at, binding)| {
                let who = binding.impersonators(index.lets_impersonate(at, binding), &tenants);
                let who: Vec<String> = who.iter().map(|subject| subject.to_string()).collect();
                (!who.is_empty()).then(|| (at.clone(), who.join(", ")))
            });
            suspects.collect()
        };
        for (at, who) in self.impersonators.replace(found) {
            let message = format!(
                "{who} can impersonate somebody else through {} {}; a review that is written in this way looks like a real \
                 one. Remove the verb impersonate from the role, or the tenant from the binding",
                binding_kind(&at),
                at.name
            );
            self.alerts.raise(binding_reference(&at), Notification::warning("Impersonation", message));
        }
    }
}
