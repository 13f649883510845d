//! Parts of an expression that are the same for every request: one that cannot be evaluated never can be.

use super::{
    environment::ENV,
    fault::{Fault, failure},
};
use cel::{
    Context, Value,
    common::ast::{CallExpr, EntryExpr, Expr},
    parser::Expression,
};
use std::sync::Arc;

/// Evaluates each call in an expression that depends on nothing.
pub(super) fn check(expression: &Expression) -> Result<(), Fault> {
    visit(expression).map(drop)
}

/// Whether a part depends on nothing. The innermost is evaluated first, so that the message is about what is at fault.
fn visit(part: &Expression) -> Result<bool, Fault> {
    match &part.expr {
        Expr::Literal(_) => Ok(true),
        Expr::Unspecified | Expr::Ident(_) | Expr::Struct(_) => Ok(false),
        Expr::Select(select) => {
            visit(&select.operand)?;
            Ok(false)
        }
        Expr::List(list) => all(&list.elements),
        Expr::Map(map) => {
            let mut constant = true;
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    constant &= visit(&entry.key)?;
                    constant &= visit(&entry.value)?;
                }
            }
            Ok(constant)
        }
        Expr::Call(call) => visit_call(part, call),
        Expr::Comprehension(comprehension) => {
            let parts = [&comprehension.iter_range, &comprehension.loop_cond, &comprehension.loop_step];
            for part in parts {
                visit(part)?;
            }
            Ok(false)
        }
    }
}

fn visit_call(part: &Expression, call: &CallExpr) -> Result<bool, Fault> {
    let target = call.target.as_ref().map_or(Ok(true), |target| visit(target))?;
    if !(all(&call.args)? && target) {
        return Ok(false);
    }
    let context = Context::with_env(Arc::clone(&ENV));
    match Value::resolve(part, &context) {
        Ok(_) => Ok(true),
        Err(error) => Err(Fault { at: part.id, what: format!("it cannot be evaluated: {}", failure(&error)) }),
    }
}

/// Whether all depend on nothing.
fn all(parts: &[Expression]) -> Result<bool, Fault> {
    parts.iter().try_fold(true, |constant, part| Ok(visit(part)? && constant))
}
