//! What CloisterConfig names and nothing else depends on: of these kinds only the names are kept.

use super::{Dirty, Index, Indexed};
use crate::{
    decode::Decoded,
    key::{Key, ObjectName},
};
use cloister_api::{GrantKind, ResearchNamespace, Tier};
use cloister_core::cluster::references::{Named, There, concerns};
use k8s_openapi::api::{
    scheduling::v1::PriorityClass,
    storage::v1::{CSIDriver, StorageClass},
};
use kube::core::PartialObjectMeta;
use std::collections::BTreeSet;

/// Keeps the names of the objects of a kind.
macro_rules! by_name {
    ($type:ty, $kind:expr) => {
        impl Indexed for PartialObjectMeta<$type> {
            const BY_VERSION: bool = false;

            fn upsert(self, index: &mut Index, dirty: &mut Dirty) {
                let ObjectName { name, .. } = ObjectName::of(&self.metadata);
                if index.named.insert(($kind, name.clone())) {
                    enqueue_dependents_of_named(index, $kind, &name, dirty);
                }
            }

            fn remove(index: &mut Index, at: &ObjectName, dirty: &mut Dirty) {
                if index.named.remove(&($kind, at.name.clone())) {
                    enqueue_dependents_of_named(index, $kind, &at.name, dirty);
                }
            }

            fn known(index: &Index) -> Vec<ObjectName> {
                let all = index.named.iter().filter(|(kind, _)| *kind == $kind);
                all.map(|(_, name)| ObjectName { namespace: "".into(), name: name.clone() }).collect()
            }
        }
    };
}

by_name!(StorageClass, Named::StorageClass);
by_name!(CSIDriver, Named::CsiDriver);
by_name!(PriorityClass, Named::PriorityClass);

/// What the settings name concerns them, and what they may have meant where the one that they name is not there.
pub fn enqueue_dependents_of_named(index: &Index, kind: Named, name: &str, dirty: &mut Dirty) {
    if kind == Named::Namespace {
        enqueue_users_of_gateways_in(index, name, dirty);
    }
    if index.config.is_some() && concerns(&index.settings.spec, kind, name, |named| index.is_there(kind, named)) {
        dirty.insert(Key::Config);
    }
}

/// A Namespace concerns those that name a gateway whose pods are in it.
fn enqueue_users_of_gateways_in(index: &Index, namespace: &str, dirty: &mut Dirty) {
    let gateways = &index.settings.spec.gateways;
    let there: BTreeSet<&str> =
        gateways.iter().filter(|one| one.namespace == namespace).map(|one| one.name.as_str()).collect();
    if !there.is_empty() {
        enqueue_users_of_gateways(index, |name| there.contains(name), dirty);
    }
}

/// Something is new about gateways: it concerns those that name one of them.
pub(super) fn enqueue_users_of_gateways(index: &Index, is_one: impl Fn(&str) -> bool, dirty: &mut Dirty) {
    let names = |research: &ResearchNamespace| {
        research.spec.ingress.from_gateways.iter().any(|rule| is_one(rule.gateway.as_str()))
    };
    let concerned = index.research.iter().filter(|(_, research)| research.object.as_ref().is_ok_and(names));
    dirty.extend(concerned.map(|(name, _)| Key::Namespace(name.clone())));
}

/// Whether a research namespace stands: it was enforced once. One that cannot be read stands, too.
pub fn stands(research: &Decoded<ResearchNamespace>) -> bool {
    match &research.object {
        Ok(object) => object.status.as_ref().is_some_and(|status| status.enforced_at.is_some()),
        Err(broken) => broken.status.get("enforcedAt").is_some_and(|at| !at.is_null()),
    }
}

impl Index {
    /// Whether a research namespace of this name stands.
    pub fn stands(&self, name: &str) -> bool {
        self.research.get(name).is_some_and(stands)
    }

    /// Whether there is an object of this kind and name.
    pub fn is_there(&self, kind: Named, name: &str) -> bool {
        match kind {
            Named::AccessPolicy => self.policies.contains_key(name),
            Named::RuntimeClass => self.runtime_classes.contains(name),
            Named::Namespace => self.namespaces.contains_key(name),
            Named::StorageClass | Named::CsiDriver | Named::PriorityClass => self.named.contains(&(kind, name.into())),
        }
    }

    /// What there is of what the settings name: of the kinds among these alone.
    pub fn there(&self, kinds: impl Iterator<Item = Named>) -> There<'_> {
        let names = |kind: Named| -> Vec<&str> {
            match kind {
                Named::AccessPolicy => self.policies.keys().map(|name| &**name).collect(),
                Named::RuntimeClass => self.runtime_classes.iter().map(|name| &**name).collect(),
                Named::Namespace => self.namespaces.keys().map(|name| &**name).collect(),
                Named::StorageClass | Named::CsiDriver | Named::PriorityClass => {
                    self.named.iter().filter(|(known, _)| *known == kind).map(|(_, name)| &**name).collect()
                }
            }
        };
        let declared = |research: &Decoded<ResearchNamespace>| {
            research.object.as_ref().is_ok_and(|research| research.spec.tier == Tier::Sandboxed)
        };
        There {
            names: kinds.map(|kind| (kind, names(kind))).collect(),
            sandboxed: self.research.values().any(declared),
            egress_grants: self.grants.values().flat_map(|all| all.keys()).any(|at| at.kind == GrantKind::EgressGrant),
            unreadable: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
