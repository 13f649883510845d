//! What a request that cannot be given is told, as whole sentences.

use super::{
    desk::*,
    grants::{Shared, World},
};
use cloister_api::{CloisterConfigSpec, GrantPhase};
use cloister_core::{
    address::NeverOpened,
    cluster::settings::Settings,
    dns::{KnownName, Limits, Outcome},
    egress::{AllowRule, Surroundings, open_rule},
};
use jiff::SignedDuration;
use serde_json::{Value, json};

const AGAIN: &str = "A grant cannot be changed: delete it, and ask again";

fn with_glass() -> World {
    let oncall = json!([{"kind": "Group", "name": "oncall"}]);
    by_people(json!({"breakGlass": {"requesters": oncall, "maxDuration": "30m", "reviewWithin": "24h"}}))
}

/// What somebody of a group is told who uses break-glass.
fn breaking(mut world: World, group: &str, more: Value) -> String {
    let by = json!({"breakGlass": true, "requestedBy": {"username": "bob", "groups": [group]}});
    ask(&mut world, "eval", merged(by, more));
    settle(&mut world);
    assert_eq!(status(&world, "eval").phase, GrantPhase::Denied);
    message(&world, "eval")
}

#[test]
fn nobody_is_sent_to_what_would_be_refused_too() {
    let may_ask = "bob may not use break-glass under AccessPolicy standard, which allows it for Group oncall: the API server \
                   saw bob in groups researchers (if one is missing, ask the administrator of the identity provider). Ask \
                   without spec.breakGlass";
    assert_eq!(breaking(with_glass(), "researchers", json!({})), format!("{may_ask}. {AGAIN}"));
    assert_eq!(
        breaking(with_glass(), "guests", json!({})),
        format!(
            "bob may not use break-glass under AccessPolicy standard, which allows it for Group oncall, and bob is not among \
             the requesters of AccessPolicy standard (Group researchers or ServiceAccount flux/sync): the API server saw bob \
             in groups guests (if one is missing, ask the administrator of the identity provider). Ask a policy administrator \
             (ClusterRole cloister:policy-admin) to add you. {AGAIN}"
        )
    );
    assert_eq!(
        breaking(by_people(json!({})), "researchers", json!({})),
        format!("AccessPolicy standard does not allow break-glass. Ask without spec.breakGlass. {AGAIN}")
    );
    // Whoever has to ask without is told what holds then.
    assert_eq!(
        breaking(with_glass(), "researchers", json!({"requestedDuration": "9h"})),
        format!(
            "2 mistakes: (1) BreakGlassNotAllowed: {may_ask}; (2) DurationTooLong: 9h is longer than the policy's maxDuration 1h; ask \
             for less. {AGAIN}"
        )
    );
    assert_eq!(
        breaking(with_glass(), "oncall", json!({"requestedDuration": "31m"})),
        format!("31m is longer than the policy's breakGlass.maxDuration 30m; ask for less. {AGAIN}")
    );
}

#[test]
fn all_that_is_known_to_be_wrong_is_told_where_the_target_is_misspelt() {
    let mut world = world();
    let subject = json!([{"kind": "ServiceAccount", "name": "trainr"}]);
    ask(&mut world, "eval", json!({"storage": "wieghts", "subjects": subject, "mount": null}));
    ask(&mut world, "role", json!({"role": "raeder"}));
    let until = world.now + SignedDuration::from_hours(24);
    // Until then it may be on its way.
    world.now += SignedDuration::from_secs(10);
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Pending, "StorageNotFound".into(), true));
    let rest = format!(
        "The request waits until {until}, and then times out; it is checked against its AccessPolicy only when all of that \
         exists"
    );
    let both = message(&world, "eval");
    assert!(
        both.starts_with(
            "2 mistakes: (1) StorageNotFound: there is no StorageResource wieghts (did you mean weights?); delete the grant \
             and ask again for one that exists (`kubectl get storageresources`), or ask a catalogue administrator (ClusterRole \
             cloister:catalogue-admin) to publish it; (2) ServiceAccountNotFound: "
        ) && both.ends_with(&format!(". {rest}")),
        "{both}"
    );
    assert_eq!(
        message(&world, "role"),
        format!(
            "StorageResource weights offers no role raeder (did you mean reader?); it offers reader. Delete the grant and ask \
             again for a role that it offers, or ask a catalogue administrator (ClusterRole cloister:catalogue-admin) to add \
             it. {rest}"
        )
    );

    // What would be refused whatever it is for does not wait.
    let spec: CloisterConfigSpec = serde_json::from_value(json!({"personKey": "employee"})).unwrap();
    let mut world = World { settings: Shared::new(Settings::new(Some(&spec))), ..self::world() };
    ask(&mut world, "eval", json!({"storage": "wieghts"}));
    settle(&mut world);
    assert_eq!(told(&world, "eval"), (GrantPhase::Denied, "SeveralMistakes".into(), false));
}

