//! Schema fragments shared by the kinds. Every string and list has a bound, because the API server budgets the cost
//! of CEL rules by the largest input that the schema allows.

use crate::labels;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// A DNS label (RFC 1123): what a Namespace, and most things in it, may be called. At most 63 characters.
pub fn dns_label(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"})
}

/// An optional [`dns_label`].
pub fn optional_dns_label(generator: &mut SchemaGenerator) -> Schema {
    nullable(dns_label(generator))
}

/// A list of distinct [`dns_label`]s, at most 64.
pub fn dns_labels(generator: &mut SchemaGenerator) -> Schema {
    let item = dns_label(generator);
    json_schema!({"type": "array", "maxItems": 64, "items": item, "x-kubernetes-list-type": "set"})
}

/// The name of an RBAC object: a path segment, at most 253 characters.
pub fn rbac_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[^/%]+$", "x-kubernetes-validations": [in_one_line()]})
}

/// The name of an object that is a DNS subdomain, at most 253 characters.
pub fn dns_subdomain(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"})
}

/// The uid of an object.
pub fn uid(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[-0-9A-Za-z]+$"})
}

/// An optional [`rbac_name`].
pub fn optional_rbac_name(generator: &mut SchemaGenerator) -> Schema {
    nullable(rbac_name(generator))
}

/// A folder in a container, in the one way to write it: absolute, without `.` and `..`, without a slash at the end.
pub fn mount_path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 2, "maxLength": 256, "pattern": "^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$"})
}

/// One network in CIDR notation, written canonically: no host bits set, no IPv4-mapped IPv6.
fn cidr() -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 43,
        "x-kubernetes-validations": [
            {"rule": "isCIDR(self)", "message": "must be a network in CIDR notation, like 203.0.113.0/24", "reason": "FieldValueInvalid"},
            {"rule": "!isCIDR(self) || cidr(self) == cidr(self).masked()", "message": "must be the network's own address: no bits set after the prefix", "reason": "FieldValueInvalid"},
        ],
    })
}

/// One to 64 distinct networks.
pub fn cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "minItems": 1, "maxItems": 64, "items": cidr(), "x-kubernetes-list-type": "set"})
}

/// An optional [`cidrs`].
pub fn optional_cidrs(generator: &mut SchemaGenerator) -> Schema {
    nullable(cidrs(generator))
}

/// Up to 64 distinct networks.
pub fn any_cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 64, "items": cidr(), "x-kubernetes-list-type": "set"})
}

/// Up to 16 distinct addresses.
pub fn addresses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16, "x-kubernetes-list-type": "set",
        "items": {
            "type": "string", "maxLength": 45,
            "x-kubernetes-validations": [
                {"rule": "isIP(self)", "message": "must be an IPv4 or IPv6 address", "reason": "FieldValueInvalid"},
            ],
        },
    })
}

/// Up to 16 distinct addresses with a port, as `192.0.2.53:53` or `[2001:db8::53]:53`.
pub fn sockets(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16, "x-kubernetes-list-type": "set",
        "items": {
            "type": "string", "maxLength": 64, "pattern": r"^([0-9.]+|\[[0-9a-f:.]+\]):[1-9][0-9]{0,4}$",
        },
    })
}

fn domain_name() -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": r"^(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z][-a-z0-9]*[a-z0-9]$"})
}

/// A fully qualified domain name in lower case, without the trailing dot.
pub fn one_domain_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)+[a-z][-a-z0-9]*[a-z0-9]$"})
}

/// Up to 64 distinct domains.
pub fn shared_suffixes(generator: &mut SchemaGenerator) -> Schema {
    let one = one_domain_name(generator);
    json_schema!({"type": "array", "maxItems": 64, "items": one, "x-kubernetes-list-type": "set"})
}

/// One to 64 distinct domain names; `*.` in front stands for one or more labels.
pub fn optional_domain_names(_: &mut SchemaGenerator) -> Schema {
    nullable(
        json_schema!({"type": "array", "minItems": 1, "maxItems": 64, "items": domain_name(), "x-kubernetes-list-type": "set"}),
    )
}

/// How long: a metav1.Duration like `4h` or `90m`, more than nothing and at most a year.
pub fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 32,
        "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$",
        "x-kubernetes-validations": [
            {"rule": "duration(self) >= duration('1s')", "message": "must be at least 1s", "reason": "FieldValueInvalid"},
            {"rule": "duration(self) <= duration('8760h')", "message": "must be at most 8760h (one year)", "reason": "FieldValueInvalid"},
        ],
    })
}

/// An optional [`duration`].
pub fn optional_duration(generator: &mut SchemaGenerator) -> Schema {
    nullable(duration(generator))
}

/// An optional time, as RFC 3339 writes it, of a year that every program can compute with.
pub fn optional_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "format": "date-time", "nullable": true,
        "x-kubernetes-validations": [{
            "rule": "self < timestamp('9000-01-01T00:00:00Z')",
            "message": "must be before the year 9000; where there is no end, leave it out",
        }],
    })
}

