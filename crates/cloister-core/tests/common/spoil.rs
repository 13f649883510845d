//! Changes to what is written: another order, and what no schema would admit.

use proptest::sample::Index;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The same with all lists in another order; all lists of the API are sets.
pub fn shuffled<T: Serialize + DeserializeOwned>(of: &T, seed: u64) -> T {
    let mut value = serde_json::to_value(of).unwrap();
    let mut seed = seed;
    each(&mut value, &mut |value| {
        if let Value::Array(items) = value {
            for at in (1..items.len()).rev() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                items.swap(at, usize::try_from(seed >> 33).unwrap() % (at + 1));
            }
        }
    });
    serde_json::from_value(value).unwrap()
}

/// The same with all lists sorted.
pub fn sorted<T: Serialize>(of: &T) -> String {
    let mut value = serde_json::to_value(of).unwrap();
    each(&mut value, &mut |value| {
        if let Value::Array(items) = value {
            items.sort_by_key(Value::to_string);
        }
    });
    value.to_string()
}

/// The same with some values replaced by junk, as far as it can still be read.
pub fn spoiled<T: Serialize + DeserializeOwned + Clone>(of: &T, junk: &[(Index, usize)]) -> T {
    let mut spoiled = of.clone();
    for (index, kind) in junk {
        let mut value = serde_json::to_value(&spoiled).unwrap();
        let mut count = 0;
        each(&mut value, &mut |_| count += 1);
        let (mut at, chosen) = (0, index.index(count));
        each(&mut value, &mut |value| {
            if at == chosen {
                *value = replaced(value, *kind);
            }
            at += 1;
        });
        spoiled = serde_json::from_value(value).unwrap_or(spoiled);
    }
    spoiled
}

fn replaced(value: &Value, kind: usize) -> Value {
    let texts = ["", "\u{0}ä b", "/", "::ffff:0:0/96", "10.0.0.1/8", "-1e99999Ei", ".", "cloister-deny-all"];
    match value {
        Value::Array(_) if kind.is_multiple_of(2) => json!([]),
        Value::Array(items) => items.iter().chain(items).cloned().collect(),
        Value::Object(_) if kind.is_multiple_of(2) => json!({}),
        Value::Object(fields) => fields.iter().map(|(_, value)| (texts[kind].to_owned(), value.clone())).collect(),
        Value::Number(_) => json!([0, 1, 65_535, 65_536, -1][kind % 5]),
        _ => json!(texts[kind]),
    }
}

fn each(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, visit)),
        Value::Object(fields) => fields.values_mut().for_each(|field| each(field, visit)),
        _ => {}
    }
}
