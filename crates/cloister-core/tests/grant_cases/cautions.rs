//! What those who decide about a request are told of it, though nothing is wrong with it.

use super::{desk::*, grants::World};
use cloister_api::{CloisterConfigSpec, Decision, GrantPhase};
use cloister_core::cluster::settings::Settings;
use serde_json::json;

/// What follows the first sentence of what is said of a request that waits for people.
fn notes(world: &World, key: &str) -> Vec<String> {
    assert_eq!(said(world, key), (GrantPhase::Pending, "AwaitingApproval".into()), "{}", message(world, key));
    message(world, key).split(". Note that ").skip(1).map(str::to_owned).collect()
}

#[test]
fn of_two_requests_for_the_same_the_later_one_says_so_until_the_earlier_one_is_over() {
    for (first, later, other) in [
        ("first", "later", "other"),
        ("role/first", "role/later", "role/other"),
        ("egress/first", "egress/later", "egress/other"),
    ] {
        let mut world = by_people(json!({"limits": {"active": 8, "pending": 8}}));
        world.rules =
            super::grants::Shared::new(vec![serde_json::from_value(networks("lab", "203.0.113.0/24")).unwrap()]);
        let differs = match other {
            "egress/other" => json!({"rule": networks("lab", "203.0.113.0/25")}),
            _ => json!({"subjects": [{"kind": "ServiceAccount", "name": "default"}]}),
        };
        for (key, more) in [(first, json!({})), (later, json!({})), (other, differs)] {
            ask(&mut world, key, more);
            world.now += jiff::SignedDuration::from_secs(1);
        }
        settle(&mut world);
        let kind = world.grants[first].kind().as_str();
        assert_eq!(notes(&world, first), [""; 0], "{first}");
        assert_eq!(notes(&world, later), [format!("{kind} first of alice asked for the same earlier, and waits")]);
        assert_eq!(notes(&world, other), [""; 0], "it asks for something else");
        all_agree(&mut world, first);
        settle(&mut world);
        let end = status(&world, first).expires_at.unwrap().0;
        assert_eq!(notes(&world, later), [format!("{kind} first of alice is approved for the same, until {end}")]);
        review(&mut world, first, Decision::Revoke, person("alice", &["researchers"]));
        settle(&mut world);
        assert_eq!(notes(&world, later), [""; 0], "it is over");
    }
}

#[test]
fn those_who_decide_are_told_that_egress_leads_to_storage_or_to_people() {
    const TO_STORAGE: &str = "the rule has some of the destinations of the endpoint of StorageResource weights: a \
                              StorageAccessGrant opens that to those whom the AccessPolicy of its role admits";
    const TO_PEOPLE: &str =
        "the rule leads to 198.51.100.0/25, from where people reach pods (accessNetworks of CloisterConfig)";
    let ports = json!([{"port": 443}]);
    let private = json!({"domainName": "weights.example.com", "expectedNetworks": ["203.0.113.8/32"]});
    for endpoint in [json!({"networks": ["203.0.113.0/28"]}), json!({"privateEndpoint": private})] {
        let config: CloisterConfigSpec = serde_json::from_value(json!({
            "accessNetworks": ["198.51.100.0/25", "192.0.2.0/24"], "egress": {"accessPolicy": "standard"},
        }))
        .unwrap();
        let mut world = World {
            storage: storage(json!({"endpoint": merged(endpoint, json!({"ports": ports}))})),
            settings: super::grants::Shared::new(Settings::new(Some(&config))),
            ..by_people(json!({"limits": {"active": 8, "pending": 8}}))
        };
        for (key, network) in
            [("storage", "203.0.113.8/30"), ("people", "198.51.100.0/24"), ("nobody", "203.0.114.0/24")]
        {
            ask(&mut world, &format!("egress/{key}"), json!({"rule": networks(key, network)}));
        }
        settle(&mut world);
        let told = |key: &str| notes(&world, &format!("egress/{key}")).into_iter().skip(1).collect::<Vec<_>>();
        assert_eq!(told("storage"), [TO_STORAGE]);
        assert_eq!(told("people"), [TO_PEOPLE]);
        assert_eq!(told("nobody"), [""; 0]);
    }
}

#[test]
fn one_that_gives_nothing_says_so() {
    let nothing = json!({"roles": [{"name": "reader", "accessPolicy": "standard"}]});
    let mut world = World { storage: storage(nothing), ..world() };
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let end = status(&world, "eval").expires_at.unwrap().0;
    let told = message(&world, "eval");
    let why =
        "role reader of StorageResource weights has no credential, so nothing is mounted; if it should have one, ask ";
    assert!(told.starts_with(&format!("lasts until {end}, and nothing of it is open now; {why}")), "{told}");
    assert!(status(&world, "eval").residual_exposure.is_empty(), "nothing was given that could outlast it");
}

#[test]
fn a_role_with_nothing_but_a_credential_gives_nothing_without_a_mount() {
    let credential = json!({"secretRef": {"namespace": "vault", "name": "reader"}});
    let only = json!({"roles": [{"name": "reader", "accessPolicy": "standard", "credential": credential}]});
    let mut world = World { storage: storage(only), ..world() };
    ask(&mut world, "eval", json!({"mount": null}));
    settle(&mut world);
    let end = status(&world, "eval").expires_at.unwrap().0;
    assert_eq!(
        message(&world, "eval"),
        format!(
            "lasts until {end}, and nothing of it is open now; role reader of StorageResource weights gives a credential and nothing \
             else, and the grant has no mount, so nobody gets it; ask again with mount (`kubectl explain storageaccessgrant.spec.mount`)"
        )
    );
}

#[test]
fn of_a_role_that_names_another_cluster_role_it_is_not_said_that_the_other_one_was_changed() {
    let mut world = world();
    ask(&mut world, "role/debug", json!({}));
    settle(&mut world);
    assert_eq!(said(&world, "role/debug").0, GrantPhase::Active);
    let super::grants::Shelf::Read(role) = &mut world.role else { unreachable!() };
    role.spec.cluster_role = "cloister:storage-reader".into();
    settle(&mut world);
    let told = message(&world, "role/debug");
    assert!(told.contains("which ClusterRole it names") && !told.contains("cloister:storage-reader"), "{told}");
}
