//! What the decision about a mount that no grant speaks for is made from.

use super::{
    grant::{holders, is_claimed},
    taken::Snapshot,
};
use cloister_api::GrantStatus;
use cloister_core::{
    grant::{Copy, secret_of, unclaimed},
    model::plan::Plan,
};
use std::sync::Arc;

impl Snapshot<'_> {
    /// How a mount is taken away that no grant speaks for, with the pods that hold its copy; `is_destroyed` says whether the
    /// copy is known to be gone.
    pub fn decide_mount(&self, namespace: &Arc<str>, name: &str, is_destroyed: bool) -> Option<Plan<GrantStatus>> {
        let (index, now) = (&*self.index, self.now);
        let is_ours = index.namespaces.get(namespace).is_some_and(|(home, _)| home.belongs_to(namespace));
        if !is_ours || is_claimed(index, namespace, name, now) {
            return None;
        }
        let last = index.last_end(namespace, name);
        let copy = Copy {
            mount: name,
            children: self.children(namespace),
            holders: &holders(index, namespace, &secret_of(name)),
            on_expiry: last.map(|last| last.on_expiry).unwrap_or_default(),
            now,
        };
        Some(unclaimed(&copy, is_destroyed, last))
    }
}
