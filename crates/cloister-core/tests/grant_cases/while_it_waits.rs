//! What is said of a request that waits, and that has waited in vain.

use super::{
    desk::*,
    grants::{Shared, Shelf, World},
    said::{counted, said_of, sam},
};
use cloister_api::{Decision, GrantPhase};
use cloister_core::{grant::Home, model::hold::Held};
use jiff::SignedDuration;
use serde_json::{Value, json};

const AGAIN: &str = ". A grant cannot be changed: delete it, and ask again";

fn in_vain(mut world: World, key: &str, request: serde_json::Value) -> String {
    ask(&mut world, key, request);
    settle(&mut world);
    world.now += SignedDuration::from_hours(24);
    let deadline = world.now.to_string();
    settle(&mut world);
    assert_eq!(said(&world, key), (GrantPhase::TimedOut, "TimedOut".into()));
    message(&world, key).replace(&deadline, "THEN")
}

/// What the author of a review can do that names another digest.
const ANOTHER_REVIEW: &str = "While the grant needs a decision, look at it, and create another review with that digest and another metadata.name";

/// That nobody decided is said where people were asked.
#[test]
fn one_that_timed_out_tells_what_held_it_up() {
    assert_eq!(
        in_vain(by_people(json!({})), "eval", json!({})),
        format!(
            "nobody decided by THEN: AccessPolicy standard required 1 more of security (Group security), and 2 more of owners (Group \
             owners){AGAIN}"
        )
    );
    assert_eq!(
        in_vain(
            by_people(json!({})),
            "role/debug",
            json!({"subjects": [{"kind": "ServiceAccount", "name": "trianer"}]})
        ),
        format!(
            "it could not be decided by THEN: ResearchNamespace interp does not declare ServiceAccount trianer (did you \
             mean trainer?); ask one of its owners to declare it in serviceAccounts, or name one that it declares (`kubectl get \
             researchnamespace interp -o 'jsonpath={{.spec.serviceAccounts[*].name}}'`){AGAIN}"
        )
    );
    let told = in_vain(World { policy: Shelf::Absent, ..world() }, "eval", json!({}));
    assert!(told.starts_with("it could not be decided by THEN: there is no AccessPolicy standard"), "{told}");
    // Nobody is sent to the owners of what is not there.
    let trianer = json!({"subjects": [{"kind": "ServiceAccount", "name": "trianer"}]});
    for (home, names_owners) in [(Home::Enforced, true), (Home::Closed, false), (Home::Ending, false)] {
        let mut world = World { home, policy: Shelf::Absent, ..world() };
        ask(&mut world, "role/debug", trianer.clone());
        settle(&mut world);
        assert_eq!(message(&world, "role/debug").contains("one of its owners"), names_owners, "{home:?}");
    }
}

/// What helps one that waits is not said of it, whatever held it up (`is_said_of_one_that_is_over`).
#[test]
fn whatever_held_it_up_is_told_in_the_words_for_one_that_is_over() {
    let rule = |networks: Value| json!({"rule": {"name": "lab", "networks": networks, "ports": [{"port": 443}]}});
    let declares = |networks: Value| World {
        rules: Shared::new(vec![serde_json::from_value(rule(networks)["rule"].clone()).unwrap()]),
        ..by_people(json!({}))
    };
    let open = |world: World| {
        let rule = serde_json::from_value(rule(json!(["203.0.113.0/24"]))["rule"].clone()).unwrap();
        let never = cloister_core::address::NeverOpened::new(&[]);
        let surroundings = cloister_core::egress::Surroundings { never: &never, services: &|_| None, wildcards: false };
        World { agreed: Shared::new(vec![cloister_core::egress::open_rule(&rule, &surroundings).unwrap()]), ..world }
    };
    let none = || World { policy: policy(json!({"autoApprove": []})), ..world() };
    let secret = || World { credential: None, ..by_people(json!({})) };
    let cases: Vec<(World, &str, Value, &str)> = vec![
        (open(by_people(json!({}))), "egress/lab", json!({}), "so there was no need to ask"),
        (declares(json!(["198.51.100.0/24"])), "egress/lab", json!({}), "ask with the rule as it is declared"),
        (by_people(json!({})), "egress/lab", rule(json!(["169.254.169.254/32"])), "the rule stays closed"),
        (declares(json!(["198.51.100.0/24"])), "egress/lab", rule(json!(["169.254.169.254/32"])), "2 mistakes: "),
        (World { home: Home::NotEnforced, ..world() }, "eval", json!({}), "interp was not enforced"),
        (World { home: Home::Closed, ..world() }, "eval", json!({}), "ask in one that is (`kubectl get"),
        (World { held: Some(Held::ClockSkew), ..world() }, "eval", json!({}), "were too far apart"),
        (World { held: Some(Held::AuditUnavailable), ..world() }, "eval", json!({}), "could not be written"),
        (none(), "eval", json!({}), "names no approvers. Ask a policy administrator"),
        (secret(), "eval", json!({}), "there is no Secret weights in cloister-credentials"),
        (World { storage: Shelf::Absent, ..world() }, "eval", json!({}), "; name one that exists"),
        (World { role: Shelf::Absent, ..world() }, "role/debug", json!({}), "; name one that exists"),
    ];
    for (world, key, request, words) in cases {
        let told = in_vain(world, key, request);
        assert!(told.contains(words) && told.ends_with(AGAIN), "{words}: {told}");
    }
}

