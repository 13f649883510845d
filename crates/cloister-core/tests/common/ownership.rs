//! Laws about objects that call themselves the operator's, or are somebody else's: whatever marks they carry, nothing is
//! adopted with them, nothing of others is deleted unasked, and what belongs to nothing does not stay.

use super::{
    declared::world,
    namespaces::{NAME, World},
};
use cloister_api::{GrantKind, labels};
use cloister_core::{
    child::{
        Child, ChildKey, ChildKind, GrantRef,
        names::{name_of_opened, named_after},
    },
    namespace::{ObservedNamespace, policies},
    plan::Action,
};
use k8s_openapi::{
    api::{
        core::v1::{LimitRange, ResourceQuota, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use proptest::{prelude::*, strategy::ValueTree};
use std::collections::BTreeMap;

/// A grant that is there.
const LIVING: &str = "eval";

/// An object that somebody planted, and whether it carries a mark of the operator.
#[derive(Clone, Debug)]
struct Plant {
    child: Child,
    marked: bool,
}

impl Plant {
    fn key(&self) -> ChildKey {
        self.child.key()
    }

    fn opens(&self) -> bool {
        let widens = self.child.kind().is_policy() && self.child.observe().widens;
        widens || self.child.kind().is_access()
    }

    /// Somebody's finalizer holds it.
    fn hold(&mut self) {
        let metadata = match &mut self.child {
            Child::NetworkPolicy(object) => &mut object.metadata,
            Child::RoleBinding(object) => &mut object.metadata,
            Child::Role(object) => &mut object.metadata,
            Child::ResourceQuota(object) => &mut object.metadata,
            Child::LimitRange(object) => &mut object.metadata,
            Child::ServiceAccount(object) => &mut object.metadata,
            other => panic!("nobody plants {}", other.key()),
        };
        metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
    }

    /// Whether it is an account that Kubernetes does not make anew.
    fn is_account(&self) -> bool {
        self.child.kind() == ChildKind::ServiceAccount
    }

    /// Whether the plan of a grant that is there decides about it.
    fn is_of_living_grant(&self) -> bool {
        let living = GrantRef { kind: GrantKind::StorageAccessGrant, name: LIVING.into() };
        named_after(self.child.kind(), &self.key().name) == Some(living)
    }
}

fn plant() -> impl Strategy<Value = Plant> {
    let kinds = prop::sample::select(vec![
        ChildKind::NetworkPolicy,
        ChildKind::RoleBinding,
        ChildKind::Role,
        ChildKind::ResourceQuota,
        ChildKind::LimitRange,
        ChildKind::ServiceAccount,
    ]);
    let grant = prop::sample::select(vec![
        ("ghost", "RoleGrant"),
        ("ghost", "EgressGrant"),
        (LIVING, "StorageAccessGrant"),
        (LIVING, "Unknown"),
    ]);
    let name = prop::sample::select(vec![
        "keep".to_owned(),
        "cloister-keep".to_owned(),
        name_of_opened(GrantKind::RoleGrant, "ghost"),
        name_of_opened(GrantKind::EgressGrant, LIVING),
        name_of_opened(GrantKind::StorageAccessGrant, "other"),
    ]);
    let marks = prop::collection::vec(any::<bool>(), 6);
    (kinds, grant, name, marks, any::<bool>()).prop_map(|(kind, (grant, of), name, marks, allows)| {
        let mut labels = BTreeMap::new();
        if marks[0] {
            labels.insert(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned());
        }
        if marks[1] {
            labels.insert(labels::GRANT.to_owned(), grant.to_owned());
        }
        if marks[2] {
            labels.insert(labels::GRANT_KIND.to_owned(), of.to_owned());
        }
        let owner = OwnerReference {
            api_version: "cloister.dev/v1alpha1".to_owned(),
            kind: of.to_owned(),
            name: grant.to_owned(),
            uid: "7".to_owned(),
            ..OwnerReference::default()
        };
        let named = name.starts_with("cloister-") && (kind.is_policy() || kind.is_access());
        let metadata = ObjectMeta {
            name: Some(name),
            labels: Some(labels),
            owner_references: marks[3].then(|| vec![owner]),
            finalizers: None,
            annotations: marks[5].then(|| [("cloister.dev/credential-version".to_owned(), String::new())].into()),
            ..ObjectMeta::default()
        };
        let child = match kind {
            ChildKind::NetworkPolicy => {
                let spec = if allows { policies::own_pods(NAME).spec } else { policies::deny_all(NAME).spec };
                Child::NetworkPolicy(NetworkPolicy { metadata, spec })
            }
            ChildKind::RoleBinding => Child::RoleBinding(RoleBinding { metadata, ..RoleBinding::default() }),
            ChildKind::Role => Child::Role(Role { metadata, ..Role::default() }),
            ChildKind::ResourceQuota => Child::ResourceQuota(ResourceQuota { metadata, ..ResourceQuota::default() }),
            ChildKind::LimitRange => Child::LimitRange(LimitRange { metadata, ..LimitRange::default() }),
            _ => Child::ServiceAccount(ServiceAccount { metadata, ..ServiceAccount::default() }),
        };
        let marked = named || marks[0] || marks[1] || marks[2] || marks[3] || marks[5];
        Plant { child, marked }
    })
}

fn offered(world: &mut World) {
    world.objects.0.clear();
    world.namespace = Some(ObservedNamespace {
        uid: "u".into(),
        labels: BTreeMap::new(),
        adopt: Some(NAME.into()),
        terminating: false,
        created: None,
        held_by: None,
    });
}

fn put(world: &mut World, plants: &[Plant]) {
    world.objects.0.extend(plants.iter().map(|plant| (plant.key(), plant.child.clone())));
}

fn message(world: &World) -> String {
    let status = world.declared.as_ref().and_then(|declared| declared.status.clone()).unwrap_or_default();
    let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready");
    ready.map(|ready| format!("{}: {}", ready.reason, ready.message)).unwrap_or_default()
}

proptest! {
    #[test]
    fn nothing_is_taken_over_with_what_opens_it_or_calls_itself_ours(
        mut world in world(), plants in prop::collection::vec(plant(), 1..4),
    ) {
        offered(&mut world);
        put(&mut world, &plants);
        let before = world.objects.0.clone();
        let in_the_way: Vec<ChildKey> = plants
            .iter()
            .filter(|plant| before.get(&plant.key()) == Some(&plant.child) && (plant.opens() || plant.marked || plant.is_account()))
            .map(Plant::key)
            .collect();
        world.settle(&mut |world, action| match action {
            Some(Action::MarkAdopting(_)) | None => {}
            Some(action) => assert!(in_the_way.is_empty(), "{action:?} with {in_the_way:?} in {world:#?}"),
        });
        if in_the_way.is_empty() {
            prop_assert!(world.is_enforced() && world.deny_stands());
            return Ok(());
        }
        prop_assert_eq!(&world.objects.0, &before);
        prop_assert!(world.is_adopting());
        for key in &in_the_way {
            prop_assert!(message(&world).contains(&key.to_string()), "{key} is not in {}", message(&world));
        }

        // The advice can be followed.
        world.objects.0.retain(|key, _| !in_the_way.contains(key));
        world.now += jiff::SignedDuration::from_secs(10);
        world.settle(&mut |_, _| {});
        prop_assert!(world.is_enforced() && world.deny_stands() && !world.is_adopting());
    }

    #[test]
    fn what_belongs_to_nothing_goes_and_what_is_somebody_elses_is_told_of(
        mut world in world(), mut plants in prop::collection::vec(plant(), 1..4), held in any::<bool>(),
    ) {
        world.settle(&mut |_, _| {});
        if held {
            plants.iter_mut().for_each(Plant::hold);
        }
        put(&mut world, &plants);
        let planted = world.objects.0.clone();
        world.settle(&mut |_, _| {});
        let status = world.declared.as_ref().unwrap().status.clone().unwrap();
        for plant in plants.iter().filter(|plant| planted[&plant.key()] == plant.child) {
            let (key, stands) = (plant.key(), world.objects.0.contains_key(&plant.key()));
            if plant.is_of_living_grant() {
                prop_assert!(stands, "{key} is the grant's matter");
                // The grant's plan deletes it, and it stays in force.
                let mut ended = world.clone();
                if ended.objects.delete(&key).is_err() {
                    ended.settle(&mut |_, _| {});
                    let status = ended.declared.as_ref().unwrap().status.clone().unwrap();
                    let told = status.deny_defeated_by.iter().any(|told| **told == *key.name)
                        || status.foreign_objects.contains(&key.to_string());
                    prop_assert!(told || !plant.opens(), "{key} is held, and nobody is told");
                }
            } else if plant.marked && !held {
                prop_assert!(!stands, "{key} calls itself ours, and stays");
            } else {
                prop_assert!(stands, "{key} is somebody else's, and was deleted");
                let seen = world.objects.seen(&key).expect("it stands");
                prop_assert_eq!(seen.terminating, plant.marked, "{} is to go if nobody holds it", key);
                // A NetworkPolicy is told of by its name alone, which something of another kind may have, too.
                let told = match key.kind {
                    ChildKind::NetworkPolicy => status.deny_defeated_by.iter().any(|told| **told == *key.name),
                    _ => status.foreign_objects.contains(&key.to_string()),
                };
                prop_assert_eq!(told, plant.opens(), "{}", key);
                prop_assert!(!plant.opens() || status.conditions.iter().any(|c| c.type_ == "Stalled"));
            }
        }
    }

    #[test]
    fn a_namespace_that_is_offered_no_more_is_opened_again(mut world in world(), plant in plant(), gone in any::<bool>()) {
        offered(&mut world);
        put(&mut world, &[plant]);
        let plan = world.plan();
        world.carry_out(&plan, usize::MAX, 0, &mut |_, _| {});
        prop_assert!(world.is_adopting());
        if gone {
            world.declared = None;
        } else {
            world.namespace.as_mut().unwrap().adopt = None;
        }
        let before = world.objects.0.clone();
        world.settle(&mut |_, _| {});
        prop_assert!(!world.is_adopting() && world.namespace.as_ref().unwrap().labels.is_empty());
        prop_assert_eq!(world.objects.0, before);
    }
}

/// A label that is there before anybody reserved it makes no Namespace a research namespace.
#[test]
fn a_label_from_before_makes_no_research_namespace() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut world = world().new_tree(&mut runner).unwrap().current();
    offered(&mut world);
    let namespace = world.namespace.as_mut().unwrap();
    namespace.adopt = None;
    for (key, value) in [(labels::RESEARCH_NAMESPACE, NAME), (labels::ENFORCED, "true")] {
        namespace.labels.insert(key.into(), value.into());
    }
    world.settle(&mut |_, action| assert!(!matches!(action, Some(Action::Apply(child)) if child.kind().is_access())));
    assert!(!world.is_enforced() && world.deny_stands());
    assert!(message(&world).starts_with("NamespaceExists"), "{}", message(&world));
}
