//! What stands in the way of the adoption of a Namespace, and what is said of it.
//!
//! What was found and what could not be looked at are told together: the one is no reason to hide the other.

use super::input::{Account, Inspection, Unseen};
use crate::model::{
    child::{ChildKey, ChildKind, ObservedChild, names::DEFAULT_ACCOUNT},
    ownership::{Whose, whose},
    plan::Action,
    text::first_of,
};
use cloister_api::{condition::reason, labels};
use jiff::SignedDuration;
use std::collections::BTreeMap;

/// When a Namespace that cannot be taken over is looked at again: nobody tells of all that stands in the way.
pub const AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// Who may offer a Namespace and delete what is in it: nobody does by the ClusterRoles that Cloister ships.
pub const ADMINISTRATOR: &str = "a cluster administrator";

/// How many objects, kinds or failures are named.
const NAMED: usize = 8;

/// Why a Namespace is not taken over yet.
#[derive(Debug)]
pub struct InTheWay {
    /// The reason of the condition.
    pub reason: &'static str,
    /// Whole sentences: what it is, what to do, and who can do it.
    pub message: String,
}

/// What stands in the way of a takeover. One that was a research namespace before may hold what is the operator's.
pub fn in_the_way(name: &str, found: &Inspection, retained: bool) -> Option<InTheWay> {
    let children = found.children.iter().filter(|(key, child)| is_in_the_way(key, child, retained));
    let mut objects: Vec<String> = children.map(|(key, _)| key.to_string()).collect();
    objects.extend(found.others.iter().cloned());
    if objects.is_empty() && found.unseen.is_empty() {
        return None;
    }
    let reason = if objects.is_empty() { reason::INSPECTION_INCOMPLETE } else { reason::FOREIGN_OBJECTS };
    let occupied = (!objects.is_empty()).then(|| occupied(name, objects, retained, found.unseen.is_empty()));
    let sentences = [occupied, forbidden(name, &found.unseen), failed(name, &found.unseen)];
    Some(InTheWay { reason, message: sentences.into_iter().flatten().collect::<Vec<_>>().join(". ") })
}

fn occupied(name: &str, objects: Vec<String>, retained: bool, complete: bool) -> String {
    // Admission has checked what members of a retained one wrote before, but not for those who are declared now.
    let what = if retained { "objects that are not taken back" } else { "objects that admission has never checked" };
    let then = if complete { ", then the Namespace is adopted" } else { "" };
    format!(
        "Namespace {name} contains {what}: {}; ask {ADMINISTRATOR} to delete them{then}. Until then, new objects of these kinds \
         are rejected there; create what is still needed afterwards",
        first_of(objects, NAMED, ", ")
    )
}

/// What the API server refuses to the operator: that does not pass by itself.
fn forbidden(name: &str, unseen: &[Unseen]) -> Option<String> {
    let mut by_verb: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in unseen {
        if let Unseen::Forbidden { verb, resource, said } = one {
            let said = said.as_ref().map(|said| format!(" (the API server says: {said})")).unwrap_or_default();
            by_verb.entry(*verb).or_default().push(format!("{resource}{said}"));
        }
    }
    let count: usize = by_verb.values().map(Vec::len).sum();
    if count == 0 {
        return None;
    }
    let missing = by_verb.into_iter().map(|(verb, all)| format!("{verb} {}", first_of(all, NAMED, ", ")));
    let missing = missing.collect::<Vec<_>>().join(", or ");
    let this = if count == 1 { "this permission" } else { "these permissions" };
    Some(format!(
        "The operator does not have the permission to {missing}, so it cannot inspect Namespace {name} completely; ask \
         {ADMINISTRATOR} to add {this} to ClusterRole cloister:operator (deploy/rbac/operator.yaml). The operator inspects the \
         Namespace again every {} seconds",
        AGAIN.as_secs()
    ))
}

/// What may pass by itself.
fn failed(name: &str, unseen: &[Unseen]) -> Option<String> {
    let failures = unseen.iter().filter_map(|one| match one {
        Unseen::Failed(why) => Some(why.as_str()),
        Unseen::Forbidden { .. } => None,
    });
    let failures = first_of(failures, NAMED, "; ");
    (!failures.is_empty())
        .then(|| format!("Namespace {name} could not be checked completely ({failures}); the operator tries again"))
}

/// A policy that allows nothing opens nothing, and may stay. In a Namespace that was never ours nothing is ours, whatever
/// it says of itself.
fn is_in_the_way(key: &ChildKey, child: &ObservedChild, retained: bool) -> bool {
    match whose(key, child, &|_| false) {
        Whose::Others if key.kind.is_policy() => child.widens,
        // One of this name would be overwritten.
        Whose::Others if matches!(key.kind, ChildKind::ResourceQuota | ChildKind::LimitRange) => {
            !retained && *key.name == *labels::MANAGER
        }
        // Whoever had a right to it may have a token.
        Whose::Others if key.kind == ChildKind::ServiceAccount => *key.name != *DEFAULT_ACCOUNT,
        Whose::Others => key.kind.is_access(),
        Whose::Namespaces | Whose::Grants | Whose::Mounts => !retained,
    }
}

/// What makes all tokens worthless that were given out for an account: they name its uid.
pub fn renewal(account: &Account) -> Action {
    Action::RenewAccount { name: account.name.clone(), uid: account.uid.clone() }
}

/// What may stay of a claim that is there: whether it has a volume that was made for it, or that is listed for research
/// namespaces in `workloads.volumes`. A provisioner names the volume after the claim's uid, which nobody chooses.
pub fn has_own_volume(uid: &str, volume: &str, listed: &[String]) -> bool {
    let is_listed = || listed.iter().any(|entry| entry.strip_prefix("persistentVolume:") == Some(volume));
    !volume.is_empty() && (volume.strip_prefix("pvc-") == Some(uid) || is_listed())
}

/// Whether objects of a namespaced kind may be policies of a network plugin, which add up with NetworkPolicies. A staged one
/// is not in force, and its plugin's own tools put it into force, so it counts too. What nobody can write is a view of other
/// objects (counters of Antrea's, policies that it has computed), and is deleted by nobody either.
pub fn may_be_policies(plural: &str, supports: impl Fn(&str) -> bool) -> bool {
    plural.contains("networkpolic") && supports("list") && ["create", "update", "patch"].into_iter().any(supports)
}
