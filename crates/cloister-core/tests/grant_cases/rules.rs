//! What is wrong with the rule of a request is told at once, and once.

use super::{
    desk::*,
    grants::{Shared, Shelf, World},
};
use cloister_api::GrantPhase;
use cloister_core::dns::{Answer, KnownName, Limits, Outcome, Where};
use jiff::SignedDuration;
use serde_json::{Value, json};

const AGAIN: &str = "A grant cannot be changed: delete it, and ask again";
const ANOTHER: &str = "A grant cannot be changed: if its rule is wrong, delete it, and ask again with another rule";
const UNANSWERED: &str = "no DNS server answers with addresses for two.example.com: request timed out; ask a policy administrator (ClusterRole \
     cloister:policy-admin) to check dns of CloisterConfig and the DNS servers behind it";
const NO_ADDRESS: &str =
    "gone.example.com has no address in DNS, so there is nothing to open; correct the name, or ask its owner";
const REBOUND: &str = "inside.example.com resolves to an address that is not allowed, and is closed: 10.0.0.9 is not a public \
                       address: it is private or reserved; if that is intended, declare it as privateEndpoint";
const NEVER: &str = "the rule stays closed: 169.254.169.254/32";
const DIFFERS: &str =
    "ResearchNamespace interp declares rule lab as 203.0.113.0/24:443, and the grant's rule of that name is ";

