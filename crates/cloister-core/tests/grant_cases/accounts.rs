//! What ServiceAccounts ask for, and what nobody is asked about.

use super::{
    desk::*,
    grants::{Shared, World},
};
use cloister_api::{Decision, GrantPhase, Identity};
use cloister_core::{cluster::settings::Settings, grant};
use serde_json::{Value, json};

fn account() -> Value {
    json!({"requestedBy": {"username": "system:serviceaccount:flux:sync", "groups": ["system:serviceaccounts"]}})
}

fn one_of_security(more: Value) -> World {
    let rule = json!({"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]});
    by_people(merged(json!({"approvalRules": [rule]}), more))
}

#[test]
fn two_people_agree_to_what_an_account_asks_for() {
    let mut world = one_of_security(json!({"autoApprove": ["true"]}));
    ask(&mut world, "eval", account());
    settle(&mut world);
    for (name, left) in [("sam", 2), ("sam", 1), ("sue", 1)] {
        assert_eq!(said(&world, "eval"), (GrantPhase::Pending, "AwaitingApproval".into()));
        let waits = format!("{left} more of security (Group security), because the requester is a ServiceAccount");
        assert!(message(&world, "eval").ends_with(&waits), "{}", message(&world, "eval"));
        review(&mut world, "eval", Decision::Approve, person(name, &["security"]));
        settle(&mut world);
    }
    assert_eq!(said(&world, "eval").0, GrantPhase::Active);
    let status = status(&world, "eval");
    assert_eq!(
        (status.approvals[0].required, &*status.approvals[0].approved_by),
        (2, &["sam".into(), "sue".into()][..])
    );
    assert_eq!(status.summary.approvals, "2/2");
    for at in [1, 2] {
        let said =
            world.with_input("eval", |input| grant::review(&world.reviews[at], Some(input), None, world.now)).unwrap();
        assert_eq!(said.conditions[1].message, "counts for security of AccessPolicy standard", "{at}");
    }
}

#[test]
fn an_account_breaks_no_glass() {
    let accounts = json!([{"kind": "ServiceAccount", "namespace": "flux", "name": "sync"}]);
    let glass = json!({"requesters": accounts, "maxDuration": "30m", "reviewWithin": "24h"});
    let mut world = one_of_security(json!({"breakGlass": glass}));
    ask(&mut world, "eval", merged(account(), json!({"breakGlass": true})));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "BreakGlassNotAllowed".into()));
}

#[test]
fn an_account_asks_only_where_it_is_named_itself() {
    let groups = json!([{"kind": "Group", "name": "system:serviceaccounts"}]);
    let mut world = one_of_security(json!({"requesters": groups}));
    ask(&mut world, "eval", account());
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Denied, "RequesterNotAllowed".into()));
}

#[test]
fn sensitive_content_needs_as_many_people_as_the_settings_say() {
    let cases = [
        ("Low", one_of_security(json!({})), "AwaitingApproval"),
        ("High", one_of_security(json!({})), "AwaitingApproval"),
        ("Critical", one_of_security(json!({})), "PolicyTooWeak"),
        ("Critical", by_people(json!({})), "AwaitingApproval"),
        ("High", by_people(json!({"autoApprove": ["false"]})), "PolicyTooWeak"),
    ];
    for (sensitivity, world, reason) in cases {
        let mut world = World { storage: storage(json!({"sensitivity": sensitivity})), ..world };
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        assert_eq!(said(&world, "eval"), (GrantPhase::Pending, reason.into()), "{sensitivity}");
        all_agree(&mut world, "eval");
        settle(&mut world);
        let opens = said(&world, "eval").0 == GrantPhase::Active;
        assert_eq!(opens, reason == "AwaitingApproval", "{sensitivity}");
    }
}

/// CloisterConfig says by which key of the identity provider a person is known.
fn by_key(more: Value) -> World {
    let mut settings = by_people(more.clone()).settings.spec.clone();
    settings.person_key = "example.com/employee".into();
    World { settings: Shared::new(Settings::new(Some(&settings))), ..by_people(more) }
}

fn keyed(username: &str, groups: &[&str], keys: &[&str]) -> Identity {
    Identity {
        person_key: keys.first().copied().unwrap_or_default().into(),
        person_keys: keys.iter().map(|&key| key.to_owned()).collect(),
        ..person(username, groups)
    }
}

#[test]
fn an_account_that_is_nobodys_neither_asks_nor_decides() {
    let rule = json!({"approvalRules": [{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}]});
    let mut world = by_key(rule.clone());
    ask(&mut world, "egress/lab", json!({}));
    settle(&mut world);
    assert_eq!(said(&world, "egress/lab"), (GrantPhase::Denied, "PersonUnknown".into()), "it asks");

    let alice = json!({"username": "alice@example.com", "groups": ["researchers"], "personKey": "E123"});
    for (reviewer, why) in [
        (keyed("Alice@Example.com", &["security"], &[]), "PersonUnknown"),
        (keyed("alice-admin", &["security"], &[]), "PersonUnknown"),
        (keyed("Alice@Example.com", &["security"], &["E999", "E123"]), "Requester"),
        (keyed("somebody", &["security"], &["E123"]), "Requester"),
    ] {
        let mut world = by_key(rule.clone());
        ask(&mut world, "egress/lab", json!({"requestedBy": alice}));
        settle(&mut world);
        review(&mut world, "egress/lab", Decision::Approve, reviewer.clone());
        settle(&mut world);
        assert_eq!(said(&world, "egress/lab"), (GrantPhase::Pending, "AwaitingApproval".into()), "{reviewer:?}");
        let status =
            world.with_input("egress/lab", |input| grant::review(&world.reviews[0], Some(input), None, world.now));
        assert_eq!(status.unwrap().conditions[1].reason, why, "{reviewer:?}");
        // Another person decides.
        review(&mut world, "egress/lab", Decision::Approve, keyed("sam", &["security"], &["E7"]));
        settle(&mut world);
        assert_eq!(said(&world, "egress/lab").0, GrantPhase::Active);
    }
}

#[test]
fn one_person_does_not_fill_the_record() {
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    // Of one person, 40 reviews with ever other groups, by two accounts; and a crowd that one rule alone has a place for.
    for at in 0..40 {
        let name = if at % 2 == 0 { "sam" } else { "sam-admin" };
        let groups = ["security".to_owned(), format!("group-{at}")];
        let sam = Identity { groups: groups.into(), person_key: "p-sam".into(), ..person(name, &[]) };
        review(&mut world, "eval", Decision::Approve, sam);
    }
    for at in 0..40 {
        review(&mut world, "eval", Decision::Approve, person(&format!("crowd-{at}"), &["security"]));
    }
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Pending, "AwaitingApproval".into()));
    for name in ["olga", "otto"] {
        review(&mut world, "eval", Decision::Approve, person(name, &["owners"]));
    }
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Active, "Active".into()));
    let status = status(&world, "eval");
    let recorded: Vec<&str> = status.reviews.iter().map(|review| review.reviewer.username.as_str()).collect();
    assert!(recorded.len() <= 32 && ["olga", "otto"].iter().all(|name| recorded.contains(name)), "{recorded:?}");
    assert_eq!(recorded.iter().filter(|name| name.starts_with("sam")).count(), 1, "{recorded:?}");
    let sam = status.reviews.iter().find(|review| review.reviewer.username.starts_with("sam")).unwrap();
    assert!(
        ["group-38", "group-39"].iter().any(|newest| sam.reviewer.groups.contains(&(*newest).to_owned())),
        "{sam:?}"
    );
}
