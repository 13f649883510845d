//! Every text that people write, in every kind, is one that cannot deceive who reads it.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;

/// What the API server attests is as the identity provider gives it; it is cleaned where it is shown.
const ATTESTED: [&str; 2] = ["requestedBy", "reviewer"];

/// What must not stand in any text: it moves the cursor, rings, links, changes the order, hides, or forges a line.
const DECEPTIVE: [&str; 9] =
    ["a\u{1b}[2Kb", "a\rb", "a\u{7}b", "a\0b", "a\u{202e}b", "a\u{2066}b", "a\u{200b}b", "a\u{2028}b", "a\u{85}b"];

/// Whether a schema refuses this text, as far as a pattern, a rule, or the format says.
fn refuses(schema: &JSONSchemaProps, text: &str) -> bool {
    if schema.enum_.is_some() || schema.format.as_deref() == Some("date-time") {
        return true;
    }
    let by_pattern = schema.pattern.as_ref().is_some_and(|pattern| !Regex::new(pattern).unwrap().is_match(text));
    let by_rule = schema.x_kubernetes_validations.iter().flatten().any(|rule| {
        let expression = |begin: &str| {
            let inner = rule.rule.strip_prefix(begin)?.strip_suffix("')")?;
            Some(Regex::new(inner).unwrap())
        };
        assert!(rule.message.is_some(), "{} says nothing", rule.rule);
        ["isCIDR(self)", "isIP(self)"].contains(&rule.rule.as_str())
            || expression("!self.matches(r'").is_some_and(|refused| refused.is_match(text))
            || expression("self.matches(r'").is_some_and(|wanted| !wanted.is_match(text))
    });
    by_pattern || by_rule
}

fn walk(path: &str, schema: &JSONSchemaProps, found: &mut Vec<String>, texts: &mut usize) {
    if schema.type_.as_deref() == Some("string") {
        *texts += 1;
        found.extend(
            DECEPTIVE.iter().filter(|text| !refuses(schema, text)).map(|text| format!("{path} takes {text:?}")),
        );
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(&format!("{path}[]"), items, found, texts);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        walk(&format!("{path}.*"), values, found, texts);
    }
    for (name, property) in schema.properties.iter().flatten() {
        if !ATTESTED.contains(&name.as_str()) {
            walk(&format!("{path}.{name}"), property, found, texts);
        }
    }
}

#[test]
fn no_text_that_people_write_can_deceive_who_reads_it() {
    let (mut found, mut texts) = (Vec::new(), 0);
    for crd in cloister_api::crds() {
        let version = &crd.spec.versions[0];
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).unwrap();
        walk(&crd.spec.names.kind, &schema.properties.as_ref().unwrap()["spec"], &mut found, &mut texts);
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(texts > 100, "{texts}");
}

/// What people do write is taken.
#[test]
fn ordinary_texts_are_taken() {
    let policy = cloister_api::crds().into_iter().find(|crd| crd.spec.names.kind == "EgressGrant").unwrap();
    let schema = policy.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    let spec = schema.properties.as_ref().unwrap()["spec"].properties.as_ref().unwrap();
    for text in ["an eval", "", "two\nlines,\ta tab", "Überprüfung der 学習 データ ✅ (50 % → 100 %)", "e\u{301}"]
    {
        assert!(!refuses(&spec["justification"], text), "{text:?}");
    }
    assert!(!refuses(&spec["ticketRef"], "SEC-114") && refuses(&spec["ticketRef"], "SEC\n1"));
}
