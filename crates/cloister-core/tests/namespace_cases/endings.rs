//! The end of a ResearchNamespace, and how its Namespace is taken back.

use super::*;
use cloister_core::namespace::{DeclaredNamespace, wants_inspection};

#[test]
fn a_deletion_is_told_what_it_waits_for() {
    let mut world = world(json!({"deletionPolicy": "Retain", "egress": {"allowlists": ["lab"]}}));
    world.allowlists.insert("lab".into(), allowlist(json!({})));
    let mut world = settled(world);
    assert_eq!(need(&world, "allowlist/lab").0, EgressState::Active);
    world.declared.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
    world.open_grants = 1;
    let mut world = settled(world);
    assert!(says(&world, "Ready", "False", "WaitingForGrants"));
    let status = world.declared.as_ref().unwrap().status.as_ref().unwrap();
    assert!(status.egress.is_empty() && status.egress_summary.is_empty(), "nothing is open: {status:?}");
    assert!(!world.objects.0.values().any(|child| opens(child) && !is_of_grant(&child.key())));
    world.open_grants = 0;
    let world = settled(world);
    assert!(world.declared.is_none() && world.namespace.unwrap().labels.contains_key(labels::RETAINED));
}

#[test]
fn what_only_finalizers_of_others_hold_says_so_and_is_closed() {
    for (policy, left) in [("Retain", "Namespace interp is retained, closed"), ("Delete", "it has no Namespace interp")]
    {
        let mut world = settled(world(json!({"deletionPolicy": policy})));
        let metadata = &mut world.declared.as_mut().unwrap().metadata;
        metadata.deletion_timestamp = Some(Time(at(0)));
        metadata.finalizers.get_or_insert_default().push("velero.io/hold".to_owned());
        let mut world = settled(world);
        let status = world.declared.as_ref().unwrap().status.clone().unwrap();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!((&*ready.status, &*ready.reason), ("False", "HeldByFinalizers"));
        assert_eq!(
            ready.message,
            format!(
                "{left}, and Cloister has finished; finalizers of other tools hold the ResearchNamespace: velero.io/hold. \
                 Those tools must remove them; if such a tool no longer exists, a platform engineer must: kubectl patch \
                 researchnamespace interp --type merge -p '{{\"metadata\":{{\"finalizers\":null}}}}'"
            )
        );
        assert!(says(&world, "Enforced", "False", "Sealed"));
        assert!(status.egress.is_empty() && status.egress_summary.is_empty());
        assert!(world.plan().is_empty(), "it is said once");
        // Who opens it by hand meanwhile has it closed again.
        if policy == "Retain" {
            world.namespace.as_mut().unwrap().labels.insert(labels::ENFORCED.into(), "true".into());
            assert!(!settled(world).is_enforced());
        }
    }
}

#[test]
fn a_retained_namespace_is_closed_before_it_is_looked_at() {
    let mut world = world(json!({}));
    world.objects.0.clear();
    world.namespace = namespace(&[(labels::RESEARCH_NAMESPACE, NAME), (labels::RETAINED, "true")], Some(NAME));
    let plan = world.plan();
    let actions: Vec<_> = plan.actions().collect();
    assert!(matches!(actions.as_slice(), [Action::MarkAdopting(Some(_))]), "{actions:?}");
    let looks = |world: &World| {
        let declared = DeclaredNamespace::Read(world.declared.as_ref().unwrap());
        wants_inspection(NAME, declared, world.namespace.as_ref().unwrap(), world.now)
    };
    assert!(!looks(&world));
    world.carry_out(&plan, usize::MAX, 0, &mut |_, _| {});
    assert!(world.is_adopting() && !looks(&world), "what is admitted now must be seen by the look");
    // Offered no more, it is as it was; or it is taken back.
    let mut withdrawn = world.clone();
    withdrawn.namespace.as_mut().unwrap().adopt = None;
    let withdrawn = settled(withdrawn);
    assert!(!withdrawn.is_adopting() && withdrawn.namespace.unwrap().labels.contains_key(labels::RETAINED));
    let world = settled(world);
    assert!(world.is_enforced() && !world.is_adopting());
}

#[test]
fn a_declaration_that_cannot_be_read_can_be_deleted() {
    let mut world = settled(world(json!({"deletionPolicy": "Delete"})));
    world.undecodable = true;
    world.declared.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
    let world = settled(world);
    assert!(world.declared.is_none() && world.deny_stands() && !world.is_enforced());
}
