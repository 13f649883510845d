//! Grants that open at once and are reviewed afterwards.

use super::{
    desk::*,
    grants::{Shelf, World},
};
use cloister_api::{Decision, GrantPhase, Identity};
use cloister_core::grant::owes_review;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

pub const GLASS: &str = "Reviewed";

fn glass(more: Value) -> World {
    let oncall = json!([{"kind": "Group", "name": "oncall"}]);
    let terms = json!({"requesters": oncall, "maxDuration": "30m", "reviewWithin": "24h"});
    by_people(json!({"breakGlass": merged(terms, more)}))
}

fn asked(more: Value) -> Value {
    let alice = json!({"username": "alice", "groups": ["oncall"], "personKey": "p1"});
    merged(json!({"breakGlass": true, "requestedBy": alice}), more)
}

/// A grant that used break-glass.
pub fn broken() -> World {
    let mut world = glass(json!({}));
    ask(&mut world, "eval", asked(json!({})));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Active, "Active".into()));
    world
}

fn owes(world: &World) -> bool {
    owes_review(&world.grants["eval"], &world.reviews.iter().collect::<Vec<_>>())
}

#[test]
fn it_opens_at_once_and_names_who_was_not_asked() {
    let world = broken();
    let glass = status(&world, "eval").break_glass.unwrap();
    assert_eq!(glass.skipped, ["1 approval of security (Group security)", "2 approvals of owners (Group owners)"]);
    assert_eq!(glass.review_due_at.0, world.now + SignedDuration::from_hours(24));
    assert_eq!(condition(&world, "eval", GLASS), Some(("False".into(), "ReviewOwed".into())));
    assert!(owes(&world) && world.children_of("eval") > 0);
}

#[test]
fn it_keeps_its_own_terms() {
    let denied = |more: Value, reason: &str| {
        let mut world = glass(json!({}));
        ask(&mut world, "eval", asked(more));
        settle(&mut world);
        assert_eq!(said(&world, "eval"), (GrantPhase::Denied, reason.into()));
    };
    denied(json!({"requestedDuration": "31m"}), "DurationTooLong");
    denied(json!({"startTime": seconds(&glass(json!({})), 60)}), "BreakGlassLater");
    denied(json!({"requestedBy": {"username": "bob", "groups": ["researchers"]}}), "BreakGlassNotAllowed");
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", asked(json!({})));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "BreakGlassNotAllowed".into()), "there is no glass");
    let mut world = glass(json!({"maxDuration": "5m"}));
    ask(&mut world, "eval", asked(json!({})));
    settle(&mut world);
    let end = status(&world, "eval").expires_at.unwrap().0;
    assert_eq!(end, world.now + SignedDuration::from_mins(5), "the default is cut to it");
}

#[test]
fn who_owes_a_review_does_not_break_it_again() {
    let again = |who: Value| {
        let mut world = broken();
        ask(&mut world, "role/again", asked(json!({"requestedBy": who})));
        settle(&mut world);
        said(&world, "role/again")
    };
    let mut whom = broken();
    ask(&mut whom, "role/again", asked(json!({})));
    settle(&mut whom);
    assert_eq!(
        message(&whom, "role/again"),
        "alice used break-glass for StorageAccessGrant/eval, and nobody had reviewed that grant when this was decided; unless somebody has by now, ask an approver of \
         AccessPolicy standard, one of security (Group security) or owners (Group owners) to review it, and then ask again. A grant cannot \
         be changed: delete it, and ask again"
    );
    review(&mut whom, "eval", Decision::Deny, person("sam", &["security"]));
    whom.reviews[0].spec.comment = "it could have waited".into();
    settle(&mut whom);
    assert_eq!(said(&whom, "eval"), (GrantPhase::Revoked, "ReviewRefused".into()));
    let told = message(&whom, "eval");
    assert!(told.starts_with("sam reviewed and refused it: it could have waited"), "{told}");
    let owed = (GrantPhase::Denied, "EarlierReviewOwed".to_owned());
    assert_eq!(again(json!({"username": "alice", "groups": ["oncall"]})), owed);
    assert_eq!(again(json!({"username": "alice-admin", "groups": ["oncall"], "personKey": "p1"})), owed);
    assert_eq!(again(json!({"username": "olaf", "groups": ["oncall"], "personKey": "p2"})).0, GrantPhase::Active);

    let mut world = broken();
    review(&mut world, "eval", Decision::Approve, person("sam", &["security"]));
    settle(&mut world);
    ask(&mut world, "role/again", asked(json!({})));
    settle(&mut world);
    assert_eq!(said(&world, "role/again").0, GrantPhase::Active, "it was reviewed");
}

