//! What is wrong with an expression.

use crate::model::text::shown;
use cel::{ExecutionError, parser::Expression};

/// What is wrong with an expression, and with which part of it.
pub struct Fault {
    pub at: u64,
    pub what: String,
}

/// What failed, without the values at hand: the library writes maps in an order that changes from run to run, and a
/// message in a policy's status is no place for a request.
pub fn failure(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(_)
        | ExecutionError::NoSuchOverload(_)
        | ExecutionError::UndeclaredReference(_)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::InvalidArgumentCount { .. } => brief(&error.to_string()),
        ExecutionError::FunctionError { function, message } => function_failed(function, message),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            format!("its values are not of types that can be taken together ({operator})")
        }
        ExecutionError::Overflow(operator, ..) => format!("the result is too large ({operator})"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "an index is outside of its list".to_owned(),
        _ => "a value is not of the type that is needed".to_owned(),
    }
}

/// A function that cannot take its value: what it takes, where the library says what its parser met.
fn function_failed(function: &str, message: &str) -> String {
    let takes = match function {
        "duration" => "numbers with the units h, m, s, ms, us or ns, for example '90m' or '24h' for a day",
        "timestamp" => "a time with its zone, for example '2026-12-31T00:00:00Z'",
        "timezone" => {
            "the name of a time zone, for example 'Europe/Berlin', or a distance from UTC, for example '+01:00'"
        }
        _ => return brief(&format!("{function} cannot take its value: {message}")),
    };
    format!("{function} cannot take its value; it takes {takes}")
}

/// One line of bounded length: the library quotes whole lines.
pub fn brief(message: &str) -> String {
    const MAX: usize = 400;
    let message = shown(message);
    let mut line: String = message.lines().next().unwrap_or_default().chars().take(MAX).collect();
    if line.len() < message.len() {
        line.push('…');
    }
    line
}

pub(crate) fn fault<T>(at: &Expression, what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at: at.id, what: what.into() })
}
