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

/// The longest name of a resource: a domain, a slash and a name. No schema bounds the keys of a map, and a rule that matched
/// a longer key could exceed what the API server spends on a rule: it would then answer with the text of the rule.
const LONGEST_KEY: usize = 317;

/// A name with a domain before it. Source: `IsQualifiedName` of Kubernetes.
const QUALIFIED: &str =
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/// An exponent of three digits. To compare a quantity such as 1e999999999, or to round it, the library of Kubernetes did not end
/// within ten minutes.
const LONG_EXPONENT: &str = "[eE][-+]?[0-9]{3}";

/// The quantity that CEL reads from a value.
fn quantity(value: &str) -> String {
    format!("quantity(string({value}))")
}

/// That a value is no quantity, or none that the API server is to compute with.
fn is_none(value: &str) -> String {
    format!("string({value}).matches('{LONG_EXPONENT}') || !isQuantity(string({value}))")
}

/// That a condition on these values holds, if all of them are quantities. One that is none has its own sentence; if a rule
/// read it all the same, the rule would fail, and the API server would answer with the text of the rule as well.
fn where_quantities(values: &[&str], condition: &str) -> String {
    let none: String = values.iter().map(|value| format!("{} || ", is_none(value))).collect();
    format!("{none}{condition}")
}

fn quantities(rules: &[Value]) -> Schema {
    let each = rule(
        format!(
            "type(self) == int ? self >= 0 : !({}) && !{}.isLessThan(quantity('0'))",
            is_none("self"),
            quantity("self")
        ),
        "must be a quantity that is not negative, such as 4, 500m or 64Gi; a fraction stands in quotes, such as \"1.5\", and an \
         exponent has at most two digits",
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
        "k.size() <= {LONGEST_KEY} && (k in ['cpu', 'memory', 'ephemeral-storage', 'storage'] || k.startsWith('hugepages-') || \
         k.matches('{QUALIFIED}'))"
    );
    quantities(&[keys(
        &known,
        "must be a resource of a container, a pod or a claim, such as cpu, memory, storage or nvidia.com/gpu",
    )])
}

/// That no resource has more in one field of an item of a LimitRange than in another.
pub fn at_most(less: &str, more: &str) -> Rule {
    let (small, large) = (format!("self.{less}[k]"), format!("self.{more}[k]"));
    let compared = format!("{}.compareTo({}) <= 0", quantity(&small), quantity(&large));
    let compared = where_quantities(&[&small, &large], &compared);
    Rule::new(format!(
        "!has(self.{less}) || !has(self.{more}) || self.{less}.all(k, !(k in self.{more}) || {compared})"
    ))
    .message(Message::Message(format!("{less} must not be more than {more}")))
    .reason(Reason::FieldValueInvalid)
}

/// That no resource has less than this in a field of an item of a LimitRange.
pub fn at_least(field: &str, least: &str, sentence: &str) -> Rule {
    let value = format!("self.{field}[k]");
    let compared = format!("{}.compareTo(quantity('{least}')) >= 0", quantity(&value));
    let compared = where_quantities(&[&value], &compared);
    Rule::new(format!("!has(self.{field}) || self.{field}.all(k, {compared})"))
        .message(Message::Message(sentence.to_owned()))
        .reason(Reason::FieldValueInvalid)
}

/// Quantities by resource name, at most 64, as in a ResourceQuota.
pub fn quota(_: &mut SchemaGenerator) -> Schema {
    let huge_pages = "k.matches('^(requests[.])?hugepages-')";
    let known = format!("k.size() <= {LONGEST_KEY} && (k in {STANDARD} || {huge_pages} || k.matches('{QUALIFIED}'))");
    let counted =
        format!("k in {COUNTED} || k.contains('/') && !k.contains('kubernetes.io/') && !k.startsWith('requests.')");
    // Nothing here tells 500m from 2000m, nor what is more than an integer can hold: that is left to the API server.
    let value = quantity("self[k]");
    let whole = where_quantities(
        &["self[k]"],
        &format!(
            "{value}.isInteger() || self[k].matches('[numE]') || {value}.isGreaterThan(quantity('9223372036854775807'))"
        ),
    );
    quantities(&[
        keys(
            &known,
            "must be a resource that a ResourceQuota knows, such as requests.cpu, limits.memory, requests.storage, \
             pods, requests.nvidia.com/gpu or count/jobs.batch",
        ),
        keys(
            &format!(
                "k.size() > {LONGEST_KEY} || !k.contains('/') || k.matches('^(count/|requests[.])|\
                 [.]storageclass[.]storage[.]k8s[.]io/|[.]deviceclass[.]resource[.]k8s[.]io/')"
            ),
            "must begin with requests., as in requests.nvidia.com/gpu: Kubernetes counts devices only by their \
             requests, and without this prefix the key limits nothing",
        ),
        keys(
            &format!("k.size() > {LONGEST_KEY} || !({counted}) || type(self[k]) == int || {whole}"),
            "must have a whole number: it counts objects or devices",
        ),
    ])
}
