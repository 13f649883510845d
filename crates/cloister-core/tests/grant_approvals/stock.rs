//! What people write: requests, reviews, members, and the catalogue.

use super::{
    events::{ASKERS, KEYS, Of},
    grants::{Shared, Shelf, Spec, World, reference, role_facts},
    model::ACCOUNTS,
};
use cloister_api::*;
use cloister_core::cluster::role_facts::RoleFacts;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::LazyLock};

pub fn review(world: &mut World, key: &str, who: usize, decision: Decision, of: Of, count: u32) {
    let Some(grant) = world.grants.get(key) else { return };
    let uid = if of == Of::Before { "uid-before".to_owned() } else { grant.metadata().uid.clone().unwrap() };
    let digest = grant.status().map(|status| status.digest.clone()).unwrap_or_default();
    let spec = AccessReviewSpec {
        request_ref: RequestReference { kind: reference(key).kind, name: reference(key).name.to_string(), uid },
        digest: if of == Of::Another { "v1:sha256:another".to_owned() } else { digest },
        decision,
        comment: String::new(),
        reviewer: Some(ACCOUNTS[who].clone()),
    };
    let mut review = AccessReview::new(&format!("review-{count}"), spec);
    review.metadata.uid = Some(format!("uid-review-{count}"));
    world.reviews.push(review);
}

/// The members: always lea and rob, and with them alice, those of her group, sam, or nobody.
pub fn members(kind: &'static str) -> Vec<Member> {
    static MADE: LazyLock<BTreeMap<&str, Vec<Member>>> = LazyLock::new(|| {
        let with = |subjects: Value| {
            serde_json::from_value(json!([
                {"role": "Owner", "subjects": [{"kind": "User", "name": "lea"}]},
                {"role": "Researcher", "subjects": [{"kind": "User", "name": "rob"}]},
                {"role": "Viewer", "subjects": subjects},
            ]))
            .unwrap()
        };
        let alice = json!({"kind": "User", "name": "alice"});
        let made = [
            ("alice", with(json!([alice]))),
            ("group", with(json!([{"kind": "Group", "name": "researchers"}]))),
            ("sam", with(json!([{"kind": "User", "name": "sam"}, alice]))),
            ("nobody", with(json!([]))),
        ];
        made.into()
    });
    MADE[kind].clone()
}

/// All requests that there are, by their keys, who asks, and how long they last.
type Requests = BTreeMap<(&'static str, &'static str, u32), Spec>;

pub fn request(key: &'static str, who: &'static str, length: u32) -> Spec {
    static MADE: LazyLock<Requests> = LazyLock::new(|| {
        let lengths = |(key, who)| (1..11).map(move |length| ((key, who, length), made_request(key, who, length)));
        KEYS.into_iter().flat_map(|key| ASKERS.map(|who| (key, who))).flat_map(lengths).collect()
    });
    MADE[&(key, who, length)].clone()
}

