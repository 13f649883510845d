//! What a decision is about: what changes the digest, and what does not.

use super::{
    desk::*,
    grants::{Shared, Shelf, World, debugger, role_facts},
};
use cloister_api::{AccessPolicySpec, EgressGrantSpec, RoleGrantSpec, StorageAccessGrantSpec, StorageResourceSpec};
use cloister_core::grant::Grant;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Everything that a decision about a grant may depend on, as manifests.
#[derive(Clone)]
struct Matter {
    key: &'static str,
    request: Value,
    policy: Value,
    storage: Value,
}

fn principals(names: [&str; 2]) -> Value {
    json!(names.map(|name| json!({"kind": "Group", "name": name})))
}

fn matter(key: &'static str) -> Matter {
    let common = json!({
        "requestedDuration": "1h", "startTime": "2027-01-15T09:00:00Z", "justification": "eval", "ticketRef": "SEC-1",
        "breakGlass": true,
        "requestedBy": {"username": "alice", "uid": "u1", "groups": ["a", "b"], "personKey": "p1"},
    });
    let subjects = json!([{"kind": "ServiceAccount", "name": "trainer"}, {"kind": "User", "name": "alice"}]);
    let own = match key {
        "eval" => json!({
            "storage": "weights", "role": "reader", "onExpiry": "Empty", "subjects": subjects,
            "mount": {"serviceAccountName": "trainer", "mountPath": "/mnt/weights"},
        }),
        "egress/lab" => json!({"rule": rule()}),
        _ => json!({"role": "debugger", "subjects": subjects}),
    };
    let rule = |name: &str| json!({"name": name, "required": 1, "approvers": principals(["a", "b"])});
    let policy = json!({
        "requesters": principals(["a", "b"]),
        "beneficiaries": [{"kind": "User", "name": "alice"}, {"kind": "User", "name": "bob"}],
        "approvalRules": [rule("one"), rule("two")],
        "maxDuration": "1h", "defaultDuration": "30m", "pendingRequestTTL": "1h", "maxStartDelay": "1h",
        "justification": {"required": true},
        "ticket": {"required": true, "pattern": "^SEC-"},
        "autoApprove": ["1 == 2", "2 == 3"],
        "limits": {"active": 4, "pending": 8}, "whenRequesterLeaves": "Revoke",
        "breakGlass": {"requesters": principals(["a", "b"]), "maxDuration": "1h", "reviewWithin": "1h"},
    });
    let role = |name: &str| {
        json!({
            "name": name, "description": "read", "permissions": ["list", "read"], "accessPolicy": "standard",
            "clusterRole": "cloister:storage-reader",
            "credential": {"secretRef": {"namespace": "cloister-credentials", "name": "weights"}},
        })
    };
    let endpoint = json!({"networks": ["203.0.113.0/24", "198.51.100.0/24"], "ports": [{"port": 443}, {"port": 80}]});
    let storage = json!({"description": "weights", "sensitivity": "Low", "endpoint": endpoint, "roles": [role("reader"), role("writer")]});
    Matter { key, request: merged(common, own), policy, storage }
}

fn rule() -> Value {
    json!({
        "name": "lab", "networks": ["203.0.113.0/24", "198.51.100.0/24"],
        "ports": [{"port": 443, "endPort": 444, "protocol": "TCP"}, {"port": 80}],
        "podSelector": {"matchLabels": {"app": "sync", "team": "a"}},
    })
}

impl Matter {
    fn world(&self) -> World {
        let mut world = world();
        let (Shelf::Read(policy), Shelf::Read(storage)) = (&mut world.policy, &mut world.storage) else {
            unreachable!()
        };
        policy.spec = serde_json::from_value(self.policy.clone()).unwrap();
        storage.spec = serde_json::from_value(self.storage.clone()).unwrap();
        ask(&mut world, self.key, self.request.clone());
        world
    }

    fn digest(&self) -> String {
        digest(&self.world(), self.key)
    }
}

fn digest(world: &World, key: &str) -> String {
    let digest = world.plan(key).status.expect("something is said").digest;
    assert!(digest.starts_with("v1:sha256:") && digest.len() == 74, "{digest}");
    digest
}

/// A manifest with other values at these places.
fn changed(manifest: &Value, changes: &[(&str, Value)]) -> Value {
    let mut changed = manifest.clone();
    for (pointer, value) in changes {
        *changed.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")) = value.clone();
    }
    changed
}

/// Every way to change a manifest at one place: another text, number or truth at each leaf, and each list longer.
fn leaves(value: &Value, at: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| leaves(field, &format!("{at}/{name}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(position, item)| leaves(item, &format!("{at}/{position}"), found));
            found.push((at.to_owned(), json!(items[1..])));
        }
        Value::String(text) => found.push((at.to_owned(), another(text).into())),
        Value::Number(number) => found.push((at.to_owned(), (number.as_u64().unwrap() + 1).into())),
        Value::Bool(truth) => found.push((at.to_owned(), (!truth).into())),
        Value::Null => panic!("{at} says nothing"),
    }
}

