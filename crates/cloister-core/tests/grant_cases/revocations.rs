//! What ends a grant that people approved before its time.

use super::{
    desk::*,
    grants::{Shared, Shelf, World},
};
use cloister_api::{AccessPolicy, CloisterConfigSpec, Decision, GrantPhase, Identity};
use cloister_core::cluster::settings::Settings;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// What becomes of an open grant after this.
fn after(change: impl FnOnce(&mut World)) -> (GrantPhase, String) {
    after_asking(json!({}), change)
}

fn after_asking(more: Value, change: impl FnOnce(&mut World)) -> (GrantPhase, String) {
    let mut world = by_people(json!({}));
    world.members = serde_json::from_value(json!([{"role": "Owner", "subjects": [{"kind": "User", "name": "lea"}]},
                                      {"role": "Researcher", "subjects": [{"kind": "User", "name": "rob"}]}]))
    .unwrap();
    approved(&mut world, "eval", more);
    change(&mut world);
    settle(&mut world);
    let said = said(&world, "eval");
    assert_eq!(world.objects.0.is_empty() && world.secrets.is_empty(), said.0 == GrantPhase::Revoked);
    said
}

fn active() -> (GrantPhase, String) {
    (GrantPhase::Active, "Active".into())
}

fn revoked(reason: &str) -> (GrantPhase, String) {
    (GrantPhase::Revoked, reason.into())
}

fn under(more: Value) -> Shelf<AccessPolicy> {
    by_people(more).policy
}

#[test]
fn those_who_agreed_must_be_enough_under_the_policy_as_it_is_now() {
    let rule = |name: &str, required: u32, group: &str| json!({"name": name, "required": required, "approvers": [{"kind": "Group", "name": group}]});
    let rules = |rules: Value| move |world: &mut World| world.policy = under(json!({"approvalRules": rules}));
    let (security, owners) = (rule("security", 1, "security"), rule("owners", 2, "owners"));
    assert_eq!(after(rules(json!([security, owners, rule("legal", 1, "legal")]))), revoked("ApprovalsNotEnough"));
    assert_eq!(after(rules(json!([rule("security", 2, "security"), owners]))), revoked("ApprovalsNotEnough"));
    assert_eq!(after(rules(json!([security, rule("owners", 2, "new-owners")]))), revoked("ApprovalsNotEnough"));
    assert_eq!(after(rules(json!([]))), revoked("ApprovalsNotEnough"));
    assert_eq!(after(rules(json!([security]))), active(), "fewer are needed");
    assert_eq!(after(rules(json!([owners, rule("safety", 1, "security")]))), active(), "called otherwise");
    let shorter = |world: &mut World| world.policy = under(json!({"maxDuration": "1m"}));
    assert_eq!(after_asking(json!({"requestedDuration": "10m"}), shorter), active(), "an end is not recomputed");
    // What the default was when it was approved is not known any more.
    assert_eq!(after(shorter), revoked("RecordNotBorneOut"));
}

#[test]
fn a_review_that_is_deleted_takes_back_the_approval_and_a_later_refusal_does_not() {
    assert_eq!(after(|world| world.reviews.truncate(2)), revoked("RecordNotBorneOut"));
    assert_eq!(
        after(|world| review(world, "eval", Decision::Deny, person("sam", &["security"]))),
        active(),
        "Revoke would"
    );
}

#[test]
fn who_asked_must_still_be_among_those_who_may() {
    let requesters = json!({"requesters": [{"kind": "Group", "name": "others"}]});
    assert_eq!(after(|world| world.policy = under(requesters)), revoked("RequesterNotEligible"));
    let by_name = json!({"requesters": [{"kind": "User", "name": "alice"}]});
    assert_eq!(after(|world| world.policy = under(by_name)), active());
    let beneficiaries = json!({"beneficiaries": [{"kind": "User", "name": "bob"}]});
    assert_eq!(after(|world| world.policy = under(beneficiaries)), revoked("RequesterNotEligible"));
}

#[test]
fn it_is_revoked_by_those_whom_it_concerns() {
    let by = |who: Identity| after(move |world| review(world, "eval", Decision::Revoke, who));
    let alias = Identity { person_key: "p1".into(), ..person("alice-admin", &[]) };
    for who in [person("sue", &["security"]), person("lea", &[]), person("alice", &[])] {
        assert_eq!(by(who), revoked("RevokedByReview"));
    }
    let others = [
        person("rob", &[]),
        person("bob", &["researchers"]),
        person("system:serviceaccount:interp:bot", &["security"]),
        alias,
    ];
    for who in others {
        assert_eq!(by(who), active());
    }
}

