//! What the index keeps, and whom a change concerns.

use super::{
    Dirty, GatedPod, Index, Indexed, Listed, Recorded, Recorder,
    facts::{EndedGrant, SaidReview},
};
use crate::{
    decode::Decoded,
    key::{Key, ObjectName},
    lane::{Lane, Mode},
};
use cloister_api::{
    AccessReview, EgressAllowlist, EgressGrant, GrantKind, GrantPhase, ResearchNamespace, StorageAccessGrant,
};
use cloister_core::{grant::Grant, model::child::GrantRef};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// A record that has everything, or nothing.
struct All(AtomicBool);

impl Recorded for All {
    fn takes_grant(&self, _: &Grant, _: &str) -> bool {
        self.0.load(Relaxed)
    }

    fn takes_review(&self, _: &AccessReview, _: &str) -> bool {
        self.0.load(Relaxed)
    }
}

fn index() -> (Index, Arc<All>) {
    let all = Arc::new(All(AtomicBool::new(true)));
    (Index { recorder: Recorder(Some(all.clone())), ..Index::default() }, all)
}

fn storage(name: &str, version: u64, phase: GrantPhase) -> Decoded<StorageAccessGrant> {
    let status = json!({"phase": phase, "digest": "v1:sha256:0", "expiresAt": "2030-01-01T00:00:00Z"});
    serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageAccessGrant",
        "metadata": {"name": name, "namespace": "interp", "uid": format!("u-{name}"), "resourceVersion": version.to_string()},
        "spec": {
            "storage": "data", "role": "reader", "justification": "x".repeat(1000),
            "mount": {"serviceAccountName": "trainer", "mountPath": "/data"},
            "subjects": [{"kind": "ServiceAccount", "name": "trainer"}],
        },
        "status": status,
    }))
    .unwrap()
}

fn review(name: &str, version: u64, grant: &str, decision: &str, said: bool) -> Decoded<AccessReview> {
    let counted = json!([{
        "type": "Counted", "status": "True", "reason": "Counted", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let status = if said { json!({"conditions": counted}) } else { Value::Null };
    serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessReview",
        "metadata": {"name": name, "namespace": "interp", "uid": format!("u-{name}"), "resourceVersion": version.to_string()},
        "spec": {
            "requestRef": {"kind": "StorageAccessGrant", "name": grant, "uid": format!("u-{grant}")},
            "digest": "v1:sha256:0000000000000000000000000000000000000000000000000000000000000000", "decision": decision,
        },
        "status": status,
    }))
    .unwrap()
}

/// What was published of a Service decides whether a rule opens: it is said of the namespaces that use it, too.
#[test]
fn a_published_service_that_changes_concerns_those_that_use_it() {
    let (mut index, _) = index();
    let research: Decoded<ResearchNamespace> = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
        "metadata": {"name": "interp", "uid": "u", "resourceVersion": "1"},
        "spec": {"tier": "Standard", "egress": {"allowlists": ["cache"]}},
    }))
    .unwrap();
    research.upsert(&mut index, &mut Dirty::new());
    let allowlist = |version: u64, namespaces: u64, hash: &str| -> Decoded<EgressAllowlist> {
        let rule = json!({"name": "r", "service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 80}]});
        serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressAllowlist",
            "metadata": {"name": "cache", "uid": "u", "generation": 1, "resourceVersion": version.to_string()},
            "spec": {"namespaceSelector": {}, "rules": [rule]},
            "status": {"observedGeneration": 1, "namespaces": namespaces, "services": [{"rule": "r", "hash": hash}]},
        }))
        .unwrap()
    };
    let mut concerns = |allowlist: Decoded<EgressAllowlist>| {
        let mut dirty = Dirty::new();
        allowlist.upsert(&mut index, &mut dirty);
        dirty.contains(&Key::Namespace("interp".into()))
    };
    assert!(concerns(allowlist(1, 0, "one")));
    assert!(!concerns(allowlist(2, 1, "one")), "who uses it is no matter of theirs");
    assert!(concerns(allowlist(3, 1, "two")));
}

fn at(name: &str) -> GrantRef {
    GrantRef { kind: GrantKind::StorageAccessGrant, name: name.into() }
}

fn namespace() -> Arc<str> {
    "interp".into()
}

fn grant_key(name: &str) -> Key {
    Key::Grant(namespace(), at(name))
}

