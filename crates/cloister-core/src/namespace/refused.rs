//! Why an allowlist does not open something here, in words that name what would have to be another.

use super::{
    Input,
    needs::{allows, names},
    selects::{self, SelectsNone},
};
use crate::{
    egress::{Allowed, Covered, Surroundings, open_covered_by},
    model::{suggest::closest, text::first_of},
};
use cloister_api::{EgressAllowlist, EgressRule, EgressState, ResearchNamespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::Expression;
use std::collections::{BTreeMap, BTreeSet};

/// Who publishes allowlists, in words.
pub const PUBLISHERS: &str = "a catalogue administrator (ClusterRole cloister:catalogue-admin)";

/// How many allowlists are named.
const NAMED: usize = 3;

/// That there is no such allowlist, and which one may have been meant.
pub fn not_found<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let meant = closest(name, known).map(|near| format!("did you mean {near}? If not, ")).unwrap_or_default();
    format!(
        "there is no EgressAllowlist {name}; {meant}ask {PUBLISHERS} to publish it, or remove it from egress.allowlists"
    )
}

/// That an allowlist has ended, and what can be done about it.
pub fn expired(name: &str, allowlist: &EgressAllowlist, namespace: &ResearchNamespace) -> String {
    let end = allowlist.spec.expires_at.as_ref().map(|end| end.0.to_string()).unwrap_or_default();
    let or_else = if names(namespace, name) { "or remove it from egress.allowlists" } else { "or to delete it" };
    format!("EgressAllowlist {name} ended at {end} (its expiresAt); ask {PUBLISHERS} to renew it, {or_else}")
}

/// That an allowlist is not for this namespace, and which label is missing for it.
pub fn not_allowed(name: &str, allowlist: &EgressAllowlist, namespace: &ResearchNamespace) -> String {
    let why = keeps_out(allowlist, namespace);
    let selector = allowlist.spec.namespace_selector.as_ref();
    let help = useless(selector).unwrap_or("to label the ResearchNamespace, or to widen the namespaceSelector");
    format!(
        "EgressAllowlist {name} does not allow this namespace: {why}; ask {PUBLISHERS} {help}, or remove it from \
         egress.allowlists"
    )
}

/// What to do about a selector that selects no namespace, whatever its labels.
pub fn useless(selector: Option<&LabelSelector>) -> Option<&'static str> {
    match selects::parse(selector) {
        Ok(_) => None,
        Err(SelectsNone::Absent) => Some("to write one"),
        Err(SelectsNone::OfOwners(_) | SelectsNone::Invalid(_)) => Some("to correct it"),
    }
}

/// What keeps an allowlist's selector from allowing a namespace.
pub fn keeps_out(allowlist: &EgressAllowlist, namespace: &ResearchNamespace) -> String {
    missing(allowlist.spec.namespace_selector.as_ref(), namespace)
}

/// What keeps the selector of an allowlist or of a gateway from allowing a namespace.
pub fn missing(selector: Option<&LabelSelector>, namespace: &ResearchNamespace) -> String {
    let selector = match selects::parse(selector) {
        Ok(selector) => selector,
        Err(SelectsNone::Absent) => return "it has no namespaceSelector, so it allows none".to_owned(),
        Err(SelectsNone::OfOwners(label)) => {
            return format!(
                "its namespaceSelector uses label {label}, which the owners of a ResearchNamespace may set, so it allows none"
            );
        }
        Err(SelectsNone::Invalid(_)) => return "its namespaceSelector cannot be read".to_owned(),
    };
    let nothing = BTreeMap::new();
    let labels = namespace.metadata.labels.as_ref().unwrap_or(&nothing);
    let has = |key: &str| match labels.get(key) {
        Some(value) => format!("the ResearchNamespace has {key}={value}"),
        None => format!("the ResearchNamespace has no label {key}"),
    };
    let unmet = selector.unmet(labels).take(NAMED).map(|one| {
        let (key, required) = required(one);
        format!("its namespaceSelector requires {required}, and {}", has(key))
    });
    unmet.collect::<Vec<_>>().join("; ")
}

/// What a selector requires of labels, in words; nothing of one that matches everything, or that selects no namespace at all.
pub fn requirements(selector: Option<&LabelSelector>) -> Option<String> {
    let selector = selects::parse(selector).ok().filter(|selector| !selector.is_everything())?;
    Some(first_of(selector.expressions().iter().map(|one| required(one).1), NAMED, ", "))
}

