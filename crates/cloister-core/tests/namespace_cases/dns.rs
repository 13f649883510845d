//! What is open to the cluster's own DNS.

use super::{config, settled, world};
use crate::namespaces::World;
use cloister_api::Protocol;
use cloister_core::{
    address::PolicyPort,
    model::child::{Child, ChildKey, ChildKind},
};
use serde_json::{Value, json};

/// What `cloister-dns` opens.
fn opened(world: &World) -> Value {
    let key = ChildKey::new(ChildKind::NetworkPolicy, "cloister-dns");
    let Child::NetworkPolicy(policy) = &world.objects.0[&key] else { unreachable!() };
    serde_json::to_value(policy.spec.as_ref().unwrap().egress.as_ref().unwrap()).unwrap()
}

#[test]
fn dns_is_open_at_its_pods_its_service_and_the_caches_of_the_settings_and_nowhere_else() {
    let mut world = world(json!({}));
    world.settings = config(json!({"dns": {
        "namespace": "dns-system",
        "podSelector": {"matchLabels": {"app": "coredns"}},
        "nodeLocalAddresses": ["169.254.25.10", "fd00:25::10"],
    }}));
    world.dns_addresses = ["10.97.0.53", "fd00:97::53"].map(|address| address.parse().unwrap()).into();
    world.dns_ports = [Protocol::Udp, Protocol::Tcp].map(|protocol| PolicyPort::number(protocol, 5353)).into();
    let pods = json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "dns-system"}},
        "podSelector": {"matchLabels": {"app": "coredns"}},
    });
    let at = |network: &str| json!({"ipBlock": {"cidr": network}});
    let ports = |port: u16| json!([{"port": port, "protocol": "TCP"}, {"port": port, "protocol": "UDP"}]);
    assert_eq!(
        opened(&settled(world)),
        json!([
            {
                "to": [pods, at("10.97.0.53/32"), at("169.254.25.10/32"), at("fd00:25::10/128"), at("fd00:97::53/128")],
                "ports": ports(53),
            },
            {"to": [pods], "ports": ports(5353)},
        ])
    );
}

#[test]
fn the_ports_that_the_dns_service_leads_to_are_open_at_its_pods() {
    let mut world = world(json!({}));
    world.dns_ports = [Protocol::Udp, Protocol::Tcp].map(|protocol| PolicyPort::number(protocol, 5353)).into();
    world.dns_ports.push(PolicyPort::number(Protocol::Udp, 53));
    let egress = opened(&settled(world));
    let ports = json!([{"port": 5353, "protocol": "TCP"}, {"port": 5353, "protocol": "UDP"}]);
    assert_eq!((&egress[1]["ports"], egress[1]["to"].as_array().map(Vec::len)), (&ports, Some(1)));
    assert!(egress[1]["to"][0]["podSelector"].is_object() && egress.as_array().map(Vec::len) == Some(2));
}
