//! Which plan manages an object in a namespace.
//!
//! A label is no proof: before admission reserved the labels, anybody could set them outside of research namespaces. So the
//! operator recognises its own objects by what its plans want. The objects of a grant are named after the grant and carry
//! its uid; the plan of the grant decides whether they exist. Everything else with a mark of the operator is deleted.

use super::child::{ChildKey, ChildKind, GrantRef, ObservedChild};

/// Which plan manages an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The plan of a grant that exists.
    Grants,
    /// The plan of the namespace: it wants the object, or deletes it.
    Namespaces,
    /// The object is a GrantMount, which has a plan of its own.
    Mounts,
    /// None: the object is unmanaged.
    Others,
}

/// Finds out which plan manages an object. `is_there` returns whether a grant of that kind and name exists, in any phase.
pub fn whose(key: &ChildKey, child: &ObservedChild, is_there: &dyn Fn(&GrantRef) -> bool) -> Whose {
    if key.kind == ChildKind::GrantMount {
        return Whose::Mounts;
    }
    match &child.grant {
        Some(grant) if is_there(grant) => Whose::Grants,
        // The grant does not exist.
        Some(_) => Whose::Namespaces,
        None if child.marked => Whose::Namespaces,
        None => Whose::Others,
    }
}

/// Whether an object was made for this grant, and not for another of the same name.
pub fn is_made_for(child: &ObservedChild, grant: &GrantRef, uid: &str) -> bool {
    child.grant.as_ref() == Some(grant) && child.owner.as_deref() == Some(uid)
}