/// A namespace that declares rule lab, and what DNS says of some names.
fn world_of(policy: Value) -> World {
    let declared = json!({"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]});
    let mut world = World { rules: Shared::new(vec![serde_json::from_value(declared).unwrap()]), ..by_people(policy) };
    let address = ("10.0.0.9".parse().unwrap(), SignedDuration::from_secs(30));
    let never = cloister_core::address::NeverOpened::new(&[]);
    let rebound = Answer::believed([address], Where::Public, &never).unwrap_err();
    for (name, outcome) in [
        ("gone", Outcome::NoSuchName),
        ("inside", Outcome::Refused(rebound)),
        ("one", Outcome::Failed("request timed out".into())),
        ("two", Outcome::Failed("request timed out".into())),
    ] {
        let mut known = KnownName::default();
        known.learn(outcome, world.now, &Limits::default());
        world.known.insert(format!("{name}.example.com"), known);
    }
    world
}

fn asked(mut world: World, target: Value, more: Value) -> (GrantPhase, String, String) {
    let rule = merged(json!({"name": "lab", "ports": [{"port": 443}]}), target);
    ask(&mut world, "egress/lab", merged(json!({"rule": rule}), more));
    settle(&mut world);
    let (phase, reason) = said(&world, "egress/lab");
    (phase, reason, message(&world, "egress/lab"))
}

/// How often each of these is told, in this order.
fn once(told: &str, parts: &[&str]) {
    let at: Vec<Option<usize>> = parts.iter().map(|part| told.find(part)).collect();
    assert!(at.is_sorted() && at.iter().all(Option::is_some), "{at:?} of {parts:?} in {told}");
    parts.iter().for_each(|part| assert_eq!(told.matches(part).count(), 1, "{part} in {told}"));
    assert_eq!(told.matches("A grant cannot be changed").count(), 1, "{told}");
}

#[test]
fn one_that_is_denied_says_all_of_it() {
    let strict = json!({"justification": {"required": true}});
    let names =
        json!({"domainNames": ["gone.example.com", "inside.example.com", "one.example.com", "two.example.com"]});
    let (phase, reason, told) = asked(world_of(strict.clone()), names, json!({"requestedDuration": "200h"}));
    assert_eq!((phase, &*reason), (GrantPhase::Denied, "SeveralMistakes"));
    let parts = [
        "4 mistakes: (1) JustificationMissing: ",
        "(2) DurationTooLong: 200h",
        "(3) RuleDiffers: ",
        DIFFERS,
        "ask with the rule as it is declared, or with one of another name; (4) NoAddress: ",
        NO_ADDRESS,
        REBOUND,
        ". Note that no DNS server answers with addresses for one.example.com",
        UNANSWERED,
        AGAIN,
    ];
    once(&told, &parts);
    assert!(!told.contains("delete the grant"), "{told}");
    // And what is never opened, whether the rule is of that name or not.
    let networks = json!({"networks": ["169.254.169.254/32", "198.51.100.0/24"]});
    let (_, _, told) = asked(world_of(strict), networks, json!({"requestedDuration": "200h"}));
    once(
        &told,
        &["(1) JustificationMissing: ", "(2) DurationTooLong: ", "(3) NetworksNeverOpened: ", NEVER, DIFFERS, AGAIN],
    );
}

#[test]
fn one_that_waits_says_all_of_it() {
    let names = json!({"domainNames": ["gone.example.com", "inside.example.com", "two.example.com"]});
    let (phase, reason, told) = asked(world_of(json!({})), names, json!({}));
    assert_eq!((phase, &*reason), (GrantPhase::Pending, "RuleDiffers"));
    once(
        &told,
        &["2 mistakes: (1) RuleDiffers: ", DIFFERS, "(2) NoAddress: ", NO_ADDRESS, REBOUND, ANOTHER, UNANSWERED],
    );
    let (phase, reason, told) = asked(world_of(json!({})), json!({"networks": ["169.254.169.254/32"]}), json!({}));
    assert_eq!((phase, &*reason), (GrantPhase::Pending, "NetworksNeverOpened"));
    once(&told, &["2 mistakes: (1) NetworksNeverOpened: ", NEVER, ANOTHER, "(2) RuleDiffers: ", DIFFERS]);
}

/// Where it waits for its policy, too, and at its end it is not told what helps one that waits.
#[test]
fn one_without_a_policy_says_what_is_wrong_with_its_rule() {
    let mut world = World { policy: Shelf::Absent, ..world_of(json!({})) };
    let rule = json!({"name": "lab", "networks": ["169.254.169.254/32"], "ports": [{"port": 443}]});
    ask(&mut world, "egress/lab", json!({"rule": rule}));
    settle(&mut world);
    let waits = "The request waits until";
    let parts = ["3 mistakes: (1) PolicyNotFound: ", "(2) NetworksNeverOpened: ", NEVER, "(3) RuleDiffers: ", DIFFERS];
    let told = message(&world, "egress/lab");
    assert!(parts.iter().all(|part| told.contains(part)) && told.contains(waits), "{told}");
    world.now += SignedDuration::from_hours(24);
    settle(&mut world);
    assert_eq!(said(&world, "egress/lab").0, GrantPhase::TimedOut);
    let told = message(&world, "egress/lab");
    once(&told, &[&parts[..], &[AGAIN]].concat());
    assert!(
        told.starts_with("it could not be decided by ") && !told.contains(waits) && !told.contains("delete the grant"),
        "{told}"
    );
}

/// Whoever asks named none of what is missing: who can mend it is told, and all of it.
#[test]
fn all_that_the_catalogue_lacks_is_told_with_where_it_is_named() {
    let bound = json!([{"name": "reader", "accessPolicy": "standrad", "clusterRole": "cloister:debuger"}]);
    let mut world = World { storage: storage(json!({"roles": bound})), ..world() };
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let entry = "role reader of StorageResource weights names";
    let told = message(&world, "eval");
    let parts = [
        "2 mistakes: (1) ClusterRoleNotFound: there is no ClusterRole cloister:debuger, which ",
        "(did you mean cloister:debugger?); ask a catalogue administrator (ClusterRole cloister:catalogue-admin) to correct \
         the name there, or a cluster administrator to create it; (2) PolicyNotFound: there is no AccessPolicy standrad, which ",
        "(did you mean standard?)",
    ];
    assert!(parts.iter().all(|part| told.contains(part)) && told.matches(entry).count() == 2, "{told}");
    assert_eq!(said(&world, "eval"), (GrantPhase::Pending, "ClusterRoleNotFound".into()));

    let mut world = self::by_people(json!({}));
    world.cluster_roles.insert("cloister:debugger".into(), super::grants::role_facts(&["pods/exec"], false));
    ask(&mut world, "role/debug", json!({}));
    settle(&mut world);
    assert_eq!(
        message(&world, "role/debug"),
        "the operator may not bind ClusterRole cloister:debugger; add \"cloister:debugger\" to the resourceNames of the rule \
         with the verb bind in deploy/rbac/operator.yaml. The ClusterRole is named by AccessRole debugger: ask a catalogue \
         administrator (ClusterRole cloister:catalogue-admin) to name another, or a cluster administrator to do that"
    );
}

#[test]
fn what_is_cut_out_of_a_network_is_told_before_it_is_approved_and_while_it_is_open() {
    let mut settings = by_people(json!({})).settings.spec.clone();
    settings.cluster_networks = vec!["172.18.0.0/16".into()];
    let mut world = World {
        settings: Shared::new(cloister_core::cluster::settings::Settings::new(Some(&settings))),
        ..by_people(json!({}))
    };
    let wide = json!({"rule": {"name": "wide", "networks": ["172.16.0.0/12"], "ports": [{"port": 22}]}});
    let apart = json!({"rule": {"name": "apart", "networks": ["192.168.0.0/24"], "ports": [{"port": 22}]}});
    ask(&mut world, "egress/wide", wide);
    ask(&mut world, "egress/apart", apart);
    settle(&mut world);
    const CUT: &str = "a part of it stays closed: 172.18.0.0/16 is never opened by address";
    assert_eq!(said(&world, "egress/wide").1, "AwaitingApproval");
    assert!(message(&world, "egress/wide").contains(&format!(". Note that {CUT}")));
    for key in ["egress/wide", "egress/apart"] {
        all_agree(&mut world, key);
        settle(&mut world);
    }
    assert_eq!(said(&world, "egress/wide"), (GrantPhase::Active, "NetworksNeverOpened".into()));
    assert!(message(&world, "egress/wide").contains(CUT));
    assert!(!message(&world, "egress/apart").contains("stays closed"));
}
