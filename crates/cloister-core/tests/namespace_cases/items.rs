//! What of a need stays closed when one item of it cannot be opened, and what is said of it.

use super::{allowlist, blocks, config, learn, need, policies, said, settled, world};
use crate::namespaces::{NAME, World, at};
use cloister_api::EgressState;
use cloister_core::{catalogue, catalogue::Users, dns::KnownName};
use serde_json::{Value, json};

fn message(world: &World, name: &str) -> String {
    let status = world.declared.as_ref().unwrap().status.clone().unwrap();
    status.egress.into_iter().find(|need| need.name == name).unwrap().message
}

fn with_allowlist(rules: Value) -> World {
    let mut world = world(json!({"egress": {"allowlists": ["lab"]}}));
    world.allowlists.insert("lab".into(), allowlist(json!({"rules": rules})));
    world
}

fn known(world: &World, address: &str) -> KnownName {
    let mut known = KnownName::default();
    learn(&mut known, &[address], world.now);
    known
}

fn hub() -> Value {
    let names =
        ["huggingface.co", "pypi.org", "*.githubusercontent.com", "*.blob.core.windows.net", "*.cloudfront.net"];
    json!([{"name": "hub", "domainNames": names, "ports": [{"port": 443}]}])
}

/// Reason and message of what is said of an allowlist itself.
fn of_allowlist(rules: Value, in_whole: usize) -> (String, String, String) {
    let list = allowlist(json!({"rules": rules})).unwrap();
    let users = Users { names: vec![NAME], in_whole, ..Users::default() };
    let settings = world(json!({})).settings;
    let status = catalogue::allowlist(&list, &users, &|_| None, &settings, at(0)).unwrap();
    let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
    (ready.status, ready.reason, ready.message)
}

#[test]
fn a_name_that_cannot_be_opened_closes_no_other() {
    let mut world = with_allowlist(hub());
    for (name, address) in [("huggingface.co", "198.51.100.7"), ("pypi.org", "198.51.100.8")] {
        world.known.insert(name.into(), known(&world, address));
    }
    let world = settled(world);
    assert_eq!(blocks(&world, "cloister-allow.lab.hub"), ["198.51.100.7/32", "198.51.100.8/32"]);
    assert_eq!(need(&world, "allowlist/lab"), (EgressState::Refused, "NameInvalid".into()));
    let message = message(&world, "allowlist/lab");
    assert!(message.starts_with("partly open: "), "{message}");
    for name in ["*.githubusercontent.com", "*.blob.core.windows.net", "*.cloudfront.net"] {
        assert!(message.contains(name), "{name}: {message}");
    }
    assert!(message.ends_with("EgressAllowlist lab can be corrected by a catalogue administrator"), "{message}");

    let (ready, reason, message) = of_allowlist(hub(), 0);
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "NameInvalid"));
    assert!(message.contains("*.blob.core.windows.net") && message.contains("*.cloudfront.net"), "{message}");
    assert!(message.contains("open as a whole in 0 of the 1 research namespace that uses it"), "{message}");
}

#[test]
fn a_wildcard_that_nothing_opens_covers_all_the_same() {
    let rules = json!([{"name": "papers", "domainNames": ["*.arxiv.org"], "ports": [{"port": 443}]}]);
    let world = settled(with_allowlist(rules.clone()));
    assert_eq!(need(&world, "allowlist/lab"), (EgressState::Refused, "WildcardNotEnforceable".into()));
    assert!(message(&world, "allowlist/lab").starts_with("closed: *.arxiv.org"));
    let (ready, _, message) = of_allowlist(rules, 0);
    assert_eq!(ready, "True");
    assert!(message.contains("open as a whole in 0 of") && message.contains("*.arxiv.org"), "{message}");
}

#[test]
fn a_wildcard_that_covers_a_host_of_the_namespace_is_no_mistake() {
    let rules = json!([{"name": "hub", "domainNames": ["huggingface.co", "*.hf.co"], "ports": [{"port": 443}]}]);
    let own = json!([{"name": "files", "domainNames": ["cas-bridge.xethub.hf.co"], "ports": [{"port": 443}]}]);
    let mut world = world(json!({"egress": {"allowlists": ["lab"], "rules": own}}));
    world.allowlists.insert("lab".into(), allowlist(json!({"rules": rules})));
    for (name, address) in [("huggingface.co", "198.51.100.7"), ("cas-bridge.xethub.hf.co", "198.51.100.8")] {
        world.known.insert(name.into(), known(&world, address));
    }
    let mut world = settled(world);
    assert_eq!(need(&world, "rule/files").0, EgressState::Active);
    assert_eq!(need(&world, "allowlist/lab"), (EgressState::Active, String::new()));
    let covers =
        "*.hf.co covers the hosts below it that egress.rules of the ResearchNamespace name, and opens no other";
    assert_eq!(message(&world, "allowlist/lab"), covers);

    // A host at another port is not covered.
    let rules = &mut world.declared.as_mut().unwrap().spec.egress.rules;
    rules[0].ports = serde_json::from_value(json!([{"port": 22}])).unwrap();
    let mut world = settled(world);
    assert_eq!(need(&world, "rule/files").1, "NotCovered");
    assert_eq!(need(&world, "allowlist/lab"), (EgressState::Refused, "WildcardNotEnforceable".into()));

    // Without such a host it says how to name one, and nobody has to correct the allowlist.
    world.declared.as_mut().unwrap().spec.egress.rules.clear();
    let world = settled(world);
    assert_eq!(need(&world, "allowlist/lab"), (EgressState::Refused, "WildcardNotEnforceable".into()));
    let said = message(&world, "allowlist/lab");
    assert!(said.starts_with("partly open: *.hf.co") && !said.contains("can be corrected"), "{said}");
}

