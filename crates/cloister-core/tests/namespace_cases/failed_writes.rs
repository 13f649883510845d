//! What is said of a need when something that it takes could not be written: never that it is open when it is not, nor that
//! it is closed when it is not.

use super::{allowlist, says, sentences::of_need, settled, world};
use crate::{
    namespaces::{World, deny_all},
    objects::Failed,
    steps,
};
use cloister_api::EgressState;
use cloister_core::{
    model::{
        child::{ChildKey, ChildKind},
        plan::Action,
    },
    namespace,
};
use serde_json::{Value, json};

/// A namespace that names an allowlist, which is there.
fn asks(allowlists: Value) -> World {
    let mut world = world(json!({"egress": {"allowlists": allowlists}}));
    world.allowlists.insert("lab".into(), allowlist(json!({})));
    world
}

fn opening() -> ChildKey {
    ChildKey::new(ChildKind::NetworkPolicy, "cloister-allow.lab.lab")
}

/// Carries out the plan of a namespace, of which the writes of one object fail, and writes down what came of it.
fn without(mut world: World, object: &ChildKey, how: Failed) -> World {
    let plan = world.plan();
    let outcome = steps::carry_out(&plan, 0, |action| {
        let about = match action {
            Action::Apply(child) => Some(child.key()),
            Action::Delete(key) => Some(key.clone()),
            _ => None,
        };
        if about.as_ref() == Some(object) { Err(how) } else { world.perform(action) }
    });
    assert!(!outcome.failures.is_empty(), "nothing of {object:?} was written: {plan:#?}");
    let declared = world.declared.as_mut().unwrap();
    declared.status = namespace::failed(declared, plan.status.clone(), &outcome.reported(|_| true), world.now);
    world
}

/// The state, the reason and the message of the need, and how many of all are open.
fn said(world: &World) -> (EgressState, String, String, String) {
    let need = of_need(world, "allowlist/lab");
    let status = world.declared.as_ref().unwrap().status.clone().unwrap();
    (need.state, need.reason, need.message, status.egress_summary)
}

fn expected(state: EgressState, reason: &str, message: &str, summary: &str) -> (EgressState, String, String, String) {
    (state, reason.into(), message.into(), summary.into())
}

#[test]
fn a_need_whose_policy_was_not_written_is_not_open_and_says_whether_it_is_tried_again() {
    for (how, state, reason) in [
        (Failed::ForGood, EgressState::Refused, "ApplyRefused"),
        (Failed::ForNow, EgressState::Unresolved, "ApplyFailed"),
    ] {
        let mut world = settled(asks(json!([])));
        world.declared.as_mut().unwrap().spec = asks(json!(["lab"])).declared.unwrap().spec;
        let world = without(world, &opening(), how);
        assert_eq!(said(&world), expected(state, reason, "failed", "0/1"));
        assert!(says(&world, "Ready", "False", reason), "{:?}", super::said(&world));
        assert_eq!(says(&world, "Stalled", "True", reason), how == Failed::ForGood);
    }
}

#[test]
fn a_need_whose_policy_could_not_be_taken_away_stays_in_the_status_as_it_was() {
    let mut world = settled(asks(json!(["lab"])));
    let before = said(&world);
    assert_eq!((before.0, before.3.as_str()), (EgressState::Active, "1/1"));
    world.declared.as_mut().unwrap().spec = asks(json!([])).declared.unwrap().spec;
    let kept = without(world.clone(), &opening(), Failed::ForNow);
    assert!(kept.objects.0.contains_key(&opening()));
    assert_eq!(said(&kept), before);
    // Once it is gone, nothing is said of it.
    let gone = settled(kept).declared.unwrap().status.unwrap();
    assert!(gone.egress.is_empty() && gone.egress_summary == "0/0", "{gone:?}");
    assert!(!settled(world).objects.0.contains_key(&opening()));
}

#[test]
fn a_need_that_was_not_tried_since_the_denial_does_not_stand_says_what_it_waits_for() {
    let waits = "waits for objects that must exist before anything opens; see the condition Ready";
    let world = without(sealed(asks(json!(["lab"]))), &deny_all(), Failed::ForNow);
    assert!(!world.objects.0.contains_key(&opening()));
    assert_eq!(said(&world), expected(EgressState::Unresolved, "ApplyFailed", waits, "0/1"));
    assert!(says(&world, "Enforced", "False", "Sealed") && says(&world, "Ready", "False", "ApplyFailed"));
}

/// The same, with a Namespace in which nothing stands yet.
fn sealed(mut world: World) -> World {
    let plan = world.plan();
    let of_the_object = |action: &&Action| matches!(action, Action::AddFinalizer | Action::ApplyNamespace(_));
    let first: Vec<Action> = plan.actions().filter(of_the_object).take(2).cloned().collect();
    first.iter().for_each(|action| world.perform(action).unwrap());
    world
}
