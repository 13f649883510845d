//! Finds the type of an expression, and with it what can never be true of any request: a field that no request has, a
//! function of another type, a comparison of what is never equal.

use super::{
    compared::{self, text},
    fault::{Fault, fault},
    types::Type,
};
use cel::{
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
    parser::Expression,
};

/// The most fields that a message names.
const FIELDS_NAMED: usize = 24;

/// What variables stand for, the innermost last.
type Scope<'a> = Vec<(&'a str, Type)>;

/// Checks that an expression is true or false.
pub(crate) fn check(expression: &Expression, variable: &str, type_: &Type) -> Result<(), Fault> {
    let mut scope = vec![(variable, type_.clone())];
    expect(expression, &Type::Bool, "its value", &mut scope)
}

/// Checks that a part of an expression is of a type.
fn expect<'a>(part: &'a Expression, wanted: &Type, what: &str, scope: &mut Scope<'a>) -> Result<(), Fault> {
    let found = of(part, scope)?;
    if matches!(found, Type::Any | Type::Nothing) || found == *wanted {
        return Ok(());
    }
    fault(part, format!("{what} is of type {found}, not {wanted}"))
}

/// The type of a part of an expression.
fn of<'a>(part: &'a Expression, scope: &mut Scope<'a>) -> Result<Type, Fault> {
    Ok(match &part.expr {
        Expr::Unspecified | Expr::Struct(_) => Type::Any,
        Expr::Literal(value) => literal(value),
        Expr::Ident(name) => {
            let known = scope.iter().rev().find(|(known, _)| known == name);
            known.map_or(Type::Any, |(_, type_)| type_.clone())
        }
        Expr::Select(select) => {
            let operand = of(&select.operand, scope)?;
            let found = field(part, &operand, &select.field)?;
            if select.test { Type::Bool } else { found }
        }
        Expr::Call(call) => of_call(part, call, scope)?,
        Expr::List(list) => {
            let mut items = Type::Nothing;
            for element in &list.elements {
                items = same(element, items, of(element, scope)?, "a list holds values")?;
            }
            Type::list(items)
        }
        Expr::Map(map) => {
            let mut values = Type::Nothing;
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    of(&entry.key, scope)?;
                    values = same(&entry.value, values, of(&entry.value, scope)?, "a map holds values")?;
                }
            }
            Type::Map(Box::new(values))
        }
        Expr::Comprehension(comprehension) => of_comprehension(part, comprehension, scope)?,
    })
}

/// The one type of two values: CEL knows lists of several, but then nothing can be said of what is made of them.
fn same(at: &Expression, one: Type, other: Type, what: &str) -> Result<Type, Fault> {
    match one.clone().joined(other.clone()) {
        Type::Any if one != Type::Any && other != Type::Any => {
            fault(at, format!("{what} of one type, and not of {one} and {other}"))
        }
        joined => Ok(joined),
    }
}

