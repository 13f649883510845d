//! What must have been seen before a revocation is called confirmed.

use super::{
    desk::*,
    grants::{Pod, World},
};
use cloister_api::{GrantPhase, ResidualExposure};
use cloister_core::plan::Action;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

const MOUNT: &str = "weights.reader.trainer";

fn holder(world: &World) -> Pod {
    Pod { secrets: world.secrets.clone(), created: Some(world.now), ..Pod::default() }
}

/// The watch of pods is silent: what it has not told is found all the same.
#[test]
fn no_confirmation_rests_on_a_silent_watch() {
    let mut world = held();
    let held = world.pods.remove("train-0").unwrap();
    world.stale = Some(world.pods.clone());
    world.pods.insert("unknown".into(), held);
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Revoking, "a pod still holds it");
    assert!(world.pods["unknown"].terminating && world.secrets.is_empty());
    // That it is gone is not told either.
    world.pods.clear();
    world.now += SignedDuration::from_secs(5);
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Expired);
}

/// Admission takes a moment to notice: a pod that is made in it is seen.
#[test]
fn the_look_is_newer_than_the_last_pod_that_could_get_it() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
    let plan = world.plan("eval");
    assert!(plan.actions().all(|action| !matches!(action, Action::ConfirmPodsGone { .. })), "it is too early to look");
    let next = plan.next.unwrap();
    assert!(next > world.now);
    let late = holder(&world);
    world.carry_out("eval", &plan, usize::MAX, &mut |_, _, _| ());
    assert_eq!(status(&world, "eval").phase, GrantPhase::Revoking);
    world.pods.insert("late".into(), late);
    settle(&mut world);
    assert!(world.pods["late"].terminating && status(&world, "eval").phase == GrantPhase::Revoking);
    world.pods.clear();
    settle(&mut world);
    assert!(world.grants.is_empty());
}

/// At an end that was known nothing is to be waited for: new pods do not get the credential in the last moments.
#[test]
fn an_end_at_its_time_is_confirmed_at_once() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let call = world.plan("eval").next.unwrap();
    let end = status(&world, "eval").expires_at.unwrap().0;
    assert_eq!(end.duration_since(call).as_secs(), 2);
    world.now = call;
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Active, "Active".into(), false));
    assert!(!world.secrets.is_empty(), "pods that have it keep it until the end");
    world.now = end;
    let plan = world.plan("eval");
    assert!(plan.actions().any(|action| matches!(action, Action::ConfirmPodsGone { .. })));
    assert!(world.carry_out("eval", &plan, usize::MAX, &mut |_, _, _| ()));
    assert_eq!(status(&world, "eval").phase, GrantPhase::Expired);
}

/// Pods are to go on without the credential, and this one would not be without it.
#[test]
fn a_pod_that_keeps_the_credential_goes_with_it() {
    let mut world = world();
    ask(&mut world, "eval", json!({"onExpiry": "Empty"}));
    settle(&mut world);
    let pod = holder(&world);
    world.pods.insert("keeps".into(), Pod { lasting: true, ..pod.clone() });
    world.pods.insert("goes-on".into(), pod);
    world.now += SignedDuration::from_mins(10);
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Revoking);
    assert!(world.pods["keeps"].terminating && !world.pods["goes-on"].terminating);
    world.pods.remove("keeps");
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Expired);
    assert!(!world.pods["goes-on"].terminating);
}

/// What ends, ends by what is in the status.
#[test]
fn a_grant_that_cannot_be_read_takes_its_credential_away() {
    let mut world = held();
    world.now -= SignedDuration::from_mins(5);
    world.undecodable.insert("eval".into());
    settle(&mut world);
    assert!(!world.has_mount(MOUNT) && world.pods["train-0"].terminating);
    assert_eq!(told(&world, "eval"), (GrantPhase::Active, "Undecodable".into(), true));
    world.pods.clear();
    settle(&mut world);
    assert!(world.objects.0.is_empty(), "{:?}", world.objects.0.keys());

    let readable = world.clone();
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Expired);

    // Before its end it opens again when it can be read.
    let mut world = readable;
    world.undecodable.clear();
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Active);
    assert!(world.has_mount(MOUNT));
}

/// Whoever deletes a mount does not keep the copy by that.
#[test]
fn a_grant_that_cannot_be_read_keeps_no_copy_whose_mount_is_gone() {
    let mut world = held();
    world.now -= SignedDuration::from_mins(5);
    world.undecodable.insert("eval".into());
    world.objects.0.clear();
    assert!(world.has_mount(MOUNT), "there is a copy");
    settle(&mut world);
    assert!(!world.has_mount(MOUNT) && world.pods["train-0"].terminating);
    world.pods.clear();
    settle(&mut world);
    world.undecodable.clear();
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Active);
    assert!(world.has_mount(MOUNT));
}

#[test]
fn a_grant_that_cannot_be_read_is_held_until_its_pods_are_gone() {
    let mut world = held();
    world.now -= SignedDuration::from_mins(5);
    world.undecodable.insert("eval".into());
    world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
    settle(&mut world);
    assert_eq!(status(&world, "eval").phase, GrantPhase::Revoking, "a pod holds its credential");
    world.pods.clear();
    settle(&mut world);
    assert!(world.grants.is_empty() && !world.has_mount(MOUNT) && world.objects.0.is_empty());
}

#[test]
fn what_may_outlast_a_grant_is_written_down() {
    let left = |key: &str, more: serde_json::Value| {
        let mut world = world();
        ask(&mut world, key, more);
        settle(&mut world);
        world.now += SignedDuration::from_mins(10);
        settle(&mut world);
        let status = status(&world, key);
        let until = status.residual_exposure_until.map(|until| until.0.duration_since(world.now).as_secs());
        (status.residual_exposure, until)
    };
    use ResidualExposure::{Connections, CredentialRead, MountedFiles, Sessions};
    assert_eq!(left("role/debug", json!({})), (vec![Sessions], Some(4 * 3600)));
    assert_eq!(left("egress/lab", json!({})), (vec![Connections], None));
    assert_eq!(left("eval", json!({})), (vec![Sessions, CredentialRead], Some(4 * 3600)));
    let emptied = left("eval", json!({"onExpiry": "Empty"}));
    assert_eq!(emptied, (vec![Sessions, MountedFiles, CredentialRead], Some(4 * 3600)));
}

/// Who deletes a pod gives it the grace that its spec names, which may be a year. It ends with the credential all the same.
#[test]
fn a_pod_that_its_owner_has_deleted_does_not_outlast_the_end() {
    let mut world = held();
    world.pods.get_mut("train-0").unwrap().lingers = true;
    settle(&mut world);
    assert!(world.pods["train-0"].terminating, "it was left to its owner's grace");
    assert_eq!(told(&world, "eval").0, GrantPhase::Revoking);
    // It is deleted once more, and not over and over.
    let again = world.plan("eval");
    assert!(!again.actions().any(|action| matches!(action, Action::DeletePod { .. })));
}
