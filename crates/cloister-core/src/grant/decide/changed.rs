//! What of that which a grant is for has changed, in words.

use crate::{
    grant::model::{digest, target::Target},
    model::text::first_of,
};
use cloister_api::GrantStatus;

/// How many rules of a ClusterRole are written down, and how many of those that came or went are named.
pub const RULES: usize = 64;

const NAMED: usize = 3;

/// What has changed since it was written down in a status. Nothing where nothing has, or where nothing is written down.
pub fn words(status: &GrantStatus, target: &Target<'_>) -> Vec<String> {
    let role = target.cluster_role.unwrap_or("of the role");
    let changed = digest::changed(&status.target_parts, target);
    // Of another ClusterRole there is nothing to compare.
    let is_another = changed.contains(&"clusterRole");
    let changed = changed.into_iter().filter(|part| *part != "rules" || !is_another);
    let words = changed.map(|part| match part {
        "uid" => "it was deleted and created again".to_owned(),
        "sensitivity" => "its sensitivity".to_owned(),
        "endpoint" => "its endpoint".to_owned(),
        "permissions" => "the permissions of its role".to_owned(),
        "clusterRole" => "which ClusterRole it names".to_owned(),
        "rules" => format!("what ClusterRole {role} allows{}", rules(&status.target_rules, target.rules)),
        "credential" => "where its credential is kept".to_owned(),
        "service" => "the Service that it leads to: its uid, its selector or its target ports".to_owned(),
        other => other.to_owned(),
    });
    words.collect()
}

/// What is known to have changed since somebody read a request: what it is for, or its policy.
pub fn since_read(status: &GrantStatus, target: &Target<'_>) -> Option<String> {
    let words = words(status, target);
    let policy = target.policy.metadata.name.as_deref().unwrap_or_default();
    match (digest::is_policy_as_seen(&status.target_parts, target), words.is_empty()) {
        // An older version did not write down which policy there was.
        (None, true) => Some(format!("AccessPolicy {policy}, or the target, has changed since")),
        (Some(false), true) => Some(format!("AccessPolicy {policy} has changed since")),
        (Some(true), true) => None,
        (Some(false), false) => {
            Some(format!("AccessPolicy {policy} and the target have changed since: {}", words.join("; ")))
        }
        (_, false) => Some(format!("the target has changed since: {}", words.join("; "))),
    }
}

/// What is written down of the rules of a ClusterRole.
pub fn written(rules: &[Box<str>]) -> Vec<String> {
    rules.iter().take(RULES).map(|rule| rule.to_string()).collect()
}

/// The rules that came and went, where it was written down what there was.
fn rules(before: &[String], now: &[Box<str>]) -> String {
    if before.is_empty() || before.len() >= RULES {
        return String::new();
    }
    let came = now.iter().map(|rule| &**rule).filter(|rule| before.iter().all(|other| other != rule));
    let went = before.iter().map(String::as_str).filter(|rule| now.iter().all(|other| **other != **rule));
    let named =
        |what: &str, rules: Vec<&str>| (!rules.is_empty()).then(|| format!("{what} {}", first_of(rules, NAMED, "; ")));
    let said: Vec<String> =
        [named("now also", came.collect()), named("no longer", went.collect())].into_iter().flatten().collect();
    if said.is_empty() { String::new() } else { format!(" ({})", said.join(", and ")) }
}
