//! What holds for every request and every expression: an expression sees what was asked for and nothing else, and what
//! passes the check never fails for its types.

use cloister_api::{EgressGrant, Identity, RoleGrant, Sensitivity, StorageAccessGrant};
use cloister_core::{
    auto_approve::{Evaluation, Request, approves, check},
    grant::Grant,
};
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

fn maybe(name: &'static str, values: Vec<Value>) -> impl Strategy<Value = Option<(&'static str, Value)>> {
    prop::option::of(prop::sample::select(values).prop_map(move |value| (name, value)))
}

fn together(all: Vec<Option<(&'static str, Value)>>) -> Map<String, Value> {
    all.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What all kinds of grants may say, each thing or not.
fn terms() -> impl Strategy<Value = Map<String, Value>> {
    let all = vec![
        maybe("requestedDuration", vec![json!("10m"), json!("4h")]).boxed(),
        maybe("startTime", vec![json!("2027-01-15T09:00:00Z")]).boxed(),
        maybe("justification", vec![json!("an eval"), json!(""), json!(" \u{200b}")]).boxed(),
        maybe("ticketRef", vec![json!("SEC-1"), json!(""), json!("\u{a0}"), json!(null)]).boxed(),
        maybe("breakGlass", vec![json!(true), json!(false)]).boxed(),
    ];
    all.prop_map(together)
}

fn requester() -> impl Strategy<Value = Value> {
    let all = vec![
        Just(Some(("username", json!("alice")))).boxed(),
        Just(Some(("groups", json!(["researchers", "staff"])))).boxed(),
        maybe("uid", vec![json!("u1"), json!("")]).boxed(),
        maybe("personKey", vec![json!("p1"), json!("")]).boxed(),
    ];
    all.prop_map(|all| Value::Object(together(all)))
}

/// Where a rule leads: one of four.
fn destination() -> impl Strategy<Value = Option<(&'static str, Value)>> {
    prop::sample::select(vec![
        ("domainNames", json!(["a.example.com", "b.example.com"])),
        ("networks", json!(["192.0.2.0/24"])),
        ("service", json!({"namespace": "infra", "name": "cache"})),
        ("privateEndpoint", json!({"domainName": "a.example.com", "expectedNetworks": ["10.0.0.0/8"]})),
    ])
    .prop_map(Some)
}

fn rule() -> impl Strategy<Value = Value> {
    let all = vec![
        Just(Some(("name", json!("lab")))).boxed(),
        destination().boxed(),
        maybe("podSelector", vec![json!({}), json!({"matchLabels": {"app": "sync"}}), json!(null)]).boxed(),
        prop::sample::select(vec![json!([{"port": 443}]), json!([{"port": 22, "endPort": 23, "protocol": "UDP"}])])
            .prop_map(|ports| Some(("ports", ports)))
            .boxed(),
    ];
    all.prop_map(|all| Value::Object(together(all)))
}

fn subjects() -> Value {
    json!([{"kind": "ServiceAccount", "name": "trainer"}])
}

/// The spec of a grant of some kind.
fn spec() -> impl Strategy<Value = (&'static str, Value)> {
    let storage = vec![
        maybe("mount", vec![json!({"serviceAccountName": "trainer", "mountPath": "/mnt"}), json!(null)]).boxed(),
        maybe("onExpiry", vec![json!("Terminate"), json!("Empty")]).boxed(),
    ];
    let own = prop_oneof![
        storage.prop_map(|all| {
            let mut own = together(all);
            own.extend([("storage".into(), json!("weights")), ("role".into(), json!("reader"))]);
            own.insert("subjects".into(), subjects());
            ("StorageAccessGrant", own)
        }),
        rule().prop_map(|rule| ("EgressGrant", [("rule".to_owned(), rule)].into_iter().collect())),
        Just((
            "RoleGrant",
            [("role".into(), json!("debugger")), ("subjects".into(), subjects())].into_iter().collect()
        )),
    ];
    (own, terms(), requester()).prop_map(|((kind, mut own), terms, by): ((_, Map<String, Value>), _, _)| {
        own.extend(terms);
        own.insert("requestedBy".into(), by);
        (kind, Value::Object(own))
    })
}

fn grant(kind: &str, spec: &Value) -> Grant {
    let object = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": kind, "metadata": {"name": "eval", "namespace": "interp"}, "spec": spec,
    });
    match kind {
        "StorageAccessGrant" => Grant::from(serde_json::from_value::<StorageAccessGrant>(object).unwrap()),
        "EgressGrant" => Grant::from(serde_json::from_value::<EgressGrant>(object).unwrap()),
        _ => Grant::from(serde_json::from_value::<RoleGrant>(object).unwrap()),
    }
}

