//! No kind of grant is missing where the others are, in what is installed.

use anyhow::{Context, Result, ensure};
use cloister_api::{GrantKind, crds};
use serde_json::Value;
use xtask::{
    cluster::workspace_root,
    install::{self, Parts},
};

/// The names of all kinds in URLs, as roles and policies use them.
fn plurals() -> Vec<String> {
    let definitions = crds();
    let of = |kind: GrantKind| definitions.iter().find(|crd| crd.spec.names.kind == kind.as_str());
    GrantKind::ALL.into_iter().filter_map(of).map(|crd| crd.spec.names.plural.clone()).collect()
}

/// Which of the kinds a text names, as whole words.
fn named<'p>(text: &str, plurals: &'p [String]) -> Vec<&'p str> {
    let words: Vec<&str> = text.split(|one: char| !one.is_alphanumeric()).collect();
    plurals.iter().map(String::as_str).filter(|plural| words.contains(plural)).collect()
}

/// Each list and each text of a value that names some kinds and not all.
fn incomplete(value: &Value, plurals: &[String], place: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let named = named(text, plurals);
            // A list may name each in an item of its own: the list is judged.
            if named.len() > 1 && named.len() < plurals.len() {
                found.push(format!("{place} names only {}: {text}", named.join(", ")));
            }
        }
        Value::Array(items) => {
            let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            for suffix in ["", "/status", "/finalizers", "/*"] {
                let is_there = |plural: &&String| texts.contains(&format!("{plural}{suffix}").as_str());
                let count = plurals.iter().filter(is_there).count();
                if count != 0 && count < plurals.len() {
                    found.push(format!("{place} lists {count} of {} kinds{suffix}: {texts:?}", plurals.len()));
                }
            }
            items.iter().enumerate().for_each(|(at, item)| incomplete(item, plurals, &format!("{place}[{at}]"), found));
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                incomplete(field, plurals, &format!("{place}.{name}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn whatever_is_installed_names_all_kinds_of_grants_or_none() -> Result<()> {
    let plurals = plurals();
    ensure!(plurals.len() == GrantKind::ALL.len(), "a kind has no definition: {plurals:?}");
    let objects = install::objects(&workspace_root()?.join("deploy"), Parts::WithoutWorkloads)?;
    let (mut found, mut of_one) = (Vec::new(), Vec::new());
    let mut naming = 0;
    for object in &objects {
        let (kind, name) = (object.types.as_ref().map_or("", |types| &types.kind), object.metadata.name.as_deref());
        let name = name.context("an object has no name")?;
        let named_after = named(name, &plurals);
        if kind == "CustomResourceDefinition" {
            continue;
        }
        if let [plural] = named_after[..] {
            of_one.push((kind.to_owned(), name.replace(plural, "*")));
            continue;
        }
        let before = found.len();
        incomplete(&object.data, &plurals, &format!("{kind} {name}"), &mut found);
        naming += usize::from(found.len() == before && !named(&object.data.to_string(), &plurals).is_empty());
    }
    ensure!(found.is_empty(), "{}", found.join("\n"));
    // What there is of one kind alone, there is of each.
    for one in &of_one {
        let count = of_one.iter().filter(|other| *other == one).count();
        ensure!(count == plurals.len(), "{} {} is there for {count} of {} kinds", one.0, one.1, plurals.len());
    }
    ensure!(naming > 8 && !of_one.is_empty(), "only {naming} objects name kinds of grants: is this looked up wrongly?");
    Ok(())
}
