//! What holds for every field of every kind, and what the schemas and the decisions must agree on.

mod walk;

use cloister_core::address::{DomainName, NameFault};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use proptest::prelude::*;
use regex::Regex;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::LazyLock};
use walk::{Field, fields};

/// The paths of fields that do not hold to something.
fn those_not(holds: impl Fn(&Field) -> bool) -> Vec<String> {
    let fields = fields();
    assert!(fields.len() > 400, "{} fields are too few to show anything", fields.len());
    fields.into_iter().filter(|field| !holds(field)).map(|field| field.path).collect()
}

fn none(found: Vec<String>, what: &str) {
    assert!(found.is_empty(), "{what}: {found:#?}");
}

/// A pattern answers with itself, and a format with its name. What is wrong is said in a sentence, by a rule.
#[test]
fn no_field_answers_with_a_regular_expression_or_the_name_of_a_format() {
    none(those_not(|field| field.schema.pattern.is_none()), "these have a pattern");
    let is_text = |field: &Field| field.schema.type_.as_deref() == Some("string") && field.path.contains(".spec.");
    none(those_not(|field| !is_text(field) || field.schema.format.is_none()), "these have a format");
    let said =
        |field: &Field| field.schema.x_kubernetes_validations.iter().flatten().all(|rule| rule.message.is_some());
    none(those_not(said), "these have a rule without a message");
}

#[test]
fn every_optional_field_takes_null() {
    none(
        those_not(|field| match field.optional {
            // The root is Kubernetes' own.
            Some(_) if field.path.matches('.').count() == 1 => true,
            // Where there is a default, the API server puts it in the place of null.
            Some(true) => (field.schema.nullable == Some(true)) != field.schema.default.is_some(),
            Some(false) => field.schema.nullable.is_none(),
            None => true,
        }),
        "null is not as good as absent",
    );
}

#[test]
fn nothing_below_a_list_has_a_default() {
    none(those_not(|field| !field.path.contains("[]") || field.schema.default.is_none()), "these have one");
}

/// Whether a default has an entry of a map: client-side apply merges it with the entries that are written later.
fn fills_a_map(default: &Value, schema: &JSONSchemaProps) -> bool {
    let Some(object) = default.as_object() else { return false };
    let below = |(name, value): (&String, &Value)| {
        schema.properties.as_ref().and_then(|all| all.get(name)).is_some_and(|property| fills_a_map(value, property))
    };
    schema.additional_properties.is_some() && !object.is_empty() || object.iter().any(below)
}

#[test]
fn no_default_has_an_entry_of_a_map() {
    let fills = |field: &Field| field.schema.default.as_ref().is_some_and(|of| fills_a_map(&of.0, &field.schema));
    none(those_not(|field| !fills(field)), "an entry of the default of these stays beside what is written");
    let map = json!({"type": "object", "properties": {"labels": {"type": "object", "additionalProperties": {"type": "string"}}}});
    let map = serde_json::from_value(map).unwrap();
    assert!(fills_a_map(&json!({"labels": {"a": "b"}}), &map) && !fills_a_map(&json!({"labels": {}}), &map));
}

/// Absent is what the description says of it, and never all pods.
#[test]
fn the_pods_of_the_dns_have_a_selector_where_none_is_written() {
    let labels = Some([("k8s-app".to_owned(), "kube-dns".to_owned())].into());
    for spec in [json!({}), json!({"dns": null}), json!({"dns": {}}), json!({"dns": {"podSelector": null}})] {
        let spec: cloister_api::CloisterConfigSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(spec.dns.pod_selector.match_labels, labels);
    }
    let all: cloister_api::CloisterConfigSpec = serde_json::from_value(json!({"dns": {"podSelector": {}}})).unwrap();
    assert_eq!(all.dns.pod_selector.match_labels, None);
}

#[test]
fn every_field_is_described_and_every_number_has_a_format() {
    let is_root_metadata = |field: &Field| !field.path.contains(".spec") && field.path.ends_with(".metadata");
    let is_described = |field: &Field| field.schema.description.as_deref().is_some_and(|text| !text.is_empty());
    none(
        those_not(|field| field.optional.is_none() || is_described(field) || is_root_metadata(field)),
        "these are not described",
    );
    let integer = |field: &Field| field.schema.type_.as_deref() == Some("integer");
    let known = |field: &Field| ["int32", "int64"].contains(&field.schema.format.as_deref().unwrap_or_default());
    none(those_not(|field| !integer(field) || known(field)), "these have no format");
    for field in ["apiVersion", "kind", "metadata"] {
        let roots = fields().into_iter().filter(|f| f.path.split_once('.').is_some_and(|(_, path)| path == field));
        assert_eq!(roots.count(), cloister_api::crds().len(), "{field}");
    }
}

