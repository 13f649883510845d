//! Clusters to compare.

use super::{
    namespaces::{NAME, World},
    spoil::sorted,
};
use cloister_api::{Attach, EgressAllowlist};
use cloister_core::model::child::Child;

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

    /// Why each policy but the three of every namespace may be open: an allowlist in force that allows this namespace,
    /// the agreement of a peer, or the access networks.
    pub fn is_agreed(&self, policy: &str) -> bool {
        let declared = self.declared.as_ref().unwrap();
        let spec = &declared.spec;
        let interp = declared.metadata.labels.as_ref().unwrap()["team"] == "interp";
        // The selectors that are drawn, judged by what they say.
        let allows = |allowlist: &EgressAllowlist| match &allowlist.spec.namespace_selector {
            None => false,
            Some(selector) if selector.match_expressions.is_some() => !interp,
            Some(selector) => interp || selector.match_labels.is_none(),
        };
        let in_force = |allowlist: &EgressAllowlist| allowlist.spec.expires_at.as_ref().is_none_or(|e| e.0 > self.now);
        let mut usable = self.allowlists.iter().filter_map(|(name, allowlist)| Some((name, allowlist.as_ref()?)));
        let has = |list: &[String], name: &str| list.iter().any(|listed| listed == name);
        let parts: Vec<&str> = policy.split('.').collect();
        self.settings.usable
            && match parts[..] {
                ["cloister-allow", list, rule] => usable.any(|(name, allowlist)| {
                    let asked = has(&spec.egress.allowlists, name) || allowlist.spec.attach == Attach::Always;
                    let has_rule = allowlist.spec.rules.iter().any(|named| named.name == rule);
                    name == list && asked && has_rule && allows(allowlist) && in_force(allowlist)
                }),
                ["cloister-rule", rule, _] => {
                    let own = spec.egress.rules.iter().any(|named| named.name == rule);
                    own && usable.any(|(_, allowlist)| allows(allowlist) && in_force(allowlist))
                }
                ["cloister-to", peer] => {
                    let agreed = self.peers.get(peer).is_some_and(|p| has(&p.ingress.from_research_namespaces, NAME));
                    agreed && has(&spec.egress.to_research_namespaces, peer)
                }
                ["cloister-from", peer] => {
                    let agreed = self.peers.get(peer).is_some_and(|p| has(&p.egress.to_research_namespaces, NAME));
                    agreed && has(&spec.ingress.from_research_namespaces, peer)
                }
                ["cloister-access", position] => {
                    let rules = &spec.ingress.from_access_networks;
                    !self.settings.spec.access_networks.is_empty()
                        && position.parse().is_ok_and(|at: usize| at < rules.len())
                }
                _ => false,
            }
    }

    /// Everything that stands, whatever the order of lists, and of the positions in names.
    pub fn unordered(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .objects
            .0
            .values()
            .map(|child| match child {
                Child::NetworkPolicy(object) => named(child, &object.spec),
                Child::CiliumNetworkPolicy(object) => named(child, &object.spec),
                Child::ClusterNetworkPolicy(object) => named(child, &object.spec),
                Child::ResourceQuota(object) => named(child, &object.spec),
                Child::LimitRange(object) => named(child, &object.spec),
                Child::ServiceAccount(object) => named(child, &object.metadata.annotations),
                Child::RoleBinding(object) => named(child, &(&object.role_ref, &object.subjects)),
                Child::Role(object) => named(child, &object.rules),
                Child::ClusterRole(object) => named(child, &object.rules),
                Child::ClusterRoleBinding(object) => named(child, &(&object.role_ref, &object.subjects)),
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
