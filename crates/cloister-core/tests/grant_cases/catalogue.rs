//! What is said of policies and roles.

use super::desk::*;
use super::grants::{Shelf, World, debugger, role_facts};
use cloister_api::{AccessPolicy, AccessRole};
use cloister_core::{
    catalogue::{self, RoleInput},
    grant::Known,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

/// The status and the reason of a condition.
fn of(conditions: &[Condition], type_: &str) -> Option<(String, String)> {
    conditions.iter().find(|c| c.type_ == type_).map(|c| (c.status.clone(), c.reason.clone()))
}

fn said(status: &str, reason: &str) -> Option<(String, String)> {
    Some((status.to_owned(), reason.to_owned()))
}

fn of_policy(more: Value) -> Vec<Condition> {
    let Shelf::Read(mut policy): Shelf<AccessPolicy> = policy(more) else { unreachable!() };
    let now = world().now;
    policy.status = catalogue::policy(&policy, now);
    assert_eq!(catalogue::policy(&policy, now), None, "it is said once");
    policy.status.unwrap().conditions
}

#[test]
fn whether_there_are_enough_people_for_a_policy_is_said_where_it_is_known() {
    let rule = |name: &str, required: u32, kind: &str, who: &[&str]| {
        let approvers: Vec<Value> = who.iter().map(|name| json!({"kind": kind, "name": name})).collect();
        json!({"name": name, "required": required, "approvers": approvers})
    };
    let satisfiable = |rules: Value| of(&of_policy(json!({"approvalRules": rules})), "Satisfiable");
    assert_eq!(satisfiable(json!([])), None);
    assert_eq!(satisfiable(json!([rule("a", 2, "User", &["sam", "sue"])])), said("True", "EnoughPeople"));
    assert_eq!(satisfiable(json!([rule("a", 2, "User", &["sam"])])), said("False", "TooFewPeople"));
    let both = json!([rule("a", 1, "User", &["sam"]), rule("b", 1, "User", &["sam"])]);
    assert_eq!(satisfiable(both), said("False", "TooFewPeople"));
    assert_eq!(satisfiable(json!([rule("a", 2, "Group", &["security"])])), said("Unknown", "GroupsUnknown"));
    let mixed = json!([rule("a", 2, "Group", &["security"]), rule("b", 2, "User", &["sam"])]);
    assert_eq!(satisfiable(mixed), said("False", "TooFewPeople"));
    // Who asks does not decide.
    let asks = |requesters: &[&str], rules: Value| {
        let requesters: Vec<Value> = requesters.iter().map(|name| json!({"kind": "User", "name": name})).collect();
        of_policy(json!({"requesters": requesters, "approvalRules": rules, "autoApprove": []}))
    };
    let alone = asks(&["olga"], json!([rule("a", 1, "User", &["olga"])]));
    assert_eq!(of(&alone, "Satisfiable"), said("False", "TooFewPeople"));
    assert_eq!(of(&alone, "Ready"), said("True", "TooFewPeople"));
    let both = asks(&["olga", "sam"], json!([rule("a", 2, "User", &["olga", "sam"])]));
    assert_eq!(of(&both, "Satisfiable"), said("False", "TooFewPeople"));
    let one = asks(&["olga", "sam"], json!([rule("a", 1, "User", &["olga", "sam"])]));
    assert_eq!(of(&one, "Satisfiable"), said("True", "EnoughPeople"));
}

#[test]
fn a_policy_that_cannot_be_used_says_why() {
    let ready = |more: Value| of(&of_policy(more), "Ready");
    assert_eq!(ready(json!({})), said("True", "Reconciled"));
    assert_eq!(ready(json!({"requesters": []})), said("True", "NobodyMayAsk"));
    assert_eq!(ready(json!({"autoApprove": []})), said("True", "NeverApproves"));
    assert_eq!(ready(json!({"autoApprove": ["("]})), said("False", "ExpressionInvalid"));
    assert_eq!(ready(json!({"ticket": {"pattern": "("}})), said("False", "PatternInvalid"));
}

fn of_role(world: &World, mut role: AccessRole) -> Option<(String, String)> {
    let policies = |name: &str| match (&world.policy, name) {
        (Shelf::Read(policy), "standard") => Known::Read(&**policy),
        (Shelf::Undecodable, "standard") => Known::Undecodable,
        _ => Known::Absent,
    };
    let input = RoleInput {
        policies: &policies,
        cluster_roles: &|name| world.cluster_roles.get(name),
        settings: &world.settings,
    };
    role.status = catalogue::role(&role, &input, world.now);
    assert_eq!(catalogue::role(&role, &input, world.now), None, "it is said once");
    of(&role.status.unwrap().conditions, "Ready")
}

#[test]
fn a_role_that_cannot_be_given_says_why() {
    let with = |resources: &[&str], bindable: bool| {
        let mut world = world();
        world.cluster_roles.insert("cloister:debugger".into(), role_facts(resources, bindable));
        of_role(&world, debugger())
    };
    assert_eq!(with(&["pods/exec"], true), said("True", "Reconciled"));
    assert_eq!(with(&["pods/exec"], false), said("False", "ClusterRoleNotBindable"));
    assert_eq!(with(&["secrets"], true), said("False", "ClusterRoleRefused"));
    let mut other = debugger();
    other.spec.cluster_role = "cloister:nothing".into();
    assert_eq!(of_role(&world(), other), said("False", "ClusterRoleNotFound"));
    let gone = World { policy: Shelf::Absent, ..world() };
    assert_eq!(of_role(&gone, debugger()), said("False", "PolicyNotFound"));
    let unread = World { policy: Shelf::Undecodable, ..world() };
    assert_eq!(of_role(&unread, debugger()), said("False", "PolicyUndecodable"));
}
