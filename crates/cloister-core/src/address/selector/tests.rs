use super::*;
use crate::address::Refusal;
use serde_json::json;

fn parsed(value: serde_json::Value) -> Result<Selector, SelectorFault> {
    Selector::parse(Some(&serde_json::from_value(value).unwrap()))
}

fn selector(value: serde_json::Value) -> Selector {
    parsed(value).unwrap()
}

fn as_written(selector: &Selector) -> serde_json::Value {
    serde_json::to_value(LabelSelector::from(selector)).unwrap()
}

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn written_expression(operator: &str, values: &[&str]) -> serde_json::Value {
    json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]})
}

fn expression(operator: &str, values: &[&str]) -> Selector {
    selector(written_expression(operator, values))
}

#[test]
fn matching_is_that_of_kubernetes() {
    let (a, b, none) = (labels(&[("app", "a")]), labels(&[("app", "b")]), labels(&[]));
    let matches = |selector: &Selector| [&a, &b, &none].map(|labels| selector.matches(labels));
    assert_eq!(matches(&Selector::everything()), [true, true, true]);
    assert_eq!(matches(&selector(json!({"matchLabels": {"app": "a"}}))), [true, false, false]);
    assert_eq!(matches(&expression("In", &["a", "c"])), [true, false, false]);
    assert_eq!(matches(&expression("NotIn", &["a"])), [false, true, true]);
    assert_eq!(matches(&expression("Exists", &[])), [true, true, false]);
    assert_eq!(matches(&expression("DoesNotExist", &[])), [false, false, true]);
    let fault = parsed(written_expression("Gt", &["0"])).unwrap_err();
    assert_eq!(fault.to_string(), "Gt on app is not an operator", "it matches nothing, and is said");
}

#[test]
fn a_conjunction_holds_two_values_of_one_label() {
    let a = selector(json!({"matchLabels": {"app": "a", "tier": "x"}}));
    let b = selector(json!({"matchLabels": {"app": "b"}}));
    let both = a.conjunction(&b);
    assert_eq!(both, b.conjunction(&a));
    assert_eq!(
        as_written(&both),
        json!({"matchExpressions": [
            {"key": "app", "operator": "In", "values": ["a"]},
            {"key": "app", "operator": "In", "values": ["b"]},
            {"key": "tier", "operator": "In", "values": ["x"]},
        ]})
    );
    assert_eq!(a.conjunction(&Selector::everything()), a);
    assert_eq!(a.conjunction(&a), a);
}

#[test]
fn it_is_written_sorted_and_without_doubles() {
    let written = selector(json!({
        "matchLabels": {"tier": "x", "app": "a"},
        "matchExpressions": [
            {"key": "b", "operator": "NotIn", "values": ["y", "x", "y"]},
            {"key": "b", "operator": "In", "values": ["z"]},
            {"key": "b", "operator": "Exists"},
            {"key": "b", "operator": "DoesNotExist", "values": []},
            {"key": "a", "operator": "NotIn", "values": ["x"]},
            {"key": "b", "operator": "NotIn", "values": ["x", "y"]},
        ],
    }));
    let expected = json!({
        "matchLabels": {"app": "a", "tier": "x"},
        "matchExpressions": [
            {"key": "a", "operator": "NotIn", "values": ["x"]},
            {"key": "b", "operator": "DoesNotExist"},
            {"key": "b", "operator": "Exists"},
            {"key": "b", "operator": "In", "values": ["z"]},
            {"key": "b", "operator": "NotIn", "values": ["x", "y"]},
        ],
    });
    assert_eq!(as_written(&written), expected);
    assert_eq!(selector(expected), written);
    // A label stays a label, and one value of an expression stays an expression.
    for one in [json!({"matchLabels": {"app": "a"}}), written_expression("In", &["a"]), json!({})] {
        assert_eq!(as_written(&selector(one.clone())), one);
    }
    assert_eq!(Selector::parse(None), Ok(Selector::everything()));
    assert_eq!(parsed(json!({"matchLabels": {}, "matchExpressions": []})), Ok(Selector::everything()));
}