#[test]
fn a_name_that_anybody_can_have_storage_under_closes_no_other() {
    let names = ["api.wandb.ai", "storage.googleapis.com"];
    let rules = json!([{"name": "wandb", "domainNames": names, "ports": [{"port": 443}]}]);
    let mut world = with_allowlist(rules.clone());
    world.known.insert("api.wandb.ai".into(), known(&world, "198.51.100.7"));
    let mut world = settled(world);
    assert_eq!(blocks(&world, "cloister-allow.lab.wandb"), ["198.51.100.7/32"]);
    assert_eq!(need(&world, "allowlist/lab"), (EgressState::NeedsGrant, "TooBroad".into()));
    let said = message(&world, "allowlist/lab");
    assert!(said.starts_with("partly open: storage.googleapis.com is at"), "{said}");
    assert_eq!(of_allowlist(rules, 0).1, "TooBroad");

    // A grant of the one name is enough.
    let grant = json!({"name": "store", "domainNames": ["storage.googleapis.com"], "ports": [{"port": 443}]});
    world.granted.insert("store".into(), serde_json::from_value(grant).unwrap());
    world.known.insert("storage.googleapis.com".into(), known(&world, "198.51.100.9"));
    assert_eq!(need(&settled(world), "allowlist/lab").0, EgressState::Active);
}

#[test]
fn a_range_that_is_too_wide_closes_no_other_and_no_other_family() {
    let networks = ["192.30.252.0/22", "140.82.112.0/20", "2a0a:a440::/29", "2606:50c0::/32"];
    let rules = json!([{"name": "git", "networks": networks, "ports": [{"port": 443}, {"port": 22}]}]);
    let world = settled(with_allowlist(rules));
    let open = ["140.82.112.0/20", "192.30.252.0/22", "2606:50c0::/32"];
    assert_eq!(blocks(&world, "cloister-allow.lab.git"), open);
    let said = message(&world, "allowlist/lab");
    assert!(
        said.contains("2a0a:a440::/29 is wider than the widest range that an EgressAllowlist may open")
            && !said.contains("together"),
        "{said}"
    );
}

#[test]
fn what_does_not_resolve_is_not_said_to_be_open() {
    let rule = |name: &str, host: &str| json!({"name": name, "domainNames": [host], "ports": [{"port": 443}]});
    let rules = json!([rule("a", "a.example.com"), rule("b", "b.example.com"), rule("all", "*.example.org")]);
    let mut world = settled(with_allowlist(rules));
    let said = message(&world, "allowlist/lab");
    assert!(said.starts_with("3 of 3 rules are closed: "), "{said}");
    assert!(said.contains("*.example.org") && said.contains("the operator is resolving a.example.com"), "{said}");
    world.known.insert("a.example.com".into(), known(&world, "198.51.100.7"));
    let said = message(&settled(world), "allowlist/lab");
    assert!(said.starts_with("2 of 3 rules are closed: "), "{said}");
    assert!(said.contains("the operator is resolving b.example.com"), "{said}");
}

/// A rule of which a wildcard covers a host, and whose own host has no address, opens nothing.
#[test]
fn a_rule_that_only_covers_is_counted_as_closed_where_its_own_names_are() {
    let rules = json!([
        {"name": "hub", "domainNames": ["nosuch1.example.com", "*.example.org"], "ports": [{"port": 443}]},
        {"name": "other", "domainNames": ["nosuch2.example.com"], "ports": [{"port": 443}]},
    ]);
    let own = json!([{"name": "m", "domainNames": ["x.example.org"], "ports": [{"port": 443}]}]);
    let mut world = world(json!({"egress": {"allowlists": ["lab"], "rules": own}}));
    world.allowlists.insert("lab".into(), allowlist(json!({"rules": rules})));
    let said = message(&settled(world.clone()), "allowlist/lab");
    assert!(said.starts_with("2 of 2 rules are closed: "), "{said}");
    world.known.insert("nosuch1.example.com".into(), known(&world, "198.51.100.7"));
    let said = message(&settled(world), "allowlist/lab");
    assert!(said.starts_with("1 of 2 rules is closed: "), "{said}");
}

