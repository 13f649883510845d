//! How people are named in messages.

use super::people::is_service_account;
use crate::model::{
    once::once_each,
    text::{counted, first_of},
};
use cloister_api::{Identity, Principal};

/// How many principals are named.
const PRINCIPALS: usize = 4;

/// How many groups of a person are named.
const GROUPS: usize = 8;

/// Principals in words, each once.
pub fn principals(all: &[Principal]) -> String {
    let names = once_each(all.iter().map(|principal| match &principal.namespace {
        Some(namespace) => format!("{:?} {namespace}/{}", principal.kind, principal.name),
        None => format!("{:?} {}", principal.kind, principal.name),
    }));
    let mut named = names[..names.len().min(PRINCIPALS)].join(" or ");
    if names.is_empty() {
        named.push_str("nobody");
    } else if names.len() > PRINCIPALS {
        named.push_str(" or others");
    }
    named
}

/// Who puts people into groups.
const MISSING: &str = "if one is missing, ask the administrator of the identity provider";

/// An account and its groups, as the API server saw them when it made the object.
pub fn seen(identity: &Identity) -> String {
    let who = &identity.username;
    if is_service_account(identity) {
        return format!("{who} is a ServiceAccount: a policy names it by its kind, and not by a group");
    }
    let mut groups: Vec<&str> = identity.groups.iter().map(String::as_str).collect();
    groups.sort_unstable();
    if groups.is_empty() {
        return format!("the API server saw {who} in no group ({MISSING})");
    }
    format!("the API server saw {who} in groups {} ({MISSING})", first_of(groups, GROUPS, ", "))
}

/// What is still to end, in words.
pub fn left(pods: usize, held: usize) -> String {
    let count_pods = || counted(pods, "pod that holds the credential", "pods that hold the credential");
    let count_held = || counted(held, "object", "objects");
    match (pods, held) {
        (0, _) => count_held(),
        (_, 0) => count_pods(),
        _ => format!("{}, and {}", count_pods(), count_held()),
    }
}
