//! Whose an object in a namespace is.
//!
//! A label proves nothing: outside of research namespaces anybody could write any, before admission reserved them. So
//! the operator knows its own objects by what it wants there itself. What a grant opens is named after the grant; the
//! plan of that grant decides whether it stands, and what it wants carries the grant's uid. Everything else that carries
//! a mark of the operator belongs to nothing, and goes.

use crate::{
    child::{ChildKey, ChildKind, GrantRef, ObservedChild},
    namespace::{cluster, members},
};
use cloister_api::{GROUP, GrantKind, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// It stands in the name of a grant that is there, whose plan decides about it.
    Grants,
    /// It stands where the namespace's own plan decides: that plan wants it, or it goes.
    Namespaces,
    /// It is the mount of a credential, which a plan of its own decides about.
    Mounts,
    /// It is somebody else's.
    Others,
}

/// Finds out whose an object is. `is_there` tells whether there is a grant of that kind and name, in whatever phase.
pub fn whose(key: &ChildKey, child: &ObservedChild, is_there: &dyn Fn(&GrantRef) -> bool) -> Whose {
    if key.kind == ChildKind::GrantMount {
        return Whose::Mounts;
    }
    match &child.grant {
        Some(grant) if is_there(grant) => Whose::Grants,
        // The grant is gone, or there never was one.
        Some(_) => Whose::Namespaces,
        None if child.marked => Whose::Namespaces,
        None => Whose::Others,
    }
}

/// Whether an object was made for this grant, and not for another of the same name.
pub fn is_made_for(child: &ObservedChild, grant: &GrantRef, uid: &str) -> bool {
    child.grant.as_ref() == Some(grant) && child.owner.as_deref() == Some(uid)
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
    let kinds = [GrantKind::StorageAccessGrant, GrantKind::EgressGrant, GrantKind::RoleGrant];
    kinds.into_iter().find_map(|kind| {
        let grant = name.strip_prefix(prefix(kind))?;
        Some(GrantRef { kind, name: grant.into() })
    })
}

/// The uid of this grant, where the object is owned by a grant of this kind and name and by nothing else.
pub fn owner_of(grant: &GrantRef, metadata: &ObjectMeta) -> Option<Box<str>> {
    let [owner] = metadata.owner_references.as_deref()? else { return None };
    let is_this = is_ours(&owner.api_version) && owner.kind == grant.kind.as_str() && *owner.name == *grant.name;
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
        ChildKind::ClusterNetworkPolicy => cluster::PREFIX,
        ChildKind::ClusterRole | ChildKind::ClusterRoleBinding => members::PREFIX,
        _ => OWN,
    };
    (is_named && metadata.name.as_deref().is_some_and(|name| name.starts_with(prefix)))
        || labels.clone().any(|(key, value)| key == labels::MANAGED_BY && value == labels::MANAGER)
        || labels.chain(annotations).any(|(key, _)| is_reserved(key))
        || metadata.finalizers.iter().flatten().any(|finalizer| is_reserved(finalizer))
        || metadata.owner_references.iter().flatten().any(|owner| is_ours(&owner.api_version))
}

/// Whether a key of a label, an annotation or a finalizer is the operator's.
fn is_reserved(key: &str) -> bool {
    key.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'))
}

fn is_ours(api_version: &str) -> bool {
    is_reserved(api_version)
}
