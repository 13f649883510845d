//! What is said of an allowlist to whoever publishes it.

use super::*;
use cloister_core::catalogue::{self, Users};

fn research(name: &str, labels: Value, allowlists: &[&str], egress: Value) -> ResearchNamespace {
    let object = json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
        "metadata": {"name": name, "labels": labels},
        "spec": {"tier": "Standard", "egress": {"allowlists": allowlists}},
        "status": {"egress": egress},
    });
    serde_json::from_value(object).unwrap()
}

/// Status, reason and message of what is said of an allowlist with this spec, which these namespaces may use.
fn said_of(spec: Value, research: &[ResearchNamespace]) -> (String, String, String) {
    let list = allowlist(spec).unwrap();
    let declared = research.iter().map(|research| (research.metadata.name.as_deref().unwrap(), research));
    let users: Users<'_> = catalogue::users("lab", &list, declared, at(0));
    let settings = world(json!({})).settings;
    let status = catalogue::allowlist(&list, &users, &|_| None, &settings, at(0)).unwrap();
    let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
    (ready.status, ready.reason, ready.message)
}

/// Of one that nobody names.
const NO_USER: &str = "no research namespace names it in egress.allowlists; one that declares a rule which it covers says so in \
                       its status.egress";

fn need(state: &str, reason: &str, message: &str) -> Value {
    json!([{"name": "allowlist/lab", "state": state, "reason": reason, "message": message}])
}

#[test]
fn whom_it_keeps_out_is_said_to_who_publishes_it() {
    let spec = json!({"namespaceSelector": {"matchLabels": {"Team": "interp"}}});
    let vis = || research("vis", json!({"team": "vis"}), &["lab"], json!([]));
    let (status, reason, message) = said_of(spec.clone(), &[vis()]);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "AllowsNone"));
    assert_eq!(
        message,
        "no research namespace that it allows names it; 1 research namespace names it and is not allowed: vis (its namespaceSelector \
         requires Team=interp, and the ResearchNamespace has no label Team); widen namespaceSelector, or label them"
    );
    let interp = research("interp", json!({"Team": "interp"}), &["lab"], need("Active", "", ""));
    let (_, reason, message) = said_of(spec, &[vis(), interp]);
    assert_eq!(reason, "Reconciled");
    assert!(
        message.starts_with(
            "open as a whole in 1 of the 1 research namespace that uses it; 1 research namespace names it and is not allowed: vis ("
        ),
        "{message}"
    );
}

#[test]
fn a_selector_that_kubernetes_would_refuse_is_said_to_who_publishes_it() {
    // From before the schema refused it.
    let selector = json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["nina@example.com"]}]});
    let (status, reason, message) = said_of(
        json!({"namespaceSelector": selector}),
        &[research("vis", json!({"team": "vis"}), &["lab"], json!([]))],
    );
    assert_eq!((status.as_str(), reason.as_str()), ("False", "SelectorRefused"));
    assert_eq!(
        message,
        "namespaceSelector is invalid: \"nina@example.com\" is not the value of a label. It selects no research namespace, so \
         the allowlist opens nothing; correct it"
    );
}

#[test]
fn one_that_has_ended_says_in_how_many_namespaces() {
    let names = |count: usize| (0..count).map(|at| research(&format!("n{at}"), json!({}), &["lab"], json!([])));
    let end = at(0).to_string();
    for (count, closed) in [
        (0, ""),
        (1, " in 1 research namespace that would use it (n0)"),
        (5, " in 5 research namespaces that would use it (n0, n1, n2 and 2 more)"),
    ] {
        let all: Vec<ResearchNamespace> = names(count).collect();
        let (_, reason, message) = said_of(json!({"namespaceSelector": {}, "expiresAt": end}), &all);
        assert_eq!(reason, "Expired");
        let wanted =
            format!("ended at {end} (expiresAt), and opens nothing{closed}; set a later expiresAt, or delete it");
        assert_eq!(message, wanted);
    }
    // So where nobody has named it.
    let unnamed = research("n0", json!({}), &[], json!([]));
    let always = json!({"namespaceSelector": {}, "expiresAt": end, "attach": "Always"});
    assert!(said_of(always, &[unnamed]).2.contains("that would use it (n0)"));
}

