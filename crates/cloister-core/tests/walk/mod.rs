//! All fields of all kinds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// A field, or the items of a list (`[]`), or the values of a map (`.*`).
pub struct Field {
    pub path: String,
    pub schema: JSONSchemaProps,
    /// Whether it may be left out; of a field alone.
    pub optional: Option<bool>,
}

pub fn fields() -> Vec<Field> {
    let mut fields = Vec::new();
    for crd in cloister_api::crds() {
        let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.clone()).unwrap();
        // The API server knows the root, and takes no null there.
        walk(crd.spec.names.kind, schema, None, &mut fields);
    }
    fields
}

fn walk(path: String, schema: JSONSchemaProps, optional: Option<bool>, fields: &mut Vec<Field>) {
    let required = schema.required.clone().unwrap_or_default();
    for (name, property) in schema.properties.clone().into_iter().flatten() {
        let optional = !required.contains(&name);
        walk(format!("{path}.{name}"), property, Some(optional), fields);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.clone() {
        walk(format!("{path}[]"), *items, None, fields);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.clone() {
        walk(format!("{path}.*"), *values, None, fields);
    }
    fields.push(Field { path, schema, optional });
}
