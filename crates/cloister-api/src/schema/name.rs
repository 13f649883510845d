//! The names of objects, as Kubernetes has them.

use super::rule::{looks_like, looks_like_or, rule};
use schemars::{Schema, SchemaGenerator, json_schema};

const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// The name of an object that is a DNS subdomain, such as a ServiceAccount. Source: `IsDNS1123Subdomain` of Kubernetes.
pub const DNS_SUBDOMAIN: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A DNS label (RFC 1123): what a Namespace, and most things in it, may be called. At most 63 characters.
pub fn dns_label(_: &mut SchemaGenerator) -> Schema {
    label(&[])
}

/// What a grant asks for of the catalogue: a [`dns_label`], which the name of a ClusterRole often is not.
pub fn role_name(_: &mut SchemaGenerator) -> Schema {
    label(&[(
        "self.contains(':')",
        "must be the name of an AccessRole, or of a role of the StorageResource, and not the ClusterRole that it gives",
    )])
}

fn label(first: &[(&'static str, &'static str)]) -> Schema {
    let usual = [
        (
            "self.contains('.')",
            "must not contain a dot: Cloister joins names with dots in the names of the objects that it writes; \
             write - instead of the dot, and rename the object",
        ),
        ("self.matches('[A-Z]')", "must be in lower case, as the names of objects are"),
        ("self == ''", "must be a name: at least one letter or digit"),
    ];
    let otherwise =
        "must be a name of lower-case letters, digits and -, such as my-name, with a letter or a digit at both ends";
    let rule = looks_like_or(DNS_LABEL, &[first, &usual].concat(), otherwise);
    json_schema!({"type": "string", "maxLength": 63, "x-kubernetes-validations": [rule]})
}

/// A list of distinct [`dns_label`]s, at most 64.
pub fn dns_labels(generator: &mut SchemaGenerator) -> Schema {
    let item = dns_label(generator);
    json_schema!({"type": "array", "maxItems": 64, "items": item, "x-kubernetes-list-type": "set"})
}

/// A list of [`dns_label`]s, at most 64, that is what its one applier wrote.
pub fn own_dns_labels(generator: &mut SchemaGenerator) -> Schema {
    let item = dns_label(generator);
    json_schema!({"type": "array", "maxItems": 64, "items": item, "x-kubernetes-list-type": "atomic"})
}

/// The name of an RBAC object: a path segment, at most 253 characters.
pub fn rbac_name(_: &mut SchemaGenerator) -> Schema {
    let faults = [
        ("self == ''", "must be the name of a ClusterRole"),
        ("self.matches('[/%]')", "must not contain / or %: it is the name of a ClusterRole, without its kind"),
    ];
    let otherwise =
        "must be one line without control, invisible or text-direction characters: people decide by what they see";
    let name = looks_like_or(r"^[^/%\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$", &faults, otherwise);
    let segment = rule("!(self in ['.', '..'])", "must be the name of a ClusterRole; . and .. are not valid names");
    json_schema!({"type": "string", "maxLength": 253, "x-kubernetes-validations": [name, segment]})
}

/// The name of an object that is a DNS subdomain, at most 253 characters.
pub fn dns_subdomain(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 253, "x-kubernetes-validations": [subdomain()]})
}

pub(crate) fn subdomain() -> serde_json::Value {
    looks_like(
        DNS_SUBDOMAIN,
        "must be a name of lower-case letters, digits, - and dots, such as my-name, with a letter or a digit at both ends and \
         around each dot",
    )
}

/// The uid of an object.
pub fn uid(_: &mut SchemaGenerator) -> Schema {
    let rule = looks_like(
        "^[-0-9A-Za-z]+$",
        "must be the metadata.uid of the object: letters, digits and -, as kubectl get -o yaml shows it",
    );
    json_schema!({"type": "string", "maxLength": 64, "x-kubernetes-validations": [rule]})
}

/// What a review says that it has read.
pub fn digest(_: &mut SchemaGenerator) -> Schema {
    let rule = looks_like(
        "^v1:sha256:[0-9a-f]{64}$",
        "must be the status.digest of the grant: v1:sha256: and 64 digits of 0-9 and a-f",
    );
    json_schema!({"type": "string", "maxLength": 75, "x-kubernetes-validations": [rule]})
}

/// A folder in a container, in the one way to write it: absolute, without `.` and `..`, without a slash at the end.
pub fn mount_path(_: &mut SchemaGenerator) -> Schema {
    let faults = [
        (
            r"self.contains('\\') || self.matches('^[A-Za-z]:')",
            "is a Windows path; only Linux containers are supported: write it as /var/run/secrets/data",
        ),
        ("!self.startsWith('/')", "must begin with /: write it as /var/run/secrets/data"),
        ("self == '/'", "must be a folder below /, such as /var/run/secrets/data"),
        ("self.endsWith('/')", "must not end with /"),
        ("self.matches('/[.]{0,2}(/|$)')", "must be written without //, /./ and /../: write the folder itself"),
    ];
    let otherwise = "must be the path of a folder, such as /var/run/secrets/data: each part begins with a letter, a digit or _, \
         and has only letters, digits, ., _ and -";
    let of_folder = looks_like_or("^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$", &faults, otherwise);
    // A pod with two volumes there is refused, and this one is in nearly all of them.
    let of_tokens = rule(
        "!(self in ['/var', '/var/run', '/run', '/var/run/secrets', '/run/secrets'] || \
         self.matches('^(/var)?/run/secrets/kubernetes[.]io(/|$)'))",
        "must not hold, or be in, /var/run/secrets/kubernetes.io, where pods have the token of their ServiceAccount: name another \
         folder, such as /var/run/secrets/data",
    );
    json_schema!({"type": "string", "maxLength": 256, "x-kubernetes-validations": [of_folder, of_tokens]})
}

/// The key of a label, an annotation or a taint. Source: `IsQualifiedName` of Kubernetes.
pub(crate) const QUALIFIED_NAME: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/// That a text is such a key.
pub(crate) fn qualified_name() -> serde_json::Value {
    looks_like(
        QUALIFIED_NAME,
        "must be a key such as team or example.com/team: at most 63 letters, digits, -, _ and dots with a letter or a digit at \
         both ends, after an optional domain and one /",
    )
}