#[test]
fn one_that_allows_nobody_says_so() {
    let vis = || research("vis", json!({"team": "vis"}), &["lab"], json!([]));
    for attach in ["OnRequest", "Always"] {
        let (status, reason, message) = said_of(json!({"namespaceSelector": null, "attach": attach}), &[vis()]);
        assert_eq!((status.as_str(), reason.as_str()), ("True", "AllowsNone"));
        assert!(
            message.starts_with("it has no namespaceSelector, so it allows no research namespace; write one"),
            "{message}"
        );
    }
    let none_by = |required: &str| {
        format!(
            "its namespaceSelector ({required}) selects no research namespace; correct it, or ask a platform engineer to set the \
             labels that it selects on ResearchNamespaces"
        )
    };
    let others = json!({"namespaceSelector": {"matchLabels": {"team": "interp"}}, "attach": "Always"});
    let unnamed = research("vis", json!({"team": "vis"}), &[], json!([]));
    let (_, reason, message) = said_of(others.clone(), std::slice::from_ref(&unnamed));
    assert_eq!((reason.as_str(), message.as_str()), ("AllowsNone", none_by("team=interp").as_str()));
    let (_, reason, message) = said_of(json!({"namespaceSelector": {}}), &[unnamed]);
    assert_eq!((reason.as_str(), message.as_str()), ("Reconciled", NO_USER));
    // Nobody may use it, on request or not; where there is nobody yet, that is nobody's mistake.
    let mistyped = json!({"namespaceSelector": {"matchLabels": {"team": "interpp"}}, "attach": "OnRequest"});
    let (status, reason, message) =
        said_of(mistyped.clone(), &[research("vis", json!({"team": "vis"}), &[], json!([]))]);
    assert_eq!(
        (status.as_str(), reason.as_str(), message.as_str()),
        ("True", "AllowsNone", none_by("team=interpp").as_str())
    );
    let (_, reason, message) = said_of(mistyped, &[]);
    assert_eq!((reason.as_str(), message.as_str()), ("Reconciled", NO_USER));
}

#[test]
fn what_is_cut_out_of_it_is_said_to_who_publishes_it() {
    let rules = json!([{"name": "wide", "networks": ["169.254.0.0/15"], "ports": [{"port": 443}]}]);
    let spec = json!({"namespaceSelector": {}, "rules": rules});
    let cut = "169.254.0.0/16 is never opened by address: ";
    let well = research("well", json!({}), &["lab"], need("Active", "", &format!("a part of it stays closed: {cut}…")));
    let (status, _, message) = said_of(spec, &[well]);
    assert_eq!(status, "True");
    let wanted = format!(
        "open, except for a part, in 1 of the 1 research namespace that uses it; a part of rule wide stays closed: {cut}"
    );
    assert!(message.starts_with(&wanted), "{message}");
}

