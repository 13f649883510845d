use super::*;
use serde_json::{Value, json};

fn policy(spec: Value) -> NetworkPolicy {
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "interp", "name": "p"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

fn pod(namespace: &str, labels: Value) -> Pod {
    let labels = serde_json::from_value(labels).unwrap();
    let ports = vec![NamedPort { name: "web".into(), protocol: Protocol::Tcp, port: 8080 }];
    Pod { namespace: namespace.into(), labels, ports }
}

fn at<'a>(address: &str, pod: Option<&'a Pod>) -> End<'a> {
    End { address: address.parse().unwrap(), pod }
}

/// What one policy says of TCP from a pod of `interp` to an address outside.
fn out(spec: Value, address: &str, port: u16) -> bool {
    let policy = policy(spec);
    let own = pod("interp", json!({"app": "train"}));
    let flow = Flow { from: at("10.0.0.1", Some(&own)), to: at(address, None), protocol: Protocol::Tcp, port };
    let verdict = Policies::read([], [&policy]).unwrap().ask(&flow);
    assert!(verdict.ingress, "nobody isolates what is outside");
    verdict.egress
}

#[test]
fn a_direction_that_is_not_named_is_not_isolated() {
    assert!(!out(json!({"podSelector": {}, "policyTypes": ["Egress"]}), "203.0.113.1", 443));
    assert!(out(json!({"podSelector": {}, "policyTypes": ["Ingress"]}), "203.0.113.1", 443));
    assert!(out(json!({"podSelector": {}}), "203.0.113.1", 443), "without types: egress where it has entries");
    assert!(!out(json!({"podSelector": {}, "egress": [{"to": [{"podSelector": {}}]}]}), "203.0.113.1", 443));
    assert!(out(json!({"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Egress"]}), "203.0.113.1", 443));
}

#[test]
fn an_empty_list_is_all() {
    for entry in [json!({}), json!({"to": [], "ports": []})] {
        assert!(out(json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [entry]}), "::1", 1));
    }
    let nobody = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": []});
    assert!(!out(nobody, "::1", 1));
}

#[test]
fn blocks_hold_addresses_but_for_some() {
    let block = json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}});
    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [block]}]});
    assert!(out(spec.clone(), "10.2.0.1", 1) && !out(spec.clone(), "10.1.0.1", 1) && !out(spec, "::ffff:10.2.0.1", 1));
}

#[test]
fn ports_have_a_protocol_and_may_be_a_range_or_a_name() {
    let on = |port: Value| json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [port]}]});
    assert!(out(on(json!({"port": 443})), "::1", 443) && !out(on(json!({"port": 443})), "::1", 444));
    assert!(!out(on(json!({"port": 443, "protocol": "UDP"})), "::1", 443));
    assert!(
        out(on(json!({"port": 20, "endPort": 22})), "::1", 22)
            && !out(on(json!({"port": 20, "endPort": 22})), "::1", 23)
    );
    assert!(out(on(json!({"protocol": "TCP"})), "::1", 9));
    assert!(!out(on(json!({"port": "web"})), "::1", 8080), "no pod, no name");
    let (own, other) = (pod("interp", json!({})), pod("infra", json!({})));
    let flow = |port| Flow {
        from: at("10.0.0.1", Some(&own)),
        to: at("10.0.0.2", Some(&other)),
        protocol: Protocol::Tcp,
        port,
    };
    let web = policy(on(json!({"port": "web"})));
    let policies = Policies::read([], [&web]).unwrap();
    assert!(policies.ask(&flow(8080)).is_allowed() && !policies.ask(&flow(80)).is_allowed());
}

#[test]
fn pods_are_those_of_the_policys_namespace_unless_it_says_otherwise() {
    let spec = |peer: Value| policy(json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [peer]}]}));
    let team: Labels = serde_json::from_value(json!({"team": "a"})).unwrap();
    let own = pod("interp", json!({}));
    let asks = |peer: Value, namespace: &str, labels: Value| {
        let (policy, other) = (spec(peer), pod(namespace, labels));
        let flow = Flow {
            from: at("10.0.0.1", Some(&own)),
            to: at("10.0.0.2", Some(&other)),
            protocol: Protocol::Udp,
            port: 53,
        };
        Policies::read([("infra", &team)], [&policy]).unwrap().ask(&flow).egress
    };
    assert!(asks(json!({"podSelector": {}}), "interp", json!({})));
    assert!(!asks(json!({"podSelector": {}}), "infra", json!({})));
    assert!(asks(json!({"namespaceSelector": {}}), "infra", json!({})));
    assert!(asks(json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}), "infra", json!({})));
    assert!(!asks(json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}), "interp", json!({})));
    let both =
        json!({"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {"matchLabels": {"app": "dns"}}});
    assert!(asks(both.clone(), "infra", json!({"app": "dns"})) && !asks(both, "infra", json!({})));
}

#[test]
fn policies_add_up() {
    let deny = policy(json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    let open =
        policy(json!({"podSelector": {"matchLabels": {"app": "sync"}}, "policyTypes": ["Egress"], "egress": [{}]}));
    let policies = Policies::read([], [&deny, &open]).unwrap();
    let (sync, train) = (pod("interp", json!({"app": "sync"})), pod("interp", json!({"app": "train"})));
    let egress = |from| {
        let flow = Flow { from: at("10.0.0.1", Some(from)), to: at("::1", None), protocol: Protocol::Tcp, port: 1 };
        policies.ask(&flow).egress
    };
    assert!(egress(&sync) && !egress(&train));
    let inside =
        Flow { from: at("10.0.0.1", Some(&sync)), to: at("10.0.0.2", Some(&train)), protocol: Protocol::Tcp, port: 1 };
    assert_eq!(policies.ask(&inside), Reachability { egress: true, ingress: false });
}

#[test]
fn what_the_api_server_would_not_take_is_refused() {
    let egress = |entry: Value| json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [entry]});
    for (spec, says) in [
        (json!({"policyTypes": ["Both"]}), "\"Both\" is not a policy type"),
        (json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "In"}]}}), "In on app needs values"),
        (egress(json!({"to": [{"podSelector": {"matchLabels": {"a b": ""}}}]})), "\"a b\" is not the key of a label"),
        (
            egress(json!({"to": [{"namespaceSelector": {"matchExpressions": [{"key": "app", "operator": "Gt"}]}}]})),
            "Gt on app is not an operator",
        ),
        (egress(json!({"to": [{}]})), "has no selector"),
        (egress(json!({"to": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]})), "is not a CIDR"),
        (egress(json!({"to": [{"ipBlock": {"cidr": "::/0"}, "podSelector": {}}]})), "both a selector and an ipBlock"),
        (egress(json!({"ports": [{"protocol": "ICMP"}]})), "not a protocol"),
        (egress(json!({"ports": [{"port": 0}]})), "0 is not a port"),
        (egress(json!({"ports": [{"port": 70000}]})), "not a port"),
        (egress(json!({"ports": [{"port": 9, "endPort": 8}]})), "endPort 8 is less than port 9"),
        (egress(json!({"ports": [{"port": "web", "endPort": 8}]})), "numeric port"),
    ] {
        let policy = policy(spec);
        let error = Policies::read([], [&policy]).unwrap_err().to_string();
        assert!(error.starts_with("NetworkPolicy interp/p is invalid: ") && error.contains(says), "{error}");
    }
}
