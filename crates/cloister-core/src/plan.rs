//! A plan: what to do, in which order, and what to say about it.

use crate::child::{Child, ChildKey};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// One request to the API server, or one that is not needed when the object is already so.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the operator's finalizer on the object that the plan is for.
    AddFinalizer,
    /// Take the operator's finalizer off the object that the plan is for.
    DropFinalizer,
    /// Create the Namespace, or put its labels right.
    ApplyNamespace(NamespaceLabels),
    /// Delete the Namespace with this uid.
    DeleteNamespace {
        /// The uid that it must have.
        uid: String,
    },
    /// Create a child, or put it right.
    Apply(Box<Child>),
    /// Delete a child.
    Delete(ChildKey),
    /// Take the operator's finalizer off a child, so that a deletion that was asked for can end.
    Release(ChildKey),
    /// Copy a credential to the Secret that a grant's pods mount.
    CopyCredential {
        /// Where it is kept.
        from: cloister_api::SecretReference,
        /// The name of the copy.
        to: String,
    },
    /// Empty the copy of a credential, then delete it. That it is not there is as good.
    DestroyCredential {
        /// The name of the copy.
        name: String,
    },
    /// Delete a pod that holds a credential.
    DeletePod {
        /// Its name.
        name: String,
        /// The uid that it must have.
        uid: String,
    },
}

/// The labels that a Namespace must have, and of the operator's labels no others: label to value.
pub type NamespaceLabels = BTreeMap<&'static str, String>;

/// What to do for one object.
///
/// Stages run one after the other, and a stage begins only when the one before it succeeded, so that what closes is
/// done before what opens. The actions of one stage may run together. The status is written last.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<Status> {
    /// What to write as the object's status together with the first stage, at the first sight of the object.
    pub announce: Option<Status>,
    /// What to do: the stages, none of them empty.
    pub stages: Vec<Vec<Action>>,
    /// What to write as the object's status, where it differs from what is there.
    pub status: Option<Status>,
    /// Whether that status can wait for what is to be opened and closed elsewhere: it says what was done, and nobody
    /// waits for it.
    pub status_can_wait: bool,
    /// When to look again, although nothing has changed.
    pub next: Option<Timestamp>,
}

impl<Status> Default for Plan<Status> {
    fn default() -> Self {
        Plan { announce: None, stages: Vec::new(), status: None, status_can_wait: false, next: None }
    }
}

impl<Status> Plan<Status> {
    /// Adds a stage, unless there is nothing to do in it.
    pub fn stage(&mut self, actions: impl IntoIterator<Item = Action>) {
        let actions: Vec<Action> = actions.into_iter().collect();
        if !actions.is_empty() {
            self.stages.push(actions);
        }
    }

    /// Looks again at the earlier of this time and what was asked before.
    pub fn look_again(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty() && self.status.is_none()
    }
}
