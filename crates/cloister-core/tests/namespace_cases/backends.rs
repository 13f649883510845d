//! What opens where network plugins have policies of their own.

use crate::namespaces::{NAME, World};
use cloister_api::{CloisterConfigSpec, EgressAllowlist, EgressState, Enforcement, ResearchNamespace, StorageEndpoint};
use cloister_core::{
    cluster::settings::Settings,
    dns::{Answer, KnownName, Limits, Outcome, Where},
    egress::{Channel, Installed},
    model::child::{Child, ChildKey, ChildKind},
};
use jiff::SignedDuration;
use serde_json::{Value, json};

const CILIUM: Installed = Installed { cilium: true, cluster: None };
const EXPERIMENTAL: Installed = Installed { cilium: false, cluster: Some(Channel::Experimental) };
const STANDARD: Installed = Installed { cilium: false, cluster: Some(Channel::Standard) };

/// A namespace with an allowlist of these rules.
fn world(rules: Value, installed: Installed) -> World {
    let spec = json!({"tier": "Standard", "egress": {"allowlists": ["lab"]}});
    let mut world = World::new(ResearchNamespace::new(NAME, serde_json::from_value(spec).unwrap()));
    let spec = json!({"namespaceSelector": {}, "rules": rules});
    world.allowlists =
        [("lab".to_owned(), Some(EgressAllowlist::new("lab", serde_json::from_value(spec).unwrap())))].into();
    world.settings = Settings::new(None).with(installed);
    world
}

fn settled(mut world: World) -> World {
    world.settle(&mut |_, _| ());
    world
}

fn names(pods: Value) -> Value {
    json!({"name": "names", "domainNames": ["*.example.com", "www.example.org"], "ports": [{"port": 443}], "podSelector": pods})
}

/// What is said of the allowlist.
fn said(world: &World) -> (EgressState, String, Option<Enforcement>) {
    let status = world.declared.as_ref().unwrap().status.clone().unwrap();
    let need = status.egress.into_iter().find(|need| need.name == "allowlist/lab").unwrap();
    (need.state, need.reason, need.enforcement)
}

fn spec(world: &World, kind: ChildKind, name: &str) -> Option<Value> {
    match world.objects.0.get(&ChildKey::new(kind, name))? {
        Child::CiliumNetworkPolicy(policy) => policy.spec.clone(),
        Child::ClusterNetworkPolicy(policy) => policy.spec.clone(),
        _ => None,
    }
}

fn by_cilium(world: &World) -> Option<Value> {
    spec(world, ChildKind::CiliumNetworkPolicy, "cloister-allow.lab.names")
}

fn is_denied(spec: &Value, network: &str) -> bool {
    let denied = spec["egressDeny"][0]["toCIDRSet"].as_array().unwrap();
    denied.contains(&json!({"cidr": network}))
}

/// A storage's endpoint on 443 in a private network, for the pods of an account.
fn storage() -> (StorageEndpoint, String) {
    let endpoint = json!({"networks": ["10.0.0.0/8"], "ports": [{"port": 443}]});
    (serde_json::from_value(endpoint).unwrap(), "trainer".to_owned())
}

#[test]
fn a_name_opens_by_cilium_and_leads_to_the_internet_alone() {
    let world = settled(world(json!([names(json!({}))]), CILIUM));
    assert_eq!(said(&world), (EgressState::Active, String::new(), Some(Enforcement::DNSObserved)));
    let spec = by_cilium(&world).unwrap();
    let names = json!([{"matchPattern": "**.example.com"}, {"matchName": "www.example.org"}]);
    assert!(spec["egress"].as_array().unwrap().iter().any(|entry| entry["toFQDNs"] == names), "{spec:#}");
    assert!(is_denied(&spec, "10.0.0.0/8") && is_denied(&spec, "169.254.0.0/16"), "{spec:#}");
    assert!(!world.names(ChildKind::NetworkPolicy).contains(&"cloister-allow.lab.names"));
}

#[test]
fn what_all_of_its_pods_reach_anyway_is_not_denied_to_them() {
    let lab = json!({"name": "lab", "networks": ["10.0.0.0/8"], "ports": [{"port": 443}]});
    let world = settled(world(json!([names(json!({})), lab]), CILIUM));
    assert!(!is_denied(&by_cilium(&world).unwrap(), "10.0.0.0/8"));
}

#[test]
fn what_a_grant_opens_to_some_of_its_pods_can_neither_be_denied_nor_left_to_a_name() {
    let mut held = world(json!([names(json!({}))]), CILIUM);
    held.endpoints = vec![storage()];
    let held = settled(held);
    assert!(by_cilium(&held).is_none());
    assert_eq!(said(&held).1, "NotExact");
    assert_eq!(said(&held).2, Some(Enforcement::AddressSet), "the host beside it");

    // Pods of its own are told apart.
    let mut apart = world(json!([names(json!({"matchLabels": {"cloister.dev/service-account": "crawler"}}))]), CILIUM);
    apart.endpoints = vec![storage()];
    assert!(is_denied(&by_cilium(&settled(apart)).unwrap(), "10.0.0.0/8"));
}

