//! Rules that answer in sentences: what is wrong, and what to write instead. A `pattern` would answer with itself.

use serde_json::{Value, json};

/// That a condition holds, or the sentence.
pub(crate) fn rule(condition: impl Into<String>, sentence: &str) -> Value {
    json!({"rule": condition.into(), "message": sentence, "reason": "FieldValueInvalid"})
}

/// That a text looks like this RE2 expression, or the sentence.
pub(crate) fn looks_like(expression: &str, sentence: &str) -> Value {
    rule(matches(expression), sentence)
}

/// As [`looks_like`], with the sentence of the first fault that the text has, and `otherwise` where it has none of them. One
/// text gets one sentence.
pub(super) fn looks_like_or(expression: &str, faults: &[(&str, &str)], otherwise: &str) -> Value {
    let mut answer = rule(matches(expression), otherwise);
    let quoted = |sentence: &str| Value::from(sentence).to_string();
    let told = faults.iter().map(|(fault, sentence)| format!("{fault} ? {} : ", quoted(sentence)));
    answer["messageExpression"] = format!("{}{}", told.collect::<String>(), quoted(otherwise)).into();
    answer
}

/// That all keys of a map hold to a condition on `k`, or a sentence that begins with the first key that does not.
pub(crate) fn keys(condition: &str, sentence: &str) -> Value {
    let mut answer = rule(format!("self.all(k, {condition})"), &format!("a key {sentence}"));
    // What is quoted is bounded, and in one line: an API server drops a message that is not.
    let first = format!("self.filter(k, !({condition}))[0]");
    answer["messageExpression"] =
        format!("'the key \"' + {first}.substring(0, {first}.size() > 80 ? 80 : {first}.size()) + '\" {sentence}'")
            .into();
    answer
}

/// The condition that a text looks like this RE2 expression.
pub(crate) fn matches(expression: &str) -> String {
    format!("self.matches(r'{expression}')")
}
