//! An approval that somebody else than the operator has written while the request was being refused.

use super::{
    desk::*,
    forged::{NOT_BORNE_OUT, forge},
    grants::World,
};
use cloister_api::{Decision, GrantPhase};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

/// A world in which everybody who must has agreed and somebody has refused first, and the operator has seen none of it.
fn refused_first() -> World {
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    review(&mut world, "eval", Decision::Deny, person("sue", &["security"]));
    world.now += SignedDuration::from_secs(1);
    all_agree(&mut world, "eval");
    world
}

#[test]
fn an_approval_that_was_forged_past_a_refusal_opens_nothing() {
    for (backdated, expected) in [(0, "ReviewRefused"), (2, "ReviewRefused"), (200, NOT_BORNE_OUT)] {
        let mut world = refused_first();
        // What the operator would have written without the refusal.
        let mut without = world.clone();
        without.reviews.remove(0);
        let mut forged = without.plan("eval").status.unwrap();
        assert_eq!(forged.phase, GrantPhase::Approved);
        let at = world.now - SignedDuration::from_secs(backdated);
        forged.approved_at = Some(Time(at));
        world.now += SignedDuration::from_secs(3);
        forge(&mut world, "eval", |status| *status = forged);
        assert!(world.plan("eval").actions().all(|action| !action.opens()));
        settle(&mut world);
        assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, expected.into()), "{backdated}");
        assert!(world.objects.0.is_empty() && world.secrets.is_empty());
    }
}

#[test]
fn a_refusal_that_comes_later_ends_nothing() {
    let mut world = by_people(json!({}));
    approved(&mut world, "eval", json!({}));
    review(&mut world, "eval", Decision::Deny, person("sue", &["security"]));
    world.now += SignedDuration::from_secs(1);
    settle(&mut world);
    assert_eq!(said(&world, "eval").0, GrantPhase::Active);
}

/// Approves a request as if no other grant were there.
fn forge_approval(world: &mut World) {
    let mut alone = world.clone();
    alone.grants.retain(|key, _| key == "eval");
    let forged = alone.plan("eval").status.unwrap();
    assert_eq!(forged.phase, GrantPhase::Approved);
    forge(world, "eval", |status| *status = forged);
    settle(world);
}

#[test]
fn an_approval_that_was_forged_past_the_limit_opens_nothing() {
    let mut world = World { policy: policy(json!({"limits": {"active": 2, "pending": 9}})), ..world() };
    for key in ["a", "b"] {
        ask(&mut world, key, json!({}));
        settle(&mut world);
        assert_eq!(said(&world, key).0, GrantPhase::Active);
        world.now += SignedDuration::from_secs(1);
    }
    ask(&mut world, "eval", json!({}));
    forge_approval(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, NOT_BORNE_OUT.into()));
    for key in ["a", "b"] {
        assert_eq!(said(&world, key).0, GrantPhase::Active, "those that had their place keep it");
    }
}

#[test]
fn a_broken_glass_that_was_forged_past_a_debt_opens_nothing() {
    let glass =
        json!({"requesters": [{"kind": "Group", "name": "oncall"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let oncall = json!({"breakGlass": true, "requestedBy": {"username": "alice", "groups": ["oncall"]}});
    let mut world = by_people(json!({"breakGlass": glass}));
    ask(&mut world, "role/debt", oncall.clone());
    settle(&mut world);
    assert_eq!(said(&world, "role/debt").0, GrantPhase::Active);
    ask(&mut world, "eval", oncall);
    forge_approval(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Revoked, "BrokenTwice".into()));
    assert_eq!(said(&world, "role/debt").0, GrantPhase::Active);
}