fn literal(value: &LiteralValue) -> Type {
    match value {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// The type of a field of a value.
fn field(at: &Expression, operand: &Type, name: &str) -> Result<Type, Fault> {
    match operand {
        Type::Any | Type::Nothing => Ok(Type::Any),
        Type::Map(values) => Ok((**values).clone()),
        Type::Optional(of) => field(at, of, name).map(Type::optional),
        Type::Object(object, fields) => match fields.get(name) {
            Some(field) => Ok(field.clone()),
            None => {
                let known: Vec<&str> = fields.keys().take(FIELDS_NAMED).map(String::as_str).collect();
                fault(at, format!("{object} has no field {name}; it has {}", known.join(", ")))
            }
        },
        other => fault(at, format!("a value of type {other} has no field {name}")),
    }
}

fn of_comprehension<'a>(
    part: &'a Expression,
    comprehension: &'a ComprehensionExpr,
    scope: &mut Scope<'a>,
) -> Result<Type, Fault> {
    let element = match of(&comprehension.iter_range, scope)? {
        Type::List(of) => *of,
        Type::Map(_) | Type::Object(..) => Type::Text,
        Type::Any | Type::Nothing => Type::Any,
        other => return fault(part, format!("a value of type {other} has no elements to go through")),
    };
    let depth = scope.len();
    scope.push((&comprehension.iter_var, element));
    let mut result = of(&comprehension.accu_init, scope)?;
    // Once for what the result grows from, and once for what it has grown to.
    for _ in 0..2 {
        scope.truncate(depth + 1);
        scope.push((&comprehension.accu_var, result.clone()));
        expect(&comprehension.loop_cond, &Type::Bool, "the condition", scope)?;
        result = result.joined(of(&comprehension.loop_step, scope)?);
    }
    scope.truncate(depth + 1);
    scope.push((&comprehension.accu_var, result));
    let found = of(&comprehension.result, scope);
    scope.truncate(depth);
    found
}

fn of_call<'a>(part: &'a Expression, call: &'a CallExpr, scope: &mut Scope<'a>) -> Result<Type, Fault> {
    let name = call.func_name.as_str();
    match (name, call.args.as_slice()) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [one, other]) => {
            expect(one, &Type::Bool, "one side", scope)?;
            expect(other, &Type::Bool, "one side", scope)?;
            return Ok(Type::Bool);
        }
        (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [one]) => {
            expect(one, &Type::Bool, "what is negated", scope)?;
            return Ok(Type::Bool);
        }
        (operators::CONDITIONAL, [condition, one, other]) => {
            expect(condition, &Type::Bool, "the condition", scope)?;
            let (first, second) = (of(one, scope)?, of(other, scope)?);
            return same(other, first, second, "what stands on both sides of a colon is");
        }
        (operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT, [operand, index]) => {
            let found = of_index(part, operand, index, scope)?;
            let is_optional = matches!(found, Type::Optional(_));
            return Ok(if name == operators::INDEX || is_optional { found } else { Type::optional(found) });
        }
        _ => {}
    }
    let mut given = Vec::new();
    if let Some(target) = &call.target {
        given.push(of(target, scope)?);
    }
    let target = given.len();
    for argument in &call.args {
        given.push(of(argument, scope)?);
    }
    if target == 0 {
        compared::check(part, name, &call.args, &given)?;
    }
    if let ("orValue", 1, [found, _], [alternative]) = (name, target, given.as_slice(), call.args.as_slice())
        && let Some(found) = compared::or_value(found, alternative)
    {
        return Ok(found);
    }
    let given: Vec<Type> = given.into_iter().map(Type::plain).collect();
    match result(name, target, &given) {
        Some(found) => Ok(found),
        None => {
            let types: Vec<String> = given.iter().map(Type::to_string).collect();
            let types = if types.is_empty() { "nothing".to_owned() } else { types.join(", ") };
            let what = name.trim_matches(['_', '@']);
            match name.starts_with(['_', '@', '-', '!']) {
                true if matches!(name, operators::EQUALS | operators::NOT_EQUALS) => {
                    fault(part, format!("values of types {types} are never equal"))
                }
                true => fault(part, format!("{what} does not go with values of types {types}")),
                false => fault(part, format!("function {what} does not take {types}")),
            }
        }
    }
}

fn of_index<'a>(
    part: &'a Expression,
    operand: &'a Expression,
    index: &'a Expression,
    scope: &mut Scope<'a>,
) -> Result<Type, Fault> {
    let (found, by) = (of(operand, scope)?, of(index, scope)?);
    let inner = match &found {
        Type::Optional(of) => of.as_ref(),
        other => other,
    };
    let item = match (inner, &by) {
        (Type::Any | Type::Nothing, _) => Type::Any,
        (Type::List(of), Type::Any | Type::Int | Type::Uint | Type::Double) => (**of).clone(),
        (Type::Map(values), _) => (**values).clone(),
        (Type::Object(..), Type::Text | Type::Enum(_)) => match text(index) {
            Some(name) => field(part, inner, name)?,
            None => Type::Any,
        },
        (Type::Object(..), Type::Any) => Type::Any,
        (other, by) => {
            return fault(part, format!("a value of type {other} cannot be indexed with a value of type {by}"));
        }
    };
    Ok(if matches!(found, Type::Optional(_)) { Type::optional(item) } else { item })
}

