//! What an expression may consist of, so that evaluating it is bounded.

use super::{environment::REQUEST, fault::Fault};
use cel::{
    common::ast::{CallExpr, EntryExpr, Expr, IdedEntryExpr},
    parser::Expression,
};

/// The functions that an expression may call, besides operators and the macros `has`, `all`, `exists`, `exists_one`,
/// `map` and `filter`.
pub const FUNCTIONS: &[&str] = &[
    "bool",
    "contains",
    "double",
    "duration",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "int",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "uint",
    "value",
];

/// What is wrong with an expression that parses; CEL itself would notice only when it is evaluated, or not at all.
pub(crate) fn check(expression: &Expression) -> Result<(), Fault> {
    visit(expression, None)
}

/// The iteration around an expression.
struct Iteration<'a> {
    element: &'a str,
    result: &'a str,
}

fn visit(expression: &Expression, iteration: Option<&Iteration>) -> Result<(), Fault> {
    let fault = |what: String| Err(Fault { at: expression.id, what });
    match &expression.expr {
        Expr::Unspecified => fault("it is empty".to_owned()),
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) => {
            let bound = iteration.is_some_and(|iteration| name == iteration.element || name == iteration.result);
            if name == REQUEST || bound {
                Ok(())
            } else {
                fault(format!("{name} is unknown; the only variable is {REQUEST}"))
            }
        }
        Expr::Select(select) => visit(&select.operand, iteration),
        Expr::Call(call) => visit_call(expression, call, iteration),
        Expr::List(list) => list.elements.iter().try_for_each(|element| visit(element, iteration)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| visit_entry(entry, iteration)),
        Expr::Struct(literal) => fault(format!("{} is not a type that can be made", literal.type_name)),
        Expr::Comprehension(_) if iteration.is_some() => fault(
            "all, exists, exists_one, map and filter must not be nested inside one another, and must not use one another's \
             result"
                .to_owned(),
        ),
        Expr::Comprehension(comprehension) => {
            let (element, result) = (comprehension.iter_var.as_str(), comprehension.accu_var.as_str());
            // The list counts as inside, though it does not know the element: else it could be grown beforehand.
            visit(&comprehension.iter_range, Some(&Iteration { element: result, result }))?;
            let inside = Iteration { element, result };
            let parts =
                [&comprehension.accu_init, &comprehension.loop_cond, &comprehension.loop_step, &comprehension.result];
            parts.into_iter().try_for_each(|part| visit(part, Some(&inside)))
        }
    }
}

fn visit_call(at: &Expression, call: &CallExpr, iteration: Option<&Iteration>) -> Result<(), Fault> {
    let name = call.func_name.as_str();
    let fault = |what: String| Err(Fault { at: at.id, what });
    // An operator is called `_+_` or `@in`, which nobody can write as the name of a function.
    let is_operator = !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_operator && !FUNCTIONS.contains(&name) {
        return fault(format!("there is no function {name}"));
    }
    if let (Some(iteration), "_+_") = (iteration, name)
        && !adds_to_result(call, iteration)
    {
        return fault("nothing can be added or concatenated inside all, exists, exists_one, map and filter".to_owned());
    }
    call.target.iter().try_for_each(|target| visit(target, iteration))?;
    call.args.iter().try_for_each(|argument| visit(argument, iteration))
}

/// Whether the macro itself adds: `map` and `filter` collect, `exists_one` counts.
fn adds_to_result(call: &CallExpr, iteration: &Iteration) -> bool {
    matches!(call.args.first().map(|first| &first.expr), Some(Expr::Ident(name)) if name == iteration.result)
}

fn visit_entry(entry: &IdedEntryExpr, iteration: Option<&Iteration>) -> Result<(), Fault> {
    match &entry.expr {
        EntryExpr::MapEntry(entry) => {
            visit(&entry.key, iteration)?;
            visit(&entry.value, iteration)
        }
        EntryExpr::StructField(field) => visit(&field.value, iteration),
    }
}