fn another(text: &str) -> String {
    match text {
        "1h" | "30m" => "50m".into(),
        "TCP" => "UDP".into(),
        "Group" => "User".into(),
        "User" | "ServiceAccount" => "Group".into(),
        "Low" => "Moderate".into(),
        "Empty" => "Terminate".into(),
        "Revoke" => "Keep".into(),
        "2027-01-15T09:00:00Z" => "2027-01-15T09:00:01Z".into(),
        "203.0.113.0/24" | "198.51.100.0/24" => "192.0.2.0/24".into(),
        "reader" => "writer".into(),
        text => format!("{text}2"),
    }
}

#[test]
fn it_is_pinned() {
    let pinned = [
        ("eval", "v1:sha256:d7e1854a5159998fe1037ef90b792b841b9cc2ebb89035bb4c467e9655dff9d3"),
        ("egress/lab", "v1:sha256:195c5041500dab976d8e0cb048b08675353effc49841f490cb271d94b2716aa5"),
        ("role/debug", "v1:sha256:740c198ab8eb6cc83b0da27b768ab214f1f960dbcad88379b7b9f63a5fd4cf1e"),
    ];
    for (key, digest) in pinned {
        assert_eq!(matter(key).digest(), digest, "{key}: what was decided by an older version would be dropped");
    }
}

#[test]
fn the_manifests_here_say_all_there_is_to_say() {
    let all = |written: Value, read: Value| {
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&written), keys(&read));
    };
    let policy: AccessPolicySpec = serde_json::from_value(matter("eval").policy).unwrap();
    // A new field breaks this, and then belongs both into the manifest above and into the digest.
    let AccessPolicySpec {
        requesters: _,
        beneficiaries: _,
        approval_rules: _,
        max_duration: _,
        default_duration: _,
        pending_request_ttl: _,
        max_start_delay: _,
        justification: _,
        ticket: _,
        auto_approve: _,
        break_glass: _,
        limits: _,
        when_requester_leaves: _,
    } = &policy;
    all(matter("eval").policy, serde_json::to_value(&policy).unwrap());
    let storage: StorageResourceSpec = serde_json::from_value(matter("eval").storage).unwrap();
    let StorageResourceSpec { description: _, sensitivity: _, endpoint: _, roles: _ } = &storage;
    all(matter("eval").storage, serde_json::to_value(&storage).unwrap());
    let grant: StorageAccessGrantSpec = serde_json::from_value(matter("eval").request).unwrap();
    all(matter("eval").request, serde_json::to_value(&grant).unwrap());
    let grant: EgressGrantSpec = serde_json::from_value(matter("egress/lab").request).unwrap();
    all(matter("egress/lab").request, serde_json::to_value(&grant).unwrap());
    let grant: RoleGrantSpec = serde_json::from_value(matter("role/debug").request).unwrap();
    all(matter("role/debug").request, serde_json::to_value(&grant).unwrap());
}

#[test]
fn it_changes_with_everything_that_is_asked_for() {
    for key in ["eval", "egress/lab", "role/debug"] {
        let (matter, mut found) = (matter(key), Vec::new());
        leaves(&matter.request, "", &mut found);
        for (pointer, value) in found {
            // Another AccessRole is not found, and has no digest.
            if key == "role/debug" && pointer == "/role" {
                continue;
            }
            let other = Matter { request: changed(&matter.request, &[(&pointer, value)]), ..matter.clone() };
            assert_ne!(other.digest(), matter.digest(), "{key}: {pointer}");
        }
    }
}

#[test]
fn it_changes_with_everything_that_the_policy_says() {
    let (matter, mut found) = (matter("role/debug"), Vec::new());
    leaves(&matter.policy, "", &mut found);
    assert!(found.len() > 40);
    for (pointer, value) in found {
        let other = Matter { policy: changed(&matter.policy, &[(&pointer, value)]), ..matter.clone() };
        assert_ne!(other.digest(), matter.digest(), "{pointer}");
    }
}

#[test]
fn it_changes_with_what_the_storage_is_and_not_with_its_other_roles_or_what_is_written_about_it() {
    let (matter, mut found) = (matter("eval"), Vec::new());
    leaves(&matter.storage, "", &mut found);
    for (pointer, value) in found {
        // A policy or a ClusterRole of another name is not found, and the first role cannot be missed.
        if ["/roles", "/roles/0/name", "/roles/0/accessPolicy", "/roles/0/clusterRole"].contains(&&*pointer) {
            continue;
        }
        let other = Matter { storage: changed(&matter.storage, &[(&pointer, value)]), ..matter.clone() };
        let same = pointer.ends_with("/description") || pointer.starts_with("/roles/1");
        assert_eq!(other.digest() == matter.digest(), same, "{pointer}");
    }
    let roles = [
        ("/roles/0/name", json!("writer")),
        ("/roles/1/name", json!("reader")),
        ("/roles/1/permissions", json!(["read"])),
    ];
    let other = Matter { storage: changed(&matter.storage, &roles), ..matter.clone() };
    assert_ne!(other.digest(), matter.digest(), "it is the role of that name");
}

