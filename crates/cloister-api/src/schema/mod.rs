//! Schema fragments shared by the kinds. Every string and list has a bound, because the API server budgets the cost
//! of CEL rules by the largest input that the schema allows.

mod name;
mod network;
pub(crate) mod rule;
mod selector;
mod time;

pub use name::{
    DNS_SUBDOMAIN, digest, dns_label, dns_labels, dns_subdomain, mount_path, own_dns_labels, rbac_name, role_name, uid,
};
pub(crate) use name::{QUALIFIED_NAME, qualified_name, subdomain};
pub use network::{
    addresses, cidrs, domain_names, one_domain_name, openable_cidrs, own_cidrs, shared_suffixes, sockets,
};
pub use selector::{label_selector, namespace_selector};
pub use time::{DURATION, TIME, duration, no_longer, time};

pub(crate) use rule::looks_like;
use rule::rule;
use schemars::{Schema, SchemaGenerator, json_schema};

/// Refuses what moves the cursor, changes the order of what is read, or hides something: all control and format characters,
/// but for the ends of lines and tabs.
fn in_lines() -> serde_json::Value {
    rule(
        r"!self.matches(r'[^\P{Cc}\n\t]|[\p{Cf}\p{Zl}\p{Zp}]')",
        "must contain no control characters except line feeds and tabs, and no invisible or text-direction characters: people \
         decide by what they see",
    )
}

/// As [`in_lines`], in one line.
fn in_one_line() -> serde_json::Value {
    rule(
        r"!self.matches(r'[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]')",
        "must be one line without control, invisible or text-direction characters: people decide by what they see",
    )
}

/// A text for people, at most 1,024 characters.
pub fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 1024, "x-kubernetes-validations": [in_lines()]})
}

fn line(least: u32, most: u32) -> Schema {
    json_schema!({"type": "string", "minLength": least, "maxLength": most, "x-kubernetes-validations": [in_one_line()]})
}

/// The name of a ticket, or nothing.
pub fn ticket(_: &mut SchemaGenerator) -> Schema {
    line(0, 128)
}

/// What a ticket looks like, as an RE2 expression.
pub fn pattern(_: &mut SchemaGenerator) -> Schema {
    line(0, 256)
}

/// The name of a user, a group or a ServiceAccount: as long as the user names that the API server attests, such as the
/// distinguished names of a directory.
pub fn subject_name(_: &mut SchemaGenerator) -> Schema {
    let blanks = rule::rule(
        "!self.startsWith(' ') && !self.endsWith(' ')",
        "must not begin or end with a space: names are compared exactly, so it would match nobody",
    );
    json_schema!({"type": "string", "minLength": 1, "maxLength": 1024, "x-kubernetes-validations": [in_one_line(), blanks]})
}

/// Up to 32 permissions, in the words of the storage.
pub fn permissions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 32, "items": line(0, 64), "x-kubernetes-list-type": "atomic"})
}

/// Up to 16 CEL expressions.
pub fn expressions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "minLength": 1, "maxLength": 1024, "x-kubernetes-validations": [in_lines()]},
    })
}

/// A key of `userInfo.extra`, which the API server writes in lower case; empty for none.
pub fn extra_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "maxLength": 253,
        "x-kubernetes-validations": [looks_like(
            r"^[!-@\[-~]*$",
            "must be in lower case and without spaces, as the API server writes the keys of userInfo.extra (kubectl auth whoami \
             -o yaml shows them)",
        )],
    })
}

/// The conditions of an object, one of each type.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>();
    json_schema!({
        "type": "array", "maxItems": 16, "items": item,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    })
}
