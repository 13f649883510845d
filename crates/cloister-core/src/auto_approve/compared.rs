//! Comparisons that read well and are not what is meant: with a word that a field never is, and of texts by their letters.

use super::{
    fault::{Fault, fault},
    types::Type,
};
use crate::{
    suggest::{closest, did_you_mean},
    text::shown,
};
use cel::{
    common::ast::{Expr, LiteralValue, operators},
    parser::Expression,
};

/// Checks a call of `name` on values of these types.
pub(super) fn check(at: &Expression, name: &str, args: &[Expression], types: &[Type]) -> Result<(), Fault> {
    let ([one, other], [left, right]) = (args, types) else { return Ok(()) };
    match name {
        operators::EQUALS | operators::NOT_EQUALS => {
            is_value(other, left)?;
            is_value(one, right)
        }
        operators::IN => {
            if let Type::List(of) = right {
                is_value(one, of)?;
            }
            match &other.expr {
                Expr::List(list) => list.elements.iter().try_for_each(|element| is_value(element, left)),
                _ => Ok(()),
            }
        }
        operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => {
            let is_text = |one: &Type| matches!(one, Type::Text | Type::Enum(_));
            let may_be = |one: &Type| is_text(one) || matches!(one, Type::Any | Type::Nothing);
            if (is_text(left) && may_be(right)) || (may_be(left) && is_text(right)) {
                let what = name.trim_matches('_');
                return fault(
                    at,
                    format!(
                        "{what} compares strings letter by letter, so that '30h' is before '4h'; compare durations with duration(), \
                         times with timestamp(), and numbers with int()"
                    ),
                );
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Checks that a text that is written out is one that a value of this type can be. Of a list, each.
fn is_value(written: &Expression, type_: &Type) -> Result<(), Fault> {
    match (&written.expr, type_) {
        (Expr::List(list), Type::List(of)) => list.elements.iter().try_for_each(|element| is_value(element, of)),
        (_, Type::Enum(values)) => match text(written) {
            Some(text) if !values.iter().any(|value| value == text) => {
                let meant = did_you_mean(closest(text, values.iter().map(String::as_str)));
                let named: Vec<&str> = values.iter().map(String::as_str).filter(|value| !value.is_empty()).collect();
                fault(
                    written,
                    format!("it is compared with '{}'{meant}, but is one of {}", shown(text), named.join(", ")),
                )
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The type of `value.orValue(text)`, where the text is written out beside the values of a field.
pub(super) fn or_value(found: &Type, alternative: &Expression) -> Option<Type> {
    let Type::Optional(of) = found else { return None };
    let (Type::Enum(values), Some(text)) = (&**of, text(alternative)) else { return None };
    Some(Type::Enum(values.iter().cloned().chain([text.to_owned()]).collect()))
}

/// The text of a literal.
pub(super) fn text(part: &Expression) -> Option<&str> {
    match &part.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