#[test]
fn it_changes_with_every_kind_of_destination() {
    let targets = [
        json!({"domainNames": ["a.example.com", "b.example.com"]}),
        json!({"service": {"namespace": "infra", "name": "cache"}}),
        json!({"privateEndpoint": {"domainName": "a.example.com", "expectedNetworks": ["203.0.113.0/24", "198.51.100.0/24"]}}),
    ];
    for target in targets {
        let with = |target: &Value| {
            let all = merged(json!({"ports": [{"port": 443}]}), target.clone());
            let (mut egress, mut eval) = (matter("egress/lab"), matter("eval"));
            egress.request["rule"] = merged(json!({"name": "lab"}), all.clone());
            eval.storage["endpoint"] = all;
            (egress.digest(), eval.digest())
        };
        let (before, mut found) = (with(&target), Vec::new());
        leaves(&target, "", &mut found);
        for (pointer, value) in found {
            let after = with(&changed(&target, &[(&pointer, value)]));
            assert!(after.0 != before.0 && after.1 != before.1, "{pointer}");
        }
    }
}

/// A grant, and something that changes.
type Change = (&'static str, fn(&mut World));

#[test]
fn it_changes_with_who_and_what_it_is_about() {
    let changes: [Change; 8] = [
        ("eval", |world| world.grants.get_mut("eval").unwrap().metadata_mut().uid = Some("other".into())),
        ("eval", |world| world.grants.get_mut("eval").unwrap().metadata_mut().name = Some("other".into())),
        ("eval", |world| {
            if let Shelf::Read(policy) = &mut world.policy {
                policy.metadata.uid = Some("other".into())
            }
        }),
        ("eval", |world| {
            if let Shelf::Read(storage) = &mut world.storage {
                storage.metadata.uid = Some("other".into())
            }
        }),
        ("eval", |world| {
            drop(world.cluster_roles.insert("cloister:storage-reader".into(), role_facts(&["pods/attach"], true)))
        }),
        ("role/debug", |world| {
            drop(world.cluster_roles.insert("cloister:debugger".into(), role_facts(&["pods/attach"], true)))
        }),
        ("role/debug", |world| {
            let mut role = debugger();
            role.metadata.uid = Some("other".into());
            world.role = Shelf::Read(Shared::new(role));
        }),
        ("role/debug", |world| {
            let mut role = debugger();
            role.spec.cluster_role = "cloister:storage-reader".into();
            world.role = Shelf::Read(Shared::new(role));
        }),
    ];
    for (at, (key, change)) in changes.into_iter().enumerate() {
        let mut world = matter(key).world();
        let before = digest(&world, key);
        change(&mut world);
        assert_ne!(digest(&world, key), before, "{at}");
    }
}

#[test]
fn it_does_not_change_with_how_the_same_is_written() {
    let durations = [
        ("/maxDuration", json!("60m")),
        ("/defaultDuration", json!("1800s")),
        ("/breakGlass/maxDuration", json!("60m")),
    ];
    for key in ["eval", "egress/lab", "role/debug"] {
        let matter = matter(key);
        let mut other = matter.clone();
        other.request["requestedDuration"] = json!("60m");
        other.request["startTime"] = json!("2027-01-15T10:00:00+01:00");
        other.policy = changed(&matter.policy, &durations);
        for manifest in [&mut other.request, &mut other.policy, &mut other.storage] {
            turn(manifest);
        }
        // A field of a later version, with its default.
        other.policy["additionalApprovers"] = json!([]);
        assert_eq!(other.digest(), matter.digest(), "{key}");
    }
}

/// Turns all lists around; maps have no order.
fn turn(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(turn),
        Value::Array(items) => {
            items.reverse();
            items.iter_mut().for_each(turn);
        }
        _ => {}
    }
}

#[test]
fn it_does_not_change_when_the_same_manifest_is_applied_again() {
    let mut world = matter("eval").world();
    let before = digest(&world, "eval");
    let (Shelf::Read(policy), Shelf::Read(storage)) = (&mut world.policy, &mut world.storage) else { unreachable!() };
    let grant = world.grants.get_mut("eval").map(Grant::metadata_mut).unwrap();
    for metadata in [&mut policy.metadata, &mut storage.metadata, grant] {
        metadata.generation = Some(7);
        metadata.resource_version = Some("77".into());
        metadata.labels = Some([("team".to_owned(), "interp".to_owned())].into());
        metadata.annotations = Some([("applied".to_owned(), "again".to_owned())].into());
    }
    assert_eq!(digest(&world, "eval"), before);
}
