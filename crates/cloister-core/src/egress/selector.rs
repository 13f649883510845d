//! Label selectors: matching, a canonical form, conjunction, and what implies what.

use super::{
    Refusal,
    label::{check_key, check_value, invalid},
    selector,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// Whether the selector matches these labels, as Kubernetes has it: an empty selector matches everything, and `NotIn`
/// matches where the label is absent. An operator that Kubernetes does not know matches nothing.
pub fn selector_matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal && expressions(selector).iter().all(|requirement| requirement_matches(requirement, labels))
}

fn requirement_matches(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let label = labels.get(&requirement.key);
    let listed = |value: &String| requirement.values.iter().flatten().any(|listed| listed == value);
    match requirement.operator.as_str() {
        "In" => label.is_some_and(listed),
        "NotIn" => !label.is_some_and(listed),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        _ => false,
    }
}

fn expressions(selector: &LabelSelector) -> &[LabelSelectorRequirement] {
    selector.match_expressions.as_deref().unwrap_or_default()
}

/// Whether the selector matches everything.
pub(super) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty) && expressions(selector).is_empty()
}

/// The selector as it is written in a NetworkPolicy: sorted, without doubles, and empty fields left out. No selector
/// is the empty one, which matches everything.
///
/// # Errors
///
/// [`Refusal::PodSelectorInvalid`] for what the API server would refuse in a NetworkPolicy: one policy that cannot be
/// applied would hold up all others of the namespace.
pub(crate) fn canonical(selector: Option<&LabelSelector>) -> Result<LabelSelector, Refusal> {
    let Some(selector) = selector else {
        return Ok(LabelSelector::default());
    };
    for (key, value) in selector.match_labels.iter().flatten() {
        check_key(key)?;
        check_value(value)?;
    }
    let mut requirements = Vec::new();
    for requirement in expressions(selector) {
        check_key(&requirement.key)?;
        let values: BTreeSet<&String> = requirement.values.iter().flatten().collect();
        for value in &values {
            check_value(value)?;
        }
        let problem = match (requirement.operator.as_str(), values.is_empty()) {
            ("In" | "NotIn", false) | ("Exists" | "DoesNotExist", true) => None,
            ("In" | "NotIn", true) => Some("needs values"),
            ("Exists" | "DoesNotExist", false) => Some("takes no values"),
            _ => Some("is not an operator"),
        };
        if let Some(problem) = problem {
            return Err(invalid(format!("{} on {} {problem}", requirement.operator, requirement.key)));
        }
        requirements.push(LabelSelectorRequirement {
            key: requirement.key.clone(),
            operator: requirement.operator.clone(),
            values: (!values.is_empty()).then(|| values.into_iter().cloned().collect()),
        });
    }
    Ok(LabelSelector {
        match_labels: selector.match_labels.clone().filter(|labels| !labels.is_empty()),
        match_expressions: sorted(requirements),
    })
}

/// The selector that matches what both match. Where one is empty, or both are the same, the other stands as it is.
/// Both must be [`canonical`].
pub(super) fn conjunction(a: &LabelSelector, b: &LabelSelector) -> LabelSelector {
    if is_empty(a) || a == b {
        b.clone()
    } else if is_empty(b) {
        a.clone()
    } else {
        // Labels as expressions: two different values of one label would not fit into one map.
        let both = requirements(a).chain(requirements(b)).collect();
        LabelSelector { match_labels: None, match_expressions: sorted(both) }
    }
}

/// Whether whatever `narrow` matches is also matched by `wide`, as far as single requirements show it: a false "no" is
/// possible, a false "yes" is not. Both must be [`canonical`].
pub(super) fn implies(narrow: &LabelSelector, wide: &LabelSelector) -> bool {
    let narrow: Vec<_> = requirements(narrow).collect();
    requirements(wide).all(|wide| narrow.iter().any(|narrow| requirement_implies(narrow, &wide)))
}