/// The label that an expression of a selector is about, and the expression in words.
fn required(expression: &Expression) -> (&str, String) {
    let listed = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    match expression {
        Expression::Equal(key, value) => (key, format!("{key}={value}")),
        Expression::NotEqual(key, value) => (key, format!("{key}!={value}")),
        Expression::In(key, values) => (key, format!("{key} In ({})", listed(values))),
        Expression::NotIn(key, values) => (key, format!("{key} NotIn ({})", listed(values))),
        Expression::Exists(key) => (key, format!("{key} Exists")),
        Expression::DoesNotExist(key) => (key, format!("{key} DoesNotExist")),
    }
}

/// The allowlists that this namespace may not use, or that have ended, resolved for asking which of them would cover a rule.
pub struct Closed<'a>(Vec<(&'a str, String, Allowed<'a>)>);

impl<'a> Closed<'a> {
    /// Those that are known.
    pub fn of(namespace: &ResearchNamespace, input: &Input<'a>, surroundings: &Surroundings<'_>) -> Self {
        let read = input.allowlists.iter().filter_map(|(name, known)| Some((*name, known.read()?)));
        let closed = read.filter_map(|(name, allowlist)| {
            let end = allowlist.spec.expires_at.as_ref().filter(|end| end.0 <= input.now);
            let why = match (allows(allowlist, namespace), end) {
                (false, _) => keeps_out(allowlist, namespace),
                (true, Some(end)) => {
                    format!("it ended at {}; ask a catalogue administrator to set a later expiresAt", end.0)
                }
                (true, None) => return None,
            };
            let rules: Vec<(&str, &EgressRule)> = allowlist.spec.rules.iter().map(|rule| (name, rule)).collect();
            Some((name, why, Allowed::of(&rules, surroundings)))
        });
        Closed(closed.collect())
    }

    /// Those that would cover what is missing of a rule, or a part of that, in words. `beside` is what covers some of it.
    pub fn would_cover(
        &self,
        rule: &EgressRule,
        covered: &Covered,
        beside: &Allowed<'a>,
        s: &Surroundings<'_>,
    ) -> String {
        let would = self.0.iter().filter_map(|(name, why, rules)| {
            if open_covered_by(rule, rules, s).openings.is_empty() {
                return None;
            }
            let with = open_covered_by(rule, &beside.clone().and(rules), s);
            let what = match with.state {
                EgressState::NeedsGrant if with.uncovered == covered.uncovered => return None,
                EgressState::NeedsGrant => "a part of what is missing",
                _ => "it",
            };
            Some(format!(". EgressAllowlist {name} would cover {what}, but does not: {why}"))
        });
        would.take(NAMED).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(selector: serde_json::Value, labels: serde_json::Value) -> String {
        let spec = json!({"namespaceSelector": selector, "rules": []});
        let allowlist = EgressAllowlist::new("lab", serde_json::from_value(spec).unwrap());
        let mut namespace =
            ResearchNamespace::new("interp", serde_json::from_value(json!({"tier": "Standard"})).unwrap());
        namespace.metadata.labels = serde_json::from_value(labels).unwrap();
        not_allowed("lab", &allowlist, &namespace)
    }

    #[test]
    fn the_label_that_is_missing_is_named() {
        let team = json!({"matchLabels": {"team": "interp"}});
        assert!(
            said(team.clone(), json!({}))
                .contains("requires team=interp, and the ResearchNamespace has no label team;")
        );
        assert!(said(team, json!({"team": "evals"})).contains("and the ResearchNamespace has team=evals;"));
        let one_of = json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]});
        assert!(
            said(one_of, json!({"team": "c"}))
                .contains("requires team In (a, b), and the ResearchNamespace has team=c")
        );
        // Where no label helps, none is advised.
        let of_owners = json!({"matchLabels": {"app.kubernetes.io/name": "a"}});
        for (selector, why) in [
            (json!(null), "it has no namespaceSelector, so it allows none; ask {} to write one"),
            (
                of_owners,
                "its namespaceSelector uses label app.kubernetes.io/name, which the owners of a ResearchNamespace may set, so \
                 it allows none; ask {} to correct it",
            ),
            (
                json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": []}]}),
                "its namespaceSelector cannot be read; ask {} to correct it",
            ),
        ] {
            let why = why.replace("{}", PUBLISHERS);
            let wanted = format!(
                "EgressAllowlist lab does not allow this namespace: {why}, or remove it from egress.allowlists"
            );
            assert_eq!(said(selector, json!({})), wanted);
        }
    }

    #[test]
    fn a_name_that_is_near_is_offered() {
        let known = ["package-mirror", "papers"];
        let said = |name: &str| not_found(name, known.into_iter());
        assert!(said("pakage-mirror").contains("did you mean package-mirror?"));
        assert!(said("package-mirorr").contains("did you mean package-mirror?"));
        assert!(!said("weights").contains("did you mean") && !said("x").contains("did you mean"));
    }
}
