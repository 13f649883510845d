//! What a list shows of a grant.

use super::{
    desk::*,
    grants::{World, role_facts},
};
use cloister_api::{Decision, GrantPhase};
use jiff::SignedDuration;
use serde_json::json;

fn summary(world: &World, key: &str) -> [String; 5] {
    let summary = status(world, key).summary;
    [summary.target, summary.duration, summary.approvals, summary.reason, summary.until]
}

#[test]
fn an_approver_sees_what_is_asked_for_how_long_and_how_many_have_agreed() {
    let mut world = by_people(json!({}));
    let rule = |target| json!({"rule": merged(json!({"name": "x", "ports": [{"port": 443}]}), target)});
    ask(&mut world, "eval", json!({"requestedDuration": "45m"}));
    ask(&mut world, "role/debug", json!({}));
    ask(&mut world, "egress/a", rule(json!({"networks": ["203.0.113.0/24", "198.51.100.0/24"]})));
    ask(
        &mut world,
        "egress/b",
        rule(json!({"service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 80}]})),
    );
    ask(
        &mut world,
        "egress/c",
        rule(json!({"networks": ["2001:db8::/64"], "ports": [{"port": 1, "endPort": 2, "protocol": "UDP"}]})),
    );
    settle(&mut world);
    let waits = |target: &str, duration: &str| [target, duration, "0/3", "AwaitingApproval", ""].map(str::to_owned);
    assert_eq!(summary(&world, "eval"), waits("weights/reader", "45m"));
    assert_eq!(summary(&world, "role/debug"), waits("debugger", "10m"), "as the policy gives it");
    assert_eq!(summary(&world, "egress/a"), waits("203.0.113.0/24+1:443", "10m"));
    assert_eq!(summary(&world, "egress/b"), waits("infra/cache:80", "10m"));
    assert_eq!(summary(&world, "egress/c"), waits("[2001:db8::/64]:1-2/UDP", "10m"));
    review(&mut world, "eval", Decision::Approve, person("sam", &["security"]));
    settle(&mut world);
    assert_eq!(summary(&world, "eval")[2], "1/3");
    all_agree(&mut world, "eval");
    settle(&mut world);
    let end = (world.now + SignedDuration::from_mins(45)).strftime("%Y-%m-%dT%H:%MZ").to_string();
    assert_eq!(summary(&world, "eval"), ["weights/reader", "45m", "3/3", "", &*end]);
    let mut revoked = world.clone();
    revoked.now += SignedDuration::from_mins(5);
    review(&mut revoked, "eval", Decision::Revoke, person("sam", &["security"]));
    settle(&mut revoked);
    let early = revoked.now.strftime("%Y-%m-%dT%H:%MZ").to_string();
    let now = revoked.grants["eval"].status().unwrap().ended_at.as_ref().unwrap().0;
    assert_eq!(now.strftime("%Y-%m-%dT%H:%MZ").to_string(), summary(&revoked, "eval")[4]);
    assert_eq!(summary(&revoked, "eval")[3..], ["RevokedByReview", &*early]);
    world.now += SignedDuration::from_mins(45);
    settle(&mut world);
    assert_eq!(summary(&world, "eval"), ["weights/reader", "45m", "3/3", "", &*end]);
}

#[test]
fn a_review_that_is_owed_is_seen_in_a_list() {
    let terms =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let mut world = by_people(json!({"breakGlass": terms}));
    ask(&mut world, "eval", json!({"breakGlass": true}));
    settle(&mut world);
    assert_eq!(summary(&world, "eval")[2..4], ["nobody", "ReviewOwed"]);
    world.now += SignedDuration::from_mins(30);
    settle(&mut world);
    assert_eq!((said(&world, "eval").0, &*summary(&world, "eval")[3]), (GrantPhase::Expired, "ReviewOwed"));
    world.now += SignedDuration::from_hours(24);
    settle(&mut world);
    assert_eq!(summary(&world, "eval")[3], "ReviewOverdue");
    review(&mut world, "eval", Decision::Approve, person("sam", &["security"]));
    settle(&mut world);
    assert_eq!(summary(&world, "eval")[3], "");

    let mut world = self::world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    assert_eq!(summary(&world, "eval")[2..4], ["policy", ""]);
}

/// One that was refused breaks no glass and owes nothing.
#[test]
fn one_that_was_not_to_break_the_glass_does_not_look_as_if_it_had() {
    let terms =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let mut world = by_people(json!({"breakGlass": terms}));
    ask(&mut world, "eval", json!({"breakGlass": true}));
    settle(&mut world);
    ask(&mut world, "role/more", json!({"breakGlass": true}));
    ask(&mut world, "role/long", json!({"breakGlass": true, "requestedDuration": "9h"}));
    settle(&mut world);
    assert_eq!(summary(&world, "role/more")[2..4], ["", "EarlierReviewOwed"]);
    assert_eq!(summary(&world, "role/long")[2..4], ["", "SeveralMistakes"]);
    assert_eq!(condition(&world, "role/more", "Reviewed"), None);
}

#[test]
fn what_made_approvals_of_before_void_is_said() {
    let mut world = by_people(json!({}));
    ask(&mut world, "role/debug", json!({}));
    settle(&mut world);
    review(&mut world, "role/debug", Decision::Approve, person("sam", &["security"]));
    settle(&mut world);
    world.cluster_roles.insert("cloister:debugger".into(), role_facts(&["pods/attach"], true));
    settle(&mut world);
    let why = "the target has changed since: what ClusterRole cloister:debugger allows (now also create of pods/attach, and no \
               longer create of pods/exec)";
    let told = message(&world, "role/debug");
    assert!(
        told.contains(&format!("; what sam approved does not count, because it names another digest than the request has now ({why}): who still")),
        "{told}"
    );
    let said = world.with_input("role/debug", |input| {
        cloister_core::grant::review(&world.reviews[0], Some(input), None, world.now).unwrap().conditions[1]
            .message
            .clone()
    });
    assert!(said.contains(why), "{said}");

    let mut world = by_people(json!({}));
    ask(&mut world, "role/debug", json!({}));
    settle(&mut world);
    review(&mut world, "role/debug", Decision::Approve, person("sam", &["security"]));
    world.policy = by_people(json!({"maxDuration": "2h"})).policy;
    settle(&mut world);
    assert!(message(&world, "role/debug").contains("(AccessPolicy standard has changed since): "));
}

/// Nobody is sent to write another review that would be refused, or that they have written already.
#[test]
fn approvals_of_before_are_those_that_could_count() {
    let mut world = by_people(json!({}));
    world.members =
        serde_json::from_value(json!([{"role": "Owner", "subjects": [{"kind": "User", "name": "lea"}]}])).unwrap();
    ask(&mut world, "role/debug", json!({}));
    settle(&mut world);
    let waits = "waits for approval under AccessPolicy standard: 1 more of security (Group security), and 2 more of owners (Group owners)";
    for who in [person("lea", &["security"]), person("bob", &["guests"]), person("alice", &["security"])] {
        review(&mut world, "role/debug", Decision::Approve, who);
    }
    settle(&mut world);
    world.cluster_roles.insert("cloister:debugger".into(), role_facts(&["pods/attach"], true));
    settle(&mut world);
    assert!(message(&world, "role/debug").starts_with(waits), "{}", message(&world, "role/debug"));
    assert!(!message(&world, "role/debug").contains("does not count"), "{}", message(&world, "role/debug"));
    let sam = || person("sam", &["security"]);
    for _ in 0..2 {
        review(&mut world, "role/debug", Decision::Approve, sam());
    }
    settle(&mut world);
    world.cluster_roles.insert("cloister:debugger".into(), role_facts(&["pods/exec"], true));
    settle(&mut world);
    assert!(
        message(&world, "role/debug").contains("; what sam approved does not count, because it names another digest"),
        "sam is one person"
    );
    review(&mut world, "role/debug", Decision::Approve, sam());
    settle(&mut world);
    assert!(!message(&world, "role/debug").contains("does not count"), "{}", message(&world, "role/debug"));
}
