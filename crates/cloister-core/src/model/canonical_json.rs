//! Canonical JSON (RFC 8785), the form of values that is hashed.

use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The largest integer that is written exactly: larger ones are written like doubles.
const LARGEST: u64 = 1 << 53;

/// The canonical JSON of a value.
pub fn json(value: &Value) -> Vec<u8> {
    written(value, is_written_so(value))
}

/// The canonical JSON of an object with these fields.
pub fn object(fields: &BTreeMap<&str, &Value>) -> Vec<u8> {
    written(fields, fields.iter().all(|(key, field)| key.is_ascii() && is_written_so(field)))
}

fn written(value: &impl Serialize, is_written_so: bool) -> Vec<u8> {
    // Serializing a tree of plain values cannot fail. The canonicalizer takes several times as long, because it sorts the
    // keys again, and every reconciliation of a grant makes a digest.
    let written = if is_written_so { serde_json::to_vec(value) } else { serde_json_canonicalizer::to_vec(value) };
    written.unwrap_or_default()
}

/// Whether serde_json already writes a value canonically: the order of its keys is the same in bytes as in UTF-16, and its
/// numbers are small integers. Strings always are.
fn is_written_so(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => {
            number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs)).is_some_and(|whole| whole <= LARGEST)
        }
        Value::Array(items) => items.iter().all(is_written_so),
        Value::Object(fields) => {
            fields.keys().is_sorted() && fields.iter().all(|(key, field)| key.is_ascii() && is_written_so(field))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Values with whatever may be hard to write: keys and texts of all planes, control characters, numbers of every size.
    fn any_value() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            any::<i64>().prop_map(|number| json!(number)),
            any::<u64>().prop_map(|number| json!(number)),
            (-2_000_i64..2_000).prop_map(|number| json!(number)),
            any::<f64>().prop_map(|number| json!(number)),
        ];
        let plain = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            number,
            any::<String>().prop_map(Value::String),
            "[\\x00-\\x7f\u{2028}\u{ffff}]{0,6}".prop_map(Value::String),
        ];
        plain.prop_recursive(3, 24, 5, |inner| {
            let key = prop_oneof!["[a-zA-Z./-]{0,6}", "[\\x00-\\x7f]{0,3}", any::<String>()];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec((key, inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_is_what_the_canonicalizer_writes(value in any_value()) {
            let canonical = serde_json_canonicalizer::to_vec(&value).unwrap();
            prop_assert_eq!(String::from_utf8(json(&value)), String::from_utf8(canonical.clone()));
            if let Some(fields) = value.as_object() {
                let fields = fields.iter().map(|(key, field)| (key.as_str(), field)).collect();
                prop_assert_eq!(String::from_utf8(object(&fields)), String::from_utf8(canonical));
            }
        }
    }

    #[test]
    fn what_is_hashed_mostly_needs_no_canonicalizer() {
        assert!(is_written_so(&json!({"a": ["\u{1f600}\n", -7, null, true], "b": {"c": 1_u64 << 53}})));
        for hard in [json!({"\u{e4}": 1}), json!(0.5), json!((1_u64 << 53) + 1), json!([{"a": 1e30}])] {
            assert!(!is_written_so(&hard), "{hard}");
        }
    }
}