/// What was said of it follows once the request is over: it counts never.
#[test]
fn an_approval_of_what_waited_for_something_else_follows_its_end() {
    for times_out in [true, false] {
        let mut world = by_people(json!({}));
        ask(&mut world, "eval", json!({"subjects": [{"kind": "ServiceAccount", "name": "trianer"}]}));
        settle(&mut world);
        review(&mut world, "eval", Decision::Approve, sam());
        assert_eq!(counted(&mut world, 0), (true, "Counted".into()));
        assert!(!cloister_core::grant::is_answered(&world.reviews[0]), "there is more to say of it");
        if times_out {
            world.now += SignedDuration::from_hours(24);
        } else {
            review(&mut world, "eval", Decision::Revoke, person("alice", &["researchers"]));
        }
        settle(&mut world);
        let again = world.with_input("eval", |input| {
            cloister_core::grant::to_answer(input).iter().any(|one| one.metadata.name == world.reviews[0].metadata.name)
        });
        assert!(again, "it is looked at again");
        let why = if times_out { "RequestTimedOut" } else { "AlreadyDecided" };
        assert_eq!(counted(&mut world, 0), (false, why.into()));
    }
}

/// It is looked at when its window has passed, and nobody is asked any more.
#[test]
fn one_whose_window_passes_is_looked_at_then() {
    let mut world = by_people(json!({}));
    let start = seconds(&world, 60);
    ask(&mut world, "eval", json!({"startTime": start, "requestedDuration": "5m"}));
    settle(&mut world);
    assert_eq!(said(&world, "eval").1, "AwaitingApproval");
    assert_eq!(world.plan("eval").next, Some(world.now + SignedDuration::from_secs(360)));
    world.now += SignedDuration::from_secs(360);
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "WindowPassed".into()));
}

/// What it should have named may well be what is mounted there.
#[test]
fn a_mount_is_judged_once_it_is_known_of_what() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    ask(&mut world, "again", json!({"storage": "wieghts"}));
    ask(&mut world, "role", json!({"role": "raeder"}));
    settle(&mut world);
    assert_eq!(said(&world, "again"), (GrantPhase::Pending, "StorageNotFound".into()));
    assert_eq!(said(&world, "role"), (GrantPhase::Pending, "RoleNotFound".into()));
    assert!(!message(&world, "again").contains("MountConflict"), "{}", message(&world, "again"));
}

/// Who may not decide is not sent to write what cannot count either.
#[test]
fn who_may_not_decide_is_told_that_whatever_the_digest() {
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    for (who, reason) in [(person("alice", &["security"]), "Requester"), (person("pat", &["admins"]), "NotAnApprover")]
    {
        review(&mut world, "eval", Decision::Approve, who);
        let at = world.reviews.len() - 1;
        world.reviews[at].spec.digest.push('0');
        assert_eq!(counted(&mut world, at), (false, reason.into()));
    }
}

#[test]
fn a_digest_that_differs_says_what_is_known_of_why() {
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    review(&mut world, "eval", Decision::Approve, sam());
    world.reviews[0].spec.digest.push('0');
    settle(&mut world);
    let digest = status(&world, "eval").digest;
    let mistyped = "it names another digest than the request has now: the digest is mistyped, or something has changed since \
                    the reviewer read it";
    counted(&mut world, 0);
    assert_eq!(said_of(&world, 0), format!("{mistyped}; the digest is now {digest}. {ANOTHER_REVIEW}"));
    let told = "; what sam approved does not count, because it names another digest than the request has now: who still \
                approves it looks at the request again";
    assert!(message(&world, "eval").ends_with(told), "{}", message(&world, "eval"));
    review(&mut world, "eval", Decision::Approve, sam());
    settle(&mut world);
    counted(&mut world, 0);
    assert_eq!(
        said_of(&world, 0),
        format!("{mistyped}; the digest is now {digest}. review review-1 of the same person already names that digest")
    );
    assert!(!message(&world, "eval").contains("does not count"), "{}", message(&world, "eval"));
}

