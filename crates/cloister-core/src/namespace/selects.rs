//! Which ResearchNamespaces a selector of security's selects: an allowlist's, or a gateway's.

use crate::address::{Selector, SelectorFault};
use cloister_api::{ResearchNamespace, labels::is_of_tools};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// Why a selector selects no namespace, whatever the labels of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectsNone<'a> {
    /// There is no selector.
    Absent,
    /// It uses this label, which the owners of a namespace may write.
    OfOwners(&'a str),
    /// Kubernetes would refuse it.
    Invalid(SelectorFault),
}

/// Parses a selector that selects by labels of security.
///
/// # Errors
///
/// The selector selects no namespace.
pub fn parse(selector: Option<&LabelSelector>) -> Result<Selector, SelectsNone<'_>> {
    let selector = selector.ok_or(SelectsNone::Absent)?;
    let labels = selector.match_labels.iter().flatten().map(|(key, _)| key);
    let requirements = selector.match_expressions.iter().flatten().map(|requirement| &requirement.key);
    match labels.chain(requirements).find(|key| is_of_tools(key)) {
        Some(label) => Err(SelectsNone::OfOwners(label)),
        None => Selector::parse(Some(selector)).map_err(SelectsNone::Invalid),
    }
}

/// Whether a selector selects a namespace by its labels.
pub fn selects(selector: Option<&LabelSelector>, namespace: &ResearchNamespace) -> bool {
    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
    let labels = namespace.metadata.labels.as_ref().unwrap_or(&NO_LABELS);
    parse(selector).is_ok_and(|selector| selector.matches(labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_valid_selector_over_labels_of_security_selects() {
        let mut namespace: ResearchNamespace =
            serde_json::from_value(json!({"apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace", "metadata": {"name": "a"}, "spec": {"tier": "Standard"}})).unwrap();
        namespace.metadata.labels =
            Some([("team".into(), "a".into()), ("app.kubernetes.io/name".into(), "a".into())].into());
        let selects = |selector: serde_json::Value| {
            selects(Some(&serde_json::from_value::<LabelSelector>(selector).unwrap()), &namespace)
        };
        assert!(selects(json!({})) && selects(json!({"matchLabels": {"team": "a"}})));
        assert!(!crate::namespace::selects::selects(None, &namespace));
        for selector in [
            json!({"matchLabels": {"team": "b"}}),
            json!({"matchLabels": {"app.kubernetes.io/name": "a"}}),
            json!({"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "Exists"}]}),
            json!({"matchExpressions": [{"key": "bad key", "operator": "DoesNotExist"}]}),
            json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["nina@example.com"]}]}),
            json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": []}]}),
        ] {
            assert!(!selects(selector.clone()), "{selector}");
        }
    }

    #[test]
    fn why_a_selector_selects_none_is_told() {
        let why = |selector: serde_json::Value| {
            let selector: LabelSelector = serde_json::from_value(selector).unwrap();
            match parse(Some(&selector)).unwrap_err() {
                SelectsNone::Absent => "absent".to_owned(),
                SelectsNone::OfOwners(label) => format!("of owners: {label}"),
                SelectsNone::Invalid(fault) => fault.to_string(),
            }
        };
        assert_eq!(parse(None), Err(SelectsNone::Absent));
        assert_eq!(why(json!({"matchLabels": {"team": "a b"}})), "\"a b\" is not the value of a label");
        let of_owners = json!({"matchLabels": {"team": "a b", "app.kubernetes.io/name": "a"}});
        assert_eq!(why(of_owners), "of owners: app.kubernetes.io/name");
    }
}
