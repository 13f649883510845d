//! Names that have addresses of both families, and names of the cluster's own.

use super::{sentences::of_need, *};
use cloister_core::{
    address::Source,
    cluster::known_networks::ClusterNetworks,
    dns::{Host, NameState},
};

/// A namespace that may reach what the rule names, where DNS gives the name these addresses.
fn answered(target: Value, name: &str, addresses: &[&str]) -> World {
    let mut rule = json!({"name": "r", "ports": [{"port": 443}]});
    rule.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
    let mut world = world(json!({"egress": {"rules": [rule]}}));
    world.allowlists.insert("lab".into(), allowlist(json!({"rules": [rule]})));
    let services = [("10.96.0.0/16".parse().unwrap(), Source::ServiceCidr("kubernetes".into()))].into();
    world.settings = Settings::new(None).around(&ClusterNetworks { services, ..ClusterNetworks::default() });
    let expected = target["privateEndpoint"]["expectedNetworks"].as_array();
    let expected = expected.map(|all| all.iter().map(|one| one.as_str().unwrap().parse().unwrap()).collect());
    let host = Host { name: name.parse().unwrap(), expected };
    let records = addresses.iter().map(|one| (one.parse().unwrap(), SignedDuration::from_secs(30)));
    let outcome = match Answer::believed(records, host.expected(), &world.settings.never) {
        Ok(answer) => Outcome::Answered(answer),
        Err(why) => Outcome::Refused(why),
    };
    let mut known = KnownName::default();
    known.learn(outcome, world.now, &world.settings.names);
    world.known.insert(name.into(), known);
    settled(world)
}

fn open(world: &World) -> Vec<String> {
    blocks(world, "cloister-rule.r.0")
}

#[test]
fn what_dns64_adds_to_a_private_endpoint_opens_beside_it() {
    let blob = json!({"privateEndpoint": {"domainName": "blob.example.com", "expectedNetworks": ["10.40.0.0/16", "10.96.0.0/15"]}});
    let world = answered(blob.clone(), "blob.example.com", &["10.40.1.1", "64:ff9b::a28:101"]);
    assert_eq!(need(&world, "rule/r"), (EgressState::Active, "Covered".to_owned()));
    assert_eq!(open(&world), ["10.40.1.1/32", "64:ff9b::a28:101/128"]);
    assert!(says(&world, "ResolutionStable", "True", "Resolved"));
    // It leads elsewhere than the name, or into the cluster: then it is closed, and the name is not.
    for (astray, reason, why) in [
        ("64:ff9b::a29:101", "OutsideExpectedNetworks", "64:ff9b::a29:101 is outside expectedNetworks"),
        (
            "64:ff9b::a60:707",
            "Rebinding",
            "64:ff9b::a60:707 is never opened: it is in 10.96.0.0/16 (ServiceCIDR kubernetes)",
        ),
    ] {
        let world = answered(blob.clone(), "blob.example.com", &["10.40.1.1", astray]);
        assert_eq!(need(&world, "rule/r"), (EgressState::Unresolved, reason.to_owned()));
        assert_eq!(open(&world), ["10.40.1.1/32"]);
        let told = of_need(&world, "rule/r").message;
        assert!(told.contains("its IPv6 addresses are closed") && told.contains(why), "{told}");
    }
}

#[test]
fn a_family_that_is_led_astray_closes_and_leaves_the_other_open() {
    let www = json!({"domainNames": ["www.example.com"]});
    let world = answered(www.clone(), "www.example.com", &["198.51.100.7", "fd00::7"]);
    assert_eq!(need(&world, "rule/r"), (EgressState::Unresolved, "Rebinding".to_owned()));
    assert_eq!(open(&world), ["198.51.100.7/32"]);
    assert_eq!(
        of_need(&world, "rule/r").message,
        "partly open: www.example.com resolves to an address that is not allowed, and its IPv6 addresses are closed: fd00::7 is not \
         a public address: it is private or reserved; if that is intended, declare it as privateEndpoint; if not, find out from the \
         DNS servers, or from whoever owns the name, why it leads there"
    );
    assert!(says(&world, "ResolutionStable", "False", "Rebinding") && says(&world, "Ready", "True", "Reconciled"));
    let world = answered(www, "www.example.com", &["198.51.100.7", "10.0.0.7", "2001:db8::7", "fd00::7"]);
    assert_eq!(need(&world, "rule/r"), (EgressState::Unresolved, "Rebinding".to_owned()));
    assert_eq!(open(&world), Vec::<String>::new());
    assert!(
        of_need(&world, "rule/r")
            .message
            .starts_with("closed: www.example.com resolves to an address that is not allowed, and is closed")
    );
}

#[test]
fn a_name_of_a_service_in_a_domain_of_the_clusters_own_is_no_attack() {
    let name = "cache.infra.svc.k8s.example";
    let world = answered(json!({"domainNames": [name]}), name, &["10.96.7.7"]);
    assert_eq!(need(&world, "rule/r"), (EgressState::Unresolved, "NameInCluster".to_owned()));
    assert_eq!(open(&world), Vec::<String>::new());
    assert_eq!(
        of_need(&world, "rule/r").message,
        "closed: cache.infra.svc.k8s.example resolves to an address of the cluster, as names of Services do, and is closed: 10.96.7.7 \
         is in 10.96.0.0/16 (ServiceCIDR kubernetes); to reach something in the cluster, name its Service"
    );
    let public = Host { name: "www.example.com".parse().unwrap(), expected: None };
    let why = world.known[name].refused().unwrap().clone();
    assert!(matches!(public.led_astray(why), NameState::Rebound(_)));
    let world = answered(json!({"domainNames": ["www.example.com"]}), "www.example.com", &["10.96.7.7"]);
    assert_eq!(need(&world, "rule/r"), (EgressState::Unresolved, "Rebinding".to_owned()));
}
