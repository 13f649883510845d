use super::*;
use serde_json::{Value, json};

fn rule(target: Value) -> EgressRule {
    let mut rule = json!({"name": "r", "ports": [{"port": 443}, {"port": 8000, "endPort": 8010}]});
    rule.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
    serde_json::from_value(rule).unwrap()
}

/// What a policy for pods `app=a` with this one entry has too much, under these rules, of which all must agree.
fn too_much(entry: Value, rules: &[EgressRule]) -> Option<String> {
    let policy: NetworkPolicy = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"], "egress": [entry]},
    }))
    .unwrap();
    let host = |name: &str, addresses: &[&str]| Held {
        host: crate::dns::Host { name: name.parse().unwrap(), expected: None },
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        state: crate::dns::NameState::Held,
        answered: None,
        changes_at: None,
    };
    let mut private = host("blob.example.com", &["10.40.1.1", "64:ff9b::a28:101", "64:ff9b::a29:101"]);
    private.host.expected = Some(["10.40.0.0/16".parse().unwrap()].into());
    let names = [host("a.example.com", &["198.51.100.7"]), host("b.example.com", &["198.51.100.8"]), private];
    let never = NeverOpened::new(&["203.0.113.0/28".parse().unwrap()]);
    let facts = Facts { names: &names, services: &|_| None, never: &never };
    let agreed = vec![rules.iter().map(|rule| Declaration::rule(rule).unwrap()).collect()];
    excess(&policy, &agreed, &facts).unwrap().map(|excess| excess.what)
}

fn block(cidr: &str, port: Value) -> Value {
    json!({"to": [{"ipBlock": {"cidr": cidr}}], "ports": [port]})
}

#[test]
fn what_was_agreed_to_is_no_excess() {
    let https = || json!({"protocol": "TCP", "port": 443});
    let lab = rule(json!({"networks": ["198.51.0.0/16"]}));
    assert_eq!(too_much(block("198.51.100.0/24", https()), std::slice::from_ref(&lab)), None);
    let range = json!({"protocol": "TCP", "port": 8003, "endPort": 8010});
    assert_eq!(too_much(block("198.51.0.0/16", range), std::slice::from_ref(&lab)), None);
    let both = [rule(json!({"domainNames": ["*.example.com"]})), rule(json!({"domainNames": ["a.example.com"]}))];
    assert_eq!(too_much(block("198.51.100.7/32", https()), &both), None);
}

#[test]
fn what_dns64_adds_to_a_private_endpoint_is_as_agreed_as_the_address_in_it() {
    let https = || json!({"protocol": "TCP", "port": 443});
    let networks = ["10.40.0.0/16"];
    let blob = json!({"privateEndpoint": {"domainName": "blob.example.com", "expectedNetworks": networks}});
    let (blob, by_network) = ([rule(blob)], [rule(json!({"networks": networks}))]);
    for within in ["10.40.1.1/32", "64:ff9b::a28:101/128"] {
        assert_eq!(too_much(block(within, https()), &blob), None, "{within}");
    }
    for beyond in ["64:ff9b::a29:101/128", "64:ff9b::a28:102/128", "64:ff9b::a28:100/127"] {
        assert!(too_much(block(beyond, https()), &blob).is_some(), "{beyond}");
    }
    assert!(too_much(block("64:ff9b::a28:101/128", https()), &by_network).is_some(), "networks are meant as they are");
}

#[test]
fn what_nobody_agreed_to_is_found() {
    let https = || json!({"protocol": "TCP", "port": 443});
    let lab = rule(json!({"networks": ["198.51.100.0/24", "203.0.113.0/24"]}));
    let found = |entry: Value, rule: &EgressRule| too_much(entry, std::slice::from_ref(rule)).unwrap();
    assert_eq!(found(block("198.51.100.0/23", https()), &lab), "198.51.101.0 of 198.51.100.0/23 on TCP/443");
    assert_eq!(
        found(block("203.0.113.0/24", https()), &lab),
        "203.0.113.0 of 203.0.113.0/24 on TCP/443",
        "the cluster's own"
    );
    let wide = json!({"protocol": "TCP", "port": 8000, "endPort": 8011});
    assert!(found(block("198.51.100.0/24", wide), &lab).ends_with("on TCP/8011"));
    assert!(found(block("198.51.100.0/24", json!({"protocol": "UDP", "port": 443})), &lab).ends_with("UDP/443"));
    assert!(found(block("198.51.100.0/24", json!({"protocol": "TCP"})), &lab).ends_with("TCP/1"));
    assert_eq!(found(json!({"ports": [https()]}), &lab), "all destinations or all ports");
    assert_eq!(found(json!({"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}), &lab), "all destinations or all ports");
    assert!(found(json!({"to": [{"podSelector": {}}], "ports": [https()]}), &lab).contains("pods"));
    let a = rule(json!({"domainNames": ["a.example.com"]}));
    assert!(found(block("198.51.100.8/32", https()), &a).starts_with("198.51.100.8"));
    let b = rule(json!({"domainNames": ["b.example.com"]}));
    assert!(too_much(block("198.51.100.7/32", https()), &[a, b]).is_some(), "both must agree");
    let others = rule(json!({"networks": ["0.0.0.0/0"], "podSelector": {"matchLabels": {"app": "b"}}}));
    assert!(found(block("198.51.100.0/24", https()), &others).contains("198.51.100.0"), "it is about other pods");
    let nobody = json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": []}]});
    let nobodys = rule(json!({"networks": ["0.0.0.0/0"], "podSelector": nobody}));
    assert!(found(block("198.51.100.0/24", https()), &nobodys).contains("198.51.100.0"), "it cannot be parsed");
}

#[test]
fn a_policy_with_a_selector_that_cannot_be_parsed_is_not_applied() {
    let (lab, never) = (rule(json!({"networks": ["0.0.0.0/0"]})), NeverOpened::new(&[]));
    let agreed = vec![vec![Declaration::rule(&lab).unwrap()]];
    let facts = Facts { names: &[], services: &|_| None, never: &never };
    let said = |pods: Value| {
        let spec = json!({
            "podSelector": pods, "policyTypes": ["Egress"],
            "egress": [block("198.51.100.0/24", json!({"protocol": "TCP", "port": 443}))],
        });
        let policy = json!({"metadata": {"namespace": "interp", "name": "p"}, "spec": spec});
        objection(&serde_json::from_value(policy).unwrap(), &agreed, &facts)
    };
    assert_eq!(said(json!({"matchLabels": {"app": "a"}})), None);
    let message = "NetworkPolicy interp/p is invalid: a selector is invalid: Gt on app is not an operator; correct or \
                   delete it";
    let newer = json!({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]});
    assert_eq!(said(newer).as_deref(), Some(message));
}