/// Takes note of an object. What it concerns is returned.
fn take(index: &mut Index, object: impl Indexed) -> Dirty {
    let mut dirty = Dirty::new();
    object.upsert(index, &mut dirty);
    dirty
}

fn pod(name: &str, secret: Option<&str>) -> GatedPod {
    let volumes: Vec<Value> = secret.iter().map(|name| json!({"name": "v", "secret": {"secretName": name}})).collect();
    let text = json!({
        "metadata": {"name": name, "namespace": "interp", "uid": name, "annotations": {"a": "b"}},
        "spec": {"volumes": volumes, "n": [1, -1, 1.5, true, null]}, "status": {"phase": "Running"},
    });
    serde_json::from_str(&text.to_string()).unwrap()
}

#[test]
fn an_ended_grant_and_its_reviews_cost_a_few_facts_each() {
    let (mut index, _) = index();
    take(&mut index, storage("run", 1, GrantPhase::Pending));
    take(&mut index, review("yes", 2, "run", "Approve", true));
    assert!(index.grant("interp", &at("run")).is_some() && index.said("interp", "yes").is_none());
    let dirty = take(&mut index, storage("run", 3, GrantPhase::Denied));
    assert!(dirty.contains(&grant_key("run")));
    index.settle(&namespace(), &at("run"));
    assert_eq!(index.all_grants().count() + index.reviews.len() + index.mounting.len(), 0);
    assert_eq!(index.ended("interp", &at("run")).unwrap().phase, GrantPhase::Denied);
    assert_eq!(&*index.said("interp", "yes").unwrap().uid, "u-yes");
    // Both are still known by name and by uid.
    assert_eq!(Decoded::<StorageAccessGrant>::known(&index).len(), 1);
    assert_eq!(Decoded::<AccessReview>::known(&index).len(), 1);
    assert_eq!(index.uids().len(), 2);
    let most = size_of::<EndedGrant>().max(size_of::<SaidReview>());
    assert!(most <= 96, "{most} bytes each");
    // Seen again, they are no news.
    assert!(take(&mut index, storage("run", 3, GrantPhase::Denied)).is_empty());
    assert!(take(&mut index, review("yes", 2, "run", "Approve", true)).is_empty());
    // Gone, they are gone.
    let place = |name: &str| ObjectName { namespace: namespace(), name: name.into() };
    Decoded::<StorageAccessGrant>::remove(&mut index, &place("run"), &mut Dirty::new());
    Decoded::<AccessReview>::remove(&mut index, &place("yes"), &mut Dirty::new());
    assert!(index.uids().is_empty() && index.reviews_of.is_empty());
}

/// What used break-glass owes a review again that is gone, though few facts are kept of both.
#[test]
fn a_review_of_a_broken_glass_that_is_gone_concerns_its_grant() {
    let (mut index, _) = index();
    for (name, glass) in [("asked", false), ("broke", true)] {
        let ended = EndedGrant {
            uid: format!("u-{name}").into(),
            version: 3,
            phase: GrantPhase::Expired,
            ended_at: None,
            is_held: false,
            used_break_glass: glass,
            lost_a_review: false,
        };
        index.ended.entry(namespace()).or_default().insert(at(name), ended);
        let yes = format!("yes-{name}");
        take(&mut index, review(&yes, 2, name, "Approve", true));
        assert!(index.said("interp", &yes).is_some(), "{name}");
        let mut dirty = Dirty::new();
        let place = ObjectName { namespace: namespace(), name: (*yes).into() };
        Decoded::<AccessReview>::remove(&mut index, &place, &mut dirty);
        assert_eq!(dirty.contains(&grant_key(name)), glass, "{name}");
        assert_eq!(index.is_unfinished("interp", &at(name)), glass, "{name}");
    }
}

