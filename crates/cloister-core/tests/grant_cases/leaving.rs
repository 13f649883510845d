//! What becomes of a grant when somebody leaves the research namespace.

use super::desk::*;
use super::grants::World;
use cloister_api::{GrantPhase, Member};
use serde_json::{Value, json};

fn members(world: &mut World, subjects: Value) {
    let members = json!([{"role": "Researcher", "subjects": subjects}]);
    world.members = serde_json::from_value::<Vec<Member>>(members).unwrap();
}

/// A grant of somebody who is a member by this entry, under this policy.
fn opened(entry: &Value, key: &str, more: Value, terms: Value) -> World {
    let mut world = World { policy: policy(terms), ..world() };
    members(&mut world, json!([entry]));
    ask(&mut world, key, more);
    settle(&mut world);
    assert_eq!(said(&world, key), (GrantPhase::Active, "Active".into()));
    world
}

#[test]
fn what_a_member_got_ends_when_the_member_leaves() {
    let revoked = (GrantPhase::Revoked, "RequesterLeft".to_owned());
    for entry in [json!({"kind": "User", "name": "alice"}), json!({"kind": "Group", "name": "researchers"})] {
        for key in ["eval", "egress/lab", "role/debug"] {
            let mut world = opened(&entry, key, json!({}), json!({}));
            // Another entry covers her as well.
            members(&mut world, json!([{"kind": "Group", "name": "researchers"}, {"kind": "User", "name": "alice"}]));
            settle(&mut world);
            assert_eq!(said(&world, key).0, GrantPhase::Active);
            members(&mut world, json!([{"kind": "User", "name": "bob"}]));
            settle(&mut world);
            assert_eq!(said(&world, key), revoked, "{key}");
            assert!(world.objects.0.is_empty() && message(&world, key).starts_with("alice had this as a member"));
        }
    }
}

#[test]
fn who_was_no_member_does_not_leave() {
    let mut world = opened(&json!({"kind": "User", "name": "bob"}), "eval", json!({}), json!({}));
    members(&mut world, json!([{"kind": "User", "name": "alice"}]));
    settle(&mut world);
    members(&mut world, json!([]));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Active, "Active".into()));
}

#[test]
fn a_user_who_gets_it_leaves_as_well() {
    let bob = json!({"kind": "User", "name": "bob"});
    let subjects = json!({"subjects": [bob], "mount": null});
    let terms = json!({"beneficiaries": [bob]});
    let mut world = opened(&bob, "eval", subjects, terms);
    assert_eq!(status(&world, "eval").members, ["bob"]);
    world.members.clear();
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, "RequesterLeft".into()));
}

#[test]
fn a_policy_may_keep_it_and_that_is_said() {
    let alice = json!({"kind": "User", "name": "alice"});
    let mut world = opened(&alice, "eval", json!({}), json!({"whenRequesterLeaves": "Keep"}));
    world.members.clear();
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Active, "RequesterLeft".into(), false));
    assert_eq!(status(&world, "eval").summary.reason, "RequesterLeft");
    assert!(message(&world, "eval").contains("alice is no member of ResearchNamespace interp any more"));
    members(&mut world, json!([alice]));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Active, "Active".into()));
    // The policy is asked as it is now.
    world.members.clear();
    world.policy = policy(json!({}));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, "RequesterLeft".into()));
}
