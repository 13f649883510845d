//! The objects of one namespace, as an API server keeps them.

use cloister_api::{GrantMount, Protocol, ServiceReference, labels};
use cloister_core::{
    address::PolicyPortNumber,
    egress::{ServiceFacts, ServicePortFacts},
    model::child::{Child, ChildKey, Children, ObservedChild},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// A request failed, or its effect is not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// For now.
    ForNow,
    /// For good.
    ForGood,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl cloister_core::model::carry_out::Failure for Failed {
    fn is_final(&self) -> bool {
        *self == Failed::ForGood
    }
}

/// The objects, and what is remembered of those that were not changed behind its back.
#[derive(Clone, Debug, Default)]
pub struct Objects(pub BTreeMap<ChildKey, Child>, Children);

impl Objects {
    pub fn observe(&self) -> Children {
        self.0.keys().filter_map(|key| Some((key.clone(), self.seen(key)?))).collect()
    }

    /// Creates it, or replaces it whole. Deletion goes on, and what is read back must mean what was written.
    pub fn apply(&mut self, child: &Child) -> Result<(), Failed> {
        let mut stored = stored(child);
        if self.0.get(&child.key()).is_some_and(|before| is_another_mount(before, child)) {
            return Err(Failed::ForGood);
        }
        let before = self.0.get(&child.key()).map(|before| before.metadata().deletion_timestamp.clone());
        metadata(&mut stored).deletion_timestamp = before.flatten();
        let seen = stored.observe();
        let as_wanted = seen.fingerprint == child.fingerprint();
        self.1.insert(child.key(), seen);
        self.0.insert(child.key(), stored);
        self.collect();
        as_wanted.then_some(()).ok_or(Failed::ForNow)
    }

    /// Deletes it; one with a finalizer stays until that is taken off.
    pub fn delete(&mut self, key: &ChildKey) -> Result<(), Failed> {
        self.edit(key, |metadata| {
            metadata.deletion_timestamp.get_or_insert(Time(jiff::Timestamp::UNIX_EPOCH));
        });
        if self.0.contains_key(key) { Err(Failed::ForNow) } else { Ok(()) }
    }

    pub fn edit(&mut self, key: &ChildKey, edit: impl FnOnce(&mut ObjectMeta)) {
        if let Some(child) = self.0.get_mut(key) {
            edit(metadata(child));
            self.1.insert(key.clone(), child.observe());
        }
        self.collect();
    }

    /// What is remembered of one of them.
    pub fn seen(&self, key: &ChildKey) -> Option<ObservedChild> {
        self.0.get(key).map(|child| self.1.get(key).cloned().unwrap_or_else(|| child.observe()))
    }

    /// What is being deleted and held by nobody is gone.
    fn collect(&mut self) {
        self.0.retain(|_, child| {
            let metadata = child.metadata();
            metadata.deletion_timestamp.is_none() || !metadata.finalizers.as_deref().unwrap_or_default().is_empty()
        });
    }
}

/// What a GrantMount mounts, and where, does not change while it is mounted: admission refuses it.
fn is_another_mount(before: &Child, after: &Child) -> bool {
    let (Child::GrantMount(before), Child::GrantMount(after)) = (before, after) else { return false };
    let is_mounted = |mount: &GrantMount| {
        let version = mount.metadata.annotations.as_ref().and_then(|all| all.get(labels::CREDENTIAL_VERSION));
        version.is_some_and(|version| !version.is_empty())
    };
    before.spec != after.spec && is_mounted(before) && is_mounted(after)
}

fn metadata(child: &mut Child) -> &mut ObjectMeta {
    match child {
        Child::NetworkPolicy(object) => &mut object.metadata,
        Child::CiliumNetworkPolicy(object) => &mut object.metadata,
        Child::ClusterNetworkPolicy(object) => &mut object.metadata,
        Child::ResourceQuota(object) => &mut object.metadata,
        Child::LimitRange(object) => &mut object.metadata,
        Child::ServiceAccount(object) => &mut object.metadata,
        Child::RoleBinding(object) => &mut object.metadata,
        Child::Role(object) => &mut object.metadata,
        Child::ClusterRole(object) => &mut object.metadata,
        Child::ClusterRoleBinding(object) => &mut object.metadata,
        Child::GrantMount(object) => &mut object.metadata,
    }
}

/// An object as the API server gives it back: without empty lists and maps.
fn stored(child: &Child) -> Child {
    match child {
        Child::NetworkPolicy(object) => Child::NetworkPolicy(pruned(object)),
        // The values of a kind of somebody else's are kept as they are.
        Child::CiliumNetworkPolicy(object) => Child::CiliumNetworkPolicy(object.clone()),
        Child::ClusterNetworkPolicy(object) => Child::ClusterNetworkPolicy(object.clone()),
        Child::ResourceQuota(object) => Child::ResourceQuota(pruned(object)),
        Child::LimitRange(object) => Child::LimitRange(pruned(object)),
        Child::ServiceAccount(object) => Child::ServiceAccount(pruned(object)),
        Child::RoleBinding(object) => Child::RoleBinding(pruned(object)),
        Child::Role(object) => Child::Role(pruned(object)),
        Child::ClusterRole(object) => Child::ClusterRole(pruned(object)),
        Child::ClusterRoleBinding(object) => Child::ClusterRoleBinding(pruned(object)),
        Child::GrantMount(object) => Child::GrantMount(pruned(object)),
    }
}

fn pruned<T: Serialize + DeserializeOwned>(object: &T) -> T {
    let mut value = serde_json::to_value(object).unwrap();
    prune(&mut value);
    serde_json::from_value(value).unwrap()
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            // An empty selector, unlike an absent one, means everything.
            fields.retain(|name, field| match field {
                Value::Array(items) => !items.is_empty(),
                Value::Object(entries) => !entries.is_empty() || name.ends_with("elector") || name == "spec",
                field => !field.is_null(),
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// The one Service of the cluster: `infra/cache`.
pub fn service(reference: &ServiceReference) -> Option<ServiceFacts> {
    let port = ServicePortFacts { port: 80, protocol: Protocol::Tcp, target: PolicyPortNumber::Number(8080) };
    (reference.namespace == "infra" && reference.name == "cache").then(|| ServiceFacts {
        uid: "uid-cache".into(),
        selector: [("app".to_owned(), "cache".to_owned())].into(),
        external_name: false,
        on_node: None,
        ports: vec![port],
    })
}