/// Two operators, of which one was stopped before what it wrote arrived, approve what neither knows of the other.
#[test]
fn of_two_that_were_approved_at_once_none_is_opened() {
    let mut world = glass(json!({}));
    for key in ["eval", "role/again"] {
        ask(&mut world, key, asked(json!({})));
    }
    let plans = ["eval", "role/again"].map(|key| (key, world.plan(key)));
    for (key, plan) in plans {
        world.carry_out(key, &plan, usize::MAX, &mut |_, _, _| ());
        assert_eq!(status(&world, key).phase, GrantPhase::Approved);
    }
    settle(&mut world);
    for key in ["eval", "role/again"] {
        assert_eq!(said(&world, key), (GrantPhase::Revoked, "BrokenTwice".into()));
        assert_eq!(world.children_of(key), 0);
    }
}

#[test]
fn who_owes_a_review_may_ask_as_everybody_else() {
    let mut world = broken();
    let who = json!({"username": "alice", "groups": ["oncall", "researchers"], "personKey": "p1"});
    ask(&mut world, "role/debug", json!({"requestedBy": who}));
    settle(&mut world);
    assert_eq!(said(&world, "role/debug"), (GrantPhase::Pending, "AwaitingApproval".into()));
}

#[test]
fn one_approver_is_enough_to_review_it_and_nobody_else_is() {
    let alias = Identity { person_key: "p1".into(), ..person("alice-admin", &["security"]) };
    let others = [person("bob", &["oncall"]), person("alice", &["security"]), alias];
    let mut world = broken();
    for who in others {
        review(&mut world, "eval", Decision::Approve, who);
        settle(&mut world);
        assert!(owes(&world));
    }
    review(&mut world, "eval", Decision::Approve, person("olga", &["owners"]));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Active, "Active".into()));
    assert_eq!(condition(&world, "eval", GLASS), Some(("True".into(), "Reviewed".into())));
    assert_eq!(status(&world, "eval").break_glass.unwrap().reviewed_by.unwrap(), "olga");
}

#[test]
fn a_review_of_something_else_settles_nothing() {
    let mut world = broken();
    review(&mut world, "eval", Decision::Approve, person("sam", &["security"]));
    world.reviews[0].spec.digest = format!("v1:sha256:{:064}", 0);
    settle(&mut world);
    assert!(owes(&world));
}

#[test]
fn a_review_that_refuses_ends_it() {
    for decision in [Decision::Deny, Decision::Revoke] {
        let mut world = broken();
        review(&mut world, "eval", decision, person("sam", &["security"]));
        settle(&mut world);
        assert_eq!(said(&world, "eval").0, GrantPhase::Revoked);
        assert!(world.objects.0.is_empty() && !owes(&world), "reviewed, and refused");
    }
}

#[test]
fn a_review_that_is_overdue_is_said_to_be() {
    let mut world = broken();
    world.now += SignedDuration::from_mins(10);
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Expired, "Expired".into()));
    assert_eq!(condition(&world, "eval", GLASS), Some(("False".into(), "ReviewOwed".into())));
    let due = status(&world, "eval").break_glass.unwrap().review_due_at.0;
    assert_eq!(world.plan("eval").next, Some(due));
    world.now = due;
    settle(&mut world);
    assert_eq!(condition(&world, "eval", GLASS), Some(("False".into(), "ReviewOverdue".into())));
    assert_eq!(said(&world, "eval"), (GrantPhase::Expired, "Expired".into()), "an end is an end");
    review(&mut world, "eval", Decision::Approve, person("sam", &["security"]));
    settle(&mut world);
    assert_eq!(condition(&world, "eval", GLASS), Some(("True".into(), "Reviewed".into())), "better late than never");
}

