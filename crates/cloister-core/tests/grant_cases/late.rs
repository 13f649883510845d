//! What is said of a review that cannot be judged: it came too late, or too early.

use super::{
    desk::*,
    grants::{Shelf, World},
    said::{counted, said_of, sam},
};
use cloister_api::{Decision, Identity};
use cloister_core::grant;
use serde_json::json;

/// What was left to decide, and what its author can do, in whole sentences.
#[test]
fn one_that_comes_too_late_says_how_the_grant_stands() {
    let terms =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let said = |broken: bool, before: &[(Decision, Identity)], minutes: i64, (decision, who): (Decision, Identity)| {
        let mut world = by_people(json!({"breakGlass": terms}));
        ask(&mut world, "eval", json!({"breakGlass": broken, "requestedDuration": "30m"}));
        settle(&mut world);
        for (decision, who) in before {
            review(&mut world, "eval", *decision, who.clone());
            settle(&mut world);
        }
        world.now += jiff::SignedDuration::from_mins(minutes);
        settle(&mut world);
        review(&mut world, "eval", decision, who);
        settle(&mut world);
        let (is_counted, why) = counted(&mut world, before.len());
        assert!(!is_counted);
        let message = said_of(&world, before.len()).to_owned();
        (why, message.replace(&world.now.to_string(), "NOW"))
    };
    let sue = |decision| (decision, person("sue", &["security"]));
    let approved = ["sam/security", "olga/owners", "otto/owners"].map(|who| {
        let (name, group) = who.split_once('/').unwrap();
        (Decision::Approve, person(name, &[group]))
    });
    let denied = [(Decision::Deny, sam())];
    let is = |said: (String, String), why: &str, message: &str| assert_eq!(said, (why.to_owned(), message.to_owned()));
    for decision in [Decision::Approve, Decision::Deny] {
        let (why, message) = said(false, &approved, 0, sue(decision));
        assert_eq!(why, "AlreadyApproved");
        let end = message.split(" until ").nth(1).unwrap().split(" at ").next().unwrap().to_owned();
        assert_eq!(
            message,
            format!(
                "StorageAccessGrant eval was approved before this review counted, until {end} at the latest; while it is open, a \
                 review with the decision Revoke ends it"
            )
        );
        is(
            said(true, &[(Decision::Approve, sam())], 0, sue(decision)),
            "AlreadyReviewed",
            "sam has already written the required break-glass review of StorageAccessGrant eval; while it is open, \
             a review with the decision Revoke ends it",
        );
        is(
            said(true, &[(Decision::Approve, sam())], 30, sue(decision)),
            "AlreadyReviewed",
            "sam has already written the required break-glass review of StorageAccessGrant eval",
        );
    }
    for decision in [Decision::Approve, Decision::Deny, Decision::Revoke] {
        is(
            said(false, &[], 24 * 60, sue(decision)),
            "RequestTimedOut",
            "StorageAccessGrant eval was not decided in time, and has timed out; there is nothing to decide. Whoever \
             still needs it deletes it, and creates another one",
        );
        is(
            said(false, &approved, 30, sue(decision)),
            "AlreadyEnded",
            "StorageAccessGrant eval ended at NOW (Expired); there is nothing to decide",
        );
        is(
            said(false, &denied, 0, sue(decision)),
            "AlreadyDecided",
            "StorageAccessGrant eval was denied before this review counted (Denied), and stays denied; there is nothing to \
             decide. Whoever still needs it deletes it, and creates another one",
        );
    }
    // Whoever may end it, and not decide about it, is told how.
    let alice = || (Decision::Deny, person("alice", &["researchers"]));
    is(
        said(false, &[], 0, alice()),
        "Requester",
        "alice is the requester, with this or another account, and cannot decide about it; while it waits, a review \
         with the decision Revoke takes it back, or its deletion",
    );
    for (broken, before) in [(false, &approved[..]), (true, &[])] {
        is(
            said(broken, before, 0, alice()),
            "Requester",
            "alice is the requester, with this or another account, and cannot decide about it; while it is open, a review \
             with the decision Revoke ends it",
        );
    }
    let over = "alice is the requester, with this or another account, and cannot decide about it; while the grant needs \
                a decision, ask another approver";
    let ended = "StorageAccessGrant eval ended at NOW (Expired); there is nothing to decide";
    is(said(false, &approved, 30, alice()), "AlreadyEnded", ended);
    // Of what is over, nobody is sent to somebody else, whoever they are.
    for who in [person("pat", &["admins"]), person("alice", &["researchers"])] {
        for decision in [Decision::Approve, Decision::Deny, Decision::Revoke] {
            let (why, _) = said(false, &denied, 0, (decision, who.clone()));
            assert_eq!(why, "AlreadyDecided", "{decision:?} {}", who.username);
        }
    }
    let approves = (Decision::Approve, person("alice", &["researchers"]));
    is(said(false, &[], 0, approves), "Requester", over);
}

