//! The kinds of `cloister.dev/v1alpha1`: their fields, schemas, CEL rules and printer columns, and the constants
//! (labels, finalizers, reasons) that are part of the contract.
//!
//! Nothing here decides or talks to a cluster. A rule that the API server can check stands in a kind's schema, so
//! that bad input is refused where it is written; what needs another object to judge is left to `cloister-core`.

pub mod condition;
pub mod labels;
pub mod plugin;
pub mod quantities;
pub mod schema;
pub mod unseen;

mod access_policy;
mod access_review;
mod access_role;
mod cloister_config;
mod egress;
mod egress_allowlist;
mod egress_grant;
mod grant;
mod grant_mount;
mod research_namespace;
mod role_grant;
mod storage_access_grant;
mod storage_resource;
mod subject;

pub use access_policy::*;
pub use access_review::*;
pub use access_role::*;
pub use cloister_config::*;
pub use egress::*;
pub use egress_allowlist::*;
pub use egress_grant::*;
pub use grant::*;
pub use grant_mount::*;
pub use research_namespace::*;
pub use role_grant::*;
pub use storage_access_grant::*;
pub use storage_resource::*;
pub use subject::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

/// The API group of every kind.
pub const GROUP: &str = "cloister.dev";

/// The one served version.
pub const VERSION: &str = "v1alpha1";

/// The definitions of all kinds, in the order in which they are documented.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        ResearchNamespace::crd(),
        EgressAllowlist::crd(),
        StorageResource::crd(),
        AccessRole::crd(),
        AccessPolicy::crd(),
        StorageAccessGrant::crd(),
        EgressGrant::crd(),
        RoleGrant::crd(),
        AccessReview::crd(),
        GrantMount::crd(),
        CloisterConfig::crd(),
    ];
    for crd in &mut all {
        let kind = &crd.spec.names.kind;
        let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
        for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
            without_rust_formats(schema);
            add_root(schema);
            unseen::default_status(kind, schema);
        }
    }
    all
}

/// Takes out the formats that only Rust knows (`uint16`), which the API server warns of.
fn without_rust_formats(schema: &mut JSONSchemaProps) {
    schema.format.take_if(|format| format.starts_with("uint"));
    let properties = schema.properties.iter_mut().flat_map(|properties| properties.values_mut());
    properties.for_each(without_rust_formats);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        without_rust_formats(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        without_rust_formats(values);
    }
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