/// The type of what a function or an operator gives, where it takes values of these types. The first `target` of them are
/// what it is called on.
fn result(name: &str, target: usize, given: &[Type]) -> Option<Type> {
    use Type::{Any, Bool, Bytes, Double, Duration, Int, List, Map, Nothing, Object, Optional, Text, Time, Uint};
    let unknown = |one: &Type| matches!(one, Any | Nothing);
    Some(match (name, given) {
        (operators::EQUALS | operators::NOT_EQUALS, [one, other]) if one.is_comparable(other) => Bool,
        (operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS, [one, other]) => {
            let is_ordered =
                |one: &Type| unknown(one) || one.is_number() || matches!(one, Bool | Text | Bytes | Duration | Time);
            (is_ordered(one) && is_ordered(other) && one.is_comparable(other)).then_some(Bool)?
        }
        (operators::IN, [item, List(of)]) if item.is_comparable(of) => Bool,
        (operators::IN, [Text | Any | Nothing, Map(_) | Object(..)] | [_, Any | Nothing]) => Bool,
        (operators::ADD, [List(one), List(other)]) => Type::list(one.clone().joined((**other).clone())),
        (operators::ADD | operators::SUBSTRACT, [Time, Duration]) | (operators::ADD, [Duration, Time]) => Time,
        (operators::SUBSTRACT, [Time, Time]) | (operators::ADD | operators::SUBSTRACT, [Duration, Duration]) => {
            Duration
        }
        (operators::ADD, [Text, Text]) => Text,
        (operators::ADD, [Bytes, Bytes]) => Bytes,
        (
            operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE,
            [Int, Int] | [Uint, Uint] | [Double, Double],
        )
        | (operators::MODULO, [Int, Int] | [Uint, Uint]) => given[0].clone(),
        (
            operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
            [one, other],
        ) if unknown(one) || unknown(other) => Any,
        (operators::NEGATE, [Int | Double | Any | Nothing]) => given[0].clone(),
        ("size", [Text | Bytes | List(_) | Map(_) | Object(..) | Any | Nothing]) => Int,
        ("contains" | "startsWith" | "endsWith", [one, other]) if target == 1 => {
            let is_text = |one: &Type| unknown(one) || *one == Text;
            (is_text(one) && is_text(other)).then_some(Bool)?
        }
        ("duration", [Text | Duration | Any | Nothing]) if target == 0 => Duration,
        ("timestamp", [Text | Time | Any | Nothing]) if target == 0 => Time,
        ("bool", [Text | Bool | Any | Nothing]) if target == 0 => Bool,
        ("int" | "uint" | "double", [one])
            if target == 0 && (unknown(one) || one.is_number() || matches!(one, Text)) =>
        {
            match name {
                "int" => Int,
                "uint" => Uint,
                _ => Double,
            }
        }
        ("string", [one])
            if target == 0 && (unknown(one) || one.is_number() || matches!(one, Text | Bytes | Duration | Time)) =>
        {
            Text
        }
        ("getHours" | "getMinutes" | "getSeconds" | "getMilliseconds", [Duration | Time | Any | Nothing])
            if target == 1 =>
        {
            Int
        }
        (
            "getDate" | "getDayOfMonth" | "getDayOfWeek" | "getDayOfYear" | "getFullYear" | "getMonth",
            [Time | Any | Nothing],
        ) if target == 1 => Int,
        ("hasValue", [Optional(_) | Any | Nothing]) if target == 1 => Bool,
        ("value", [Optional(of)]) if target == 1 => (**of).clone(),
        ("orValue", [Optional(of), other]) if target == 1 && of.is_comparable(other) => {
            (**of).clone().joined(other.clone())
        }
        ("or", [Optional(one), Optional(other)]) if target == 1 => {
            Type::optional((**one).clone().joined((**other).clone()))
        }
        ("value" | "orValue" | "or", [one, ..]) if target == 1 && unknown(one) => Any,
        _ => return None,
    })
}
