//! Checks expressions, and evaluates them over a request.

use super::{
    bounds, constants,
    environment::{ENV, REQUEST},
    fault::{Fault, brief, failure},
    types, typing,
};
use cel::{
    Context, ParseErrors, Value,
    common::ast::SourceInfo,
    objects::{Map, TryIntoValue},
    parser::Expression,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// The longest expression, in bytes.
pub const MAX_LENGTH: usize = 1024;

/// How deep expressions stand inside one another, as in brackets, lists and calls.
pub const MAX_NESTING: u16 = 24;

/// What came of the expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evaluation {
    /// An expression is true: the first such in their order.
    Approved {
        /// Its place in the list, from 0.
        index: usize,
        /// Its text.
        expression: String,
    },
    /// None is true.
    NotApproved {
        /// Why, for those that did not come to `false` but failed, each with its place in the list.
        errors: Vec<String>,
    },
}

/// What is wrong with the expressions, each message with the place in the list. Empty where all can be evaluated.
pub fn check(expressions: &[String]) -> Vec<String> {
    let errors = expressions
        .iter()
        .enumerate()
        .filter_map(|(index, text)| guarded(|| compile(text).map(drop)).err().map(|error| located(index, &error)));
    errors.collect()
}

/// Evaluates the expressions in their order over the request, until one is true.
///
/// Never panics, and never approves for an expression that fails. Where the CEL library panics, the process's panic
/// hook still reports it: silencing the hook would silence it for other threads too.
pub fn approves(expressions: &[String], request: &serde_json::Value) -> Evaluation {
    let mut errors = Vec::new();
    for (index, text) in expressions.iter().enumerate() {
        match guarded(|| evaluate(text, request)) {
            Ok(true) => {
                return Evaluation::Approved { index, expression: text.clone() };
            }
            Ok(false) => {}
            Err(error) => errors.push(located(index, &error)),
        }
    }
    Evaluation::NotApproved { errors }
}

fn evaluate(text: &str, request: &serde_json::Value) -> Result<bool, String> {
    let expression = compile(text)?;
    let mut context = Context::with_env(Arc::clone(&ENV));
    let request = request.try_into_value().map_err(|error| format!("the request cannot be given to CEL: {error}"))?;
    context.add_variable_from_value(REQUEST, signed(request));
    match Value::resolve(&expression, &context) {
        Ok(Value::Bool(value)) => Ok(value),
        Ok(other) => Err(format!("its value is of type {}, not bool", other.type_of())),
        Err(error) => Err(failure(&error)),
    }
}

/// A value whose whole numbers are of the type `int`, as they were checked. The library takes those of JSON for `uint`,
/// which cannot be added to an `int`. What is too large for one stays, and fails where it is taken for one.
fn signed(value: Value) -> Value {
    match value {
        Value::UInt(number) => i64::try_from(number).map_or(Value::UInt(number), Value::Int),
        Value::List(items) => Value::List(Arc::new(Arc::unwrap_or_clone(items).into_iter().map(signed).collect())),
        Value::Map(Map { map }) => {
            let fields = Arc::unwrap_or_clone(map).into_iter().map(|(key, value)| (key, signed(value)));
            Value::Map(Map { map: Arc::new(fields.collect()) })
        }
        other => other,
    }
}

fn compile(text: &str) -> Result<Expression, String> {
    // Before parsing: the parser's stack grows with the length.
    if text.len() > MAX_LENGTH {
        return Err(format!("it has {} bytes; at most {MAX_LENGTH} are evaluated", text.len()));
    }
    let parser = ENV.parser().max_recursion_depth(MAX_NESTING);
    let (expression, source) = parser.parse_with_source_info(text).map_err(|errors| first(&errors))?;
    bounds::check(&expression)
        .and_then(|()| typing::check(&expression, REQUEST, &types::REQUEST))
        .and_then(|()| constants::check(&expression))
        .map_err(|fault| placed(&fault, &source))?;
    Ok(expression)
}

/// What is wrong, and where.
fn placed(fault: &Fault, source: &SourceInfo) -> String {
    let before = source.offset_for(fault.at).and_then(|(start, _)| source.source.get(..start as usize));
    let Some(before) = before else { return brief(&fault.what) };
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    match before.matches('\n').count() {
        0 => format!("column {column}: {}", brief(&fault.what)),
        lines => format!("line {}, column {column}: {}", lines + 1, brief(&fault.what)),
    }
}

/// Runs what calls the CEL library, which has panicked on odd input before.
fn guarded<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Nothing that was half changed is seen afterwards: all of it is dropped.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("the CEL library failed on it".to_owned()))
}

/// The first error: those after it mostly follow from it.
fn first(errors: &ParseErrors) -> String {
    match errors.errors.first() {
        Some(error) => format!("column {}: {}", error.pos.1.max(1), brief(&error.msg)),
        None => "it cannot be parsed".to_owned(),
    }
}

fn located(index: usize, error: &str) -> String {
    format!("autoApprove[{index}]: {error}")
}

#[cfg(test)]
mod tests;
