//! Whose an object in a namespace is.
//!
//! A label proves nothing: outside of research namespaces anybody could write any, before admission reserved them. So
//! the operator knows its own objects by what it wants there itself. What a grant opens is named after the grant; the
//! plan of that grant decides whether it stands, and what it wants carries the grant's uid. Everything else that carries
//! a mark of the operator belongs to nothing, and goes.

use crate::child::{ChildKey, ChildKind, GrantRef, ObservedChild};

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
