//! The credential that overlapping grants share.

use super::{
    desk::*,
    grants::{Shelf, World},
};
use cloister_api::{GrantMount, GrantPhase};
use cloister_core::model::{
    child::{Child, ChildKey, ChildKind},
    plan::Action,
};
use jiff::SignedDuration;
use serde_json::json;

#[test]
fn one_credential_is_mounted_at_one_path() {
    let elsewhere = json!({"mount": {"serviceAccountName": "trainer", "mountPath": "/mnt/other"}});
    for start in [json!({}), json!({"startTime": seconds(&world(), 60)})] {
        let mut world = world();
        ask(&mut world, "first", start);
        settle(&mut world);
        ask(&mut world, "second", elsewhere.clone());
        settle(&mut world);
        assert_eq!(told(&world, "second"), (GrantPhase::Denied, "MountConflict".into(), false));
        let message = message(&world, "second");
        let path = message.split("; ask with mountPath ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        let mount = json!({"serviceAccountName": "trainer", "mountPath": path});
        ask(&mut world, "third", merged(elsewhere.clone(), json!({"mount": mount})));
        settle(&mut world);
        assert_ne!(said(&world, "third").1, "MountConflict", "it works where it is sent to: {message}");
    }
}

/// Whoever publishes the catalogue corrects an endpoint: it is no mistake of a request, and the same without the mistake is given.
#[test]
fn an_endpoint_that_stays_closed_is_no_mistake_of_a_request() {
    use cloister_core::dns::{Answer, KnownName, Limits, Outcome, Where};
    let never = cloister_core::address::NeverOpened::new(&[]);
    let inside = [("10.0.0.1".parse().unwrap(), SignedDuration::from_secs(30))];
    let host = "weights.example.com";
    let endpoint = json!({"domainNames": [host], "ports": [{"port": 443}]});
    let mut world = World { storage: storage(json!({"endpoint": endpoint})), ..world() };
    let mut known = KnownName::default();
    let rebound = Answer::believed(inside, Where::Public, &never).unwrap_err();
    known.learn(Outcome::Refused(rebound), world.now, &Limits::default());
    world.known.insert(host.into(), known);
    ask(&mut world, "first", json!({}));
    let elsewhere = json!({"mount": {"serviceAccountName": "trainer", "mountPath": "/data"}});
    settle(&mut world);
    assert_eq!(said(&world, "first"), (GrantPhase::Active, "Rebinding".into()), "with a mount it is given");
    ask(&mut world, "second", elsewhere);
    ask(&mut world, "third", json!({"mount": null}));
    ask(&mut world, "fourth", json!({"requestedDuration": "9h"}));
    settle(&mut world);
    assert_eq!(said(&world, "third"), (GrantPhase::Active, "Rebinding".into()), "and without one");
    for (key, reason) in [("second", "MountConflict"), ("fourth", "DurationTooLong")] {
        assert_eq!(said(&world, key), (GrantPhase::Denied, reason.into()));
        let told = message(&world, key);
        assert!(told.contains(". Note that the endpoint of StorageResource weights stays closed: "), "{told}");
    }
}

/// Two storages in one folder: one would hide the other, or keep the pods from starting.
#[test]
fn two_credentials_are_not_mounted_in_one_folder() {
    let other = |account: &str, path: &str| {
        let mut world = world();
        ask(&mut world, "first", json!({}));
        settle(&mut world);
        let writer = json!({"name": "writer", "accessPolicy": "standard"});
        if let Shelf::Read(storage) = &mut world.storage {
            storage.spec.roles.push(serde_json::from_value(writer).unwrap());
        }
        let mount = json!({"serviceAccountName": account, "mountPath": path});
        ask(&mut world, "second", json!({"role": "writer", "mount": mount}));
        settle(&mut world);
        (told(&world, "second").0, told(&world, "second").1)
    };
    for path in ["/mnt/weights", "/mnt/weights/inner", "/mnt"] {
        assert_eq!(other("trainer", path), (GrantPhase::Denied, "MountConflict".into()), "{path}");
    }
    for (account, path) in [("trainer", "/mnt/weights-2"), ("trainer", "/data"), ("eval", "/mnt/weights")] {
        assert_eq!(other(account, path).0, GrantPhase::Active, "{account} {path}");
    }
}

#[test]
fn a_grant_that_ends_leaves_the_mount_to_the_one_that_shares_it() {
    let mut world = held();
    world.now -= SignedDuration::from_mins(5);
    ask(&mut world, "next", json!({}));
    settle(&mut world);
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert_eq!((told(&world, "eval").0, told(&world, "next").0), (GrantPhase::Expired, GrantPhase::Active));
    assert!(world.has_mount("weights.reader.trainer") && !world.pods["train-0"].terminating);
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert!(!world.has_mount("weights.reader.trainer") && world.pods["train-0"].terminating);
}

#[test]
fn a_grant_that_ends_leaves_nothing_to_one_whose_time_has_not_come() {
    let mut world = held();
    let start = seconds(&world, 60);
    world.now -= SignedDuration::from_mins(5);
    ask(&mut world, "next", json!({"startTime": start}));
    settle(&mut world);
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert_eq!((told(&world, "eval").0, told(&world, "next").0), (GrantPhase::Revoking, GrantPhase::Approved));
    assert!(!world.has_mount("weights.reader.trainer") && world.pods["train-0"].terminating);
}

#[test]
fn the_last_to_share_a_credential_takes_it_away_though_its_role_had_none() {
    let mut world = held();
    world.now -= SignedDuration::from_mins(5);
    world.storage = storage(json!({"roles": [{"name": "reader", "accessPolicy": "standard"}]}));
    // It is approved before the other is seen to end.
    ask(&mut world, "early", json!({}));
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Revoked, "TargetChanged".into(), false));
    assert_eq!((told(&world, "early").0, world.secrets.len()), (GrantPhase::Active, 1));
    world.now += SignedDuration::from_mins(10);
    settle(&mut world);
    assert_eq!((told(&world, "early").0, world.secrets.len()), (GrantPhase::Revoking, 0));
}

