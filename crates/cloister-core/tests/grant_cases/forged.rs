//! A status that somebody else than the operator has written: it gives nothing, and takes nothing back.

use super::{
    desk::*,
    grants::{Pod, World, mount_of},
};
use cloister_api::{Decision, GrantPhase, GrantStatus, Identity, RecordedReview};
use cloister_core::{child::ChildKind, grant};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

pub const NOT_BORNE_OUT: &str = "RecordNotBorneOut";

pub fn forge(world: &mut World, key: &str, change: impl FnOnce(&mut GrantStatus)) {
    change(world.grants.get_mut(key).unwrap().status_mut().get_or_insert_default());
}

/// What the operator would have written of a request if its policy approved everything.
fn as_approved(world: &World, key: &str) -> GrantStatus {
    let generous = World { policy: policy(json!({})), ..world.clone() };
    generous.plan(key).status.unwrap()
}

fn agreement(who: &Identity) -> RecordedReview {
    RecordedReview {
        name: format!("by-{}", who.username),
        uid: format!("forged-{}", who.username),
        decision: Decision::Approve,
        reviewer: who.clone(),
    }
}

/// The operator looks, and what stands afterwards is nothing.
fn is_closed(world: &mut World, reason: &str) {
    settle(world);
    assert_eq!(said(world, "eval"), (GrantPhase::Revoked, reason.into()), "{:?}", status(world, "eval").conditions);
    assert!(world.objects.0.is_empty() && world.secrets.is_empty(), "{:?}", world.objects);
}

#[test]
fn an_approval_that_nobody_gave_opens_nothing() {
    let ask_people = || {
        let mut world = by_people(json!({}));
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        world
    };
    for (agreed, reason) in [(false, "ApprovalsNotEnough"), (true, NOT_BORNE_OUT)] {
        for phase in [GrantPhase::Approved, GrantPhase::Active] {
            let mut world = ask_people();
            let mut forged = as_approved(&world, "eval");
            forged.phase = phase;
            if agreed {
                forged.reviews = enough().iter().map(agreement).collect();
            }
            *world.grants.get_mut("eval").unwrap().status_mut() = Some(forged);
            assert!(world.plan("eval").actions().all(|action| !action.opens()));
            is_closed(&mut world, reason);
        }
    }
}

#[test]
fn an_end_that_nobody_gave_ends_the_grant() {
    let later = |world: &World| Some(Time(world.now + SignedDuration::from_hours(90_000)));
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let end = later(&world);
    forge(&mut world, "eval", |status| status.expires_at = end.clone());
    is_closed(&mut world, NOT_BORNE_OUT);

    let mut world = by_people(json!({}));
    approved(&mut world, "eval", json!({"requestedDuration": "30m"}));
    forge(&mut world, "eval", |status| {
        status.expires_at = end.clone();
        status.approved_at = end;
    });
    is_closed(&mut world, NOT_BORNE_OUT);
}

#[test]
fn an_approval_that_is_taken_back_ends_the_grant() {
    let mut world = by_people(json!({}));
    approved(&mut world, "eval", json!({}));
    // A comment of the operator on it means nothing.
    world.reviews[1].status = None;
    settle(&mut world);
    assert_eq!(said(&world, "eval").0, GrantPhase::Active);
    world.reviews.remove(1);
    is_closed(&mut world, NOT_BORNE_OUT);
}

#[test]
fn a_review_that_was_added_does_not_help_where_the_policy_asks_for_more() {
    let mut world = by_people(json!({}));
    approved(&mut world, "eval", json!({}));
    forge(&mut world, "eval", |status| status.reviews.push(agreement(&person("nobody", &["security"]))));
    is_closed(&mut world, NOT_BORNE_OUT);
}

#[test]
fn a_request_is_decided_whatever_its_status_says_of_later() {
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let at = Some(Time(world.now + SignedDuration::from_hours(90_000)));
    forge(&mut world, "eval", |status| {
        status.expires_at = at.clone();
        status.approved_at = at;
        status.reviews = vec![agreement(&person("nobody", &["security"]))];
    });
    all_agree(&mut world, "eval");
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Active, "Active".into()));
    let status = status(&world, "eval");
    assert_eq!((status.reviews.len(), status.approved_at.unwrap().0), (3, world.now));
    assert_eq!(status.expires_at.unwrap().0, world.now + SignedDuration::from_mins(10));
}

/// What the target was is written down in two forms: a digest, and a hash of each part.
#[test]
fn parts_that_are_those_of_another_target_keep_nothing_open() {
    let of = |network: &str| storage(json!({"endpoint": {"networks": [network], "ports": [{"port": 443}]}}));
    let opened = |network: &str| {
        let mut world = World { storage: of(network), ..world() };
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        assert_eq!(said(&world, "eval").0, GrantPhase::Active);
        world
    };
    let tomorrow = status(&opened("203.0.113.248/29"), "eval").target_parts;
    let mut noticed = opened("198.51.100.0/28");
    forge(&mut noticed, "eval", |status| status.target_parts.clone_from(&tomorrow));
    let mut too_late = noticed.clone();
    is_closed(&mut noticed, NOT_BORNE_OUT);
    too_late.storage = of("203.0.113.248/29");
    is_closed(&mut too_late, "TargetChanged");
}