/// Whether any labels match the selector. It must be [`canonical`], or a conjunction of such.
pub(super) fn is_satisfiable(selector: &LabelSelector) -> bool {
    let mut by_key: BTreeMap<String, Vec<LabelSelectorRequirement>> = BTreeMap::new();
    for requirement in requirements(selector) {
        by_key.entry(requirement.key.clone()).or_default().push(requirement);
    }
    by_key.into_iter().all(|(key, requirements)| {
        // Without `In`, some value that nobody lists will do, unless the label must not be there.
        let listed = requirements.iter().filter(|requirement| requirement.operator == "In");
        let listed = listed.flat_map(|requirement| requirement.values.iter().flatten());
        let fits = |labels: &BTreeMap<String, String>| {
            requirements.iter().all(|requirement| requirement_matches(requirement, labels))
        };
        let valued = |value: &str| BTreeMap::from([(key.clone(), value.to_owned())]);
        // A line break stands for the value that nobody lists: no label has one.
        fits(&BTreeMap::new()) || fits(&valued("\n")) || listed.into_iter().any(|value| fits(&valued(value)))
    })
}

fn requirement_implies(narrow: &LabelSelectorRequirement, wide: &LabelSelectorRequirement) -> bool {
    let values = |requirement: &LabelSelectorRequirement| -> BTreeSet<String> {
        requirement.values.iter().flatten().cloned().collect()
    };
    narrow.key == wide.key
        && match (narrow.operator.as_str(), wide.operator.as_str()) {
            ("In", "In") => values(narrow).is_subset(&values(wide)),
            ("In", "NotIn") => values(narrow).is_disjoint(&values(wide)),
            ("In" | "Exists", "Exists") => true,
            ("NotIn", "NotIn") => values(narrow).is_superset(&values(wide)),
            ("DoesNotExist", "NotIn" | "DoesNotExist") => true,
            _ => false,
        }
}

/// All of a selector as expressions: a label is an `In` with one value.
fn requirements(selector: &LabelSelector) -> impl Iterator<Item = LabelSelectorRequirement> {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| LabelSelectorRequirement {
        key: key.clone(),
        operator: "In".to_owned(),
        values: Some(vec![value.clone()]),
    });
    labels.chain(expressions(selector).iter().cloned())
}

fn sorted(mut requirements: Vec<LabelSelectorRequirement>) -> Option<Vec<LabelSelectorRequirement>> {
    requirements.sort_by(compare_requirements);
    requirements.dedup();
    (!requirements.is_empty()).then_some(requirements)
}

fn compare_requirements(a: &LabelSelectorRequirement, b: &LabelSelectorRequirement) -> Ordering {
    (&a.key, &a.operator, &a.values).cmp(&(&b.key, &b.operator, &b.values))
}

/// An order of selectors, so that lists of openings have one.
pub(super) fn compare(a: &LabelSelector, b: &LabelSelector) -> Ordering {
    a.match_labels.cmp(&b.match_labels).then_with(|| {
        let (mut a, mut b) = (expressions(a).iter(), expressions(b).iter());
        loop {
            match (a.next(), b.next()) {
                (Some(a), Some(b)) => match compare_requirements(a, b) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
                (a, b) => return a.is_some().cmp(&b.is_some()),
            }
        }
    })
}

/// Whether whatever `narrow` matches is also matched by `wide`; everything is, where there is no selector. A false "no" is
/// possible, a false "yes" is not.
pub(crate) fn selector_implies(narrow: Option<&LabelSelector>, wide: Option<&LabelSelector>) -> bool {
    match (selector::canonical(narrow), selector::canonical(wide)) {
        (Ok(narrow), Ok(wide)) => selector::implies(&narrow, &wide),
        _ => false,
    }
}

/// Whether whatever has these labels is matched.
pub(crate) fn selector_implies_labels(labels: &BTreeMap<String, String>, wide: Option<&LabelSelector>) -> bool {
    selector_implies(Some(&with_labels(labels)), wide)
}

/// Whether anything that has these labels can be matched. A false "yes" is possible, a false "no" is not.
pub(crate) fn selectors_can_meet(one: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    match (selector::canonical(one), selector::canonical(Some(&with_labels(labels)))) {
        (Ok(one), Ok(other)) => selector::is_satisfiable(&selector::conjunction(&one, &other)),
        _ => false,
    }
}