/// Nobody says of it that it was refused, and it settles what is owed once it can be judged.
#[test]
fn one_that_is_owed_waits_while_nobody_knows_who_may_make_it() {
    let terms =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let policy_gone = "AccessPolicy standard, which role reader of StorageResource weights names, no longer exists; ask a \
                       policy administrator (ClusterRole cloister:policy-admin) to publish it again";
    let storage_gone = "StorageResource weights no longer exists; ask a catalogue administrator (ClusterRole \
                        cloister:catalogue-admin) to publish it again";
    let take_policy = (|world: &mut World| world.policy = Shelf::Absent) as fn(&mut World);
    let take_storage = |world: &mut World| world.storage = Shelf::Absent;
    let policy_ended = "AccessPolicy standard was deleted; unless it is there again by now, ask a policy administrator (ClusterRole cloister:policy-admin) to \
                        publish it, then create another request";
    let storage_ended = "StorageResource weights was deleted; unless it is there again by now, ask a catalogue administrator (ClusterRole \
                         cloister:catalogue-admin) to publish it, then create another request";
    for (reason, ended, said_ended, gone, take) in [
        ("PolicyNotFound", "PolicyGone", policy_ended, policy_gone, take_policy),
        ("StorageNotFound", "TargetGone", storage_ended, storage_gone, take_storage),
    ] {
        for decision in [Decision::Approve, Decision::Deny, Decision::Revoke] {
            let mut world = by_people(json!({"breakGlass": terms}));
            ask(&mut world, "eval", json!({"breakGlass": true}));
            settle(&mut world);
            let before = (world.policy.clone(), world.storage.clone());
            take(&mut world);
            settle(&mut world);
            assert_eq!(super::desk::said(&world, "eval").1, ended);
            assert_eq!(message(&world, "eval").split("; this may outlast the grant").next(), Some(said_ended));
            let due = status(&world, "eval").break_glass.unwrap().review_due_at.0;
            let owed = |world: &World| {
                let conditions = status(world, "eval").conditions;
                conditions
                    .into_iter()
                    .find(|said| said.type_ == "Reviewed")
                    .map(|said| (said.reason, said.message))
                    .unwrap()
            };
            let must = format!("an approver of AccessPolicy standard must review it by {due} with an AccessReview");
            let nobody_can = format!("{must}; until then, no review can be judged: {gone}");
            assert_eq!(owed(&world), ("ReviewOwed".into(), nobody_can));
            review(&mut world, "eval", decision, sam());
            settle(&mut world);
            assert_eq!(counted(&mut world, 0), (false, reason.into()));
            let waits = &world.reviews[0].status.as_ref().unwrap().conditions[1];
            assert_eq!((&*waits.status, grant::is_answered(&world.reviews[0])), ("Unknown", false));
            assert_eq!(
                waits.message,
                format!(
                    "it cannot be judged yet: {gone}. It is judged when that exists; until then, the grant still needs its \
                     review"
                )
            );
            assert_eq!(cloister_core::audit::of_review(&world.reviews[0], "interp"), None);
            (world.policy, world.storage) = before;
            settle(&mut world);
            let why = ", who refused it: see AccessReview review-0";
            let why = if decision == Decision::Approve { "" } else { why };
            assert_eq!(owed(&world), ("Reviewed".into(), format!("reviewed by sam{why}")));
            assert_eq!(counted(&mut world, 0), (true, "Counted".into()));
        }
    }
}