#[test]
fn a_private_endpoint_is_held_by_addresses_whatever_there_is() {
    let blob = json!({"name": "blob", "ports": [{"port": 443}],
        "privateEndpoint": {"domainName": "acct.blob.core.windows.net", "expectedNetworks": ["10.40.0.0/16"]}});
    for installed in [CILIUM, EXPERIMENTAL, STANDARD] {
        let mut world = world(json!([blob]), installed);
        let records = [("10.40.1.1".parse().unwrap(), SignedDuration::from_secs(30))];
        let inside = ["10.40.0.0/16".parse().unwrap()];
        let answer = Answer::believed(records, Where::Inside(&inside), &world.settings.never).unwrap();
        let mut known = KnownName::default();
        known.learn(Outcome::Answered(answer), world.now, &Limits::default());
        world.known = [("acct.blob.core.windows.net".to_owned(), known)].into();
        let world = settled(world);
        assert_eq!(said(&world), (EgressState::Active, String::new(), Some(Enforcement::AddressSet)), "{installed:?}");
        assert!(world.names(ChildKind::NetworkPolicy).contains(&"cloister-allow.lab.blob"));
    }
}

#[test]
fn what_grants_open_is_passed_on_by_the_bound() {
    let mut open = world(json!([names(json!({}))]), EXPERIMENTAL);
    open.endpoints = vec![storage()];
    let rule = json!({"name": "lab", "networks": ["198.51.100.0/24"], "ports": [{"port": 22}]});
    open.granted = [("lab".to_owned(), serde_json::from_value(rule).unwrap())].into();
    let open = settled(open);
    let passed = spec(&open, ChildKind::ClusterNetworkPolicy, "cloister.interp.pass.0").unwrap().to_string();
    assert!(passed.contains("10.0.0.0/8") && passed.contains("198.51.100.0/24"), "{passed}");
    assert!(said(&open).2 == Some(Enforcement::DNSObserved));
    let closed = settled(World { endpoints: Vec::new(), granted: Default::default(), ..open });
    let passed = spec(&closed, ChildKind::ClusterNetworkPolicy, "cloister.interp.pass.0").unwrap().to_string();
    assert!(!passed.contains("10.0.0.0/8") && !passed.contains("198.51.100.0/24"), "{passed}");
}

#[test]
fn what_denies_above_all_stands_last_and_goes_last() {
    let mut world = world(json!([names(json!({}))]), STANDARD);
    let plan = world.plan();
    let deny = ChildKey::new(ChildKind::ClusterNetworkPolicy, "cloister.interp.deny");
    let of_bound = plan.open.iter().position(|stage| {
        let mut actions = stage.iter().flat_map(cloister_core::model::plan::Chain::actions);
        actions.any(|action| matches!(action, cloister_core::model::plan::Action::Apply(child) if child.key() == deny))
    });
    assert_eq!(of_bound, Some(plan.open.len() - 1), "only pods are admitted after it");
    assert!(plan.close.is_empty() && plan.last.is_some());
    world = settled(world);
    world.namespace.as_mut().unwrap().terminating = true;
    world.pods = Some(1);
    assert!(world.plan().does_nothing());
    (world.pods, world.declared) = (Some(0), None);
    world.settle(&mut |_, _| ());
    assert!(world.namespace.is_none());
    assert!(world.names(ChildKind::ClusterNetworkPolicy).is_empty());
}

#[test]
fn another_backend_takes_the_place_of_one() {
    let mut world = settled(world(json!([names(json!({}))]), CILIUM));
    for (installed, cilium, cluster) in
        [(EXPERIMENTAL, false, true), (Installed::default(), false, false), (CILIUM, true, false)]
    {
        world.settings = Settings::new(None).with(installed);
        world = settled(world);
        assert_eq!(!world.names(ChildKind::CiliumNetworkPolicy).is_empty(), cilium);
        assert_eq!(!world.names(ChildKind::ClusterNetworkPolicy).is_empty(), cluster);
    }
}

#[test]
fn what_is_chosen_and_missing_opens_no_name_and_all_else() {
    let spec: CloisterConfigSpec = serde_json::from_value(json!({"egress": {"backend": "Cilium"}})).unwrap();
    let lab = json!({"name": "lab", "networks": ["198.51.100.0/24"], "ports": [{"port": 443}]});
    let host = json!({"name": "host", "domainNames": ["*.example.com", "www.example.org"], "ports": [{"port": 443}]});
    let mut world = world(json!([lab, host]), Installed::default());
    world.settings = Settings::new(Some(&spec)).with(EXPERIMENTAL);
    let world = settled(world);
    assert_eq!(said(&world).1, "BackendMissing");
    let policies = world.names(ChildKind::NetworkPolicy);
    assert!(
        policies.contains(&"cloister-allow.lab.lab") && !policies.contains(&"cloister-allow.lab.host"),
        "{policies:?}"
    );
    assert!(world.names(ChildKind::ClusterNetworkPolicy).is_empty());
}
