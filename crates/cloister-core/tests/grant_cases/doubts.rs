//! Nobody is asked to agree to what is not known to work.

use super::{desk::*, grants::World};
use cloister_api::{Decision, GrantPhase};
use cloister_core::dns::{Answer, KnownName, Limits, Outcome, Where};
use jiff::SignedDuration;
use serde_json::{Value, json};

const HOST: &str = "weights.example.com";

fn request(key: &str, more: Value) -> World {
    let mut world = by_people(json!({}));
    ask(&mut world, key, more);
    world
}

fn by_name() -> World {
    let rule = json!({"name": "lab", "domainNames": [HOST], "ports": [{"port": 443}]});
    request("egress/lab", json!({"rule": rule}))
}

fn answered(world: &mut World, outcome: Outcome) {
    let mut known = KnownName::default();
    known.learn(outcome, world.now, &Limits::default());
    world.known.insert(HOST.into(), known);
}

fn address(text: &str) -> Outcome {
    addresses(&[text])
}

fn addresses(all: &[&str]) -> Outcome {
    let records = all.iter().map(|text| (text.parse().unwrap(), SignedDuration::from_secs(30)));
    match Answer::believed(records, Where::Public, &cloister_core::address::NeverOpened::new(&[])) {
        Ok(answer) => Outcome::Answered(answer),
        Err(why) => Outcome::Refused(why),
    }
}

/// The reason for which it waits, whether somebody must change something, and whether anybody is asked.
fn waits(mut world: World, key: &str) -> (String, bool, bool) {
    settle(&mut world);
    let (phase, reason, stalled) = told(&world, key);
    assert_eq!(phase, GrantPhase::Pending);
    (reason, stalled, !status(&world, key).approvals.is_empty())
}

#[test]
fn a_name_is_answered_before_anybody_is_asked() {
    let after = |outcome: Option<Outcome>| {
        let mut world = by_name();
        outcome.into_iter().for_each(|outcome| answered(&mut world, outcome));
        waits(world, "egress/lab")
    };
    assert_eq!(after(None), ("Resolving".into(), false, false));
    assert_eq!(after(Some(Outcome::NoSuchName)), ("NoAddress".into(), true, false));
    assert_eq!(after(Some(address("10.0.0.1"))), ("Rebinding".into(), true, false));
    assert_eq!(after(Some(address("198.51.100.7"))), ("AwaitingApproval".into(), false, true));
}

/// It works in the other family, and whoever decides is told.
#[test]
fn a_name_of_which_one_family_leads_astray_is_put_to_those_who_decide() {
    let mut world = by_name();
    answered(&mut world, addresses(&["198.51.100.7", "fd00::7"]));
    settle(&mut world);
    assert_eq!(told(&world, "egress/lab"), (GrantPhase::Pending, "AwaitingApproval".into(), false));
    let note = "Note that weights.example.com resolves to an address that is not allowed, and its IPv6 addresses are closed: \
                fd00::7 is not a public address";
    assert!(message(&world, "egress/lab").contains(note), "{}", message(&world, "egress/lab"));
    answered(&mut world, addresses(&["10.0.0.1", "fd00::7"]));
    settle(&mut world);
    assert_eq!(said(&world, "egress/lab"), (GrantPhase::Pending, "Rebinding".into()), "nothing of it can be opened");
}