fn made_request(key: &str, who: &str, length: u32) -> Spec {
    let by = match who {
        "alice" => json!({"username": "alice", "uid": "u-alice", "groups": ["researchers", "security"]}),
        "glass" => json!({"username": "alice", "uid": "u-alice", "groups": ["researchers", "oncall"]}),
        "account" => json!({"username": "system:serviceaccount:flux:sync", "groups": ["researchers", "oncall"]}),
        _ => json!({"username": "mallory", "groups": ["guests"]}),
    };
    let common =
        json!({"requestedDuration": format!("{}s", length * 100), "breakGlass": who == "glass", "requestedBy": by});
    let account = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
    let mount = json!({"serviceAccountName": "trainer", "mountPath": "/mnt/weights"});
    let own = match key {
        "a" | "b" => json!({"storage": "weights", "role": "reader", "subjects": account, "mount": mount}),
        "egress/a" => {
            json!({"rule": {"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]}})
        }
        // For a person of security, who then does not decide, and for the requester.
        _ => {
            json!({"role": "debugger", "subjects": [{"kind": "User", "name": "sam"}, {"kind": "User", "name": "alice"}]})
        }
    };
    let (Value::Object(mut all), Value::Object(own)) = (common, own) else { unreachable!() };
    all.extend(own);
    Spec::of(key, Value::Object(all))
}

pub fn cluster_roles(world: &mut World, kind: &str) {
    static MADE: LazyLock<BTreeMap<&str, RoleFacts>> = LazyLock::new(|| {
        let made = [
            ("debug", role_facts(&["pods/exec"], true)),
            ("wider", role_facts(&["pods/exec", "pods/attach"], true)),
            ("lasting", role_facts(&["serviceaccounts/token"], true)),
            ("unbindable", role_facts(&["pods/exec"], false)),
        ];
        made.into()
    });
    world.cluster_roles.clear();
    if let Some(facts) = MADE.get(kind) {
        for name in ["cloister:storage-reader", "cloister:debugger"] {
            world.cluster_roles.insert(name.to_owned(), facts.clone());
        }
    }
}

pub fn storage(kind: &str) -> Shelf<StorageResource> {
    static MADE: LazyLock<BTreeMap<&str, Shelf<StorageResource>>> =
        LazyLock::new(|| ["full", "moved", "bare", "critical", "gone"].map(|kind| (kind, made_storage(kind))).into());
    MADE[kind].clone()
}

fn made_storage(kind: &str) -> Shelf<StorageResource> {
    let credential = json!({"secretRef": {"namespace": "cloister-credentials", "name": "weights"}});
    let role = json!({
        "name": "reader", "accessPolicy": "standard", "clusterRole": "cloister:storage-reader",
        "credential": if kind == "bare" { Value::Null } else { credential },
    });
    let network = if kind == "moved" { "198.51.100.0/24" } else { "203.0.113.0/24" };
    let sensitivity = if kind == "critical" { "Critical" } else { "Low" };
    let endpoint = json!({"networks": [network], "ports": [{"port": 443}]});
    let spec = json!({"sensitivity": sensitivity, "endpoint": endpoint, "roles": [role]});
    if kind == "gone" {
        return Shelf::Absent;
    }
    let mut storage = StorageResource::new("weights", serde_json::from_value(spec).unwrap());
    storage.metadata.uid = Some("uid-weights".into());
    Shelf::Read(Shared::new(storage))
}

pub fn policy(kind: &str, again: u32) -> Shelf<AccessPolicy> {
    static MADE: LazyLock<BTreeMap<&str, Shelf<AccessPolicy>>> = LazyLock::new(|| {
        let kinds = ["people", "auto", "more", "raised", "others", "no-glass", "keeps", "undecodable", "gone"];
        kinds.map(|kind| (kind, made_policy(kind))).into()
    });
    let mut policy = MADE[kind].clone();
    if let Shelf::Read(policy) = &mut policy {
        policy.metadata.uid = Some(format!("uid-standard-{again}"));
    }
    policy
}

fn made_policy(kind: &str) -> Shelf<AccessPolicy> {
    let rule = |name: &str, required: u32| json!({"name": name, "required": required, "approvers": [{"kind": "Group", "name": name}]});
    let rules = match kind {
        "more" => json!([rule("security", 1), rule("owners", 2)]),
        "raised" => json!([rule("security", 1), rule("owners", 1), {
            "name": "legal", "required": 1, "approvers": [{"kind": "User", "name": "both"}, {"kind": "User", "name": "olga"}],
        }]),
        _ => json!([rule("security", 1), rule("owners", 1)]),
    };
    let asks = if kind == "others" { "others" } else { "researchers" };
    let mut spec = json!({
        "requesters": [{"kind": "Group", "name": asks}, {"kind": "ServiceAccount", "namespace": "flux", "name": "sync"}],
        "beneficiaries": [{"kind": "ServiceAccount", "name": "trainer"}, {"kind": "User", "name": "alice"}, {"kind": "User", "name": "sam"}],
        "approvalRules": rules, "maxDuration": "800s", "pendingRequestTTL": "800s",
    });
    match kind {
        "undecodable" => return Shelf::Undecodable,
        "gone" => return Shelf::Absent,
        "auto" => spec["autoApprove"] = json!(["true"]),
        _ => {}
    }
    if kind == "keeps" {
        spec["whenRequesterLeaves"] = json!("Keep");
    }
    if kind != "no-glass" {
        spec["breakGlass"] = json!({
            "requesters": [{"kind": "Group", "name": "oncall"}], "maxDuration": "300s", "reviewWithin": "600s",
        });
    }
    Shelf::Read(Shared::new(AccessPolicy::new("standard", serde_json::from_value(spec).unwrap())))
}
