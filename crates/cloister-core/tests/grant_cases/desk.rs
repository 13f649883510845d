//! A policy, a storage, and somebody who asks.

use super::grants::{Pod, Shared, Shelf, Spec, World, reference};
use cloister_api::{
    AccessPolicy, AccessReview, AccessReviewSpec, Decision, GrantKind, GrantPhase, GrantStatus, Identity,
    RequestReference, StorageResource,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
    Shelf::Read(Shared::new(policy))
}

pub fn storage(more: Value) -> Shelf<StorageResource> {
    let credential = json!({"secretRef": {"namespace": "cloister-credentials", "name": "weights"}});
    let role = json!({"name": "reader", "accessPolicy": "standard", "clusterRole": "cloister:storage-reader", "credential": credential});
    let spec = json!({"sensitivity": "Low", "roles": [role]});
    let mut storage = StorageResource::new("weights", serde_json::from_value(merged(spec, more)).unwrap());
    storage.metadata.uid = Some("uid-weights".into());
    Shelf::Read(Shared::new(storage))
}

pub fn world() -> World {
    match (storage(json!({})), policy(json!({}))) {
        (Shelf::Read(storage), Shelf::Read(policy)) => World::new(storage.into_inner(), policy.into_inner()),
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
    for _ in 0..12 {
        for key in world.grants.keys().cloned().collect::<Vec<_>>() {
            let plan = world.plan(&key);
            world.carry_out(&key, &plan, usize::MAX, &mut |_, _, _| ());
        }
        world.environment();
        world.let_admission_notice();
    }
    for key in world.grants.keys() {
        let plan = world.plan(key);
        assert!(plan.is_empty(), "{key} does not come to rest: {plan:#?}");
        if status(world, key).phase.has_ended() {
            is_said_of_one_that_is_over(&message(world, key));
        }
    }
}

/// What helps one that waits is not said of one that is over, and nothing is said twice.
fn is_said_of_one_that_is_over(told: &str) {
    const WAITS: [&str; 6] = [
        "waits until",
        "waits for",
        "leave it",
        "as soon as the request",
        "delete the grant and ask again",
        "nobody is asked",
    ];
    for words in WAITS {
        assert!(!told.contains(words), "{words}: {told}");
    }
    assert!(told.matches("A grant cannot be changed").count() < 2, "it says something twice: {told}");
    let mut sentences: Vec<&str> = told.split(". ").collect();
    let all = sentences.len();
    sentences.sort_unstable();
    sentences.dedup();
    assert_eq!(sentences.len(), all, "it says something twice: {told}");
}

/// What is said of a grant.
pub fn status(world: &World, key: &str) -> GrantStatus {
    world.grants[key].status().cloned().unwrap_or_default()
}

/// The phase, the reason, and whether it is stalled.
pub fn told(world: &World, key: &str) -> (GrantPhase, String, bool) {
    let status = status(world, key);
    let stalled = status.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True");
    // What is missing may be on its way.
    let may_come = status.reason.ends_with("NotFound") || status.reason == "NotAResearchNamespace";
    assert!(
        status.conditions.iter().any(|c| c.type_ == "Ready" && (c.status == "False") == stalled)
            || status.phase == GrantPhase::Revoking
            || (status.phase == GrantPhase::Pending && may_come && !stalled)
    );
    (status.phase, status.reason, stalled)
}

/// What a grant is told, once what is missing is no longer on its way.
pub fn answer(mut world: World, request: Value) -> (GrantPhase, String, bool) {
    ask(&mut world, "eval", request);
    settle(&mut world);
    if told(&world, "eval").0 == GrantPhase::Pending {
        let_time_pass(&mut world);
    }
    let told = told(&world, "eval");
    assert_eq!(!world.objects.0.is_empty(), told.0 == GrantPhase::Active);
    told
}

/// So long that what is missing is no longer on its way.
pub fn let_time_pass(world: &mut World) {
    world.now += SignedDuration::from_secs(10);
    settle(world);
}

pub fn seconds(from: &World, seconds: i64) -> String {
    (from.now + SignedDuration::from_secs(seconds)).to_string()
}

/// A grant that is open, and a pod that holds its credential, at the grant's end.
pub fn held() -> World {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let pod = Pod { secrets: world.secrets.clone(), ..Pod::default() };
    world.pods.insert("train-0".into(), pod);
    world.now += SignedDuration::from_mins(10);
    world
}

/// A world in which one of security and two owners must agree.
pub fn by_people(more: Value) -> World {
    let rule = |name: &str, required: u32| json!({"name": name, "required": required, "approvers": [{"kind": "Group", "name": name}]});
    let rules = json!({"autoApprove": [], "approvalRules": [rule("security", 1), rule("owners", 2)]});
    World { policy: policy(merged(rules, more)), ..world() }
}

pub fn person(username: &str, groups: &[&str]) -> Identity {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    Identity { username: username.into(), groups, ..Identity::default() }
}

/// Those who are enough for [`by_people`].
pub fn enough() -> [Identity; 3] {
    [person("sam", &["security"]), person("olga", &["owners"]), person("otto", &["owners"])]
}

/// Somebody decides about what is there now.
pub fn review(world: &mut World, key: &str, decision: Decision, reviewer: Identity) {
    let spec = AccessReviewSpec {
        request_ref: RequestReference {
            kind: reference(key).kind,
            name: reference(key).name.to_string(),
            uid: world.grants[key].metadata().uid.clone().unwrap(),
        },
        digest: status(world, key).digest,
        decision,
        comment: String::new(),
        reviewer: Some(reviewer),
    };
    let name = format!("review-{}", world.reviews.len());
    let mut review = AccessReview::new(&name, spec);
    review.metadata.uid = Some(format!("uid-{name}"));
    review.metadata.creation_timestamp = Some(Time(world.now));
    world.reviews.push(review);
}

pub fn all_agree(world: &mut World, key: &str) {
    enough().into_iter().for_each(|who| review(world, key, Decision::Approve, who));
}

/// Asks, and everybody who must agrees.
pub fn approved(world: &mut World, key: &str, more: Value) {
    ask(world, key, more);
    settle(world);
    all_agree(world, key);
    settle(world);
    assert_eq!(told(world, key), (GrantPhase::Active, "Active".into(), false));
}

/// The phase and the reason alone.
pub fn said(world: &World, key: &str) -> (GrantPhase, String) {
    let (phase, reason, _) = told(world, key);
    (phase, reason)
}

/// What is said of a grant in a sentence.
pub fn message(world: &World, key: &str) -> String {
    let conditions = status(world, key).conditions;
    let told = conditions.into_iter().find(|c| c.type_ == "Ready").map(|c| c.message).unwrap_or_default();
    // When it was denied is in each of them.
    let at = status(world, key).ended_at.map(|at| format!("denied at {}: ", at.0));
    at.and_then(|at| told.strip_prefix(&at).map(str::to_owned)).unwrap_or(told)
}

/// The status and the reason of a condition.
pub fn condition(world: &World, key: &str, type_: &str) -> Option<(String, String)> {
    let conditions = status(world, key).conditions;
    conditions.into_iter().find(|c| c.type_ == type_).map(|c| (c.status, c.reason))
}

/// A rule that leads to one network.
pub fn networks(name: &str, network: &str) -> Value {
    json!({"name": name, "networks": [network], "ports": [{"port": 443}]})
}