#[test]
fn it_is_revoked_by_whom_it_was_given_to() {
    for (subject, who) in [("User", person("ben", &[])), ("Group", person("gil", &["ben"]))] {
        let subjects = json!([{"kind": subject, "name": "ben"}]);
        let mut world = by_people(json!({"beneficiaries": subjects}));
        approved(&mut world, "role/debug", json!({"subjects": subjects}));
        review(&mut world, "role/debug", Decision::Revoke, person("bob", &[]));
        settle(&mut world);
        assert_eq!(said(&world, "role/debug"), active());
        review(&mut world, "role/debug", Decision::Revoke, who.clone());
        settle(&mut world);
        assert_eq!(said(&world, "role/debug"), revoked("RevokedByReview"));
        assert_eq!(status(&world, "role/debug").reviews.last().unwrap().reviewer, who);
    }
}

#[test]
fn a_revocation_is_of_this_grant_whatever_digest_it_names() {
    let digest = |world: &mut World| {
        review(world, "eval", Decision::Revoke, person("sue", &["security"]));
        world.reviews.last_mut().unwrap().spec.digest.clear();
    };
    assert_eq!(after(digest), revoked("RevokedByReview"));
    let uid = |world: &mut World| {
        review(world, "eval", Decision::Revoke, person("sue", &["security"]));
        world.reviews.last_mut().unwrap().spec.request_ref.uid = "uid-before".into();
    };
    assert_eq!(after(uid), active());
}

#[test]
fn a_policy_that_is_deleted_and_made_again_is_another() {
    let again = |world: &mut World| {
        let Shelf::Read(policy) = &mut world.policy else { unreachable!() };
        policy.metadata.uid = Some("uid-again".into());
    };
    assert_eq!(after(again), revoked("PolicyGone"));
    assert_eq!(after(|world| world.policy = Shelf::Absent), revoked("PolicyGone"));
}

#[test]
fn after_a_restore_what_was_approved_before_ends() {
    let before = |seconds: i64| {
        after(move |world| {
            let at = Some(Time(world.now + SignedDuration::from_secs(seconds)));
            let spec = CloisterConfigSpec { invalidate_grants_before: at, ..world.settings.spec.clone() };
            world.settings = Shared::new(Settings::new(Some(&spec)));
        })
    };
    assert_eq!(before(1), revoked("Invalidated"));
    assert_eq!(before(0), active());
    assert_eq!(before(-1), active());
    assert_eq!(before(3600), revoked("Invalidated"), "clocks differ");
    assert_eq!(before(3601), active(), "a time that is far ahead is not in force");
}

#[test]
fn after_a_restore_what_was_asked_before_is_refused() {
    let asked = |after: i64| {
        let mut world = by_people(json!({}));
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        let spec = world.settings.spec.clone();
        let at = Some(Time(world.now + SignedDuration::from_secs(after)));
        world.settings = Shared::new(Settings::new(Some(&CloisterConfigSpec { invalidate_grants_before: at, ..spec })));
        all_agree(&mut world, "eval");
        settle(&mut world);
        said(&world, "eval")
    };
    assert_eq!(asked(1), (GrantPhase::Denied, "Invalidated".into()));
    assert_eq!(asked(0), active());
    assert_eq!(asked(3601), active(), "a time that is far ahead denies nothing");
}

#[test]
fn a_storage_that_becomes_more_sensitive_asks_again() {
    let minimum = |world: &mut World| {
        let mut spec = world.settings.spec.clone();
        spec.minimum_approvals.low = 4;
        world.settings = Shared::new(Settings::new(Some(&spec)));
    };
    assert_eq!(after(minimum), revoked("PolicyTooWeak"));
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    minimum(&mut world);
    settle(&mut world);
    assert!(message(&world, "eval").starts_with("when it ended, it could no longer be granted: AccessPolicy "));
    assert_eq!(after(|world| world.storage = storage(json!({"sensitivity": "Moderate"}))), revoked("TargetChanged"));
    assert_eq!(after(|world| world.storage = storage(json!({"description": "the same"}))), active());
}

#[test]
fn a_renewal_loses_nothing_when_the_first_ends() {
    let mut world = by_people(json!({}));
    approved(&mut world, "eval", json!({}));
    world.now += SignedDuration::from_mins(5);
    approved(&mut world, "renewal", json!({}));
    let stood = world.secrets.clone();
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert_eq!((said(&world, "eval").0, said(&world, "renewal").0), (GrantPhase::Expired, GrantPhase::Active));
    assert!(world.secrets == stood && world.has_mount("weights.reader.trainer"));
    assert_eq!((world.children_of("eval"), world.children_of("renewal")), (0, 1));
    world.now += SignedDuration::from_mins(5);
    settle(&mut world);
    assert!(world.secrets.is_empty() && world.objects.0.is_empty());
}