fn with_labels(labels: &BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels.clone()), match_expressions: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selector(value: serde_json::Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
        labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    fn expression(operator: &str, values: &[&str]) -> LabelSelector {
        selector(json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]}))
    }

    #[test]
    fn matching_is_that_of_kubernetes() {
        let (a, b, none) = (labels(&[("app", "a")]), labels(&[("app", "b")]), labels(&[]));
        let matches = |selector: &LabelSelector| [&a, &b, &none].map(|labels| selector_matches(selector, labels));
        assert_eq!(matches(&LabelSelector::default()), [true, true, true]);
        assert_eq!(matches(&selector(json!({"matchLabels": {"app": "a"}}))), [true, false, false]);
        assert_eq!(matches(&expression("In", &["a", "c"])), [true, false, false]);
        assert_eq!(matches(&expression("NotIn", &["a"])), [false, true, true]);
        assert_eq!(matches(&expression("Exists", &[])), [true, true, false]);
        assert_eq!(matches(&expression("DoesNotExist", &[])), [false, false, true]);
        assert_eq!(matches(&expression("Gt", &["0"])), [false, false, false]);
    }

    #[test]
    fn a_conjunction_holds_two_values_of_one_label() {
        let a = canonical(Some(&selector(json!({"matchLabels": {"app": "a", "tier": "x"}})))).unwrap();
        let b = canonical(Some(&selector(json!({"matchLabels": {"app": "b"}})))).unwrap();
        let both = conjunction(&a, &b);
        assert_eq!(both, conjunction(&b, &a));
        assert_eq!(
            serde_json::to_value(&both).unwrap(),
            json!({"matchExpressions": [
                {"key": "app", "operator": "In", "values": ["a"]},
                {"key": "app", "operator": "In", "values": ["b"]},
                {"key": "tier", "operator": "In", "values": ["x"]},
            ]})
        );
        assert_eq!(conjunction(&a, &LabelSelector::default()), a);
        assert_eq!(conjunction(&a, &a), a);
    }

    #[test]
    fn implication_is_shown_by_single_requirements() {
        let all = ["In a", "In a,b", "NotIn a", "NotIn a,b", "NotIn c", "Exists", "DoesNotExist"];
        let implied = |narrow: &str| -> Vec<&str> {
            let parsed = |text: &str| {
                let (operator, values) = text.split_once(' ').unwrap_or((text, ""));
                expression(operator, &values.split(',').filter(|value| !value.is_empty()).collect::<Vec<_>>())
            };
            all.into_iter().filter(|wide| implies(&parsed(narrow), &parsed(wide))).collect()
        };
        assert_eq!(implied("In a"), ["In a", "In a,b", "NotIn c", "Exists"]);
        assert_eq!(implied("In a,b"), ["In a,b", "NotIn c", "Exists"]);
        assert_eq!(implied("NotIn a"), ["NotIn a"]);
        assert_eq!(implied("NotIn a,b"), ["NotIn a", "NotIn a,b"]);
        assert_eq!(implied("Exists"), ["Exists"]);
        assert_eq!(implied("DoesNotExist"), ["NotIn a", "NotIn a,b", "NotIn c", "DoesNotExist"]);
        assert!(implies(&expression("In", &["a"]), &LabelSelector::default()));
        assert!(!implies(&LabelSelector::default(), &expression("In", &["a"])));
    }

    #[test]
    fn contradictions_are_found() {
        let both = |a: &LabelSelector, b: &LabelSelector| is_satisfiable(&conjunction(a, b));
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
        assert!(is_satisfiable(&LabelSelector::default()));
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
            let refusal = canonical(Some(&selector(refused.clone()))).unwrap_err();
            assert_eq!(refusal.reason(), "PodSelectorInvalid", "{refused}");
        }
        let right = json!({"matchLabels": {"example.com/App_1": "", "app": "A.b-c_1"}});
        assert!(canonical(Some(&selector(right))).is_ok());
    }
}
