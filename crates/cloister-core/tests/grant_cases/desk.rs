//! A policy, a storage, and somebody who asks.

use super::grants::{Pod, Shelf, Spec, World, reference};
use cloister_api::{AccessPolicy, GrantKind, GrantPhase, GrantStatus, StorageResource};
use jiff::SignedDuration;
use serde_json::{Value, json};

pub fn merged(mut all: Value, more: Value) -> Value {
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

pub fn policy(more: Value) -> Shelf<AccessPolicy> {
    let spec = json!({
        "requesters": [{"kind": "Group", "name": "researchers"}, {"kind": "ServiceAccount", "namespace": "flux", "name": "sync"}],
        "autoApprove": ["true"], "maxDuration": "1h", "defaultDuration": "10m",
    });
    let mut policy = AccessPolicy::new("standard", serde_json::from_value(merged(spec, more)).unwrap());
    policy.metadata.uid = Some("uid-standard".into());
    Shelf::Read(Box::new(policy))
}

pub fn storage(more: Value) -> Shelf<StorageResource> {
    let credential = json!({"secretRef": {"namespace": "cloister-credentials", "name": "weights"}});
    let role = json!({"name": "reader", "accessPolicy": "standard", "clusterRole": "cloister:storage-reader", "credential": credential});
    let spec = json!({"sensitivity": "Low", "roles": [role]});
    let mut storage = StorageResource::new("weights", serde_json::from_value(merged(spec, more)).unwrap());
    storage.metadata.uid = Some("uid-weights".into());
    Shelf::Read(Box::new(storage))
}

pub fn world() -> World {
    match (storage(json!({})), policy(json!({}))) {
        (Shelf::Read(storage), Shelf::Read(policy)) => World::new(*storage, *policy),
        _ => unreachable!(),
    }
}

/// Asks in alice's name, unless it is said otherwise.
pub fn ask(world: &mut World, key: &str, more: Value) {
    let requested_by = json!({"username": "alice", "groups": ["researchers"]});
    let subjects = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
    let spec = match reference(key).kind {
        GrantKind::StorageAccessGrant => json!({
            "storage": "weights", "role": "reader", "subjects": subjects, "requestedBy": requested_by,
            "mount": {"serviceAccountName": "trainer", "mountPath": "/mnt/weights"},
        }),
        GrantKind::EgressGrant => {
            let rule = json!({"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]});
            json!({"rule": rule, "requestedBy": requested_by})
        }
        GrantKind::RoleGrant => json!({"role": "debugger", "subjects": subjects, "requestedBy": requested_by}),
    };
    world.ask(key, Spec::of(key, merged(spec, more)), format!("uid-{key}"));
}

pub fn settle(world: &mut World) {
    for _ in 0..8 {
        for key in world.grants.keys().cloned().collect::<Vec<_>>() {
            let plan = world.plan(&key);
            world.carry_out(&key, &plan, usize::MAX, &mut |_, _, _| ());
        }
        world.environment();
    }
    assert!(world.grants.keys().all(|key| world.plan(key).is_empty()), "does not come to rest");
}

/// What is said of a grant.
pub fn status(world: &World, key: &str) -> GrantStatus {
    world.grants[key].status().cloned().unwrap_or_default()
}

/// The phase, the reason, and whether it is stalled.
pub fn told(world: &World, key: &str) -> (GrantPhase, String, bool) {
    let status = status(world, key);
    let stalled = status.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True");
    assert!(
        status.conditions.iter().any(|c| c.type_ == "Ready" && (c.status == "False") == stalled)
            || status.phase == GrantPhase::Revoking
    );
    (status.phase, status.reason, stalled)
}

/// What a grant is told at once.
pub fn answer(mut world: World, request: Value) -> (GrantPhase, String, bool) {
    ask(&mut world, "eval", request);
    settle(&mut world);
    let told = told(&world, "eval");
    assert_eq!(!world.objects.0.is_empty(), told.0 == GrantPhase::Active);
    told
}

pub fn seconds(from: &World, seconds: i64) -> String {
    (from.now + SignedDuration::from_secs(seconds)).to_string()
}

/// A grant that is open, and a pod that holds its credential, at the grant's end.
pub fn held() -> World {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let pod = Pod { secrets: world.secrets.clone(), terminating: false };
    world.pods.insert("train-0".into(), pod);
    world.now += SignedDuration::from_mins(10);
    world
}
