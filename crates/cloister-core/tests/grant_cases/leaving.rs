//! What becomes of a grant when somebody leaves the research namespace.

use super::{
    desk::*,
    grants::{Shelf, World},
    steps::Refusals,
};
use cloister_api::{Decision, GrantPhase, Member};
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
            assert!(world.objects.0.is_empty() && message(&world, key).starts_with("alice had this grant as a member"));
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

/// ServiceAccounts are members by kind: of the namespace itself, or of one where something makes pods for people.
#[test]
fn a_service_account_leaves_as_people_do() {
    let asks = |home: &str| json!({"username": format!("system:serviceaccount:{home}:sync"), "groups": []});
    let entry = |home: Option<&str>| {
        let account = json!({"kind": "ServiceAccount", "name": "sync"});
        home.map_or(account.clone(), |home| merged(account, json!({"namespace": home})))
    };
    let open = one_of_security(json!({"requesters": [
        {"kind": "ServiceAccount", "namespace": "flux", "name": "sync"}, {"kind": "ServiceAccount", "namespace": "interp", "name": "sync"},
    ]}));
    for (home, member, other) in [
        ("flux", entry(Some("flux")), entry(None)),
        ("interp", entry(None), entry(Some("flux"))),
        ("interp", entry(Some("interp")), json!({"kind": "ServiceAccount", "name": "sync2"})),
    ] {
        for approved in [false, true] {
            let mut world = World { policy: policy(open.clone()), ..world() };
            members(&mut world, json!([member]));
            ask(&mut world, "role/debug", json!({"requestedBy": asks(home)}));
            settle(&mut world);
            assert_eq!(status(&world, "role/debug").members, [format!("system:serviceaccount:{home}:sync")]);
            if approved {
                for who in ["sam", "sue"] {
                    review(&mut world, "role/debug", Decision::Approve, person(who, &["security"]));
                }
                settle(&mut world);
                assert_eq!(told_of(&world).0, GrantPhase::Active);
            }
            members(&mut world, json!([other]));
            settle(&mut world);
            let phase = if approved { GrantPhase::Revoked } else { GrantPhase::Denied };
            assert_eq!(told_of(&world), (phase, "RequesterLeft".into()));
            assert!(message(&world, "role/debug").starts_with(&format!("ServiceAccount {home}/sync ")));
        }
    }
    // One that gets it leaves as well.
    let trainer = json!({"kind": "ServiceAccount", "name": "trainer"});
    let mut world = opened(&trainer, "eval", json!({}), json!({}));
    members(&mut world, json!([{"kind": "User", "name": "alice"}]));
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
    assert!(message(&world, "eval").contains("alice is no longer a member of ResearchNamespace interp"));
    members(&mut world, json!([alice]));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Active, "Active".into()));
    // The policy is asked as it is now.
    world.members.clear();
    world.policy = policy(json!({}));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, "RequesterLeft".into()));
}

/// A request of somebody who is a member by this entry, and which waits for its storage or for people.
fn waiting(entry: &Value, key: &str, more: Value, terms: Value) -> World {
    let mut world = World { policy: policy(terms), ..world() };
    members(&mut world, json!([entry]));
    ask(&mut world, key, more);
    settle(&mut world);
    assert_eq!(said(&world, key), (GrantPhase::Pending, "AwaitingApproval".into()));
    assert_eq!(status(&world, key).members, ["alice"]);
    world
}