/// What is opened meanwhile need not be asked for.
#[test]
fn a_request_for_egress_is_looked_at_again_when_something_opens_in_its_namespace() {
    let (mut index, _) = index();
    let asked: Decoded<EgressGrant> = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressGrant",
        "metadata": {"name": "lab", "namespace": "interp", "uid": "u-lab", "resourceVersion": "2"},
        "spec": {"rule": {"name": "lab", "networks": ["192.0.2.0/24"], "ports": [{"port": 443}]}},
        "status": {"phase": "Pending", "reason": "AwaitingApproval"},
    }))
    .unwrap();
    take(&mut index, asked);
    let research = |version: u64, egress: Value| -> Decoded<ResearchNamespace> {
        serde_json::from_value(json!({
            "metadata": {"name": "interp", "uid": "u-interp", "generation": 1, "resourceVersion": version.to_string()},
            "spec": {"tier": "Standard"}, "status": {"egress": egress},
        }))
        .unwrap()
    };
    take(&mut index, research(3, json!([])));
    let opened = json!([{"name": "rule/lab", "state": "Active", "reason": "Covered", "message": "m"}]);
    let dirty = take(&mut index, research(4, opened));
    let grant = GrantRef { kind: GrantKind::EgressGrant, name: "lab".into() };
    assert!(dirty.contains(&Key::Grant(namespace(), grant)), "{dirty:?}");
}

#[test]
fn at_a_start_no_ended_grant_is_kept_whole() {
    let (mut index, _) = index();
    take(&mut index, storage("run", 3, GrantPhase::Expired));
    let dirty = take(&mut index, review("yes", 2, "run", "Approve", true));
    assert_eq!((index.all_grants().count(), index.reviews.len()), (0, 0));
    assert!(!dirty.contains(&Key::Review(namespace(), "yes".into())));
    // Nothing is said yet of this one.
    let dirty = take(&mut index, review("late", 4, "run", "Approve", false));
    assert!(dirty.contains(&Key::Review(namespace(), "late".into())));
    assert_eq!(index.reviews.len(), 1);
}

#[test]
fn nothing_is_forgotten_before_it_is_recorded_or_said() {
    let (mut index, all) = index();
    all.0.store(false, Relaxed);
    take(&mut index, storage("run", 3, GrantPhase::Expired));
    index.settle(&namespace(), &at("run"));
    assert_eq!(index.all_grants().count(), 1);
    all.0.store(true, Relaxed);
    take(&mut index, review("late", 4, "run", "Approve", false));
    index.settle(&namespace(), &at("run"));
    assert_eq!(index.all_grants().count(), 1);
    take(&mut index, review("late", 5, "run", "Approve", true));
    index.settle(&namespace(), &at("run"));
    assert_eq!((index.all_grants().count(), index.reviews.len()), (0, 0));
}

#[test]
fn one_that_is_made_again_is_another() {
    let (mut index, _) = index();
    take(&mut index, storage("run", 3, GrantPhase::Expired));
    let mut again = storage("run", 9, GrantPhase::Pending);
    again.metadata.uid = Some("u-other".into());
    let dirty = take(&mut index, again);
    assert!(dirty.contains(&grant_key("run")));
    assert!(index.ended("interp", &at("run")).is_none() && index.grant("interp", &at("run")).is_some());
}

#[test]
fn pods_concern_the_grants_of_their_mount_alone() {
    let (mut index, _) = index();
    for number in 0..1000_u64 {
        take(&mut index, storage(&format!("over-{number}"), number + 1, GrantPhase::Expired));
    }
    take(&mut index, storage("asks", 2001, GrantPhase::Pending));
    take(&mut index, storage("open", 2002, GrantPhase::Active));
    let holder = pod("p", Some("cloister-grant-data.reader.trainer"));
    let mount_key = |name: &str| Key::Mount(namespace(), name.into());
    let concerned = Dirty::from([grant_key("open"), mount_key("data.reader.trainer")]);
    assert_eq!(take(&mut index, holder), concerned);
    // No grant speaks for it: who looks after the mount finds that out.
    let unclaimed = take(&mut index, pod("q", Some("cloister-grant-data.writer.trainer")));
    assert_eq!(unclaimed, Dirty::from([mount_key("data.writer.trainer")]));
    assert!(take(&mut index, pod("r", None)).is_empty());
    assert_eq!((index.pods_in("interp"), index.pods["interp"].len()), (3, 2));
    // One that lets go of it concerns them, too.
    assert_eq!(take(&mut index, pod("p", None)), concerned);
    assert_eq!(index.pods_in("interp"), 3);
}