fn request(grant: &Grant, sensitivity: Option<Sensitivity>) -> Value {
    let requester: &Identity = grant.terms().requested_by.unwrap();
    let request = Request::of(grant, "interp", requester, SignedDuration::from_hours(1), sensitivity);
    serde_json::to_value(request).unwrap()
}

/// What was asked for, as it is stored: without what is null, says nothing, or is false, and with the defaults.
fn asked(value: &Value) -> Value {
    let says_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.chars().all(|one| one.is_whitespace() || one == '\u{200b}'),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            let mut kept: Map<String, Value> = fields
                .iter()
                .filter(|(_, field)| !says_nothing(field))
                .map(|(name, field)| (name.clone(), asked(field)))
                .collect();
            if kept.contains_key("port") && !kept.contains_key("protocol") {
                kept.insert("protocol".into(), json!("TCP"));
            }
            if kept.contains_key("storage") && !kept.contains_key("onExpiry") {
                kept.insert("onExpiry".into(), json!("Terminate"));
            }
            Value::Object(kept)
        }
        Value::Array(items) => items.iter().map(asked).collect(),
        other => other.clone(),
    }
}

/// The places that a field can be asked for at.
fn places() -> Vec<&'static str> {
    vec![
        "startTime",
        "justification",
        "ticketRef",
        "breakGlass",
        "sensitivity",
        "storage",
        "role",
        "mount",
        "mount.mountPath",
        "onExpiry",
        "subjects",
        "rule",
        "rule.name",
        "rule.domainNames",
        "rule.networks",
        "rule.service",
        "rule.service.name",
        "rule.privateEndpoint",
        "rule.privateEndpoint.domainName",
        "rule.podSelector",
        "rule.podSelector.matchLabels",
        "rule.ports",
        "requestedBy",
        "requestedBy.uid",
        "requestedBy.personKey",
        "requestedBy.groups",
    ]
}

proptest! {
    #[test]
    fn an_expression_sees_what_was_asked_for_and_nothing_else((kind, spec) in spec()) {
        let grant = grant(kind, &spec);
        let seen = request(&grant, None);
        let mut expected = asked(&spec);
        for (name, value) in [
            ("kind", json!(kind)), ("namespace", json!("interp")), ("name", json!("eval")), ("requestedDuration", json!("3600s")),
        ] {
            expected[name] = value;
        }
        prop_assert_eq!(&seen, &expected);

        for place in places() {
            let pointer = format!("/{}", place.replace('.', "/"));
            let is_there = expected.pointer(&pointer).is_some();
            let has = |expression: &str| matches!(approves(&[expression.to_owned()], &seen), Evaluation::Approved { .. });
            let asked = format!("has(request.{place})");
            prop_assert_eq!(check(std::slice::from_ref(&asked)), Vec::<String>::new());
            prop_assert_eq!(has(&asked), is_there, "{} of {}", asked, seen);
            if let Some((object, field)) = place.rsplit_once('.') {
                let within = format!("has(request.{object}) && '{field}' in request.{object}");
                prop_assert_eq!(has(&within), is_there, "{} of {}", within, seen);
            }
        }
    }

    #[test]
    fn what_passes_the_check_never_fails_for_its_types(
        (kind, spec) in spec(),
        sensitivity in prop::option::of(Just(Sensitivity::High)),
        expression in truth(2),
    ) {
        let expressions = [expression];
        if !check(&expressions).is_empty() {
            return Ok(());
        }
        let seen = request(&grant(kind, &spec), sensitivity);
        if let Evaluation::NotApproved { errors } = approves(&expressions, &seen) {
            for error in errors {
                let is_of_a_value = ["No such key", "by zero", "outside of its list", "too large", "duration", "timestamp", "optional", "parse"];
                prop_assert!(
                    is_of_a_value.iter().any(|known| error.contains(known)),
                    "{} of {}: {}", expressions[0], seen, error
                );
            }
        }
    }
}

/// The generator reaches both sides of the check, often.
#[test]
fn the_generated_expressions_pass_and_fail() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut passed, mut seen) = (0, BTreeSet::new());
    for _ in 0..400 {
        let expression = truth(2).new_tree(&mut runner).unwrap().current();
        passed += usize::from(check(std::slice::from_ref(&expression)).is_empty());
        seen.insert(expression);
    }
    assert!(passed > 40 && seen.len() - passed > 40, "{passed} of {}", seen.len());
}