#[test]
fn selectors_are_in_order_by_their_labels_first() {
    let in_order = [
        json!({}),
        json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x"]}]}),
        json!({"matchExpressions": [{"key": "b", "operator": "Exists"}]}),
        json!({"matchLabels": {"a": "x"}}),
        json!({"matchLabels": {"a": "x"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}),
        json!({"matchLabels": {"a": "x", "b": "x"}}),
        json!({"matchLabels": {"a": "y"}}),
    ];
    let in_order = in_order.map(selector);
    assert!(in_order.is_sorted_by(|one, other| one < other), "{in_order:?}");
}

#[test]
fn a_label_is_required_where_each_value_is_that_one() {
    let requires = |selector: &Selector| selector.requires("app", "a");
    assert!(requires(&selector(json!({"matchLabels": {"app": "a", "tier": "x"}}))));
    assert!(requires(&expression("In", &["a"])));
    for other in [expression("In", &["a", "b"]), expression("Exists", &[]), expression("NotIn", &["b"])] {
        assert!(!requires(&other), "{other:?}");
    }
    assert!(!requires(&Selector::everything()));
    let both = labels(&[("app", "a"), ("tier", "x")]);
    assert!(Selector::of_labels(&both).requires_all(&both) && !expression("In", &["a"]).requires_all(&both));
}

#[test]
fn what_labels_do_not_meet_is_told() {
    let selector = selector(json!({
        "matchLabels": {"app": "a"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}],
    }));
    let unmet: Vec<String> = selector.unmet(&labels(&[("app", "b")])).map(ToString::to_string).collect();
    assert_eq!(unmet, ["app=a", "tier"]);
    assert_eq!(selector.unmet(&labels(&[("app", "a"), ("tier", "")])).count(), 0);
}

#[test]
fn implication_is_shown_by_single_requirements() {
    let all = ["In a", "In a,b", "NotIn a", "NotIn a,b", "NotIn c", "Exists", "DoesNotExist"];
    let implied = |narrow: &str| -> Vec<&str> {
        let parsed = |text: &str| {
            let (operator, values) = text.split_once(' ').unwrap_or((text, ""));
            expression(operator, &values.split(',').filter(|value| !value.is_empty()).collect::<Vec<_>>())
        };
        all.into_iter().filter(|wide| parsed(narrow).implies(&parsed(wide))).collect()
    };
    assert_eq!(implied("In a"), ["In a", "In a,b", "NotIn c", "Exists"]);
    assert_eq!(implied("In a,b"), ["In a,b", "NotIn c", "Exists"]);
    assert_eq!(implied("NotIn a"), ["NotIn a"]);
    assert_eq!(implied("NotIn a,b"), ["NotIn a", "NotIn a,b"]);
    assert_eq!(implied("Exists"), ["Exists"]);
    assert_eq!(implied("DoesNotExist"), ["NotIn a", "NotIn a,b", "NotIn c", "DoesNotExist"]);
    assert!(expression("In", &["a"]).implies(&Selector::everything()));
    assert!(!Selector::everything().implies(&expression("In", &["a"])));
    let label = selector(json!({"matchLabels": {"app": "a"}}));
    assert!(label.implies(&expression("In", &["a", "b"])) && expression("In", &["a"]).implies(&label));
    assert!(!label.implies(&expression("DoesNotExist", &[])) && !expression("In", &["a", "b"]).implies(&label));
}

#[test]
fn contradictions_are_found() {
    let both = |a: &Selector, b: &Selector| a.conjunction(b).is_satisfiable();
    let (in_a, in_b) = (expression("In", &["a"]), expression("In", &["b"]));
    let (exists, absent) = (expression("Exists", &[]), expression("DoesNotExist", &[]));
    assert!(!both(&in_a, &in_b));
    assert!(!both(&in_a, &expression("NotIn", &["a", "b"])));
    assert!(!both(&in_a, &absent));
    assert!(!both(&exists, &absent));
    assert!(both(&in_a, &expression("In", &["a", "b"])));
    assert!(both(&in_a, &exists));
    assert!(both(&exists, &expression("NotIn", &["a"])));
    assert!(both(&absent, &expression("NotIn", &["a"])));
    assert!(Selector::everything().is_satisfiable());
}

#[test]
fn what_the_api_server_refuses_is_refused() {
    for refused in [
        json!({"matchLabels": {"": "a"}}),
        json!({"matchLabels": {"a b": "a"}}),
        json!({"matchLabels": {"Example.com/a": "a"}}),
        json!({"matchLabels": {"/a": "a"}}),
        json!({"matchLabels": {"a/b/c": "a"}}),
        json!({"matchLabels": {"app": "-a"}}),
        json!({"matchLabels": {"app": "ä"}}),
        json!({"matchExpressions": [{"key": "app", "operator": "In"}]}),
        json!({"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["a"]}]}),
        json!({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}),
    ] {
        let refusal = Refusal::from(parsed(refused.clone()).unwrap_err());
        assert_eq!(refusal.reason(), "PodSelectorInvalid", "{refused}");
    }
    let right = json!({"matchLabels": {"example.com/App_1": "", "app": "A.b-c_1"}});
    assert!(parsed(right).is_ok());
}