#[test]
fn why_it_is_not_open_as_a_whole_is_said() {
    let of = |name: &str, egress: Value| research(name, json!({}), &["lab"], egress);
    let why = "huggingface.cc has no address in DNS";
    let typos = || of("typos", need("Unresolved", "NoAddress", why));
    let spec = json!({"namespaceSelector": {}});
    let (status, reason, message) = said_of(spec.clone(), &[typos()]);
    assert_eq!((status.as_str(), reason.as_str()), ("True", "NoAddress"));
    assert_eq!(
        message,
        "open as a whole in 0 of the 1 research namespace that uses it; in typos: huggingface.cc has no address in DNS"
    );
    let well = of("well", need("Active", "", ""));
    let (_, reason, message) = said_of(spec.clone(), &[typos(), well]);
    assert_eq!(reason, "Reconciled", "it is open somewhere");
    assert!(
        message.starts_with("open as a whole in 1 of the 2 research namespaces that use it; in typos: "),
        "{message}"
    );
    // While a name is being looked up there is nothing to say of it.
    let unknown = cloister_core::dns::NameState::Unknown.reason();
    let (_, reason, message) = said_of(spec.clone(), &[of("new", need("Unresolved", unknown, "wait"))]);
    assert_eq!(reason, "Reconciled");
    assert!(message.ends_with("research namespace that uses it"), "{message}");
    let many: Vec<ResearchNamespace> =
        (0..5).map(|at| of(&format!("n{at}"), need("Unresolved", "NoAddress", why))).collect();
    let (_, _, message) = said_of(spec, &many);
    assert!(message.ends_with(&format!("; in n0, n1, n2 and 2 more: {why}")), "{message}");
}

#[test]
fn what_never_opens_and_who_uses_the_rest_are_two_sentences() {
    let rules =
        json!([{"name": "meta", "networks": ["169.254.169.254/32", "203.0.113.0/24"], "ports": [{"port": 80}]}]);
    let (status, reason, message) = said_of(json!({"namespaceSelector": {}, "rules": rules}), &[]);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NetworksNeverOpened"));
    assert!(
        message.starts_with("these entries of its rules stay closed wherever it is used: rule meta: "),
        "{message}"
    );
    assert!(message.ends_with(&format!("; for the rest: {NO_USER}")), "{message}");
    let rules = json!([{"name": "meta", "networks": ["169.254.169.254/32"], "ports": [{"port": 80}]}]);
    let (_, _, message) = said_of(json!({"namespaceSelector": {}, "rules": rules}), &[]);
    assert!(message.starts_with("all of it stays closed wherever it is used: rule meta: "), "{message}");
    assert!(message.ends_with(&format!("; {NO_USER}")) && !message.contains("for the rest"), "{message}");
}

/// What never opens is said once, and not again for each namespace in which it is not open; what else is not open there stays.
#[test]
fn each_thing_is_said_once() {
    let rule = |name: &str, target: (&str, Value)| json!({"name": name, target.0: target.1, "ports": [{"port": 443}]});
    let meta = || rule("meta", ("networks", json!(["169.254.169.254/32"])));
    let store = || rule("store", ("domainNames", json!(["storage.googleapis.com"])));
    let hub = || rule("hub", ("domainNames", json!(["hub.example.com"])));
    let wild = || rule("wild", ("domainNames", json!(["*.arxiv.org"])));
    for (rules, names_hub) in [
        (vec![meta()], false),
        (vec![store()], false),
        (vec![wild()], false),
        (vec![meta(), wild(), store()], false),
        (vec![meta(), wild(), hub()], true),
    ] {
        let mut place = world(json!({"egress": {"allowlists": ["lab"]}}));
        place.allowlists.insert("lab".into(), allowlist(json!({"rules": rules})));
        let told = settled(place).declared.unwrap().status.unwrap();
        // Nobody has answered for the name, and that is said there.
        let entry = told.egress.iter().find(|need| need.name == "allowlist/lab").unwrap();
        let there = |name: &str| research(name, json!({}), &["lab"], json!([entry]));
        let (_, _, message) = said_of(json!({"namespaceSelector": {}, "rules": rules}), &[there("a"), there("b")]);
        for once in ["169.254.169.254/32", "*.arxiv.org", "is at or below", "hub.example.com"] {
            assert!(message.matches(once).count() <= 1, "{once}: {message}");
        }
        assert_eq!(message.contains("in a, b: the operator is resolving hub.example.com"), names_hub, "{message}");
        assert!(message.contains("open as a whole in 0 of the 2 research namespaces that use it"), "{message}");
        assert!(!message.contains("in a, b") || names_hub, "{message}");
        assert!(!message.contains("can be corrected by") && !message.contains("; ;"), "{message}");
    }
}
