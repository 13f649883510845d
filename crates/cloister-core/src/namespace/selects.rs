//! Which ResearchNamespaces a selector of security's selects: an allowlist's, or a gateway's.

use crate::address::selector::{canonical, selector_matches};
use cloister_api::{ResearchNamespace, labels::is_of_tools};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// The label by which a selector selects namespaces although their owners may write it. Such a selector selects none.
pub fn label_of_owners(selector: Option<&LabelSelector>) -> Option<&str> {
    let labels = selector?.match_labels.iter().flatten().map(|(key, _)| key);
    let requirements = selector?.match_expressions.iter().flatten().map(|requirement| &requirement.key);
    labels.chain(requirements).find(|key| is_of_tools(key)).map(String::as_str)
}

/// A selector that selects by labels of security: not one that is absent, that Kubernetes would refuse, or that reads what
/// owners write.
pub fn valid(selector: Option<&LabelSelector>) -> Option<&LabelSelector> {
    selector.filter(|selector| canonical(Some(selector)).is_ok() && label_of_owners(Some(selector)).is_none())
}

/// Whether a selector selects a namespace by its labels; one that is not valid selects none.
pub fn selects(selector: Option<&LabelSelector>, namespace: &ResearchNamespace) -> bool {
    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
    let labels = namespace.metadata.labels.as_ref().unwrap_or(&NO_LABELS);
    valid(selector).is_some_and(|selector| selector_matches(selector, labels))
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
}