/// What was open is in the record: the names with the addresses that they had then, and the rules of a role.
#[test]
fn the_record_of_what_was_opened_says_where_it_led_and_what_it_allowed() {
    let mut world = by_name();
    answered(&mut world, address("198.51.100.7"));
    approved(
        &mut world,
        "egress/lab",
        json!({"rule": {"name": "lab", "domainNames": [HOST], "ports": [{"port": 443}]}}),
    );
    approved(&mut world, "role/debug", json!({}));
    let activated = |key: &str| {
        let records = cloister_core::audit::of_grant(
            &world.grants[key],
            super::grants::NAMESPACE,
            &world.objects.observe(),
            |_| false,
        );
        records.into_iter().find(|record| record.r#type.ends_with(".activated.v1")).unwrap().data
    };
    let hosts = activated("egress/lab")["hosts"].to_string();
    assert!(hosts.contains(HOST) && hosts.contains("198.51.100.7"), "{hosts}");
    let rules = activated("role/debug")["clusterRoleRules"].to_string();
    assert!(rules.contains("pods/exec"), "{rules}");
}

#[test]
fn a_storage_that_cannot_be_reached_is_not_put_to_anybody() {
    let with = |endpoint: Value| {
        let mut world = request("eval", json!({}));
        world.storage = storage(json!({"endpoint": endpoint}));
        waits(world, "eval")
    };
    let ports = json!([{"port": 443}]);
    assert_eq!(with(json!({"networks": ["127.0.0.0/8"], "ports": ports})).0, "NetworksNeverOpened");
    assert_eq!(with(json!({"service": {"namespace": "infra", "name": "gone"}, "ports": ports})).0, "ServiceNotFound");
    let astray = json!({"domainName": HOST, "expectedNetworks": ["10.9.0.0/16"]});
    assert_eq!(with(json!({"privateEndpoint": astray, "ports": ports})).0, "Resolving");
    assert_eq!(with(json!({"networks": ["203.0.113.0/24"], "ports": ports})).0, "AwaitingApproval");
}

#[test]
fn a_service_account_that_nobody_declared_gets_nothing() {
    let subject = |name: &str| json!({"subjects": [{"kind": "ServiceAccount", "name": name}]});
    assert_eq!(waits(request("eval", subject("trainr")), "eval"), ("ServiceAccountNotFound".into(), true, false));
    assert_eq!(waits(request("role/debug", subject("trainr")), "role/debug").0, "ServiceAccountNotFound");
    let mounted = json!({"mount": {"serviceAccountName": "trainr", "mountPath": "/mnt/weights"}});
    assert_eq!(waits(request("eval", mounted), "eval").0, "ServiceAccountNotFound");
    // Whoever asked takes it back all the same.
    let mut waiting = request("eval", subject("trainr"));
    settle(&mut waiting);
    review(&mut waiting, "eval", Decision::Revoke, person("alice", &["researchers"]));
    settle(&mut waiting);
    assert_eq!(said(&waiting, "eval"), (GrantPhase::Denied, "Withdrawn".into()));
    for known in ["trainer", "default"] {
        assert_eq!(waits(request("eval", subject(known)), "eval").0, "AwaitingApproval");
    }
    // Nor where nobody is asked: the policy approves by itself, or break-glass was used.
    let oncall =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "30m", "reviewWithin": "24h"});
    for (key, more) in [("eval", json!({})), ("role/debug", json!({})), ("role/debug", json!({"breakGlass": true}))] {
        let mut world = World { policy: policy(json!({"breakGlass": oncall})), ..world() };
        ask(&mut world, key, merged(subject("trainr"), more));
        settle(&mut world);
        assert_eq!(told(&world, key), (GrantPhase::Pending, "ServiceAccountNotFound".into(), true));
        assert!(world.objects.0.is_empty() && message(&world, key).contains("(did you mean trainer?)"));
        world.declare("trainr", true);
        settle(&mut world);
        assert_eq!(said(&world, key).0, GrantPhase::Active, "it is declared");
    }
}

/// Whoever declares an account of that name again does not get what was opened for the one before.
#[test]
fn what_is_open_for_an_account_ends_with_it() {
    let accounts = json!({"subjects": [{"kind": "ServiceAccount", "name": "eval"}, {"kind": "ServiceAccount", "name": "trainer"}]});
    for key in ["eval", "role/debug"] {
        let mut world = world();
        ask(&mut world, key, accounts.clone());
        settle(&mut world);
        assert_eq!(said(&world, key).0, GrantPhase::Active);
        world.declare("trainer", false);
        settle(&mut world);
        assert_eq!(said(&world, key), (GrantPhase::Revoked, "ServiceAccountGone".into()));
        assert!(world.objects.0.is_empty() && world.secrets.is_empty());
        assert_eq!(
            message(&world, key).split(';').next().unwrap(),
            "ResearchNamespace interp no longer declared ServiceAccount trainer, which this grant was for"
        );
        world.declare("trainer", true);
        settle(&mut world);
        assert_eq!(said(&world, key), (GrantPhase::Revoked, "ServiceAccountGone".into()), "an end is an end");
    }
}