/// What the audit record says of a review stays true.
#[test]
fn one_that_was_refused_settles_nothing_whatever_changes_afterwards() {
    let terms =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let member = json!([{"role": "Owner", "subjects": [{"kind": "User", "name": "sam"}]}]);
    let mut world = by_people(json!({"breakGlass": terms}));
    world.members = serde_json::from_value(member).unwrap();
    ask(&mut world, "eval", json!({"breakGlass": true}));
    settle(&mut world);
    review(&mut world, "eval", Decision::Approve, sam());
    assert_eq!(counted(&mut world, 0), (false, "Member".into()));
    world.members.clear();
    settle(&mut world);
    assert_eq!(counted(&mut world, 0), (false, "Member".into()));
    assert_eq!(condition(&world, "eval", "Reviewed"), Some(("False".into(), "ReviewOwed".into())));
    review(&mut world, "eval", Decision::Approve, sam());
    settle(&mut world);
    assert_eq!(condition(&world, "eval", "Reviewed"), Some(("True".into(), "Reviewed".into())), "another counts");
    assert_eq!(counted(&mut world, 0), (false, "Member".into()));
}

/// What happens while a review is owed, in every order, and whoever is looked at first: one that was refused settles nothing,
/// and one that settles it is said to count.
#[test]
fn what_is_said_of_a_review_and_what_it_settles_agree_in_every_history() {
    let terms =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "30m", "reviewWithin": "24h"});
    let mut start = by_people(json!({"breakGlass": terms}));
    ask(&mut start, "eval", json!({"breakGlass": true}));
    settle(&mut start);
    let (policy, storage) = (start.policy.clone(), start.storage.clone());
    let narrow = by_people(json!({"breakGlass": terms, "approvalRules": [
        {"name": "others", "required": 1, "approvers": [{"kind": "Group", "name": "others"}]},
    ]}));
    let member: Vec<cloister_api::Member> =
        serde_json::from_value(json!([{"role": "Owner", "subjects": [{"kind": "User", "name": "sam"}]}])).unwrap();
    let events: [&dyn Fn(&mut World); 7] = [
        &|world| world.policy = Shelf::Absent,
        &|world| world.policy.clone_from(&policy),
        &|world| world.policy.clone_from(&narrow.policy),
        &|world| world.members = if world.members.is_empty() { member.clone() } else { Vec::new() },
        &|world| world.storage = Shelf::Absent,
        &|world| world.storage.clone_from(&storage),
        &|world| review(world, "eval", Decision::Approve, sam()),
    ];
    let look = |world: &mut World| {
        for _ in 0..3 {
            let plan = world.plan("eval");
            world.carry_out("eval", &plan, usize::MAX, &mut |_, _, _| ());
            world.environment();
        }
    };
    let answer = |world: &mut World| {
        for at in 0..world.reviews.len() {
            let said =
                world.with_input("eval", |input| grant::review(&world.reviews[at], Some(input), None, world.now));
            world.reviews[at].status = said.or(world.reviews[at].status.take());
        }
    };
    let is = |world: &World, at: usize, status: &str| {
        let said = world.reviews[at].status.iter().flat_map(|status| &status.conditions);
        said.into_iter().any(|said| said.type_ == "Counted" && said.status == status)
    };
    let (mut settled, mut refused) = (0, 0);
    for history in 0..2 * 7_usize.pow(4) {
        let mut world = start.clone();
        let mut ever_refused = Vec::new();
        let mut rest = history / 2;
        for _ in 0..4 {
            events[rest % 7](&mut world);
            rest /= 7;
            if history % 2 == 0 {
                answer(&mut world);
            }
            look(&mut world);
            answer(&mut world);
            ever_refused.resize(world.reviews.len(), false);
            let status = status(&world, "eval");
            let by = status.break_glass.and_then(|glass| glass.reviewed_by);
            for (at, was_refused) in ever_refused.iter_mut().enumerate() {
                *was_refused |= is(&world, at, "False");
                let uid = world.reviews[at].metadata.uid.as_deref();
                let settles = by.is_some() && status.reviews.iter().any(|recorded| Some(&*recorded.uid) == uid);
                assert!(!settles || (!*was_refused && is(&world, at, "True")), "{history}: {:#?}", world.reviews[at]);
                settled += usize::from(settles);
                refused += usize::from(*was_refused);
            }
        }
    }
    assert!(settled > 100 && refused > 100, "{settled} {refused}");
}