#[test]
fn parts_that_are_those_of_another_service_keep_nothing_open() {
    let endpoint = json!({"service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 8080}]});
    let mut world = World { storage: storage(json!({"endpoint": endpoint})), ..world() };
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    assert_eq!(said(&world, "eval").0, GrantPhase::Active);
    // While it is not there nothing is known of it, and what it opens is closed.
    let mut absent = world.clone();
    absent.service.is_absent = true;
    settle(&mut absent);
    assert_eq!(said(&absent, "eval").0, GrantPhase::Active);
    let mut another = world.clone();
    another.service.made += 1;
    ask(&mut another, "other", json!({}));
    settle(&mut another);
    let parts = status(&another, "other").target_parts;
    absent.service.made += 1;
    forge(&mut absent, "eval", |status| status.target_parts = parts);
    absent.service.is_absent = false;
    is_closed(&mut absent, "TargetChanged");
}

#[test]
fn what_is_said_to_have_ended_is_closed_all_the_same() {
    for phase in [GrantPhase::Expired, GrantPhase::Revoked, GrantPhase::Denied, GrantPhase::TimedOut] {
        let mut world = world();
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        let pod = Pod { secrets: world.secrets.clone(), ..Pod::default() };
        world.pods.insert("train-0".into(), pod);
        let now = world.now;
        forge(&mut world, "eval", |status| {
            status.phase = phase;
            status.ended_at = Some(Time(now));
            status.secret_name = None;
        });
        // Whoever may revoke it is not told that it is over.
        review(&mut world, "eval", Decision::Revoke, person("alice", &["researchers"]));
        let told = world.with_input("eval", |input| grant::review(&world.reviews[0], Some(input), None, now)).unwrap();
        assert!(told.conditions.iter().any(|c| c.type_ == "Counted" && c.status == "True"), "{told:?}");
        settle(&mut world);
        assert_eq!(said(&world, "eval"), (GrantPhase::Revoking, NOT_BORNE_OUT.into()), "the pod is waited for");
        assert!(world.secrets.is_empty() && world.children_of("eval") == 0 && world.pods["train-0"].terminating);
        world.pods.clear();
        is_closed(&mut world, NOT_BORNE_OUT);
    }
}

#[test]
fn what_another_grant_counts_on_is_left_to_it() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    ask(&mut world, "other", json!({}));
    settle(&mut world);
    forge(&mut world, "eval", |status| status.phase = GrantPhase::Expired);
    settle(&mut world);
    assert_eq!(said(&world, "eval").0, GrantPhase::Revoked);
    assert!(world.has_mount(&mount_of(&world.grants["other"]).unwrap()));
    assert!(world.objects.0.keys().any(|key| key.kind == ChildKind::GrantMount));
}

#[test]
fn a_review_that_is_owed_is_due_when_the_policy_says() {
    let glass =
        json!({"requesters": [{"kind": "Group", "name": "oncall"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let mut world = by_people(json!({"breakGlass": glass}));
    let oncall = json!({"username": "alice", "groups": ["oncall"]});
    ask(&mut world, "eval", json!({"breakGlass": true, "requestedBy": oncall}));
    settle(&mut world);
    let due = |world: &World| status(world, "eval").break_glass.unwrap().review_due_at.0;
    let agreed = due(&world);
    let forged = Time(world.now + SignedDuration::from_hours(90_000));
    for over in [false, true] {
        if over {
            world.now += SignedDuration::from_mins(30);
            settle(&mut world);
        }
        let glass = |status: &mut GrantStatus| {
            status.break_glass.iter_mut().for_each(|glass| glass.review_due_at.clone_from(&forged));
        };
        forge(&mut world, "eval", glass);
        settle(&mut world);
        assert!(due(&world) <= agreed + SignedDuration::from_secs(1), "{}", due(&world));
    }
}

#[test]
fn a_broken_glass_is_reviewed_only_where_there_is_a_review() {
    let glass =
        json!({"requesters": [{"kind": "Group", "name": "oncall"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let oncall = json!({"breakGlass": true, "requestedBy": {"username": "alice", "groups": ["oncall"]}});
    let mut before = by_people(json!({"breakGlass": glass}));
    ask(&mut before, "eval", oncall.clone());
    settle(&mut before);
    let reviewed = |status: &mut GrantStatus| {
        let glass = status.break_glass.as_mut().unwrap();
        (glass.reviewed_by, glass.reviewed_at) = (Some("sam".into()), Some(glass.review_due_at.clone()));
    };
    let hidden = |status: &mut GrantStatus| status.break_glass = None;
    let by_a_stranger = |status: &mut GrantStatus| {
        reviewed(status);
        status.reviews.push(agreement(&person("sam", &["security"])));
    };
    for (change, ends) in [(&reviewed as &dyn Fn(&mut GrantStatus), false), (&hidden, true), (&by_a_stranger, true)] {
        for over in [false, true] {
            let mut world = before.clone();
            if over {
                world.now += SignedDuration::from_mins(30);
                settle(&mut world);
            }
            forge(&mut world, "eval", change);
            // Before the operator has looked at it, too.
            ask(&mut world, "role/again", oncall.clone());
            settle(&mut world);
            let ended = over || ends;
            assert_eq!(said(&world, "eval").0 == GrantPhase::Active, !ended);
            assert_eq!(said(&world, "role/again"), (GrantPhase::Denied, "EarlierReviewOwed".into()));
            assert_eq!(condition(&world, "eval", "Reviewed").unwrap().0, "False");
            assert!(status(&world, "eval").break_glass.unwrap().reviewed_by.is_none());
            review(&mut world, "eval", Decision::Approve, person("sam", &["security"]));
            settle(&mut world);
            assert_eq!(condition(&world, "eval", "Reviewed").unwrap().0, "True");
        }
    }
}