#[test]
fn an_allowlist_that_would_cover_a_rule_is_named() {
    let rule = json!({"name": "r", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]});
    let mut world = world(json!({"egress": {"rules": [rule]}}));
    let other = json!({"matchLabels": {"team": "other"}});
    world.allowlists.insert("elsewhere".into(), allowlist(json!({"namespaceSelector": other})));
    world.allowlists.insert("ended".into(), allowlist(json!({"expiresAt": at(0).to_string()})));
    let part = json!({"rules": [{"name": "lab", "networks": ["203.0.113.0/25"], "ports": [{"port": 443}]}]});
    world.allowlists.insert("half".into(), allowlist(part));
    let world = settled(world);
    assert_eq!(need(&world, "rule/r"), (EgressState::NeedsGrant, "PartlyCovered".into()));
    let said = message(&world, "rule/r");
    for words in [
        "EgressAllowlist elsewhere would cover it, but does not: its namespaceSelector requires team=other",
        "EgressAllowlist ended would cover it, but does not: it ended at",
        "; ask a catalogue administrator to set a later expiresAt",
        "203.0.113.128/25 on TCP/443; the rest is covered by EgressAllowlist half",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// One that covers what is covered anyway would change nothing.
#[test]
fn an_allowlist_that_would_cover_nothing_of_what_is_missing_is_not_named() {
    let rule =
        json!({"name": "r", "networks": ["198.18.4.0/24", "198.18.5.0/25", "198.18.6.0/24"], "ports": [{"port": 443}]});
    let mut world = world(json!({"egress": {"rules": [rule]}}));
    let opens = |selector: Value, network: &str| {
        let rules = json!([{"name": "lab", "networks": [network], "ports": [{"port": 443}]}]);
        allowlist(json!({"namespaceSelector": selector, "rules": rules}))
    };
    let other = || json!({"matchLabels": {"team": "other"}});
    world.allowlists.insert("open".into(), opens(json!({}), "198.18.5.0/25"));
    world.allowlists.insert("same".into(), opens(other(), "198.18.5.0/24"));
    world.allowlists.insert("more".into(), opens(other(), "198.18.4.0/24"));
    let said = message(&settled(world), "rule/r");
    assert!(!said.contains("EgressAllowlist same"), "{said}");
    let more = "EgressAllowlist more would cover a part of what is missing, but does not: its namespaceSelector requires team=other";
    assert!(said.contains(more), "{said}");
}

#[test]
fn an_allowlist_that_has_ended_is_not_ready() {
    let list = allowlist(json!({"expiresAt": at(0).to_string()})).unwrap();
    let settings = world(json!({})).settings;
    let status = catalogue::allowlist(&list, &Users::default(), &|_| None, &settings, at(0)).unwrap();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "Expired"));
}

#[test]
fn one_bad_network_of_an_own_rule_is_its_declarations_mistake_and_closes_itself() {
    let networks = ["203.0.113.0/24", "169.254.170.23/32"];
    let rule = json!({"name": "r", "networks": networks, "ports": [{"port": 443}]});
    let mut world = world(json!({"egress": {"rules": [rule]}}));
    world.allowlists.insert("lab".into(), allowlist(json!({})));
    let world = settled(world);
    assert!(policies(&world).contains(&"cloister-rule.r.0"));
    assert_eq!(need(&world, "rule/r"), (EgressState::Refused, "NetworksNeverOpened".into()));
    assert!(said(&world).contains(&("Ready".into(), "False".into(), "EgressRefused".into())));
}

#[test]
fn what_is_cut_out_of_a_network_is_told_though_the_rest_opens() {
    let rule = |name: &str, network: &str| json!({"name": name, "networks": [network], "ports": [{"port": 22}]});
    let own = json!([rule("hosts", "172.16.0.0/13"), rule("apart", "172.24.0.0/16")]);
    let mut world = World {
        settings: config(json!({"clusterNetworks": ["172.18.0.0/16"]})),
        ..world(json!({"egress": {"allowlists": ["lab"], "rules": own}}))
    };
    let rules = json!([rule("wide", "172.16.0.0/12"), rule("other", "192.168.0.0/24")]);
    world.allowlists.insert("lab".into(), allowlist(json!({"rules": rules})));
    let world = settled(world);
    for (entry, what) in [("allowlist/lab", "wide"), ("rule/hosts", "it")] {
        assert_eq!(need(&world, entry).0, EgressState::Active);
        let told = message(&world, entry);
        let part = format!("a part of {what} stays closed: 172.18.0.0/16 is never opened by address");
        assert_eq!(told.matches(&part).count(), 1, "{told}");
    }
    assert!(!message(&world, "rule/apart").contains("stays closed"));
}