#[test]
fn pods_that_are_missing_in_a_list_are_forgotten() {
    let (mut index, _) = index();
    take(&mut index, pod("a", None));
    take(&mut index, pod("b", None));
    take(&mut index, pod("c", Some("cloister-grant-data.reader.trainer")));
    let research = json!({"metadata": {"name": "interp"}, "spec": {"tier": "Standard"}});
    take(&mut index, serde_json::from_value::<Decoded<ResearchNamespace>>(research).unwrap());
    let mut listed = Listed::default();
    listed.insert(&ObjectName { namespace: namespace(), name: "b".into() });
    let mut dirty = Dirty::new();
    GatedPod::forget_unlisted(&mut index, None, &listed, &mut dirty);
    let of_its_copy = Key::Mount(namespace(), "data.reader.trainer".into());
    assert_eq!((index.pods_in("interp"), dirty.clone()), (1, Dirty::from([of_its_copy])));
    GatedPod::forget_unlisted(&mut index, None, &Listed::default(), &mut dirty);
    assert_eq!(index.pods_in("interp"), 0);
    assert!(dirty.contains(&Key::Namespace(namespace())));
}

#[test]
fn what_is_said_of_a_grant_concerns_its_reviews_only_where_it_matters_to_them() {
    let (mut index, _) = index();
    take(&mut index, storage("run", 1, GrantPhase::Pending));
    for number in 0..100 {
        take(&mut index, review(&format!("r{number}"), 2, "run", "Approve", false));
    }
    let of_reviews = |dirty: Dirty| dirty.iter().filter(|key| matches!(key, Key::Review(..))).count();
    assert_eq!(of_reviews(take(&mut index, storage("run", 3, GrantPhase::Pending))), 0);
    assert_eq!(of_reviews(take(&mut index, storage("run", 4, GrantPhase::Approved))), 100);
    assert_eq!(of_reviews(take(&mut index, storage("run", 5, GrantPhase::Approved))), 0);
}

#[test]
fn a_request_for_egress_concerns_its_namespace_only_once_it_opens() {
    let (mut index, _) = index();
    let grant = |version: u64, phase: &str| -> Decoded<EgressGrant> {
        serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressGrant",
            "metadata": {"name": "e", "namespace": "interp", "uid": "e", "resourceVersion": version.to_string()},
            "spec": {"rule": {"name": "r", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]}, "justification": "x"},
            "status": {"phase": phase},
        }))
        .unwrap()
    };
    let home = Key::Namespace(namespace());
    assert!(!take(&mut index, grant(1, "Pending")).contains(&home));
    assert!(take(&mut index, grant(2, "Active")).contains(&home));
    assert!(take(&mut index, grant(3, "Expired")).contains(&home));
}

