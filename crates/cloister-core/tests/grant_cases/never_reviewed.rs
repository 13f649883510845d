//! Grants that used break-glass, and whose Namespace ends.

use super::{
    break_glass::{GLASS, broken},
    desk::*,
    grants::Shelf,
};
use cloister_api::{Decision, GrantPhase};
use cloister_core::grant::Home;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

#[test]
fn a_review_that_nobody_can_make_any_more_is_given_up_and_told() {
    let mut world = broken();
    world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
    settle(&mut world);
    assert!(world.grants.contains_key("eval"), "it waits for its review");
    world.home = Home::Ending;
    let plan = world.plan("eval");
    assert!(plan.does_nothing() && plan.next == Some(world.now), "it is told before it is gone");
    let said = plan.status.unwrap().conditions.into_iter().find(|condition| condition.type_ == GLASS).unwrap();
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("False", "NeverReviewed"));
    settle(&mut world);
    assert!(world.grants.is_empty());
}

#[test]
fn one_that_was_reviewed_is_not_given_up_when_its_namespace_ends() {
    let mut world = broken();
    review(&mut world, "eval", Decision::Approve, person("sam", &["security"]));
    settle(&mut world);
    assert_eq!(status(&world, "eval").break_glass.unwrap().reviewed_by.as_deref(), Some("sam"));
    world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
    world.home = Home::Ending;
    while let Some(grant) = world.grants.get("eval") {
        let conditions = &grant.status().unwrap().conditions;
        assert!(conditions.iter().all(|condition| condition.reason != "NeverReviewed"), "{conditions:?}");
        let plan = world.plan("eval");
        if plan.is_empty() {
            let Some(next) = plan.next else { break };
            world.now = next;
        }
        world.carry_out("eval", &plan, usize::MAX, &mut |_, _, _| ());
    }
    settle(&mut world);
    assert!(world.grants.is_empty(), "nothing waits any more");
}

/// What is in a Namespace goes in any order, and the operator hears of it in any.
#[test]
fn one_that_was_reviewed_is_not_given_up_when_its_review_goes_first() {
    for (decision, heard_late, policy_goes) in [
        (Decision::Approve, false, false),
        (Decision::Approve, false, true),
        (Decision::Approve, true, false),
        (Decision::Approve, true, true),
        (Decision::Deny, false, false),
        (Decision::Deny, true, false),
    ] {
        let mut world = broken();
        review(&mut world, "eval", decision, person("sam", &["security"]));
        settle(&mut world);
        world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
        world.reviews.clear();
        if policy_goes {
            world.policy = Shelf::Absent;
        }
        if heard_late {
            // That the Namespace ends is heard after that the review is gone.
            let plan = world.plan("eval");
            world.carry_out("eval", &plan, usize::MAX, &mut |_, _, _| ());
        }
        world.home = Home::Ending;
        let mut last = status(&world, "eval");
        for _ in 0..12 {
            let Some(grant) = world.grants.get("eval") else { break };
            last = grant.status().unwrap().clone();
            assert!(last.conditions.iter().all(|c| c.reason != "NeverReviewed"), "{decision:?} {:?}", last.conditions);
            let plan = world.plan("eval");
            world.carry_out("eval", &plan, usize::MAX, &mut |_, _, _| ());
            world.environment();
            world.let_admission_notice();
        }
        assert!(world.grants.is_empty(), "nothing waits any more");
        assert_eq!(last.break_glass.unwrap().reviewed_by.as_deref(), Some("sam"));
    }
}

/// Who revokes it without being one to review it has not reviewed it.
#[test]
fn one_that_was_only_revoked_is_given_up_when_its_namespace_ends() {
    let mut world = broken();
    review(&mut world, "eval", Decision::Revoke, person("alice", &["oncall"]));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, "RevokedByReview".into()));
    world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
    (world.home, world.reviews) = (Home::Ending, Vec::new());
    let told = world.plan("eval").status.unwrap().conditions;
    assert!(told.iter().any(|condition| condition.reason == "NeverReviewed"), "{told:?}");
}
