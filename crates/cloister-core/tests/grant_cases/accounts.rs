//! What ServiceAccounts ask for, and what nobody is asked about.

use super::desk::*;
use super::grants::World;
use cloister_api::{Decision, GrantPhase};
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
    for name in ["sam", "sam", "sue"] {
        assert_eq!(said(&world, "eval"), (GrantPhase::Pending, "AwaitingApproval".into()));
        review(&mut world, "eval", Decision::Approve, person(name, &["security"]));
        settle(&mut world);
    }
    assert_eq!(said(&world, "eval").0, GrantPhase::Active);
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