/// `kubectl explain` shows no defaults.
#[test]
fn the_description_of_a_field_says_its_default() {
    let default = |field: &Field| field.schema.default.as_ref().map(|default| default.0.clone());
    let says = |field: &Field| match default(field) {
        None => true,
        Some(default) => {
            let description = field.schema.description.clone().unwrap_or_default().to_lowercase();
            let written = default.as_str().map_or_else(|| default.to_string(), str::to_owned).to_lowercase();
            // What is empty, or has fields with defaults of their own, is no news.
            let is_empty = default == json!([]) || default == json!("");
            is_empty || default.is_object() || (description.contains("default") && description.contains(&written))
        }
    };
    none(those_not(says), "these do not say");
    assert!(fields().iter().filter(|field| default(field).is_some()).count() > 40);
}

/// Whether a description says of a value what it means: after the name a colon, and a sentence or two words before the name
/// of another value.
fn explains(description: &str, value: &str, values: &[&str]) -> bool {
    let is_word = |letter: char| letter.is_ascii_alphanumeric();
    let named = |text: &str, name: &str| {
        let found = text.match_indices(name).map(|(at, _)| at);
        let whole = found.filter(|at| !text[..*at].ends_with(is_word) && !text[at + name.len()..].starts_with(is_word));
        whole.collect::<Vec<_>>()
    };
    let others: Vec<&str> = values.iter().copied().filter(|other| *other != value).collect();
    named(description, value).into_iter().any(|at| {
        let Some(rest) = description[at + value.len()..].strip_prefix(':') else { return false };
        let end = others.iter().flat_map(|other| named(rest, other)).min().unwrap_or(rest.len());
        let meaning = rest[..end].trim();
        meaning.split_whitespace().filter(|word| word.contains(is_word)).count() >= 2 || meaning.ends_with('.')
    })
}

#[test]
fn a_bare_list_of_values_explains_none() {
    let values = ["In", "NotIn"];
    let explained = |description: &str| values.map(|value| explains(description, value, &values));
    for bare in ["In or NotIn.", "In, NotIn", "The operator: In, NotIn. Each as in Kubernetes.", "In: , NotIn: "] {
        assert_eq!(explained(bare), [false, false], "{bare}");
    }
    assert_eq!(explained("In: it is one. NotIn"), [true, false]);
    assert_eq!(explained("In: one of them. NotIn: Looks."), [true, true]);
}

/// `kubectl explain` shows the description alone.
#[test]
fn the_description_of_an_enum_says_what_each_value_means() {
    let says = |field: &Field, values: &JSONSchemaProps| {
        let description = field.schema.description.clone().unwrap_or_default();
        let values = values.enum_.iter().flatten().filter_map(|value| value.0.as_str()).collect::<Vec<_>>();
        values.iter().all(|value| explains(&description, value, &values))
    };
    let of_items = |field: &Field| match &field.schema.items {
        // Where the items say it themselves, the list need not.
        Some(JSONSchemaPropsOrArray::Schema(items)) => items.description.is_some() || says(field, items),
        _ => true,
    };
    // Items without a description are their list's.
    let is_own = |field: &Field| field.optional.is_some() || field.schema.description.is_some();
    none(
        those_not(|field| (!is_own(field) || says(field, &field.schema)) && of_items(field)),
        "these do not say of each value, after its name and a colon, what it means",
    );
}

/// `kubectl get` shows the reason of each object, and with `-o wide` the message, in the last column: it is long.
#[test]
fn every_kind_with_conditions_shows_its_reason_and_its_message() {
    let mut seen = 0;
    for crd in cloister_api::crds() {
        let (kind, version) = (crd.spec.names.kind, &crd.spec.versions[0]);
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).unwrap();
        let status = schema.properties.as_ref().and_then(|properties| properties.get("status"));
        if !status.is_some_and(|status| status.properties.iter().flatten().any(|(name, _)| name == "conditions")) {
            continue;
        }
        seen += 1;
        let columns = version.additional_printer_columns.as_deref().unwrap_or_default();
        let reason =
            columns.iter().find(|column| column.name == "Reason").unwrap_or_else(|| panic!("{kind}: no reason"));
        assert!(reason.priority.unwrap_or_default() == 0 && reason.json_path.ends_with("reason"), "{kind}: {reason:?}");
        let last = columns.last().unwrap();
        assert!(last.name == "Message" && last.priority == Some(1), "{kind}: {last:?}");
        assert!(last.json_path.ends_with(".message"), "{kind}: {last:?}");
    }
    assert_eq!(seen, cloister_api::crds().len() - 1, "only a GrantMount has no conditions");
}