fn one_of_security(more: Value) -> Value {
    let rule = json!({"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]});
    merged(json!({"autoApprove": [], "approvalRules": [rule]}), more)
}

#[test]
fn a_request_that_waits_is_denied_when_the_member_leaves() {
    let denied = (GrantPhase::Denied, "RequesterLeft".to_owned());
    for entry in [json!({"kind": "User", "name": "alice"}), json!({"kind": "Group", "name": "researchers"})] {
        for key in ["eval", "egress/lab", "role/debug"] {
            let mut world = waiting(&entry, key, json!({}), one_of_security(json!({})));
            members(&mut world, json!([{"kind": "User", "name": "bob"}]));
            review(&mut world, key, Decision::Approve, person("sam", &["security"]));
            settle(&mut world);
            assert_eq!(said(&world, key), denied, "{key}");
            assert_eq!(
                message(&world, key),
                "alice was a member of ResearchNamespace interp when this was asked for, and left before it was decided; if it \
                 is still needed, ask as a member (an owner of the namespace adds to spec.members), or under a policy that \
                 lets others ask. A grant cannot be changed: delete it, and ask again"
            );
        }
    }
}

/// The storage comes after the member has left, and its policy approves by itself.
#[test]
fn nothing_is_approved_by_itself_for_whom_has_left() {
    let late = |terms: Value| {
        let mut world = World { policy: policy(terms), storage: Shelf::Absent, ..world() };
        members(&mut world, json!([{"kind": "User", "name": "alice"}]));
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        assert_eq!(said(&world, "eval"), (GrantPhase::Pending, "StorageNotFound".into()));
        world.members.clear();
        settle(&mut world);
        world.storage = storage(json!({}));
        settle(&mut world);
        world
    };
    assert_eq!(said(&late(json!({})), "eval"), (GrantPhase::Denied, "RequesterLeft".into()));
    let kept = late(json!({"whenRequesterLeaves": "Keep"}));
    assert_eq!(said(&kept, "eval"), (GrantPhase::Pending, "NoApproverLeft".into()));
    assert_eq!(
        message(&kept, "eval"),
        "AccessPolicy standard does not approve this request automatically, and names no approvers; alice is no longer a \
         member of ResearchNamespace interp, so AccessPolicy standard does not approve it automatically. Ask a policy \
         administrator (ClusterRole cloister:policy-admin) to name approvers, or delete the grant"
    );
    // Who comes back has not left.
    let mut world = kept;
    members(&mut world, json!([{"kind": "User", "name": "alice"}]));
    settle(&mut world);
    assert_eq!(said(&world, "eval").0, GrantPhase::Active);
}

#[test]
fn people_may_approve_what_a_policy_keeps_and_are_told_who_left() {
    let alice = json!({"kind": "User", "name": "alice"});
    let keeps = one_of_security(json!({"whenRequesterLeaves": "Keep"}));
    let mut world = waiting(&alice, "role/debug", json!({}), keeps);
    world.members.clear();
    settle(&mut world);
    let told = message(&world, "role/debug");
    assert!(told.contains("; alice is no longer a member of ResearchNamespace interp"), "{told}");
    review(&mut world, "role/debug", Decision::Approve, person("sam", &["security"]));
    settle(&mut world);
    assert_eq!(told_of(&world), (GrantPhase::Active, "RequesterLeft".into()));
}

fn told_of(world: &World) -> (GrantPhase, String) {
    said(world, "role/debug")
}

/// Whether its policy keeps what members asked for is not known. Nobody keeps one that uses break-glass.
#[test]
fn who_left_is_told_of_a_request_that_waits_for_what_is_not_there() {
    let waits = |more: Value| {
        let mut world = World { storage: Shelf::Absent, ..world() };
        members(&mut world, json!([{"kind": "User", "name": "alice"}]));
        ask(&mut world, "eval", more);
        settle(&mut world);
        world.members.clear();
        settle(&mut world);
        world
    };
    let world = waits(json!({}));
    assert_eq!(said(&world, "eval"), (GrantPhase::Pending, "StorageNotFound".into()));
    let told = message(&world, "eval");
    let left = "it is checked against its AccessPolicy only when all of that exists; alice is no longer a member of \
                ResearchNamespace interp: the request is denied then, unless its policy keeps requests of former members \
                (whenRequesterLeaves)";
    assert!(told.ends_with(left), "{told}");
    let world = waits(json!({"breakGlass": true}));
    assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "SeveralMistakes".into()));
    let told = message(&world, "eval");
    assert!(
        told.starts_with(
            "2 mistakes: (1) StorageNotFound: there is no StorageResource weights; name one that exists (`kubectl get \
             storageresources`), or ask a catalogue administrator (ClusterRole cloister:catalogue-admin) to publish it; (2) \
             RequesterLeft: alice was a member of ResearchNamespace interp"
        ),
        "{told}"
    );
}

/// The membership is written down at the first look, also where that look fails to do anything else.
#[test]
fn who_was_a_member_stays_known() {
    let mut refused = 0;
    for seed in 0..20 {
        let mut world = World { storage: Shelf::Absent, refusals: Refusals(Some(seed)), ..world() };
        members(&mut world, json!([{"kind": "User", "name": "alice"}]));
        ask(&mut world, "eval", json!({}));
        let plan = world.plan("eval");
        let done = world.carry_out("eval", &plan, usize::MAX, &mut |_, _, _| ());
        refused += usize::from(!done);
        assert_eq!(status(&world, "eval").members, ["alice"], "{seed}");
    }
    assert!(refused > 0);
}
