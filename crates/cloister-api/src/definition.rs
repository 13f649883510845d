//! What holds for all fields of all kinds, done to the definitions as they are generated.

use crate::schema::looks_like;
use crate::{
    AccessPolicy, AccessReview, AccessRole, CloisterConfig, EgressAllowlist, GrantKind, GrantMount, ResearchNamespace,
    StorageResource, unseen, with_grant_type,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

/// The definitions of all kinds, in the order in which they are documented.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let catalogue = [
        crd::<ResearchNamespace>(),
        crd::<EgressAllowlist>(),
        crd::<StorageResource>(),
        crd::<AccessRole>(),
        crd::<AccessPolicy>(),
    ];
    let grants = GrantKind::ALL.map(|kind| with_grant_type!(kind, K => crd::<K>()));
    let others = [crd::<AccessReview>(), crd::<GrantMount>(), crd::<CloisterConfig>()];
    catalogue.into_iter().chain(grants).chain(others).collect()
}

fn crd<K: CustomResourceExt + JsonSchema>() -> CustomResourceDefinition {
    let mut crd = K::crd();
    let enums = enums::<K>();
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            finish(schema, &enums, Place::default());
            if let Some(status) = schema.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
                drop_rules(status);
            }
            add_root(schema);
            unseen::default_status(&crd.spec.names.kind, schema);
        }
    }
    crd
}

/// The values of an enum, each with what it means.
type Meanings = Vec<(Value, String)>;

/// The enums of a kind, by what the types say of each value.
fn enums<K: JsonSchema>() -> Vec<Meanings> {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    K::json_schema(&mut generator);
    let meaning = |variant: &Value| Some((variant["const"].clone(), one_line(variant["description"].as_str()?)));
    let definitions = generator.definitions().values();
    definitions.filter_map(|definition| definition["oneOf"].as_array()?.iter().map(meaning).collect()).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where a schema is.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Below the items of a list.
    in_list: bool,
    /// In the status, which only the operator writes.
    in_status: bool,
}

/// Finishes a schema and all that are below it.
fn finish(schema: &mut JSONSchemaProps, enums: &[Meanings], place: Place) {
    explain(schema, enums);
    match schema.type_.as_deref() {
        Some("integer") => schema.format = Some(width(schema).to_owned()),
        // Unless keys are said, Kubernetes replaces a list as a whole.
        Some("array") => _ = schema.x_kubernetes_list_type.get_or_insert_with(|| "atomic".to_owned()),
        _ => {}
    }
    if place.in_list {
        // A default here makes every client-side apply of the list one that changes it.
        schema.default = None;
    }
    tell_default(schema);
    let required = schema.required.clone().unwrap_or_default();
    for (name, property) in schema.properties.iter_mut().flatten() {
        let place = Place { in_status: place.in_status || name == "status", ..place };
        finish(property, enums, place);
        if !required.contains(name) {
            allow_null(property, place);
        }
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        finish(items, enums, Place { in_list: true, ..place });
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        finish(values, enums, place);
    }
}

/// Says in the description what an absent field stands for: `kubectl explain` shows no defaults.
fn tell_default(schema: &mut JSONSchemaProps) {
    let Some(default) = schema.default.as_ref().map(|default| &default.0).filter(|default| is_worth_saying(default))
    else {
        return;
    };
    let description = schema.description.take().unwrap_or_default();
    let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
    let said = description.to_lowercase().contains("default");
    schema.description =
        Some(if said { description } else { format!("{description} Default: {default}.").trim_start().to_owned() });
}

/// Whether a default says something that the fields below it do not say.
fn is_worth_saying(default: &Value) -> bool {
    match default {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => fields.values().all(|value| !value.is_object()) && !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Takes all rules out of a schema: of a status, which the operator writes, and which nothing may keep it from writing.
fn drop_rules(schema: &mut JSONSchemaProps) {
    schema.x_kubernetes_validations = None;
    schema.properties.iter_mut().flatten().for_each(|(_, property)| drop_rules(property));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        drop_rules(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        drop_rules(values);
    }
}

/// Lets an optional field be null, which is as if it were absent. Where it has a default, the API server puts that there.
fn allow_null(property: &mut JSONSchemaProps, place: Place) {
    if property.default.is_some() {
        return;
    }
    property.nullable = Some(true);
    if place.in_status {
        return;
    }
    // The API server takes no null for an enum, not even for one that lists it.
    if let Some(values) = property.enum_.take() {
        let values: Vec<&str> = values.iter().filter_map(|value| value.0.as_str()).collect();
        let (Some((last, others)), expression) = (values.split_last(), values.join("|")) else { return };
        let sentence = format!("must be {} or {last}", others.join(", "));
        let rule = serde_json::from_value(looks_like(&format!("^({expression})$"), &sentence));
        // What a rule costs is reckoned by the longest text.
        property.max_length = Some(32);
        property.x_kubernetes_validations.get_or_insert_default().extend(rule.ok());
    }
}

/// The format that holds all values of an integer. The API server warns of those that only Rust knows (`uint16`).
fn width(schema: &JSONSchemaProps) -> &'static str {
    let is_small = schema.maximum.is_some_and(|most| most <= f64::from(i32::MAX))
        || schema.format.as_deref().is_some_and(|format| ["int32", "uint8", "uint16"].contains(&format));
    if is_small { "int32" } else { "int64" }
}

/// Says of each value of an enum what it means: `kubectl explain` shows the description alone.
fn explain(schema: &mut JSONSchemaProps, enums: &[Meanings]) {
    let items = match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => items.enum_.as_ref(),
        _ => None,
    };
    let Some(values) = schema.enum_.as_ref().or(items) else { return };
    let values: Vec<&Value> = values.iter().map(|value| &value.0).filter(|value| !value.is_null()).collect();
    let is_of = |meanings: &&Meanings| meanings.iter().map(|(value, _)| value).eq(values.iter().copied());
    let Some(meanings) = enums.iter().find(is_of) else { return };
    let said = meanings.iter().map(|(value, meaning)| format!(" {}: {meaning}", value.as_str().unwrap_or_default()));
    let description = schema.description.take().unwrap_or_default();
    schema.description = Some(description + &said.collect::<String>());
}

/// The fields that every object has. Editors refuse what a schema does not name.
fn add_root(schema: &mut JSONSchemaProps) {
    let text = |description: &str| JSONSchemaProps {
        description: Some(description.to_owned()),
        type_: Some("string".to_owned()),
        ..JSONSchemaProps::default()
    };
    // The API server knows what metadata is, and takes no description of it.
    let metadata = JSONSchemaProps { type_: Some("object".to_owned()), ..JSONSchemaProps::default() };
    let properties = schema.properties.get_or_insert_default();
    properties.insert("apiVersion".to_owned(), text("The group and version of the kind: cloister.dev/v1alpha1."));
    properties.insert("kind".to_owned(), text("The kind of the object."));
    properties.insert("metadata".to_owned(), metadata);
}
