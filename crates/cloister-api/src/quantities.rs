//! Schemas of quotas and limits: what Kubernetes refuses of a ResourceQuota or a LimitRange is refused here too, in words
//! that say what to write instead.

use crate::schema::rule::{keys, rule};
use kube::core::{Message, Reason, Rule};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

/// What a quota knows by a name without a domain. Source: `IsStandardQuotaResourceName` of Kubernetes.
const STANDARD: &str = "['cpu', 'memory', 'ephemeral-storage', 'requests.cpu', 'requests.memory', 'requests.storage', \
     'requests.ephemeral-storage', 'limits.cpu', 'limits.memory', 'limits.ephemeral-storage', 'pods', 'services', \
     'services.nodeports', 'services.loadbalancers', 'replicationcontrollers', 'resourcequotas', 'secrets', 'configmaps', \
     'persistentvolumeclaims']";

/// Those of them that are counted. Source: `IsIntegerResourceName` of Kubernetes.
const COUNTED: &str = "['pods', 'services', 'services.nodeports', 'services.loadbalancers', 'replicationcontrollers', \
     'resourcequotas', 'secrets', 'configmaps', 'persistentvolumeclaims']";

/// A name with a domain before it. Source: `IsQualifiedName` of Kubernetes.
const QUALIFIED: &str =
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

fn quantities(rules: &[Value]) -> Schema {
    let each = rule(
        "type(self) == int ? self >= 0 : isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))",
        "must be a quantity that is not negative, such as 4, 500m or 64Gi; a fraction stands in quotes, such as \"1.5\"",
    );
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {"maxLength": 64, "x-kubernetes-int-or-string": true, "x-kubernetes-validations": [each]},
        "x-kubernetes-validations": rules,
    })
}

/// Quantities by resource name, at most 64, as in a LimitRange.
pub fn limits(_: &mut SchemaGenerator) -> Schema {
    let known = format!(
        "k in ['cpu', 'memory', 'ephemeral-storage', 'storage'] || k.startsWith('hugepages-') || \
         k.size() <= 317 && k.matches('{QUALIFIED}')"
    );
    quantities(&[keys(
        &known,
        "must be a resource of a container, a pod or a claim, such as cpu, memory, storage or nvidia.com/gpu",
    )])
}

/// That no resource has more in one field of an item of a LimitRange than in another.
pub fn at_most(less: &str, more: &str) -> Rule {
    Rule::new(format!(
        "!has(self.{less}) || !has(self.{more}) || self.{less}.all(k, !(k in self.{more}) || \
         quantity(string(self.{less}[k])).compareTo(quantity(string(self.{more}[k]))) <= 0)"
    ))
    .message(Message::Message(format!("{less} must not be more than {more}")))
    .reason(Reason::FieldValueInvalid)
}

/// Quantities by resource name, at most 64, as in a ResourceQuota.
pub fn quota(_: &mut SchemaGenerator) -> Schema {
    let huge_pages = "k.matches('^(requests[.])?hugepages-')";
    let known = format!("k in {STANDARD} || {huge_pages} || k.size() <= 317 && k.matches('{QUALIFIED}')");
    let counted =
        format!("k in {COUNTED} || k.contains('/') && !k.contains('kubernetes.io/') && !k.startsWith('requests.')");
    // Nothing here tells 500m from 2000m, nor what is more than an integer can hold: that is left to the API server.
    let whole = "type(self[k]) == int || !isQuantity(string(self[k])) || quantity(string(self[k])).isInteger() || \
         self[k].matches('[numE]') || quantity(string(self[k])).isGreaterThan(quantity('9223372036854775807'))";
    quantities(&[
        keys(
            &known,
            "must be a resource that a ResourceQuota knows, such as requests.cpu, limits.memory, requests.storage, \
             pods, requests.nvidia.com/gpu or count/jobs.batch",
        ),
        keys(
            "!k.contains('/') || k.matches('^(count/|requests[.])|[.]storageclass[.]storage[.]k8s[.]io/|[.]deviceclass[.]resource[.]k8s[.]io/')",
            "must begin with requests., as in requests.nvidia.com/gpu: Kubernetes counts devices only by their \
             requests, and without this prefix the key limits nothing",
        ),
        keys(&format!("!({counted}) || {whole}"), "must have a whole number: it counts objects or devices"),
    ])
}
