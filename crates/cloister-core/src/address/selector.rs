//! Label selectors: parsed once, then matched, combined and compared.

use super::{
    label::{check_key, check_value},
    refusal::Refusal,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Expression, SelectorExt};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};
use thiserror::Error;

type Labels = BTreeMap<String, String>;

/// A label selector that the API server accepts, for pods or for namespaces.
///
/// Its expressions are in the order in which they are written: labels first, then the others by key, operator and values,
/// without doubles. So two selectors that are written alike are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Expression>);

/// Why the API server would refuse a selector. One policy that cannot be applied would hold up all others of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct SelectorFault(pub(super) String);

impl From<SelectorFault> for Refusal {
    fn from(fault: SelectorFault) -> Self {
        Refusal::PodSelectorInvalid { problem: fault.0 }
    }
}

impl Selector {
    /// The selector that matches everything.
    pub const fn everything() -> Self {
        Self(Vec::new())
    }

    /// Parses a selector. No selector is the empty one, which matches everything.
    ///
    /// # Errors
    ///
    /// The API server would refuse the selector.
    pub fn parse(selector: Option<&LabelSelector>) -> Result<Self, SelectorFault> {
        let Some(selector) = selector else { return Ok(Self::everything()) };
        let mut all = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            check_key(key)?;
            check_value(value)?;
            all.push(Expression::Equal(key.clone(), value.clone()));
        }
        for requirement in selector.match_expressions.iter().flatten() {
            all.push(parse_requirement(requirement)?);
        }
        Ok(Self::of(all))
    }

    /// The selector of what has all of these labels, which Kubernetes has validated: those of an object, or the selector of a
    /// Service.
    pub(crate) fn of_labels(labels: &Labels) -> Self {
        Self(labels.iter().map(|(key, value)| Expression::Equal(key.clone(), value.clone())).collect())
    }

    fn of(mut expressions: Vec<Expression>) -> Self {
        expressions.sort_by(|one, other| written(one).cmp(&written(other)));
        expressions.dedup();
        Self(expressions)
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it matches these labels, as Kubernetes has it: `NotIn` matches where the label is absent.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|one| one.matches(labels))
    }

    /// The expressions that these labels do not match.
    pub(crate) fn unmet(&self, labels: &Labels) -> impl Iterator<Item = &Expression> {
        self.0.iter().filter(move |one| !one.matches(labels))
    }

    /// The selector that matches what both match. Where one matches everything, or both are the same, the other stays as it
    /// is written.
    pub(crate) fn conjunction(&self, other: &Self) -> Self {
        if self.is_everything() || self == other {
            other.clone()
        } else if other.is_everything() {
            self.clone()
        } else {
            // Labels as expressions: two different values of one label would not fit into one map.
            let both = self.0.iter().chain(&other.0).map(|one| match one {
                Expression::Equal(key, value) => Expression::In(key.clone(), BTreeSet::from([value.clone()])),
                one => one.clone(),
            });
            Self::of(both.collect())
        }
    }

    /// Whether whatever it matches is also matched by `wide`, as far as single expressions show it: a false "no" is possible, a
    /// false "yes" is not.
    pub(crate) fn implies(&self, wide: &Self) -> bool {
        wide.0.iter().all(|wide| self.0.iter().any(|narrow| expression_implies(narrow, wide)))
    }

    /// Whether whatever it matches has this label, as far as single expressions show it.
    pub(crate) fn requires(&self, key: &str, value: &str) -> bool {
        let label = Expression::Equal(key.to_owned(), value.to_owned());
        self.0.iter().any(|narrow| expression_implies(narrow, &label))
    }

    /// Whether whatever it matches has all of these labels, as far as single expressions show it.
    pub(crate) fn requires_all(&self, labels: &Labels) -> bool {
        labels.iter().all(|(key, value)| self.requires(key, value))
    }

    /// Whether any labels match it.
    pub(crate) fn is_satisfiable(&self) -> bool {
        let mut by_key: BTreeMap<&str, Vec<&Expression>> = BTreeMap::new();
        for one in &self.0 {
            by_key.entry(key(one)).or_default().push(one);
        }
        by_key.into_iter().all(|(key, all)| {
            let fits = |labels: &Labels| all.iter().all(|one| one.matches(labels));
            let mut listed = all.iter().flat_map(|one| {
                let (.., value, values) = written(one);
                value.into_iter().chain(values.into_iter().flatten())
            });
            // Where no value that is listed will do, one that nobody lists may. A line break stands for it: no label has one.
            fits(&Labels::new()) || fits(&labelled(key, "\n")) || listed.any(|value| fits(&labelled(key, value)))
        })
    }

    /// The labels of `matchLabels`, and the expressions of `matchExpressions`.
    fn parts(&self) -> (&[Expression], &[Expression]) {
        self.0.split_at(self.0.partition_point(|one| matches!(one, Expression::Equal(..))))
    }
}

