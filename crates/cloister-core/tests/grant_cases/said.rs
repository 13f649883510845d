//! What is said of a review.

use super::{
    desk::*,
    grants::{Shelf, World},
};
use cloister_api::{AccessReview, Decision, Identity};
use cloister_core::grant;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

/// Whether the review counts, and why, once it is said.
pub fn counted(world: &mut World, at: usize) -> (bool, String) {
    let say = |review: &AccessReview, world: &World| {
        if world.grants.contains_key("eval") {
            world.with_input("eval", |input| grant::review(review, Some(input), None, world.now))
        } else {
            grant::review(review, None, None, world.now)
        }
    };
    if let Some(status) = say(&world.reviews[at], world) {
        world.reviews[at].status = Some(status);
    }
    assert_eq!(say(&world.reviews[at], world), None, "it is said once");
    let conditions = &world.reviews[at].status.as_ref().expect("something is said").conditions;
    assert!(conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"), "a tool that waits does not hang");
    let counted = conditions.iter().find(|c| c.type_ == "Counted").unwrap();
    (counted.status == "True", counted.reason.clone())
}

/// A request that waits, and a review of it.
fn reviewed(decision: Decision, who: Identity) -> World {
    let mut world = by_people(json!({}));
    world.members =
        serde_json::from_value(json!([{"role": "Owner", "subjects": [{"kind": "User", "name": "lea"}]}])).unwrap();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    review(&mut world, "eval", decision, who);
    world
}

pub fn sam() -> Identity {
    person("sam", &["security"])
}

#[test]
fn one_that_counts_says_so_before_and_after_the_decision() {
    let mut world = reviewed(Decision::Approve, sam());
    assert_eq!(counted(&mut world, 0), (true, "Counted".into()));
    review(&mut world, "eval", Decision::Approve, person("olga", &["owners"]));
    review(&mut world, "eval", Decision::Approve, person("otto", &["owners"]));
    settle(&mut world);
    assert_eq!(counted(&mut world, 0), (true, "Counted".into()), "it is recorded");
    assert_eq!(counted(&mut world, 2), (true, "Counted".into()), "seen after its grant was");
    world.policy = Shelf::Absent;
    settle(&mut world);
    assert_eq!(counted(&mut world, 0), (true, "Counted".into()), "what was decided by it stays said");
}

/// It counted, and nobody is to believe that it does for the one of that name which was made again.
#[test]
fn one_that_counted_for_a_grant_that_is_gone_says_so() {
    let gone = "counts for security of AccessPolicy standard; its grant, StorageAccessGrant eval with uid uid-eval, no longer \
                exists. A new grant of that name needs new reviews";
    let mut world = reviewed(Decision::Approve, sam());
    assert_eq!(counted(&mut world, 0), (true, "Counted".into()));
    let record = |world: &World| cloister_core::audit::of_review(&world.reviews[0], "interp").unwrap().id;
    let recorded = record(&world);
    world.undecodable.insert("eval".into());
    assert_eq!(counted(&mut world, 0), (true, "Counted".into()), "it is there, and cannot be read");
    world.undecodable.clear();
    for made_again in [false, true, false] {
        world.grants.clear();
        if made_again {
            ask(&mut world, "eval", json!({}));
            world.grants.get_mut("eval").unwrap().metadata_mut().uid = Some("uid-again".into());
        }
        assert_eq!(counted(&mut world, 0), (true, "RequestGone".into()));
        assert_eq!(said_of(&world, 0), gone);
        assert_eq!(record(&world), recorded, "it is recorded once");
    }
    // One that did not count says why, as before.
    let mut world = reviewed(Decision::Approve, person("bob", &["researchers"]));
    assert_eq!(counted(&mut world, 0), (false, "NotAnApprover".into()));
    world.grants.clear();
    assert_eq!(counted(&mut world, 0), (false, "NotAnApprover".into()));
}

pub fn said_of(world: &World, at: usize) -> &str {
    let conditions = &world.reviews[at].status.as_ref().expect("something is said").conditions;
    &conditions.iter().find(|c| c.type_ == "Counted").unwrap().message
}

/// What a review says of itself once it is recorded: in whole sentences.
#[test]
fn one_says_what_it_did() {
    let terms =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let said = |broken: bool, ended: bool, reviews: &[(Decision, Identity)]| {
        let mut world = by_people(json!({"breakGlass": terms}));
        ask(&mut world, "eval", json!({"breakGlass": broken}));
        settle(&mut world);
        if ended {
            world.now += jiff::SignedDuration::from_mins(30);
            settle(&mut world);
        }
        for (decision, who) in reviews {
            review(&mut world, "eval", *decision, who.clone());
            settle(&mut world);
        }
        let last = reviews.len() - 1;
        counted(&mut world, last);
        said_of(&world, last).to_owned()
    };
    let (sam, alice) = (sam(), person("alice", &["researchers"]));
    let owed = "is the required review of a break-glass grant";
    assert_eq!(said(true, false, &[(Decision::Approve, sam.clone())]), owed);
    assert_eq!(said(true, true, &[(Decision::Approve, sam.clone())]), owed);
    assert_eq!(said(true, false, &[(Decision::Deny, sam.clone())]), format!("ended the grant, and {owed}"));
    assert_eq!(said(true, false, &[(Decision::Revoke, sam.clone())]), format!("ended the grant, and {owed}"));
    assert_eq!(said(true, true, &[(Decision::Deny, sam.clone())]), format!("{owed}; the grant had ended already"));
    assert_eq!(said(true, false, &[(Decision::Revoke, alice.clone())]), "ended the grant");
    let both = [(Decision::Revoke, alice.clone()), (Decision::Deny, sam.clone())];
    assert_eq!(said(true, false, &both), format!("{owed}; the grant had ended already"));
    assert_eq!(said(false, false, &[(Decision::Deny, sam.clone())]), "ended the request");
    assert_eq!(said(false, false, &[(Decision::Revoke, alice.clone())]), "ended the request");
    let agree = ["olga", "otto", "ova"].map(|name| (Decision::Approve, person(name, &["owners"])));
    let [olga, otto, ova] = agree;
    let all = [olga, otto, (Decision::Approve, sam.clone())];
    assert_eq!(said(false, false, &all), "counts for security of AccessPolicy standard");
    let revoked = [&all[..], &[(Decision::Revoke, alice)]].concat();
    assert_eq!(said(false, false, &revoked), "ended the grant");
    let more = [&all[..2], &[ova, (Decision::Approve, sam)]].concat();
    assert_eq!(said(false, false, &more), "counts for security of AccessPolicy standard");
}

#[test]
fn one_that_does_not_count_says_why() {
    let group = |groups: &[&str]| person("bob", groups);
    let cases = [
        ("NotAnApprover", Decision::Approve, group(&["researchers"])),
        ("NotAnApprover", Decision::Deny, group(&["researchers"])),
        ("Requester", Decision::Approve, person("alice", &["security"])),
        // By whichever account: it is not told to take another.
        ("Requester", Decision::Approve, person("alice", &["researchers"])),
        ("Member", Decision::Approve, person("lea", &[])),
        ("ServiceAccount", Decision::Approve, person("system:serviceaccount:a:b", &["security"])),
        ("Member", Decision::Approve, person("lea", &["security"])),
        ("MayNotRevoke", Decision::Revoke, group(&["researchers"])),
    ];
    for (reason, decision, who) in cases {
        let mut world = reviewed(decision, who);
        assert_eq!(counted(&mut world, 0), (false, reason.into()));
        settle(&mut world);
        assert!(status(&world, "eval").reviews.is_empty());
    }
    for (reason, kind) in [("Beneficiary", "User"), ("InBeneficiaryGroup", "Group")] {
        let subjects = json!([{"kind": kind, "name": "ben"}]);
        let mut world = by_people(json!({"beneficiaries": subjects}));
        ask(&mut world, "eval", json!({"subjects": subjects, "mount": null}));
        settle(&mut world);
        review(&mut world, "eval", Decision::Approve, person("ben", &["ben", "security"]));
        assert_eq!(counted(&mut world, 0), (false, reason.into()));
    }
}

#[test]
fn one_of_something_else_says_so() {
    let why = |change: fn(&mut World)| {
        let mut world = reviewed(Decision::Approve, sam());
        change(&mut world);
        counted(&mut world, 0)
    };
    let refused = |reason: &str| (false, reason.to_owned());
    assert_eq!(why(|world| world.reviews[0].spec.request_ref.uid = "uid-before".into()), refused("RequestNotFound"));
    assert_eq!(why(|world| world.grants.clear()), refused("RequestNotFound"));
    assert_eq!(why(|world| world.undecodable.extend(["eval".to_owned()])), refused("RequestNotFound"));
    assert_eq!(why(|world| world.reviews[0].spec.digest.push('0')), refused("DigestDiffers"));
    assert_eq!(why(|world| world.policy = by_people(json!({"maxDuration": "2h"})).policy), refused("DigestDiffers"));
    assert_eq!(why(|world| world.reviews[0].spec.reviewer = None), refused("ReviewerUnknown"));
    assert_eq!(why(|world| world.policy = Shelf::Absent), refused("PolicyNotFound"));
    assert_eq!(why(|world| world.storage = Shelf::Absent), refused("StorageNotFound"));
}

#[test]
fn one_that_comes_too_late_says_so_and_one_that_was_said_to_count_stays_so() {
    let mut world = reviewed(Decision::Approve, sam());
    assert!(counted(&mut world, 0).0);
    review(&mut world, "eval", Decision::Deny, person("sue", &["security"]));
    assert_eq!(counted(&mut world, 1), (true, "Counted".into()));
    assert_eq!(said_of(&world, 1), "ends it", "it is no approval");
    settle(&mut world);
    assert_eq!(counted(&mut world, 0), (true, "Counted".into()), "it did, while it was asked for");
    assert_eq!(counted(&mut world, 1), (true, "Counted".into()), "it ended the request");
    review(&mut world, "eval", Decision::Approve, person("olga", &["owners"]));
    assert_eq!(counted(&mut world, 2), (false, "AlreadyDecided".into()));
}

#[test]
fn the_review_of_a_broken_glass_counts_while_it_is_owed() {
    let terms =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let mut world = by_people(json!({"breakGlass": terms}));
    ask(&mut world, "eval", json!({"breakGlass": true}));
    settle(&mut world);
    review(&mut world, "eval", Decision::Approve, sam());
    world.reviews[0].spec.digest.push('0');
    assert_eq!(counted(&mut world, 0), (false, "DigestDiffers".into()));
    review(&mut world, "eval", Decision::Approve, sam());
    assert_eq!(counted(&mut world, 1), (true, "Counted".into()));
    settle(&mut world);
    review(&mut world, "eval", Decision::Approve, person("sue", &["security"]));
    assert_eq!(counted(&mut world, 2), (false, "AlreadyReviewed".into()));
}

#[test]
fn a_revocation_is_said_to_end_what_is_there() {
    for who in [person("alice", &[]), person("lea", &[]), sam()] {
        let mut world = reviewed(Decision::Revoke, who);
        assert_eq!(counted(&mut world, 0), (true, "Counted".into()));
        settle(&mut world);
        world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
        assert_eq!(counted(&mut world, 0), (true, "Counted".into()));
    }
}

#[test]
fn what_was_said_of_a_review_outlives_its_grant() {
    for gone in [
        (|world: &mut World| world.grants.clear()) as fn(&mut World),
        |world| world.undecodable.extend(["eval".to_owned()]),
        |world| world.grants.get_mut("eval").unwrap().metadata_mut().uid = Some("uid-again".into()),
    ] {
        for (decision, who) in [(Decision::Approve, sam()), (Decision::Approve, person("bob", &["researchers"]))] {
            let mut world = reviewed(decision, who);
            let before = counted(&mut world, 0);
            gone(&mut world);
            assert_eq!(counted(&mut world, 0).0, before.0, "whether it counted");
        }
    }
}

/// Both count, and whoever wrote them counts once.
#[test]
fn one_that_says_what_the_same_person_said_before_says_so() {
    let mut world = reviewed(Decision::Approve, sam());
    let second = Identity { uid: "u-sam".into(), ..person("sam", &["security"]) };
    review(&mut world, "eval", Decision::Approve, second);
    let first = world.reviews[0].metadata.name.clone().unwrap();
    assert_eq!((counted(&mut world, 0), counted(&mut world, 1)), ((true, "Counted".into()), (true, "Counted".into())));
    assert_eq!(said_of(&world, 0), "counts for security of AccessPolicy standard");
    let once = format!(
        "counts for security of AccessPolicy standard, once for all reviews of sam: review {first} has the same \
                 decision"
    );
    assert_eq!(said_of(&world, 1), once);
}

#[test]
fn one_with_another_uid_is_told_the_uid_of_the_grant_that_is_here() {
    let world = reviewed(Decision::Approve, sam());
    let mut review = world.reviews[0].clone();
    review.spec.request_ref.uid = "mistyped".into();
    review.status = None;
    let said = world.with_input("eval", |input| grant::review(&review, Some(input), None, world.now)).unwrap();
    assert_eq!(said.conditions[1].reason, "RequestNotFound");
    assert_eq!(
        said.conditions[1].message,
        "there is no StorageAccessGrant eval with uid mistyped here; the one that is here has uid uid-eval: either the uid is \
         mistyped, or the grant was created again, and must be read again. Then create another review with that uid"
    );
}

#[test]
fn one_of_another_kind_or_name_is_told_which_grant_has_its_uid() {
    let world = reviewed(Decision::Approve, sam());
    let said = |at: Option<&str>| {
        let at = at.map(super::grants::reference);
        let mut review = world.reviews[0].clone();
        review.spec.request_ref.kind = cloister_api::GrantKind::RoleGrant;
        let status = grant::review(&review, None, at.as_ref(), world.now).unwrap();
        (status.conditions[1].reason.clone(), status.conditions[1].message.clone())
    };
    let not_found = "there is no RoleGrant eval with uid uid-eval here; ";
    let told = |rest: &str| ("RequestNotFound".to_owned(), format!("{not_found}{rest}"));
    assert_eq!(said(None), told("create the review in the namespace of the grant"));
    assert_eq!(
        said(Some("eval")),
        told(
            "that uid belongs to StorageAccessGrant eval. Write another review with that kind and name in its requestRef"
        )
    );
}
