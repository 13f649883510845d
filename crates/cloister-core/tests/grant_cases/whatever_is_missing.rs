//! Who ends a request whatever is missing, and what is said of one that ended since something went missing.

use super::{
    desk::*,
    grants::{Shelf, World},
    said::{counted, said_of, sam},
};
use cloister_api::{Decision, GrantPhase, Identity};
use cloister_core::grant::{Home, is_answered};
use serde_json::json;

fn owned(world: World) -> World {
    let owner = json!([{"role": "Owner", "subjects": [{"kind": "User", "name": "lea"}]}]);
    World { members: serde_json::from_value(owner).unwrap(), ..world }
}

type Taken = (&'static str, fn(&mut World));

/// What of a request is not there.
fn missing() -> [Taken; 6] {
    [
        ("PolicyNotFound", |world| world.policy = Shelf::Absent),
        ("PolicyUndecodable", |world| world.policy = Shelf::Undecodable),
        ("AccessRoleNotFound", |world| world.role = Shelf::Absent),
        ("ClusterRoleNotFound", |world| world.cluster_roles.clear()),
        ("NamespaceNotEnforced", |world| world.home = Home::NotEnforced),
        ("NotAResearchNamespace", |world| world.home = Home::Closed),
    ]
}

#[test]
fn whoever_asked_gets_it_or_owns_the_namespace_ends_a_request() {
    let ben = json!([{"kind": "User", "name": "ben"}]);
    let zeros = format!("v1:sha256:{:064}", 0);
    for (reason, take) in missing() {
        for (who, ended, did) in [
            (person("alice", &[]), "Withdrawn", "alice withdrew it before it was decided"),
            (person("ben", &[]), "RevokedByReview", "ben revoked it before it was decided"),
            (person("lea", &[]), "RevokedByReview", "lea revoked it before it was decided"),
        ] {
            for digest in [None, Some(&zeros)] {
                let mut world = owned(by_people(json!({"beneficiaries": ben})));
                take(&mut world);
                ask(&mut world, "role/debug", json!({"subjects": ben}));
                settle(&mut world);
                assert_eq!(said(&world, "role/debug"), (GrantPhase::Pending, reason.into()));
                assert!(status(&world, "role/debug").digest.starts_with("v1:sha256:"), "a review needs one");
                review(&mut world, "role/debug", Decision::Revoke, who.clone());
                world.reviews[0].spec.digest = digest.cloned().unwrap_or_else(|| status(&world, "role/debug").digest);
                let judge = |world: &World| {
                    world.with_input("role/debug", |input| {
                        cloister_core::grant::review(&world.reviews[0], Some(input), None, world.now)
                    })
                };
                let before = judge(&world).unwrap().conditions[1].clone();
                assert_eq!((&*before.status, &*before.message), ("True", "ends it"), "{reason}");
                settle(&mut world);
                assert_eq!(said(&world, "role/debug"), (GrantPhase::Denied, ended.into()), "{reason}");
                let told = message(&world, "role/debug");
                let (what, then) = told.split_once(". ").unwrap();
                assert_eq!(what, did);
                assert!(then.starts_with("It stays denied: if it is still needed, "), "{told}");
                assert_eq!(judge(&world).unwrap().conditions[1].message, "ended the request");
            }
        }
    }
}

/// Also where the API server did not say who asked.
#[test]
fn an_owner_ends_a_request_of_nobody() {
    let mut world = owned(by_people(json!({})));
    ask(&mut world, "eval", json!({"requestedBy": null}));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Pending, "RequesterUnknown".into()));
    review(&mut world, "eval", Decision::Revoke, person("lea", &[]));
    assert_eq!(counted(&mut world, 0), (true, "Counted".into()));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "RevokedByReview".into()));
}