#[test]
fn a_namespace_that_comes_or_goes_concerns_those_that_name_it_or_may_have_meant_it() {
    let (mut index, _) = index();
    let research = |name: &str, version: u64, peers: Value| -> Decoded<ResearchNamespace> {
        let metadata = json!({"name": name, "uid": name, "resourceVersion": version.to_string()});
        let spec = json!({"tier": "Standard", "egress": {"toResearchNamespaces": peers}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    };
    take(&mut index, research("named", 1, json!(["data-prep"])));
    take(&mut index, research("slip", 1, json!(["data-prp"])));
    take(&mut index, research("content", 1, json!(["named"])));
    let concerns =
        |dirty: &Dirty| ["named", "slip", "content"].map(|name| dirty.contains(&Key::Namespace(name.into())));
    assert_eq!(concerns(&take(&mut index, research("data-prep", 2, json!([])))), [true, true, false]);
    assert_eq!(concerns(&take(&mut index, research("data-prep", 3, json!([])))), [false; 3]);
    let mut dirty = Dirty::new();
    Decoded::<ResearchNamespace>::remove(
        &mut index,
        &ObjectName { namespace: "".into(), name: "data-prep".into() },
        &mut dirty,
    );
    assert_eq!(concerns(&dirty), [true, true, false]);
}

/// Whether the other names it back or not: what is said of it is another.
#[test]
fn a_namespace_that_changes_concerns_those_that_name_it() {
    let (mut index, _) = index();
    let research = |name: &str, version: u64, peers: Value, more: Value| -> Decoded<ResearchNamespace> {
        let mut metadata = json!({"name": name, "uid": name, "resourceVersion": version.to_string()});
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec = json!({"tier": "Standard", "egress": {"toResearchNamespaces": peers}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    };
    let space = |version: u64, labels: Value| -> k8s_openapi::api::core::v1::Namespace {
        let metadata =
            json!({"name": "data-prep", "uid": "n", "resourceVersion": version.to_string(), "labels": labels});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    };
    take(&mut index, research("interp", 1, json!(["data-prep"]), json!({})));
    take(&mut index, research("other", 2, json!([]), json!({})));
    take(&mut index, research("data-prep", 3, json!([]), json!({})));
    let concerns = |dirty: &Dirty| ["interp", "other"].map(|name| dirty.contains(&Key::Namespace(name.into())));
    assert_eq!(concerns(&take(&mut index, space(4, json!({})))), [true, false]);
    let enforced = json!({cloister_api::labels::MANAGED_BY: cloister_api::labels::MANAGER, cloister_api::labels::ENFORCED: "true"});
    assert_eq!(concerns(&take(&mut index, space(5, enforced.clone()))), [true, false]);
    assert_eq!(concerns(&take(&mut index, space(6, enforced))), [false, false], "nothing of it changed");
    let ending = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    assert_eq!(concerns(&take(&mut index, research("data-prep", 7, json!([]), ending))), [true, false]);
    // Who names it no longer is not concerned.
    take(&mut index, research("interp", 8, json!([]), json!({})));
    assert_eq!(concerns(&take(&mut index, space(9, json!({})))), [false, false]);
}

#[test]
fn a_request_for_what_is_open_comes_again_when_a_namespace_says_something_else() {
    let (mut index, _) = index();
    let research = |version: u64, summary: &str| -> Decoded<ResearchNamespace> {
        let metadata = json!({"name": "interp", "uid": "u", "generation": 1, "resourceVersion": version.to_string()});
        let status = json!({"egressSummary": summary});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"tier": "Standard"}, "status": status})).unwrap()
    };
    let grant: Decoded<EgressGrant> = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "EgressGrant",
        "metadata": {"name": "e", "namespace": "interp", "uid": "e", "resourceVersion": "1"},
        "spec": {"rule": {"name": "r", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]}},
        "status": {"phase": "Pending", "reason": cloister_core::grant::ALREADY_OPEN},
    }))
    .unwrap();
    take(&mut index, research(1, "1/1"));
    take(&mut index, grant);
    let dirty = take(&mut index, research(2, "0/1"));
    assert!(dirty.contains(&Key::Grant(namespace(), GrantRef { kind: GrantKind::EgressGrant, name: "e".into() })));
}

#[test]
fn what_must_end_has_the_first_lane() {
    let (mut index, _) = index();
    let research = json!({"metadata": {"name": "interp"}, "spec": {"tier": "Standard"}});
    take(&mut index, serde_json::from_value::<Decoded<ResearchNamespace>>(research).unwrap());
    let before: Timestamp = "2029-12-31T23:59:59Z".parse().unwrap();
    let after: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    let lane = |index: &Index, now| index.ticket(&grant_key("run"), now);
    take(&mut index, storage("run", 1, GrantPhase::Pending));
    assert_eq!(lane(&index, before).lane, Lane::Normal);
    take(&mut index, storage("run", 2, GrantPhase::Active));
    assert_eq!(lane(&index, before).lane, Lane::Closing);
    assert_eq!(lane(&index, before).turns[0].1, Mode::Open);
    assert_eq!(lane(&index, after).lane, Lane::Ending);
    assert_eq!(lane(&index, after).turns[0].1, Mode::End);
    take(&mut index, review("stop", 3, "run", "Revoke", false));
    assert_eq!(lane(&index, before).lane, Lane::Ending);
    take(&mut index, storage("run", 4, GrantPhase::Revoking));
    assert_eq!(lane(&index, before).lane, Lane::Ending);
    take(&mut index, storage("other", 5, GrantPhase::Active));
    let key = grant_key("other");
    assert_eq!(index.ticket(&key, before).lane, Lane::Closing);
    Decoded::<ResearchNamespace>::remove(
        &mut index,
        &ObjectName { namespace: "".into(), name: namespace() },
        &mut Dirty::new(),
    );
    assert_eq!(index.ticket(&key, before).lane, Lane::Ending);
}

pub(super) fn declared(name: &str, version: u64, enforced: bool) -> Decoded<ResearchNamespace> {
    let status = if enforced { json!({"enforcedAt": "2026-01-01T00:00:00Z"}) } else { json!({}) };
    serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
        "metadata": {"name": name, "uid": format!("u-{name}"), "resourceVersion": version.to_string()},
        "spec": {"tier": "Standard"}, "status": status,
    }))
    .unwrap()
}

