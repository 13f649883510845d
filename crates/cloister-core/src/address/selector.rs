//! Label selectors: parsed once, then matched, combined and compared.

use super::{
    label::{check_key, check_value},
    selector_fault::SelectorFault,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Expression, SelectorExt};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

type Labels = BTreeMap<String, String>;

/// A label selector that the API server accepts, for pods or for namespaces.
///
/// Its expressions are in the order in which they are written: labels first, then the others by key, operator and values,
/// without doubles. So two selectors that are written alike are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Expression>);

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

    /// Its expressions, all of which must match.
    pub(crate) fn expressions(&self) -> &[Expression] {
        &self.0
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
impl From<&Selector> for LabelSelector {
    fn from(selector: &Selector) -> Self {
        let (labels, expressions) = selector.parts();
        let mut written: LabelSelector = expressions.iter().cloned().collect::<kube::core::Selector>().into();
        let labels: Labels = labels.iter().filter_map(label).collect();
        written.match_labels = (!labels.is_empty()).then_some(labels);
        written
    }
}

impl From<Selector> for LabelSelector {
    fn from(selector: Selector) -> Self {
        Self::from(&selector)
    }
}

fn label(expression: &Expression) -> Option<(String, String)> {
    match expression {
        Expression::Equal(key, value) => Some((key.clone(), value.clone())),
        _ => None,
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
mod tests;