#[test]
fn a_new_version_of_the_credential_is_copied() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    world.credential = Some(2);
    let plan = world.plan("eval");
    let actions: Vec<&Action> = plan.actions().collect();
    assert!(matches!(actions[..], [Action::CopyCredential { .. }, Action::Apply(_)]), "{actions:?}");
    settle(&mut world);
    world.credential = None;
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Active, "CredentialMissing".into(), true));
}

/// Somebody with the power to has put it elsewhere, or to other pods, while nobody looked.
#[test]
fn a_mount_that_another_has_changed_is_taken_back() {
    let change = |change: &dyn Fn(&mut GrantMount)| {
        let mut world = world();
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        let key = ChildKey::new(ChildKind::GrantMount, "weights.reader.trainer");
        let before = world.objects.0[&key].clone();
        if let Some(Child::GrantMount(mount)) = world.objects.0.get_mut(&key) {
            change(mount);
        }
        world.objects.edit(&key, |_| {});
        assert_ne!(world.objects.0[&key], before);
        let actions: Vec<Action> = world.plan("eval").actions().cloned().collect();
        let expected = matches!(actions[..], [Action::Unmount { .. }, Action::CopyCredential { .. }, Action::Apply(_)]);
        assert!(expected, "{actions:?}");
        settle(&mut world);
        assert_eq!((told(&world, "eval").0, &world.objects.0[&key]), (GrantPhase::Active, &before));
    };
    change(&|mount| mount.spec.mount_path = "/planted".to_owned());
    change(&|mount| mount.spec.service_account_name = "other".to_owned());
    change(&|mount| mount.spec.secret_name = "cloister-grant-weights.reader.other".to_owned());
    change(&|mount| mount.spec.volume_name = "cloister-planted".to_owned());
}

/// One could not be read while the other was decided about.
#[test]
fn of_two_at_different_paths_one_has_the_mount_and_the_other_says_so() {
    let elsewhere = json!({"mount": {"serviceAccountName": "trainer", "mountPath": "/mnt/other"}});
    for (first, second) in [("a", "b"), ("b", "a")] {
        for planted in [false, true] {
            let mut world = world();
            ask(&mut world, first, json!({}));
            settle(&mut world);
            world.undecodable.extend([first.to_owned()]);
            settle(&mut world);
            ask(&mut world, second, elsewhere.clone());
            settle(&mut world);
            assert_eq!(told(&world, second).0, GrantPhase::Active);
            world.undecodable.clear();
            let key = ChildKey::new(ChildKind::GrantMount, "weights.reader.trainer");
            if planted && let Some(Child::GrantMount(mount)) = world.objects.0.get_mut(&key) {
                mount.spec.mount_path = "/planted".to_owned();
                world.objects.edit(&key, |_| {});
            }
            settle(&mut world);
            let goes_first = if planted { "a" } else { second };
            let path = if goes_first == first { "/mnt/weights" } else { "/mnt/other" };
            let Child::GrantMount(mount) = &world.objects.0[&key] else { unreachable!() };
            assert_eq!(mount.spec.mount_path, path);
            let conflicts = [first, second].map(|name| told(&world, name).1 == "MountConflict");
            assert_eq!(conflicts, [goes_first != first, goes_first != second]);
            for name in [first, second] {
                let actions: Vec<Action> = world.plan(name).actions().cloned().collect();
                assert!(actions.is_empty(), "{name} goes on with {actions:?}");
            }
        }
    }
}