fn one_of(all: &[&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(all.to_vec()).prop_map(str::to_owned).boxed()
}

/// Now and then a value of another type than the one that fits.
fn or_another(fits: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let another = one_of(&[
        "request",
        "request.rule",
        "request.mount",
        "request.subjects",
        "request.misspelt",
        "request.rule.misspelt",
        "1",
        "2u",
        "1.5",
        "true",
        "null",
        "[]",
        "[1, 'a']",
        "[1, 2]",
        "{'a': 1}",
        "b'a'",
        "duration('1h')",
        "request.?ticketRef",
        "timestamp('2027-01-15T09:00:00Z')",
        "request.rule.podSelector.matchExpressions",
    ]);
    prop_oneof![24 => fits, 1 => another].boxed()
}

fn text(depth: u32) -> BoxedStrategy<String> {
    let leaf = one_of(&[
        "request.role",
        "request.namespace",
        "request.requestedDuration",
        "request.ticketRef",
        "request.rule.name",
        "request.mount.mountPath",
        "request.subjects[0].name",
        "request.requestedBy.groups[1]",
        "request['kind']",
        "request.rule.podSelector.matchLabels['app']",
        "request.?mount.serviceAccountName.orValue('')",
        "'interp'",
        "request.rule[?'name'].orValue('lab')",
        "request.sensitivity",
        "request.rule.privateEndpoint.domainName",
    ]);
    if depth == 0 {
        return or_another(leaf);
    }
    let grown = prop_oneof![
        3 => leaf,
        1 => (text(depth - 1), text(depth - 1)).prop_map(|(a, b)| format!("({a} + {b})")),
        1 => number(depth - 1).prop_map(|a| format!("string({a})")),
        1 => (truth(depth - 1), text(depth - 1), text(depth - 1)).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        1 => texts(depth - 1).prop_map(|a| format!("{a}[0]")),
    ];
    or_another(grown.boxed())
}

fn number(depth: u32) -> BoxedStrategy<String> {
    let leaf = one_of(&["1", "-2", "9223372036854775807", "request.rule.ports[0].port", "size(request.subjects)"]);
    if depth == 0 {
        return or_another(leaf);
    }
    let operators = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
    let grown = prop_oneof![
        2 => leaf,
        1 => (number(depth - 1), operators, number(depth - 1)).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        1 => text(depth - 1).prop_map(|a| format!("size({a})")),
        1 => texts(depth - 1).prop_map(|a| format!("{a}.size()")),
        1 => text(depth - 1).prop_map(|a| format!("duration({a}).getHours()")),
        1 => text(depth - 1).prop_map(|a| format!("int({a})")),
    ];
    or_another(grown.boxed())
}

fn texts(depth: u32) -> BoxedStrategy<String> {
    let leaf =
        one_of(&["request.requestedBy.groups", "request.rule.networks", "request.rule.domainNames", "['a', 'interp']"]);
    if depth == 0 {
        return or_another(leaf);
    }
    let grown = prop_oneof![
        3 => leaf,
        1 => (texts(0), text(depth - 1)).prop_map(|(a, b)| format!("{a}.filter(x, x == {b})")),
        1 => Just("request.subjects.map(s, s.name)".to_owned()),
        1 => (text(depth - 1), text(depth - 1)).prop_map(|(a, b)| format!("[{a}, {b}]")),
    ];
    or_another(grown.boxed())
}

fn truth(depth: u32) -> BoxedStrategy<String> {
    let inner = depth.saturating_sub(1);
    let comparison = || prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let within = || prop::sample::select(vec!["all", "exists", "exists_one"]);
    let leaf = prop_oneof![
        2 => (text(inner), comparison(), text(inner)).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        2 => (number(inner), comparison(), number(inner)).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => (text(inner), comparison(), text(inner)).prop_map(|(a, op, b)| format!("duration({a}) {op} duration({b})")),
        1 => (text(inner), texts(inner)).prop_map(|(a, b)| format!("{a} in {b}")),
        1 => (texts(inner), within(), text(inner)).prop_map(|(a, name, b)| format!("{a}.{name}(x, x == {b})")),
        1 => (within(), text(inner)).prop_map(|(name, b)| format!("request.subjects.{name}(s, s.name == {b})")),
        1 => (within(), number(inner)).prop_map(|(name, b)| format!("request.rule.ports.{name}(p, p.port < {b})")),
        1 => (text(inner), prop::sample::select(vec!["startsWith", "endsWith", "contains"]), text(inner))
            .prop_map(|(a, name, b)| format!("{a}.{name}({b})")),
        1 => prop::sample::select(places()).prop_map(|place| format!("has(request.{place})")),
        1 => one_of(&["request.?ticketRef.hasValue()", "request.breakGlass", "request.rule.service.name == 'cache'"]),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let grown = prop_oneof![
        3 => leaf,
        1 => (truth(inner), prop::sample::select(vec!["&&", "||", "=="]), truth(inner)).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
        1 => truth(inner).prop_map(|a| format!("!({a})")),
    ];
    or_another(grown.boxed())
}