/// How each list is merged where two write it, and why.
const LISTS: [(&str, &str, &[&str]); 6] = [
    // One entry for each key: two managers may each keep their own.
    ("map", "name", &["approvalRules", "rules", "roles", "serviceAccounts", "gateways"]),
    ("map", "role", &["members"]),
    ("map", "type", &["limitRange", "conditions"]),
    // Names and networks, each by itself: two managers may each add theirs, and none stands twice.
    (
        "set",
        "",
        &[
            "allowlists",
            "domainNames",
            "networks",
            "expectedNetworks",
            "toResearchNamespaces",
            "fromResearchNamespaces",
            // Admission writes these, and can write no list that is replaced as a whole.
            "groups",
            "personKeys",
        ],
    ),
    // As Kubernetes has them: the ports of a NetworkPolicy, the subjects of a RoleBinding, the parts of a selector.
    ("atomic", "", &["ports", "subjects", "matchExpressions", "values"]),
    // What one author decides as a whole, and what has a default that a merge would keep.
    (
        "atomic",
        "",
        &[
            "approvers",
            "requesters",
            "beneficiaries",
            "autoApprove",
            "permissions",
            "fromAccessNetworks",
            "fromGateways",
            "imagePullSecrets",
            "controllerNamespaces",
            "serviceAccountAnnotations",
            "accessNetworks",
            "clusterNetworks",
            "credentialNamespaces",
            "nodeLocalAddresses",
            "servers",
            "sharedSuffixes",
            "priorityClasses",
            "serviceTypes",
            "volumes",
            "tolerations",
            "podAnnotations",
        ],
    ),
];

#[test]
fn every_list_is_merged_as_it_should_be() {
    let mut seen = BTreeSet::new();
    none(
        fields()
            .into_iter()
            .filter(|field| field.schema.type_.as_deref() == Some("array"))
            .filter_map(|field| {
                let name = field.path.rsplit('.').next().unwrap_or_default().to_owned();
                let wanted = LISTS.iter().find(|(_, _, names)| names.contains(&name.as_str()));
                let (merge, key) = match wanted {
                    _ if field.path.ends_with(".status.members") => ("atomic", ""),
                    Some((merge, key, _)) => (*merge, *key),
                    // A status has one writer, who writes all of it.
                    None if field.path.contains(".status.") => ("atomic", ""),
                    None => return Some(format!("{} is not in the table", field.path)),
                };
                let keys = field.schema.x_kubernetes_list_map_keys.clone().unwrap_or_default().join(",");
                let is_right = field.schema.x_kubernetes_list_type.as_deref() == Some(merge) && keys == key;
                seen.insert(name);
                (!is_right).then_some(field.path)
            })
            .collect(),
        "these are merged otherwise",
    );
    for name in LISTS.iter().flat_map(|(_, _, names)| *names) {
        assert!(seen.contains(*name), "no list is called {name}");
    }
    let kept = |field: &Field| {
        field.schema.x_kubernetes_list_type.as_deref() != Some("atomic")
            && field
                .schema
                .default
                .as_ref()
                .is_some_and(|default| default.0.as_array().is_some_and(|all| !all.is_empty()))
    };
    none(those_not(|field| !kept(field)), "a default of these cannot be taken away");
}

/// The expression that a field must look like.
fn expression(path: &str) -> Regex {
    let fields = fields();
    let field = fields.iter().find(|field| field.path == path).expect(path);
    let rule = &field.schema.x_kubernetes_validations.as_ref().unwrap()[0].rule;
    Regex::new(rule.strip_prefix("self.matches(r'").and_then(|rule| rule.strip_suffix("')")).expect(rule)).unwrap()
}

/// What the schema takes of a name, and what is made of it.
fn agree(schema: &Regex, text: &str, wildcards: bool) -> Result<(), TestCaseError> {
    let name = text.parse::<DomainName>();
    if schema.is_match(text) {
        let judged = matches!(&name, Err(NameFault::SpecialUse(_) | NameFault::PublicSuffix(_) | NameFault::TooLong));
        let punycode = matches!(&name, Err(NameFault::Label { label, .. }) if label.starts_with("xn--"));
        prop_assert!(name.is_ok() || judged || punycode, "the schema takes {text:?}: {name:?}");
    } else if let Ok(name) = &name {
        prop_assert!(
            text.contains(char::is_uppercase) || name.is_wildcard() && !wildcards,
            "the schema refuses {text:?}"
        );
    }
    Ok(())
}

/// What domain names, names of private endpoints, durations and times look like.
static LOOKS: LazyLock<[Regex; 4]> = LazyLock::new(|| {
    [
        "EgressAllowlist.spec.rules[].domainNames[]",
        "EgressAllowlist.spec.rules[].privateEndpoint.domainName",
        "AccessPolicy.spec.maxDuration",
        "EgressAllowlist.spec.expiresAt",
    ]
    .map(expression)
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn schema_and_decision_agree_on_names(text in "([*][.])?([a-c_XB0-1-]{0,4}[.]){0,3}[a-c_X0-1:/ü-]{0,4}[.]?") {
        agree(&LOOKS[0], &text, true)?;
        agree(&LOOKS[1], &text, false)?;
    }

    #[test]
    fn what_looks_like_a_duration_or_a_time_can_be_read(
        duration in "([0-9]{1,6}([.][0-9]{1,3})?(h|m|s|ms)){1,3}",
        time in "[1-8][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])",
    ) {
        if duration.len() <= 32 && LOOKS[2].is_match(&duration) {
            prop_assert!(duration.parse::<kube::core::Duration>().is_ok(), "{duration}");
        }
        prop_assert!(LOOKS[3].is_match(&time), "{time}");
        prop_assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }
}
