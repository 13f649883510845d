//! How an open grant ends, and what becomes of what it opened.

use super::{
    desk::*,
    grants::{Shelf, World},
};
use cloister_api::{GrantPhase, GrantStatus, labels};
use cloister_core::{
    grant::{Home, SETTLING, failed, over_since},
    model::{
        carry_out::{Failed, Outcome, ReportedError},
        plan::{About, Action, HoldsUp},
    },
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde_json::json;

#[test]
fn an_open_grant_ends_with_what_it_was_decided_under() {
    let ends = |change: &dyn Fn(&mut World)| {
        let mut world = world();
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        change(&mut world);
        settle(&mut world);
        assert!(world.objects.0.is_empty() && world.secrets.is_empty());
        told(&world, "eval")
    };
    let revoked = |reason: &str| (GrantPhase::Revoked, reason.to_owned(), false);
    assert_eq!(ends(&|world| world.policy = Shelf::Absent), revoked("PolicyGone"));
    assert_eq!(ends(&|world| world.policy = Shelf::Undecodable), revoked("PolicyGone"));
    assert_eq!(ends(&|world| world.storage = Shelf::Absent), revoked("TargetGone"));
    assert_eq!(ends(&|world| world.home = Home::Closed), revoked("NamespaceClosed"));
    let forgotten = |world: &mut World| {
        world.grants.get_mut("eval").unwrap().status_mut().as_mut().unwrap().expires_at = None;
    };
    assert_eq!(ends(&forgotten), revoked("EndUnknown"));
}

#[test]
fn what_ends_is_taken_away_in_the_order_that_leaves_no_gap() {
    let kinds: Vec<&str> = held()
        .plan("eval")
        .actions()
        .map(|action| match action {
            Action::Unmount { .. } => "unmount",
            Action::Delete(key) => key.kind.as_str(),
            Action::DestroyCredential { .. } => "credential",
            Action::DeletePod { .. } => "pod",
            action => panic!("{action:?}"),
        })
        .collect();
    // The mount remembers the copy until nobody holds it.
    assert_eq!(kinds, ["RoleBinding", "unmount", "credential", "pod"]);
}

#[test]
fn a_pod_that_does_not_end_leaves_the_revocation_unconfirmed() {
    let mut world = held();
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Revoking, "Expired".into(), false));
    world.now += SignedDuration::from_secs(60);
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Revoking, "Expired".into(), true));
    world.pods.clear();
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Expired, "Expired".into(), false));
}

/// Where nothing is waited for but that admission notices, an end by its time is said once, and a failure is said at once.
#[test]
fn an_end_that_is_seen_late_is_said_once() {
    let mut world = held();
    world.pods.clear();
    let plan = world.plan("eval");
    assert!(plan.status.is_none() && plan.next == Some(world.now + SETTLING));
    assert_eq!(plan.if_failed.map(|status| status.phase), Some(GrantPhase::Revoking));
    let mut refused = held();
    refused.pods.clear();
    let planned = refused.plan("eval").if_failed;
    let grant = &refused.grants["eval"];
    let status = failed(grant.metadata(), grant.status(), planned, &unanswered(), refused.now).unwrap();
    assert_eq!((status.phase, status.reason.as_str()), (GrantPhase::Revoking, "Expired"));
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Expired, "Expired".into(), false));
    assert!(world.objects.0.is_empty() && world.secrets.is_empty());
}

#[test]
fn an_object_that_somebody_else_holds_is_not_said_to_be_gone() {
    let mut world = held();
    world.pods.clear();
    let keys: Vec<_> = world.objects.0.keys().cloned().collect();
    let hold = |metadata: &mut ObjectMeta| metadata.finalizers = Some(vec!["example.com/hold".into()]);
    keys.iter().for_each(|key| world.objects.edit(key, hold));
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Revoking);
    assert!(world.secrets.is_empty(), "what is held does not hold up the rest");
    keys.iter().for_each(|key| world.objects.edit(key, |metadata| metadata.finalizers = None));
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Expired);
}

#[test]
fn a_grant_that_cannot_be_read_is_closed_and_can_be_deleted() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    world.undecodable.insert("eval".into());
    settle(&mut world);
    assert_eq!((world.children_of("eval"), told(&world, "eval").1), (0, "Undecodable".to_owned()));
    world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
    settle(&mut world);
    assert!(world.grants.is_empty());
}

#[test]
fn what_a_grant_opens_belongs_to_it() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    for child in world.objects.0.values().filter(|child| child.observe().grant.is_some()) {
        let owners: Vec<OwnerReference> = child.metadata().owner_references.clone().unwrap();
        assert_eq!((owners[0].kind.as_str(), owners[0].uid.as_str()), ("StorageAccessGrant", "uid-eval"));
        assert_eq!(child.metadata().labels.as_ref().unwrap()[labels::MANAGED_BY], labels::MANAGER);
    }
}

#[test]
fn a_failure_is_said_and_a_failed_end_is_an_end() {
    let mut world = held();
    let grant = &world.grants["eval"];
    let planned = world.plan("eval").status;
    let status = failed(grant.metadata(), grant.status(), planned, &unanswered(), world.now).unwrap();
    assert_eq!((status.phase, status.reason.as_str()), (GrantPhase::Revoking, "Expired"));
    *world.grants.get_mut("eval").unwrap().status_mut() = Some(status);
    world.pods.clear();
    settle(&mut world);
    assert_eq!(told(&world, "eval").0, GrantPhase::Expired);
}

/// What became of a plan of which one deletion was not answered.
fn unanswered() -> Outcome<ReportedError> {
    let failed = Failed {
        about: About::Credential,
        closes: true,
        closed_instead: false,
        holds_up: HoldsUp::Nothing,
        error: ReportedError { message: "no answer".to_owned(), is_final: false },
    };
    Outcome { failures: vec![failed], done: Vec::new(), last_is_left: false }
}

/// By the second and its parts: what is measured is mostly less than one.
#[test]
fn how_long_an_end_took_is_counted_from_what_ended_it() {
    let mut world = world();
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let (begun, end) = (world.now, status(&world, "eval").expires_at.unwrap().0);
    let at = |millis: i64| begun + SignedDuration::from_millis(millis);
    let over = |world: &World, phase: GrantPhase, now| {
        let after = GrantStatus { phase, ..status(world, "eval") };
        over_since(&world.grants["eval"], &after, now)
    };
    assert_eq!(over(&world, GrantPhase::Active, at(5)), None);
    assert_eq!(over(&world, GrantPhase::Revoked, at(5)), Some(at(5)), "it was seen now that it is over");
    assert_eq!(over(&world, GrantPhase::Expired, end + SignedDuration::from_millis(40)), Some(end));
    world.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = Some(Time(at(2000)));
    assert_eq!(over(&world, GrantPhase::Revoked, at(2300)), Some(at(2000)));
    // It was being revoked for some time.
    world.now = at(3000);
    let plan = world.plan("eval");
    let revoking = GrantStatus { phase: GrantPhase::Revoking, ..plan.status.unwrap_or_else(|| status(&world, "eval")) };
    let mut closing = world.clone();
    *closing.grants.get_mut("eval").unwrap().status_mut() = Some(revoking);
    closing.grants.get_mut("eval").unwrap().metadata_mut().deletion_timestamp = None;
    assert_eq!(over(&closing, GrantPhase::Revoked, at(9000)), Some(at(3000)));
    closing.grants.get_mut("eval").unwrap().status_mut().as_mut().unwrap().phase = GrantPhase::Revoked;
    assert_eq!(over(&closing, GrantPhase::Revoked, at(9000)), None, "it was over before");
}
