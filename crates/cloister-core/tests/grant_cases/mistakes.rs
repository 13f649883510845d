//! What whoever asks is told of what is wrong.

use super::{desk::*, grants::World};
use cloister_api::GrantPhase;
use serde_json::json;

#[test]
fn all_mistakes_are_told_at_once() {
    let policy = policy(json!({
        "requesters": [{"kind": "Group", "name": "leads"}], "beneficiaries": [{"kind": "User", "name": "lea"}],
        "justification": {"required": true}, "ticket": {"required": true, "pattern": "^SEC-"},
    }));
    let mut world = World { policy, ..world() };
    let (start, later) = (seconds(&world, -700), seconds(&world, 7 * 86_400 + 1));
    let trainr = json!([{"kind": "ServiceAccount", "name": "trainr"}]);
    ask(&mut world, "role/debug", json!({"requestedDuration": "9h", "startTime": later, "subjects": trainr}));
    ask(&mut world, "role/late", json!({"ticketRef": "X-1", "startTime": start}));
    settle(&mut world);
    assert_eq!(said(&world, "role/debug"), (GrantPhase::Denied, "SeveralMistakes".into()));
    let told = message(&world, "role/debug");
    assert!(told.starts_with("7 mistakes: (1) RequesterNotAllowed: alice is not"), "{told}");
    for reason in ["SubjectNotAllowed", "JustificationMissing", "TicketMissing", "DurationTooLong", "(6) StartTooLate"]
    {
        assert!(told.contains(reason), "{reason} is not in {told}");
    }
    assert!(
        told.contains("(7) ServiceAccountNotFound: ResearchNamespace interp does not declare ServiceAccount trainr"),
        "{told}"
    );
    for reason in ["RequesterNotAllowed", "JustificationMissing", "TicketMalformed", "WindowPassed"] {
        assert!(message(&world, "role/late").contains(reason), "{}", message(&world, "role/late"));
    }
}

#[test]
fn a_rule_that_cannot_be_opened_is_told_with_all_other_mistakes() {
    let mut world = world();
    let networks = json!(["0.0.0.0/0", "169.254.169.254/32"]);
    let rule = json!({"name": "r", "networks": networks, "ports": [{"port": 443}]});
    ask(&mut world, "egress/wide", json!({"requestedDuration": "99h", "rule": rule}));
    settle(&mut world);
    assert_eq!(said(&world, "egress/wide"), (GrantPhase::Denied, "SeveralMistakes".into()));
    let told = message(&world, "egress/wide");
    for part in ["(1) DurationTooLong: ", "NetworksNeverOpened: the rule stays closed: ", "0.0.0.0/0"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[test]
fn who_may_not_is_told_who_may_and_who_they_were_seen_to_be() {
    let mut world = world();
    let by = |groups: &[&str]| json!({"requestedBy": {"username": "alice", "groups": groups}});
    let many: Vec<String> = (10..30).map(|at| format!("group-{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (key, groups, seen) in [
        (
            "egress/none",
            &["system:authenticated"][..],
            "the API server saw alice in groups system:authenticated (if one is missing, ask the administrator of the identity \
             provider). ",
        ),
        (
            "egress/no",
            &[],
            "the API server saw alice in no group (if one is missing, ask the administrator of the identity provider). ",
        ),
        (
            "egress/many",
            &many,
            "in groups group-10, group-11, group-12, group-13, group-14, group-15, group-16, group-17 and 12 more (if one is missing, ",
        ),
    ] {
        ask(&mut world, key, by(groups));
        settle(&mut world);
        let told = message(&world, key);
        let wanted = "alice is not among the requesters of AccessPolicy standard (Group researchers or ServiceAccount flux/sync): ";
        assert!(told.starts_with(wanted) && told.contains(seen), "{told}");
        assert!(told.contains("cloister:policy-admin"), "somebody who may change it is named: {told}");
    }
    let mut world = by_people(json!({}));
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    review(&mut world, "eval", cloister_api::Decision::Approve, person("sam", &["system:authenticated"]));
    let said =
        world.with_input("eval", |input| cloister_core::grant::review(&world.reviews[0], Some(input), None, world.now));
    let told = said.unwrap().conditions[1].message.clone();
    assert!(
        told.starts_with(
            "sam is not among the approvers of AccessPolicy standard (Group security or Group owners): the API server saw sam \
             in groups system:authenticated (if one is missing, ask the administrator of the identity provider). "
        ),
        "{told}"
    );
}

#[test]
fn a_name_that_is_not_there_is_answered_with_the_one_that_was_meant() {
    let role = json!([{"name": "reader", "accessPolicy": "standrad"}]);
    let bound = json!([{"name": "reader", "accessPolicy": "standard", "clusterRole": "cloister:debuger"}]);
    let cases = [
        (
            "eval",
            json!({"storage": "wieghts"}),
            World { ..world() },
            "no StorageResource wieghts (did you mean weights?)",
        ),
        (
            "eval",
            json!({"role": "raeder"}),
            World { ..world() },
            "offers no role raeder (did you mean reader?); it offers reader",
        ),
        (
            "role/debug",
            json!({"role": "debuger"}),
            World { ..world() },
            "no AccessRole debuger (did you mean debugger?)",
        ),
        (
            "eval",
            json!({}),
            World { storage: storage(json!({"roles": role})), ..world() },
            "names (did you mean standard?)",
        ),
        (
            "eval",
            json!({}),
            World { storage: storage(json!({"roles": bound})), ..world() },
            "there is no ClusterRole cloister:debuger, which role reader of StorageResource weights names (did you mean \
             cloister:debugger?); ask a catalogue administrator (ClusterRole cloister:catalogue-admin) to correct the name \
             there, or a cluster administrator to create it",
        ),
        (
            "role/debug",
            json!({"subjects": [{"kind": "ServiceAccount", "name": "triner"}]}),
            by_people(json!({})),
            "does not declare ServiceAccount triner (did you mean trainer?)",
        ),
        (
            "eval",
            json!({"storage": "datasets"}),
            World { ..world() },
            "no StorageResource datasets; delete the grant and ask again for one",
        ),
    ];
    for (key, request, mut world, said) in cases {
        ask(&mut world, key, request);
        settle(&mut world);
        assert!(message(&world, key).contains(said), "{}", message(&world, key));
    }
}

/// Whom they meant, where one whom it may name is like that.
#[test]
fn whoever_may_not_get_it_is_answered_with_who_was_meant() {
    let asked = |policy: super::grants::Shelf<cloister_api::AccessPolicy>, name: &str| {
        let mut world = World { policy, ..world() };
        ask(&mut world, "role/debug", json!({"subjects": [{"kind": "User", "name": name}]}));
        settle(&mut world);
        assert_eq!(said(&world, "role/debug"), (GrantPhase::Denied, "SubjectNotAllowed".into()));
        message(&world, "role/debug")
    };
    let told = asked(policy(json!({})), "Alice");
    assert!(told.starts_with("User Alice (did you mean alice?) may not be a beneficiary: "), "{told}");
    let told = asked(policy(json!({})), "nina");
    assert!(told.starts_with("User nina may not be a beneficiary: "), "{told}");
    let told = asked(policy(json!({"beneficiaries": [{"kind": "User", "name": "sophie"}]})), "sophi");
    assert!(told.starts_with("User sophi (did you mean sophie?) may not be a beneficiary: "), "{told}");
}