/// Who else may decide is not known without a policy: nobody is told that theirs does not count.
#[test]
fn a_review_is_left_unanswered_while_nobody_knows_who_may_decide() {
    for decision in [Decision::Approve, Decision::Deny, Decision::Revoke] {
        let mut world = owned(by_people(json!({})));
        let policy = std::mem::replace(&mut world.policy, Shelf::Absent);
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        let by = |who: Identity, world: &mut World| {
            review(world, "eval", decision, who);
            let at = world.reviews.len() - 1;
            counted(world, at)
        };
        assert_eq!(by(sam(), &mut world), (false, "PolicyNotFound".into()));
        assert!(!is_answered(&world.reviews[0]));
        assert_eq!(
            said_of(&world, 0),
            "it cannot be judged while the request names an object that does not exist or cannot be used (see the status of \
             the request). It is judged when the object can be used; an Approve or a Deny counts then if it names the digest that \
             the request has then. The requester, a beneficiary or an owner of the namespace can end the request with a review with \
             the decision Revoke"
        );
        settle(&mut world);
        assert_eq!(said(&world, "eval").0, GrantPhase::Pending);
        world.policy = policy;
        settle(&mut world);
        match decision {
            // It was about a request of which nobody knew what it is for.
            Decision::Approve | Decision::Deny => assert_eq!(counted(&mut world, 0), (false, "DigestDiffers".into())),
            Decision::Revoke => {
                assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "RevokedByReview".into()));
                assert_eq!(counted(&mut world, 0), (true, "Counted".into()));
            }
        }
    }
    let mut world = by_people(json!({}));
    world.policy = Shelf::Absent;
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    review(&mut world, "eval", Decision::Approve, person("alice", &[]));
    assert_eq!(counted(&mut world, 0), (false, "Requester".into()));
    review(&mut world, "eval", Decision::Deny, person("system:serviceaccount:a:b", &[]));
    assert_eq!(counted(&mut world, 1), (false, "ServiceAccount".into()));
    assert_eq!(said_of(&world, 1), "a ServiceAccount cannot review; a person must");
}

/// What is said of one that has ended stays true, whatever is published afterwards.
#[test]
fn one_that_ended_says_what_was_changed() {
    let ended = |change: fn(&mut World)| {
        let mut world = world();
        ask(&mut world, "role/debug", json!({}));
        settle(&mut world);
        assert_eq!(said(&world, "role/debug").0, GrantPhase::Active);
        change(&mut world);
        settle(&mut world);
        let told = message(&world, "role/debug").split("; this may outlast the grant").next().unwrap().to_owned();
        (said(&world, "role/debug").1, told)
    };
    let rename = |world: &mut World| {
        let Shelf::Read(role) = &mut world.role else { unreachable!() };
        role.spec.access_policy = "strict".into();
    };
    let is = |(reason, told): (String, String), wanted: &str, message: &str| {
        assert_eq!((&*reason, &*told), (wanted, message));
    };
    const POLICIES: &str = "a policy administrator (ClusterRole cloister:policy-admin)";
    const CATALOGUE: &str = "a catalogue administrator (ClusterRole cloister:catalogue-admin)";
    let both = |world: &mut World| {
        let Shelf::Read(role) = &mut world.role else { unreachable!() };
        role.spec.access_policy = "strict".into();
        let Shelf::Read(policy) = &mut world.policy else { unreachable!() };
        policy.metadata.name = Some("strict".into());
        policy.metadata.uid = Some("uid-strict".into());
    };
    let named = "AccessRole debugger was changed to name AccessPolicy strict, but this was approved under AccessPolicy \
                 standard; ask";
    is(ended(both), "TargetChanged", &format!("{named} again"));
    let publish = format!("{named} {POLICIES} to publish AccessPolicy strict, then create another request");
    is(ended(rename), "TargetChanged", &publish);
    let again = |world: &mut World| {
        let Shelf::Read(policy) = &mut world.policy else { unreachable!() };
        policy.metadata.uid = Some("uid-again".into());
    };
    is(
        ended(again),
        "PolicyGone",
        "AccessPolicy standard, under which it was approved, was deleted. The new policy of that name does not count; create \
         another request",
    );
    let gone = format!(
        "AccessPolicy standard was deleted; unless it is there again by now, ask {POLICIES} to publish it, then create another request"
    );
    is(ended(|world| world.policy = Shelf::Absent), "PolicyGone", &gone);
    let gone = format!(
        "AccessRole debugger was deleted; unless it is there again by now, ask {CATALOGUE} to publish it, then create another request"
    );
    is(ended(|world| world.role = Shelf::Absent), "TargetGone", &gone);
    is(
        ended(|world| world.cluster_roles.clear()),
        "TargetGone",
        &format!(
            "ClusterRole cloister:debugger, which AccessRole debugger named, no longer existed; ask a cluster administrator to \
             create it, or {CATALOGUE} to name another, then create another request"
        ),
    );
    is(
        ended(|world| world.policy = Shelf::Undecodable),
        "PolicyGone",
        "AccessPolicy standard could not be read by the version of the operator that ran at that time; ask again when its \
         status says that it can be read",
    );
    is(
        ended(|world| world.home = Home::Closed),
        "NamespaceClosed",
        "the research namespace interp was closed; ask again in one that is open",
    );
}