#[test]
fn one_that_is_deleted_stays_until_it_is_reviewed() {
    let mut world = broken();
    world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
    settle(&mut world);
    assert!(world.objects.0.is_empty() && world.secrets.is_empty());
    assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, "Deleted".into()));
    let told = message(&world, "eval");
    assert!(told.starts_with("the grant was deleted; it remains visible until it is reviewed"), "{told}");
    review(&mut world, "eval", Decision::Approve, person("sam", &["security"]));
    settle(&mut world);
    assert!(world.grants.is_empty());
}

#[test]
fn it_ends_when_who_asked_may_no_longer_break_it() {
    let nobody = json!({"requesters": [{"kind": "Group", "name": "others"}]});
    for policy in [glass(nobody).policy, by_people(json!({})).policy] {
        let mut world = broken();
        world.policy = policy;
        settle(&mut world);
        assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, "RequesterNotEligible".into()));
    }
}

#[test]
fn one_that_was_deleted_is_gone_only_when_it_says_who_reviewed_it_and_the_review_was_answered() {
    let mut world = broken();
    world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
    settle(&mut world);
    assert_eq!(said(&world, "eval").0, GrantPhase::Revoked, "it waits for its review");
    review(&mut world, "eval", Decision::Approve, person("sam", &["security"]));
    let plan = world.plan("eval");
    assert!(plan.last.is_none(), "its status would be gone before it was read: {plan:?}");
    world.carry_out("eval", &plan, usize::MAX, &mut |_, _, _| ());
    assert_eq!(status(&world, "eval").break_glass.unwrap().reviewed_by.as_deref(), Some("sam"));
    assert!(world.plan("eval").is_empty(), "nobody has told sam yet");
    settle(&mut world);
    assert!(world.grants.is_empty());
    let told = &world.reviews[0].status.as_ref().unwrap().conditions;
    let told = told.iter().find(|condition| condition.type_ == "Counted").unwrap();
    assert_eq!(told.status, "True", "{}", told.message);
}

/// Who uses break-glass holds no more at once than who asks.
#[test]
fn it_is_within_what_one_person_may_hold() {
    let mut world = glass(json!({}));
    let Shelf::Read(policy) = &mut world.policy else { unreachable!() };
    policy.spec.limits.active = 1;
    ask(&mut world, "a", asked(json!({})));
    settle(&mut world);
    review(&mut world, "a", Decision::Approve, person("sam", &["security"]));
    settle(&mut world);
    assert!(!owes_review(&world.grants["a"], &world.reviews.iter().collect::<Vec<_>>()));
    ask(&mut world, "b", asked(json!({})));
    settle(&mut world);
    assert_eq!(said(&world, "b"), (GrantPhase::Denied, "TooManyGrants".into()));
}

/// Who may get into the pods of a namespace does not decide what they get.
#[test]
fn who_holds_a_role_in_the_namespace_does_not_approve_what_it_gets() {
    let approve = |world: &mut World| {
        review(world, "eval", Decision::Approve, person("sam", &["security"]));
        review(world, "eval", Decision::Approve, person("olga", &["owners"]));
        review(world, "eval", Decision::Approve, person("ivy", &["owners"]));
        settle(world);
    };
    let to_ivy = json!({
        "breakGlass": true, "subjects": [{"kind": "User", "name": "ivy"}],
        "requestedBy": {"username": "ivy", "groups": ["oncall", "owners"]},
    });
    let mut world = glass(json!({}));
    ask(&mut world, "role/debug", to_ivy.clone());
    settle(&mut world);
    assert_eq!(said(&world, "role/debug").0, GrantPhase::Active);
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    approve(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Pending, "AwaitingApproval".into()));

    // Nor does what she agreed to stand when she gets in afterwards.
    let mut world = glass(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    approve(&mut world);
    assert_eq!(said(&world, "eval").0, GrantPhase::Active);
    ask(&mut world, "role/debug", to_ivy);
    settle(&mut world);
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, "ApprovalsNotEnough".into()));
}
