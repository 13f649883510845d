//! What the endpoints of a namespace's storage open together.

use super::{
    desk::*,
    grants::{Shared, Shelf, World},
};
use cloister_api::{EgressRule, GrantPhase, StorageResource};
use cloister_core::{
    address::NeverOpened,
    egress::{AllowRule, Surroundings, open_rule},
};
use jiff::SignedDuration;
use serde_json::{Value, json};

const TOO_BROAD: &str = "TooBroad";

/// A world with as many storages as there are lists of networks.
fn with(endpoints: &[&[&str]]) -> World {
    let mut world = world();
    for (at, networks) in endpoints.iter().enumerate() {
        let endpoint = json!({"networks": networks, "ports": [{"port": 443}]});
        let Shelf::Read(storage): Shelf<StorageResource> = storage(json!({"endpoint": endpoint})) else {
            unreachable!()
        };
        world.storages.insert(format!("weights-{at}"), storage.into_inner());
    }
    world.annotations = Shared::new([("cloister.dev/storage-resources", "weights-0,weights-1,weights-2")].into());
    world
}

fn ask_for(world: &mut World, key: &str, at: usize, more: Value) {
    let mount = json!({"serviceAccountName": "trainer", "mountPath": format!("/mnt/{at}")});
    ask(world, key, merged(json!({"storage": format!("weights-{at}"), "mount": mount}), more));
}

fn message(world: &World, key: &str) -> String {
    status(world, key).conditions.into_iter().find(|c| c.type_ == "Ready").unwrap().message
}

#[test]
fn endpoints_that_are_too_wide_together_are_not_given_together() {
    let mut world = with(&[&["198.50.0.0/16"], &["198.51.0.0/16"]]);
    ask_for(&mut world, "first", 0, json!({}));
    settle(&mut world);
    let before = world.objects.0.clone();
    ask_for(&mut world, "second", 1, json!({}));
    settle(&mut world);
    assert_eq!(told(&world, "first"), (GrantPhase::Active, "Active".into(), false));
    assert_eq!(told(&world, "second"), (GrantPhase::Pending, TOO_BROAD.into(), true));
    assert!(message(&world, "second").contains("198.50.0.0 to 198.51.255.255"), "{}", message(&world, "second"));
    assert_eq!(format!("{before:?}"), format!("{:?}", world.objects.0), "what is open stays");
    // When there is room it is given.
    world.now += SignedDuration::from_mins(10);
    settle(&mut world);
    assert_eq!(said(&world, "first").0, GrantPhase::Expired);
    assert_eq!(said(&world, "second").0, GrantPhase::Active);
}

#[test]
fn the_same_again_and_what_is_not_of_the_internet_takes_no_room() {
    let mut world = with(&[&["198.50.0.0/16"], &["198.50.7.0/24"], &["10.0.0.0/8"]]);
    for (key, at) in [("first", 0), ("again", 0), ("within", 1), ("inside", 2)] {
        ask_for(&mut world, key, at, json!({}));
        settle(&mut world);
        assert_eq!(said(&world, key).0, GrantPhase::Active, "{key}: {}", message(&world, key));
    }
}

#[test]
fn of_two_that_are_approved_at_once_one_is_opened() {
    for order in [["first", "second"], ["second", "first"]] {
        let mut world = with(&[&["198.50.0.0/16"], &["198.51.0.0/16"]]);
        let start = seconds(&world, 60);
        ask_for(&mut world, "first", 0, json!({"startTime": start}));
        ask_for(&mut world, "second", 1, json!({"startTime": start}));
        // Neither knows of the other when it is decided.
        for key in ["first", "second"] {
            let mut alone = world.clone();
            alone.grants.retain(|other, _| other == key);
            settle(&mut alone);
            assert_eq!(said(&alone, key).0, GrantPhase::Approved);
            world.grants.insert(key.into(), alone.grants[key].clone());
        }
        world.now += SignedDuration::from_secs(60);
        for key in order {
            let plan = world.plan(key);
            world.carry_out(key, &plan, usize::MAX, &mut |_, _, _| ());
        }
        settle(&mut world);
        assert_eq!(said(&world, "first").0, GrantPhase::Active, "{order:?}");
        assert_eq!(told(&world, "second"), (GrantPhase::Approved, TOO_BROAD.into(), true), "{order:?}");
    }
}

fn opening(network: &str) -> AllowRule {
    let rule = json!({"name": "r", "networks": [network], "ports": [{"port": 443}]});
    let rule: EgressRule = serde_json::from_value(rule).unwrap();
    let never = NeverOpened::new(&[]);
    open_rule(&rule, &Surroundings { never: &never, services: &|_| None, wildcards: false }).unwrap()
}

#[test]
fn what_allowlists_open_counts() {
    for (allowed, is_given) in [("198.50.0.0/16", false), ("192.0.2.0/24", true), ("198.51.0.0/16", true)] {
        let mut world = with(&[&["198.51.0.0/16"]]);
        world.agreed = Shared::new(vec![opening(allowed)]);
        ask_for(&mut world, "first", 0, json!({}));
        settle(&mut world);
        assert_eq!(said(&world, "first").0 == GrantPhase::Active, is_given, "{allowed}: {}", message(&world, "first"));
    }
}