#[test]
fn an_account_that_is_misspelt_is_among_the_mistakes() {
    let mut world = World { policy: policy(json!({"justification": {"required": true}})), ..world() };
    ask(&mut world, "role/debug", json!({"subjects": [{"kind": "ServiceAccount", "name": "trainr"}]}));
    settle(&mut world);
    let told = message(&world, "role/debug");
    assert!(told.contains("(1) JustificationMissing: ") && told.contains("(2) ServiceAccountNotFound: "), "{told}");
}

/// A namespace that declares a rule, and the reason and the message of a request for this one.
fn asked_for(rule: Value, agreed: Vec<AllowRule>) -> (String, String) {
    let declared = serde_json::from_value(networks("lab", "203.0.113.0/24")).unwrap();
    let mut world = World { rules: Shared::new(vec![declared]), agreed: Shared::new(agreed), ..by_people(json!({})) };
    ask(&mut world, "egress/lab", json!({"rule": rule}));
    settle(&mut world);
    let (phase, reason, _) = told(&world, "egress/lab");
    assert_eq!(phase, GrantPhase::Pending);
    (reason, message(&world, "egress/lab"))
}

#[test]
fn a_rule_that_is_not_the_declared_one_is_told_before_anybody_is_asked() {
    let waits = "waits for approval under AccessPolicy standard: 1 more of security (Group security), and 2 more of owners (Group owners)";
    for part in ["203.0.113.0/24", "203.0.113.0/25"] {
        assert_eq!(asked_for(networks("lab", part), Vec::new()), ("AwaitingApproval".into(), waits.into()));
    }
    let differs = "ResearchNamespace interp declares rule lab as 203.0.113.0/24:443, and the grant's rule of that name is \
                   203.0.112.0/23:443, which is not a part of it (destination, ports or podSelector); delete the grant and ask \
                   again with the rule as it is declared, or with one of another name";
    assert_eq!(asked_for(networks("lab", "203.0.112.0/23"), Vec::new()), ("RuleDiffers".into(), differs.into()));
    // What is cut short in a list is told in full where the short forms are alike.
    let two = |other: &str| json!({"name": "lab", "networks": ["203.0.113.0/24", other], "ports": [{"port": 443}]});
    let mut world = by_people(json!({}));
    world.rules = Shared::new(vec![serde_json::from_value(two("198.51.100.0/24")).unwrap()]);
    ask(&mut world, "egress/lab", json!({"rule": two("192.0.2.0/24")}));
    settle(&mut world);
    let differs = "declares rule lab as 203.0.113.0/24, 198.51.100.0/24:443, and the grant's rule of that name is 203.0.113.0/24, \
                   192.0.2.0/24:443, which";
    assert!(message(&world, "egress/lab").contains(differs), "{}", message(&world, "egress/lab"));
    for (network, same) in
        [("203.0.113.7/32", " (rule lab has some of the same destinations)"), ("198.51.100.0/24", "")]
    {
        let note = format!("{waits}. Note that ResearchNamespace interp declares no egress rule other{same}");
        assert_eq!(asked_for(networks("other", network), Vec::new()), ("AwaitingApproval".into(), note));
    }
}

#[test]
fn nobody_is_asked_about_what_is_open_already() {
    let never = NeverOpened::new(&[]);
    let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: false };
    let open = open_rule(&serde_json::from_value(networks("all", "203.0.113.0/24")).unwrap(), &surroundings).unwrap();
    let already = "all of it is open in ResearchNamespace interp without a grant, by allowlists (see its status.egress), so \
                   nobody is asked; delete the grant, or leave it pending in case this is closed again";
    let of = |network: &str| asked_for(networks("lab", network), vec![open.clone()]);
    assert_eq!(of("203.0.113.128/25"), ("AlreadyOpen".into(), already.into()));
}

#[test]
fn those_who_decide_are_told_of_a_name_that_nobody_answers_for() {
    let mut world = by_people(json!({}));
    let rule = json!({"name": "lab", "domainNames": ["weights.example.com"], "ports": [{"port": 443}]});
    ask(&mut world, "egress/lab", json!({"rule": rule}));
    let mut known = KnownName::default();
    known.learn(Outcome::Failed("request timed out".into()), world.now, &Limits::default());
    world.known.insert("weights.example.com".into(), known);
    settle(&mut world);
    assert_eq!(told(&world, "egress/lab").1, "AwaitingApproval");
    let said = message(&world, "egress/lab");
    let note = ". Note that no DNS server answers with addresses for weights.example.com: request timed out; ask a policy \
                administrator (ClusterRole cloister:policy-admin) to check dns of CloisterConfig and the DNS servers behind it. Note that ResearchNamespace interp declares no egress rule lab";
    assert!(said.ends_with(note), "{said}");
}