/// Selectors are in order by their labels, and where those are the same, by their expressions.
impl Ord for Selector {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((labels, expressions), (other_labels, other_expressions)) = (self.parts(), other.parts());
        let by_labels = labels.iter().map(written).cmp(other_labels.iter().map(written));
        by_labels.then_with(|| expressions.iter().map(written).cmp(other_expressions.iter().map(written)))
    }
}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As it is written in a policy: empty fields are left out.
impl From<Selector> for LabelSelector {
    fn from(selector: Selector) -> Self {
        selector.0.into_iter().collect::<kube::core::Selector>().into()
    }
}

impl From<&Selector> for LabelSelector {
    fn from(selector: &Selector) -> Self {
        selector.clone().into()
    }
}

fn parse_requirement(requirement: &LabelSelectorRequirement) -> Result<Expression, SelectorFault> {
    let LabelSelectorRequirement { key, operator, values } = requirement;
    check_key(key)?;
    let values: BTreeSet<String> = values.iter().flatten().cloned().collect();
    values.iter().try_for_each(|value| check_value(value))?;
    let problem = match (operator.as_str(), values.is_empty()) {
        ("In", false) => return Ok(Expression::In(key.clone(), values)),
        ("NotIn", false) => return Ok(Expression::NotIn(key.clone(), values)),
        ("Exists", true) => return Ok(Expression::Exists(key.clone())),
        ("DoesNotExist", true) => return Ok(Expression::DoesNotExist(key.clone())),
        ("In" | "NotIn", true) => "needs values",
        ("Exists" | "DoesNotExist", false) => "takes no values",
        _ => "is not an operator",
    };
    Err(SelectorFault(format!("{operator} on {key} {problem}")))
}

/// Whether the expression is one of `matchExpressions`, its key, its operator, and its values: in this order expressions are
/// sorted.
type Written<'a> = (bool, &'a str, &'static str, Option<&'a String>, Option<&'a BTreeSet<String>>);

fn written(expression: &Expression) -> Written<'_> {
    match expression {
        Expression::Equal(key, value) => (false, key, "In", Some(value), None),
        Expression::NotEqual(key, value) => (true, key, "NotIn", Some(value), None),
        Expression::In(key, values) => (true, key, "In", None, Some(values)),
        Expression::NotIn(key, values) => (true, key, "NotIn", None, Some(values)),
        Expression::Exists(key) => (true, key, "Exists", None, None),
        Expression::DoesNotExist(key) => (true, key, "DoesNotExist", None, None),
    }
}

fn key(expression: &Expression) -> &str {
    written(expression).1
}

fn labelled(key: &str, value: &str) -> Labels {
    Labels::from([(key.to_owned(), value.to_owned())])
}

fn expression_implies(narrow: &Expression, wide: &Expression) -> bool {
    use Expression::{DoesNotExist, Equal, Exists, In, NotIn};
    if narrow == wide {
        return true;
    }
    key(narrow) == key(wide)
        && match (narrow, wide) {
            (Equal(key, value), wide) => wide.matches(&labelled(key, value)),
            (In(key, values), wide) => values.iter().all(|value| wide.matches(&labelled(key, value))),
            (NotIn(_, values), NotIn(_, fewer)) => values.is_superset(fewer),
            (Exists(_), Exists(_)) | (DoesNotExist(_), NotIn(..) | DoesNotExist(_)) => true,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