/// That somebody refused it as it was before is told to those who decide now.
#[test]
fn a_refusal_of_what_it_was_before_is_told() {
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let olga = || person("olga", &["owners"]);
    review(&mut world, "eval", Decision::Approve, olga());
    settle(&mut world);
    let before = status(&world, "eval").digest;
    world.policy = by_people(json!({"maxDuration": "2h"})).policy;
    settle(&mut world);
    review(&mut world, "eval", Decision::Deny, sam());
    world.reviews[1].spec.digest = before;
    world.reviews[1].spec.comment = "too wide".into();
    settle(&mut world);
    let told = "; before you approve, note that sam refused it: too wide (AccessPolicy standard has changed since)";
    assert!(message(&world, "eval").ends_with(told), "{}", message(&world, "eval"));
    review(&mut world, "eval", Decision::Approve, sam());
    settle(&mut world);
    assert!(!message(&world, "eval").contains("note that"), "{}", message(&world, "eval"));
}

/// Whoever agrees to what is not asked yet is not told that all is done.
#[test]
fn an_approval_of_what_waits_for_something_else_says_so() {
    let mut world = by_people(json!({}));
    ask(&mut world, "role/debug", json!({"subjects": [{"kind": "ServiceAccount", "name": "trianer"}]}));
    settle(&mut world);
    review(&mut world, "role/debug", Decision::Approve, sam());
    let said = world.with_input("role/debug", |input| {
        cloister_core::grant::review(&world.reviews[0], Some(input), None, world.now).unwrap().conditions[1]
            .message
            .clone()
    });
    assert_eq!(
        said,
        "counts for security of AccessPolicy standard, as soon as the request no longer waits for something else \
         (ServiceAccountNotFound, see its status)"
    );
}

/// The files of the examples have zeros in the place of the uid and the digest.
#[test]
fn a_placeholder_that_was_not_filled_in_is_told() {
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    review(&mut world, "eval", Decision::Approve, sam());
    let digest = std::mem::replace(&mut world.reviews[0].spec.digest, format!("v1:sha256:{}", "0".repeat(64)));
    assert_eq!(counted(&mut world, 0), (false, "DigestDiffers".into()));
    assert_eq!(
        said_of(&world, 0),
        format!(
            "its digest is the placeholder of an example, and it cannot be changed; the digest is now {digest}. {ANOTHER_REVIEW}"
        )
    );
    world.reviews[0].status = None;
    world.reviews[0].spec.request_ref.uid = "00000000-0000-0000-0000-000000000000".into();
    assert_eq!(counted(&mut world, 0), (false, "RequestNotFound".into()));
    assert_eq!(
        said_of(&world, 0),
        "there is no StorageAccessGrant eval with uid 00000000-0000-0000-0000-000000000000 here; that is the placeholder of an \
         example: fill in the uid and the digest of the grant, and create the review with another metadata.name, because this \
         one cannot be changed"
    );
}

/// Nobody is sent to an approver where there is none.
#[test]
fn that_nobody_decides_is_told() {
    let mut world = World { policy: policy(json!({"autoApprove": []})), ..world() };
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    review(&mut world, "eval", Decision::Approve, sam());
    assert_eq!(counted(&mut world, 0), (false, "NotAnApprover".into()));
    assert_eq!(
        said_of(&world, 0),
        "AccessPolicy standard names no approvers, so nobody can decide about it; ask a policy administrator (ClusterRole \
         cloister:policy-admin) to name some"
    );
}

#[test]
fn whoever_may_not_revoke_is_told_who_may() {
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    review(&mut world, "eval", Decision::Revoke, person("bob", &[]));
    assert_eq!(counted(&mut world, 0), (false, "MayNotRevoke".into()));
    assert_eq!(
        said_of(&world, 0),
        "bob may not revoke it; an approver of AccessPolicy standard (Group security or Group owners), an owner of the \
         namespace, the requester alice or a beneficiary may"
    );
}
