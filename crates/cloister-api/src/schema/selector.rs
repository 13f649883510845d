//! Label selectors.

use super::{
    name::{QUALIFIED_NAME, qualified_name},
    rule::{keys, looks_like, rule},
};
use crate::labels;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// What the value of a label looks like.
const LABEL_VALUE: &str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

fn value() -> Schema {
    let rule = looks_like(
        LABEL_VALUE,
        "must be a valid value of a label: letters, digits, -, _ and dots, with a letter or a digit at both ends; \
         spaces and @ are not allowed",
    );
    json_schema!({"type": "string", "maxLength": 63, "x-kubernetes-validations": [rule]})
}

/// A label selector, bounded to 16 labels and 16 expressions of 16 values.
pub fn label_selector(_: &mut SchemaGenerator) -> Schema {
    let is_key = format!("k.size() <= 317 && k.matches('{QUALIFIED_NAME}')");
    let labels = keys(
        &is_key,
        "is not a valid key of a label; a valid key, such as team or example.com/team, has \
         letters, digits, -, _ and dots, and no spaces",
    );
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "description": "Labels that must be there with exactly these values.",
                "type": "object", "maxProperties": 16,
                "additionalProperties": value(),
                "x-kubernetes-validations": [labels],
            },
            "matchExpressions": {
                "description": "Requirements on labels; all must hold.",
                "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "The label.", "type": "string", "maxLength": 317,
                            "x-kubernetes-validations": [qualified_name()],
                        },
                        "operator": {
                            "description": "How the label relates to the values. In: it has one of them. NotIn: it has none of \
                                            them, or is not there. Exists: it is there. DoesNotExist: it is not there.",
                            "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "The values, for In and NotIn; empty otherwise.",
                            "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
                            "items": value(),
                        },
                    },
                    "x-kubernetes-validations": [rule(
                        "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
                        "In and NotIn take values, Exists and DoesNotExist take none",
                    )],
                },
            },
        },
    })
}

/// A [`label_selector`] over ResearchNamespaces: over labels that their owners cannot write.
pub fn namespace_selector(generator: &mut SchemaGenerator) -> Schema {
    let tools = labels::OF_TOOLS.map(|prefix| format!("'{prefix}'")).join(", ");
    let none = |keys: &str, key: &str| {
        let rule = format!("!has(self.{keys}) || self.{keys}.all(k, ![{tools}].exists(p, {key}.startsWith(p)))");
        let message = "the owners of a ResearchNamespace may write the labels that tools set on it \
                       (app.kubernetes.io/, kustomize.toolkit.fluxcd.io/ and the like); select by a label of your own, such as team";
        json!({"rule": rule, "message": message, "reason": "FieldValueForbidden"})
    };
    let rules = json!([none("matchLabels", "k"), none("matchExpressions", "k.key")]);
    let mut schema = label_selector(generator);
    schema.insert("x-kubernetes-validations".into(), rules);
    schema
}
