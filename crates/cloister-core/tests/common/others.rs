//! What others do in a namespace: drift, and a Namespace of their own.

use super::{
    declared::world,
    namespaces::{NAME, World, deny_all, is_of_grant},
};
use cloister_api::labels;
use cloister_core::{
    model::child::{Child, ChildKey},
    namespace::{Account, ObservedNamespace},
    policies::network_policies,
};
use k8s_openapi::{
    api::{
        core::v1::{ResourceQuota, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::RoleBinding,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use proptest::{prelude::*, sample::Index};
use std::collections::BTreeMap;

/// A change that somebody else makes.
#[derive(Clone, Debug)]
pub enum Drift {
    /// A child is gone, whatever held it.
    Remove(Index),
    /// A child is asked to go.
    Delete(Index),
    /// A child has another owner.
    Own(Index),
    /// A child does not say who manages it.
    Disown(Index),
    /// Nothing holds the deny policy.
    LetGo,
    /// A policy that was wanted once.
    Leftover,
    /// A label of the Namespace has this value.
    Label(&'static str, Option<&'static str>),
}

pub fn drift() -> impl Strategy<Value = Drift> {
    let label = prop::sample::select(vec![
        (labels::ENFORCED, None),
        (labels::TIER, None),
        (labels::TIER, Some("Open")),
        (labels::RUNTIME_CLASS, Some("runc")),
        (labels::MANAGED_BY, None),
        ("pod-security.kubernetes.io/enforce", Some("privileged")),
        ("cloister.dev/odd", Some("")),
    ]);
    prop_oneof![
        any::<Index>().prop_map(Drift::Remove),
        any::<Index>().prop_map(Drift::Delete),
        any::<Index>().prop_map(Drift::Own),
        any::<Index>().prop_map(Drift::Disown),
        Just(Drift::LetGo),
        Just(Drift::Leftover),
        label.prop_map(|(key, value)| Drift::Label(key, value)),
    ]
}

pub fn tamper(world: &mut World, drift: &Drift) {
    let keys: Vec<ChildKey> = world.objects.0.keys().filter(|key| !is_of_grant(key)).cloned().collect();
    let objects = &mut world.objects;
    match drift {
        Drift::Remove(at) if !keys.is_empty() => drop(objects.0.remove(at.get(&keys))),
        Drift::Delete(at) if !keys.is_empty() => drop(objects.delete(at.get(&keys))),
        Drift::Own(at) if !keys.is_empty() => objects.edit(at.get(&keys), |metadata| {
            metadata.owner_references = Some(vec![OwnerReference { uid: "x".into(), ..OwnerReference::default() }]);
        }),
        Drift::Disown(at) if !keys.is_empty() => objects.edit(at.get(&keys), |metadata| metadata.labels = None),
        Drift::LetGo => objects.edit(&deny_all(), |metadata| metadata.finalizers = None),
        Drift::Leftover => {
            let policy = network_policies::to_peer(NAME, "former");
            objects.apply(&Child::NetworkPolicy(policy)).unwrap();
        }
        Drift::Label(key, value) => {
            let labels = &mut world.namespace.as_mut().unwrap().labels;
            match value {
                Some(value) => drop(labels.insert((*key).into(), (*value).into())),
                None => drop(labels.remove(*key)),
            }
        }
        _ => {}
    }
}

/// A cluster with a Namespace that is not the operator's, and whether it may take it over.
pub fn foreign() -> impl Strategy<Value = (World, bool)> {
    let adopt = prop::sample::select(vec![None, Some("other"), Some(NAME), Some(NAME)]);
    // The annotation of the ResearchNamespace.
    let asked = prop::sample::select(vec![None, Some("other"), Some(NAME)]);
    let label = prop::sample::select(vec![
        None,
        Some((labels::RESEARCH_NAMESPACE, "other")),
        Some((labels::MANAGED_BY, "helm")),
        Some((labels::RETAINED, "true")),
        Some(("pod-security.kubernetes.io/enforce", "privileged")),
    ]);
    (world(), adopt, asked, label, 0..6_usize).prop_map(|(mut world, adopt, asked, label, theirs)| {
        let mut labels: BTreeMap<Box<str>, Box<str>> =
            label.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let retained = label.is_some_and(|(key, _)| key == labels::RETAINED);
        if retained {
            labels.insert(labels::RESEARCH_NAMESPACE.into(), NAME.into());
        }
        let annotations = asked.map(|asked| [(labels::ADOPT.to_owned(), asked.to_owned())].into());
        world.declared.as_mut().expect("there is a declaration").metadata.annotations = annotations;
        world.namespace = Some(ObservedNamespace {
            uid: "u".into(),
            labels,
            adopt: adopt.map(Into::into),
            terminating: false,
            created: None,
            held_by: None,
        });
        let metadata = ObjectMeta { name: Some("theirs".into()), ..ObjectMeta::default() };
        let child = match theirs {
            0 => Some(Child::NetworkPolicy(NetworkPolicy { metadata, spec: network_policies::own_pods(NAME).spec })),
            1 => Some(Child::ServiceAccount(ServiceAccount { metadata, ..ServiceAccount::default() })),
            2 => Some(Child::RoleBinding(RoleBinding { metadata, ..RoleBinding::default() })),
            3 => Some(Child::ResourceQuota(ResourceQuota { metadata, ..ResourceQuota::default() })),
            _ => None,
        };
        world.objects.0.extend(child.map(|child| (child.key(), child)));
        world.objects.0.retain(|key, _| !is_of_grant(key));
        if theirs == 4 {
            world.inspection.others.push("Service/theirs".to_owned());
        }
        world.inspection.accounts.push(Account { name: "default".to_owned(), uid: "old".to_owned() });
        let is_offered = adopt == Some(NAME) || (retained && asked == Some(NAME));
        (world, is_offered && [3, 5].contains(&theirs))
    })
}
