//! The types of values in an expression, and those of a request, as its schema says.

use super::request::Request;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, sync::LazyLock};

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// It is not known before the value is.
    Any,
    /// That of what an empty list holds.
    Nothing,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    /// One of these texts.
    Enum(Vec<String>),
    Bytes,
    Duration,
    Time,
    List(Box<Type>),
    /// Texts, or what is not known, to values of this type.
    Map(Box<Type>),
    /// Its fields, and what it is called.
    Object(String, BTreeMap<String, Type>),
    Optional(Box<Type>),
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Any | Type::Nothing => f.write_str("any"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::Text | Type::Enum(_) => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Duration => f.write_str("duration"),
            Type::Time => f.write_str("timestamp"),
            Type::List(of) => write!(f, "list of {of}"),
            Type::Map(_) => f.write_str("map"),
            Type::Object(name, _) => write!(f, "object ({name})"),
            Type::Optional(of) => write!(f, "optional {of}"),
        }
    }
}

impl Type {
    pub fn list(of: Type) -> Type {
        Type::List(Box::new(of))
    }

    pub fn optional(of: Type) -> Type {
        Type::Optional(Box::new(of))
    }

    pub fn is_number(&self) -> bool {
        matches!(self, Type::Int | Type::Uint | Type::Double)
    }

    /// Whether a value of this type can equal one of the other.
    pub fn is_comparable(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Any | Type::Nothing, _) | (_, Type::Any | Type::Nothing) => true,
            (Type::List(one), Type::List(other)) | (Type::Optional(one), Type::Optional(other)) => {
                one.is_comparable(other)
            }
            (Type::Map(_) | Type::Object(..), Type::Map(_) | Type::Object(..)) => true,
            (Type::Text | Type::Enum(_), Type::Text | Type::Enum(_)) => true,
            (one, other) => one == other || one.is_number() && other.is_number(),
        }
    }

    /// The type of a value that is of this type or of the other.
    pub fn joined(self, other: Type) -> Type {
        match (self, other) {
            (Type::Nothing, other) | (other, Type::Nothing) => other,
            (Type::List(one), Type::List(other)) => Type::list(one.joined(*other)),
            (Type::Optional(one), Type::Optional(other)) => Type::optional(one.joined(*other)),
            (one, other) if one == other => one,
            (Type::Enum(mut one), Type::Enum(other)) => {
                one.extend(other);
                Type::Enum(one)
            }
            (Type::Text | Type::Enum(_), Type::Text | Type::Enum(_)) => Type::Text,
            _ => Type::Any,
        }
    }

    /// The type by which functions and operators know a value.
    pub fn plain(self) -> Type {
        match self {
            Type::Enum(_) => Type::Text,
            other => other,
        }
    }
}

/// The type of a request, over all kinds of grants.
pub static REQUEST: LazyLock<Type> = LazyLock::new(|| {
    let schema = schemars::schema_for!(Request<'static>).to_value();
    read("request", &schema, &schema)
});

/// The type that a schema describes. What it does not say is not known.
fn read(name: &str, schema: &Value, root: &Value) -> Type {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let at = reference.trim_start_matches('#');
        return root.pointer(at).map_or(Type::Any, |schema| read(name, schema, root));
    }
    // Of what may be null, the rest: what is not set is not there.
    if let Some(any) = schema.get("anyOf").and_then(Value::as_array) {
        let all = any.iter().filter(|one| one.get("type").and_then(Value::as_str) != Some("null"));
        return all.map(|one| read(name, one, root)).fold(Type::Nothing, Type::joined);
    }
    if let Some(values) = values(schema) {
        return Type::Enum(values);
    }
    if schema.get("enum").is_some() || schema.get("oneOf").is_some() {
        return Type::Text;
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        _ => Vec::new(),
    };
    match kinds.as_slice() {
        ["string"] => Type::Text,
        ["boolean"] => Type::Bool,
        ["integer"] => Type::Int,
        ["number"] => Type::Double,
        ["array"] => Type::list(schema.get("items").map_or(Type::Any, |items| read(name, items, root))),
        ["object"] => match schema.get("properties").and_then(Value::as_object) {
            Some(fields) => {
                let fields = fields.iter().map(|(name, field)| (name.clone(), read(name, field, root)));
                Type::Object(name.to_owned(), fields.collect())
            }
            None => {
                let values = schema.get("additionalProperties").filter(|values| values.is_object());
                Type::Map(Box::new(values.map_or(Type::Any, |values| read(name, values, root))))
            }
        },
        _ => Type::Any,
    }
}

/// The texts of which a schema takes one, where it lists them.
fn values(schema: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(value) = schema.get("const") {
        return Some(vec![text(value)?]);
    }
    if let Some(all) = schema.get("enum").and_then(Value::as_array) {
        return all.iter().filter(|value| !value.is_null()).map(text).collect();
    }
    let parts: Option<Vec<Vec<String>>> = schema.get("oneOf")?.as_array()?.iter().map(values).collect();
    parts.map(|parts| parts.concat())
}