/// How long it took until a namespace was enforced is measured from when it was seen first.
#[test]
fn a_namespace_is_seen_first_once_and_until_it_is_enforced() {
    let (mut index, mut dirty) = (Index::default(), Dirty::new());
    let seen = |index: &Index| index.first_seen.get("interp").copied();
    declared("interp", 1, false).upsert(&mut index, &mut dirty);
    let first = seen(&index);
    assert!(first.is_some());
    declared("interp", 2, false).upsert(&mut index, &mut dirty);
    assert_eq!(seen(&index), first, "it is not seen anew by each change");
    declared("interp", 3, true).upsert(&mut index, &mut dirty);
    assert_eq!(seen(&index), None);
    declared("interp", 4, true).upsert(&mut index, &mut dirty);
    assert_eq!(seen(&index), None, "one that was enforced is not measured again");
    declared("other", 5, false).upsert(&mut index, &mut dirty);
    let other = ObjectName { namespace: "".into(), name: "other".into() };
    Decoded::<ResearchNamespace>::remove(&mut index, &other, &mut dirty);
    assert!(index.first_seen.is_empty());
}

/// Drift is counted by it.
#[test]
fn labels_of_a_namespace_that_somebody_changes_are_noted_until_they_are_looked_at() {
    let (mut index, mut dirty) = (Index::default(), Dirty::new());
    let namespace = |name: &str, version: u64, labels: Value| -> k8s_openapi::api::core::v1::Namespace {
        let metadata = json!({"name": name, "uid": "u", "resourceVersion": version.to_string(), "labels": labels});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    };
    declared("interp", 1, true).upsert(&mut index, &mut dirty);
    namespace("interp", 2, json!({"cloister.dev/tier": "Standard"})).upsert(&mut index, &mut dirty);
    namespace("interp", 3, json!({"cloister.dev/tier": "Standard", "team": "a"})).upsert(&mut index, &mut dirty);
    assert!(index.relabelled.is_empty(), "it is new, and a label of theirs is theirs");
    namespace("interp", 4, json!({"cloister.dev/tier": "Sandboxed"})).upsert(&mut index, &mut dirty);
    assert_eq!(index.relabelled.len(), 1);
    index.relabelled.clear();
    for (version, tier) in [(5, "a"), (6, "b")] {
        namespace("other", version, json!({"cloister.dev/tier": tier})).upsert(&mut index, &mut dirty);
    }
    assert!(index.relabelled.is_empty(), "it is no research namespace");
    let at = ObjectName { namespace: "".into(), name: "interp".into() };
    <k8s_openapi::api::core::v1::Namespace as Indexed>::remove(&mut index, &at, &mut dirty);
    assert_eq!(index.relabelled.len(), 1);
    Decoded::<ResearchNamespace>::remove(&mut index, &at, &mut dirty);
    assert!(index.relabelled.is_empty());
}

#[test]
fn what_becomes_of_a_grant_concerns_requests_that_mount_for_the_same_account() {
    let (mut index, _) = index();
    let mounting = |name: &str, version: u64, phase: GrantPhase, account: &str| {
        let mut grant = storage(name, version, phase);
        let object = grant.object.as_mut().unwrap();
        let path = format!("/mnt/{name}");
        object.spec.mount = Some(cloister_api::Mount { service_account_name: account.into(), mount_path: path });
        grant
    };
    take(&mut index, mounting("waits", 1, GrantPhase::Pending, "trainer"));
    take(&mut index, mounting("elsewhere", 1, GrantPhase::Pending, "loader"));
    let dirty = take(&mut index, mounting("first", 1, GrantPhase::Active, "trainer"));
    assert!(dirty.contains(&grant_key("waits")) && !dirty.contains(&grant_key("elsewhere")), "{dirty:?}");
    let dirty = take(&mut index, mounting("first", 2, GrantPhase::Active, "trainer"));
    assert!(!dirty.contains(&grant_key("waits")), "nothing has become of it: {dirty:?}");
    let dirty = take(&mut index, mounting("first", 3, GrantPhase::Revoked, "trainer"));
    assert!(dirty.contains(&grant_key("waits")), "{dirty:?}");
}
