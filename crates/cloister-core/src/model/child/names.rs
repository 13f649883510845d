//! What the objects that the operator writes are called and how they are marked, by which it knows its own.

use super::key::{ChildKey, ChildKind, GrantRef};
use cloister_api::{GROUP, GrantKind, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Whether this is the policy that denies everything in its namespace.
pub fn is_deny(key: &ChildKey) -> bool {
    is_deny_named(key.kind, &key.name)
}

pub(super) fn is_deny_named(kind: ChildKind, name: &str) -> bool {
    kind == ChildKind::NetworkPolicy && name == DENY_ALL
}

/// What the name of an object begins with that a grant of this kind opens; the grant's name follows.
const fn prefix(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::StorageAccessGrant => "cloister-grant.",
        GrantKind::EgressGrant => "cloister-egress-grant.",
        GrantKind::RoleGrant => "cloister-role-grant.",
    }
}

/// The name of what a grant opens.
pub fn name_of_opened(kind: GrantKind, grant: &str) -> String {
    format!("{}{grant}", prefix(kind))
}

/// The grant that an object of this kind and name stands for.
pub fn named_after(kind: ChildKind, name: &str) -> Option<GrantRef> {
    if !kind.is_policy() && !kind.is_access() {
        return None;
    }
    GrantKind::ALL.into_iter().find_map(|kind| {
        let grant = name.strip_prefix(prefix(kind))?;
        Some(GrantRef { kind, name: grant.into() })
    })
}

/// The uid of this grant, where the object is owned by a grant of this kind and name and by nothing else.
pub fn owner_of(grant: &GrantRef, metadata: &ObjectMeta) -> Option<Box<str>> {
    let [owner] = metadata.owner_references.as_deref()? else { return None };
    let is_this = is_reserved(&owner.api_version) && owner.kind == grant.kind.as_str() && *owner.name == *grant.name;
    is_this.then(|| owner.uid.as_str().into())
}

/// What the names of the operator's policies and bindings begin with.
const OWN: &str = "cloister-";

/// Whether an object carries a mark that is the operator's to set: a label, an annotation, a finalizer, an owner, or the
/// beginning of a name.
pub fn is_marked(kind: ChildKind, metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.iter().flatten();
    let annotations = metadata.annotations.iter().flatten();
    let is_named = kind == ChildKind::ClusterNetworkPolicy || kind.is_policy() || kind.is_access();
    let prefix = match kind {
        ChildKind::ClusterNetworkPolicy => BOUND_PREFIX,
        ChildKind::ClusterRole | ChildKind::ClusterRoleBinding => OWNERS_PREFIX,
        _ => OWN,
    };
    (is_named && metadata.name.as_deref().is_some_and(|name| name.starts_with(prefix)))
        || labels.clone().any(|(key, value)| key == labels::MANAGED_BY && value == labels::MANAGER)
        || labels.chain(annotations).any(|(key, _)| is_reserved(key))
        || metadata.finalizers.iter().flatten().any(|finalizer| is_reserved(finalizer))
        || metadata.owner_references.iter().flatten().any(|owner| is_reserved(&owner.api_version))
}

/// Whether a key of a label or an annotation, a finalizer or an API version is of the operator's API group.
fn is_reserved(key: &str) -> bool {
    key.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'))
}

/// What the names of the operator's ClusterNetworkPolicies begin with; the namespace follows.
pub const BOUND_PREFIX: &str = "cloister.";

/// Whether this is the policy that denies everything, of whatever namespace.
pub(super) fn is_bound_named(kind: ChildKind, name: &str) -> bool {
    let part = || name.strip_prefix(BOUND_PREFIX)?.split_once('.').map(|(_, part)| part);
    kind == ChildKind::ClusterNetworkPolicy && part() == Some("deny")
}

/// The namespace that such a policy is about, by its name.
pub fn namespace_of(name: &str) -> Option<&str> {
    name.strip_prefix(BOUND_PREFIX)?.split_once('.').map(|(namespace, _)| namespace)
}

/// The name of the policy that denies all traffic of all pods.
pub const DENY_ALL: &str = "cloister-deny-all";

/// The name of the account that Kubernetes makes in every namespace.
pub const DEFAULT_ACCOUNT: &str = "default";

/// What the names of the owners' ClusterRole and of its binding begin with; the namespace follows.
pub const OWNERS_PREFIX: &str = "cloister:owner:";

/// The ResearchNamespace whose owners have a ClusterRole or a ClusterRoleBinding of this name.
pub fn namespace_owned(name: &str) -> Option<&str> {
    name.strip_prefix(OWNERS_PREFIX)
}