/// A label selector, bounded to 16 labels and 16 expressions of 16 values.
pub fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "description": "Labels that must be there with exactly these values.",
                "type": "object", "maxProperties": 16,
                "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
            },
            "matchExpressions": {
                "description": "Requirements on labels; all must hold.",
                "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {"description": "The label.", "type": "string", "minLength": 1, "maxLength": 317, "pattern": LABEL_KEY},
                        "operator": {"description": "How the label relates to the values.", "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                        "values": {
                            "description": "The values, for In and NotIn; empty otherwise.",
                            "type": "array", "maxItems": 16, "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
                        "message": "In and NotIn take values, Exists and DoesNotExist take none",
                        "reason": "FieldValueInvalid",
                    }],
                },
            },
        },
    })
}

/// What the key of a label looks like.
const LABEL_KEY: &str = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";

/// What the value of a label looks like.
const LABEL_VALUE: &str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

/// An optional [`label_selector`].
pub fn optional_label_selector(generator: &mut SchemaGenerator) -> Schema {
    nullable(label_selector(generator))
}

/// An optional [`label_selector`] over ResearchNamespaces: over labels that their owners cannot write.
pub fn namespace_selector(generator: &mut SchemaGenerator) -> Schema {
    let tools = labels::OF_TOOLS.map(|prefix| format!("'{prefix}'")).join(", ");
    let none = |keys: &str, key: &str| {
        format!("!has(self.{keys}) || self.{keys}.all(k, ![{tools}].exists(p, {key}.startsWith(p)))")
    };
    let message = "labels that tools put on a ResearchNamespace (app.kubernetes.io/, kustomize.toolkit.fluxcd.io/ and the like) may be \
                   written by its owners; select by a label of your own, such as team";
    let rule = |rule: String| json!({"rule": rule, "message": message, "reason": "FieldValueForbidden"});
    let mut schema = optional_label_selector(generator);
    let rules = json!([rule(none("matchLabels", "k")), rule(none("matchExpressions", "k.key"))]);
    schema.insert("x-kubernetes-validations".into(), rules);
    schema
}

/// Refuses what moves the cursor, changes the order of what is read, or hides something: all control and format characters,
/// but for the ends of lines and tabs.
fn in_lines() -> serde_json::Value {
    serde_json::json!({
        "rule": r"!self.matches(r'[^\P{Cc}\n\t]|[\p{Cf}\p{Zl}\p{Zp}]')",
        "message": "must hold no control characters but line ends (LF) and tabs, and no invisible or text-direction characters: people decide by what they see of it",
        "reason": "FieldValueInvalid",
    })
}

/// As [`in_lines`], in one line.
fn in_one_line() -> serde_json::Value {
    serde_json::json!({
        "rule": r"!self.matches(r'[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]')",
        "message": "must be one line without control, invisible or text-direction characters: people decide by what they see of it",
        "reason": "FieldValueInvalid",
    })
}

/// A text for people, at most 1,024 characters.
pub fn text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 1024, "x-kubernetes-validations": [in_lines()]})
}

fn line(least: u32, most: u32) -> Schema {
    json_schema!({"type": "string", "minLength": least, "maxLength": most, "x-kubernetes-validations": [in_one_line()]})
}

/// The name of a ticket, or nothing.
pub fn optional_ticket(_: &mut SchemaGenerator) -> Schema {
    nullable(line(0, 128))
}

/// What a ticket looks like, as an RE2 expression.
pub fn optional_pattern(_: &mut SchemaGenerator) -> Schema {
    nullable(line(0, 256))
}

/// The name of a user, a group or a ServiceAccount.
pub fn subject_name(_: &mut SchemaGenerator) -> Schema {
    line(1, 253)
}

/// Up to 32 permissions, in the words of the storage.
pub fn permissions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 32, "items": line(0, 64)})
}

/// Up to 16 CEL expressions.
pub fn expressions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16,
        "items": {"type": "string", "minLength": 1, "maxLength": 1024, "x-kubernetes-validations": [in_lines()]},
    })
}

/// A key of `userInfo.extra`, which the API server writes in lower case; empty for none.
pub fn extra_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string", "maxLength": 253,
        "x-kubernetes-validations": [{
            "rule": r"self.matches(r'^[!-@\[-~]*$')",
            "message": "must be in lower case and without blanks, as the API server writes the keys of userInfo.extra (kubectl auth whoami -o yaml shows them); write it in lower case",
            "reason": "FieldValueInvalid",
        }],
    })
}

/// An optional [`text`].
pub fn optional_text(generator: &mut SchemaGenerator) -> Schema {
    nullable(text(generator))
}

/// The conditions of an object, one of each type.
pub fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let item = generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>();
    json_schema!({
        "type": "array", "maxItems": 16, "items": item,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    })
}

fn nullable(mut schema: Schema) -> Schema {
    schema.insert("nullable".into(), true.into());
    schema
}
