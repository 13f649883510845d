//! A plan: what to do, in which order, and what to say about it.
//!
//! What takes something away waits for nothing: it is attempted whatever becomes of anything else. What opens waits for
//! what must stand before it, and for that alone. [`crate::model::carry_out`] carries a plan out.

use super::child::{Child, ChildKey, ChildKind};
use crate::model::child::names::is_deny;
use cloister_api::{OnExpiry, labels};
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
    /// Write on the Namespace since when it is closed because it is offered for adoption, or that it is so no more.
    MarkAdopting(Option<Timestamp>),
    /// Delete the ServiceAccount with this uid, so that no token of it is valid any more. It is made anew afterwards.
    RenewAccount {
        /// Its name.
        name: String,
        /// The uid that it must have.
        uid: String,
    },
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
    /// Put a credential into no new pod from now on: the mount stays, without its version.
    Unmount {
        /// The name of the GrantMount.
        name: Box<str>,
        /// The time, which is written down with it.
        at: Timestamp,
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
    /// Look at all pods of the namespace anew, as the API server has them now. Fails where one of them still holds the
    /// copy of a credential that was taken away; what was seen is known from then on.
    ConfirmPodsGone {
        /// The name of the copy.
        secret: String,
        /// Which pods may be left.
        on_expiry: OnExpiry,
    },
}

impl Action {
    /// What waits for this action to succeed. All else in the plan does not.
    pub fn holds_up(&self) -> HoldsUp {
        match self {
            Action::AddFinalizer | Action::ApplyNamespace(_) | Action::RenewAccount { .. } => HoldsUp::Opening,
            Action::Apply(child) if is_deny(&child.key()) => HoldsUp::Opening,
            Action::Apply(child) => match child.kind() {
                ChildKind::ResourceQuota | ChildKind::LimitRange => HoldsUp::Last,
                ChildKind::ClusterNetworkPolicy if child.is_bound() => HoldsUp::Last,
                _ => HoldsUp::Nothing,
            },
            _ => HoldsUp::Nothing,
        }
    }

    /// Whether it lets somebody do or reach what they could not before.
    pub fn opens(&self) -> bool {
        match self {
            Action::Apply(child) if is_deny(&child.key()) || child.is_bound() => false,
            Action::Apply(child) => match child.kind() {
                ChildKind::ResourceQuota | ChildKind::LimitRange | ChildKind::ServiceAccount => false,
                ChildKind::NetworkPolicy
                | ChildKind::CiliumNetworkPolicy
                | ChildKind::ClusterNetworkPolicy
                | ChildKind::RoleBinding
                | ChildKind::Role
                | ChildKind::ClusterRole
                | ChildKind::ClusterRoleBinding
                | ChildKind::GrantMount => true,
            },
            Action::ApplyNamespace(labels) => labels.contains_key(labels::ENFORCED),
            Action::CopyCredential { .. } => true,
            _ => false,
        }
    }

    /// What it is about, to say what failed.
    pub fn about(&self) -> About {
        match self {
            Action::Apply(child) => About::Child(child.key()),
            Action::Delete(key) | Action::Release(key) => About::Child(key.clone()),
            Action::ApplyNamespace(_) | Action::MarkAdopting(_) | Action::DeleteNamespace { .. } => About::Namespace,
            Action::RenewAccount { name, .. } => About::Child(ChildKey::new(ChildKind::ServiceAccount, name)),
            Action::Unmount { name, .. } => About::Child(ChildKey::new(ChildKind::GrantMount, name)),
            Action::CopyCredential { .. } | Action::DestroyCredential { .. } => About::Credential,
            Action::DeletePod { .. } => About::Pod,
            Action::ConfirmPodsGone { .. } => About::Look,
            Action::AddFinalizer | Action::DropFinalizer => About::Itself,
        }
    }
}

/// The labels that a Namespace must have, and of the operator's labels no others: label to value.
pub type NamespaceLabels = BTreeMap<&'static str, String>;

/// What waits for the success of an action, in the order of how much it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldsUp {
    /// Nothing.
    Nothing,
    /// The last action of the plan.
    Last,
    /// Everything that opens, and the last action.
    Opening,
}

/// What an action is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The object that the plan is for.
    Itself,
    /// The Namespace.
    Namespace,
    /// A child in it.
    Child(ChildKey),
    /// The copy of a credential.
    Credential,
    /// A pod.
    Pod,
    /// A look at all pods.
    Look,
}

/// Actions that depend on one another: a step begins when the one before it has come to an end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// The steps. The actions of one may run together.
    pub steps: Vec<Step>,
}

/// A step of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its actions.
    pub actions: Vec<Action>,
    /// Whether it is left out when something before it in its chain has failed.
    pub needs_all_before: bool,
    /// Whether nothing needs its success.
    pub may_fail: bool,
}

impl Chain {
    /// A chain that begins with these.
    pub fn of(actions: impl IntoIterator<Item = Action>) -> Self {
        Chain::default().then(actions)
    }

    /// Goes on with these, whatever became of what is before.
    pub fn then(self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.step(actions, false, false)
    }

    /// Goes on with these, whatever became of what is before. No later step needs them.
    pub fn attempt(self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.step(actions, false, true)
    }

    /// Goes on with these, if all before has succeeded.
    pub fn then_if_done(self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.step(actions, true, false)
    }

    fn step(mut self, actions: impl IntoIterator<Item = Action>, needs_all_before: bool, may_fail: bool) -> Self {
        let actions: Vec<Action> = actions.into_iter().collect();
        if !actions.is_empty() {
            self.steps.push(Step { actions, needs_all_before, may_fail });
        }
        self
    }

    /// Its actions, in their order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        self.steps.iter().flat_map(|step| &step.actions)
    }
}

/// The action that ends a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    /// The action.
    pub action: Action,
    /// What it waits for.
    pub after: After,
}

/// What the last action of a plan waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// What holds it up (see [`Action::holds_up`]) has succeeded.
    WhatHoldsItUp,
    /// Everything has succeeded.
    Everything,
    /// Everything has succeeded, or was refused for good, so that there is nothing to wait for.
    Attempts,
}

/// What to do for one object.
///
/// All chains of `close` are carried out together, whatever becomes of the others. The stages of `open` follow, one after
/// the other, unless what holds them up has failed. Then comes the last action. The status is written in any case.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<Status> {
    /// What to write as the object's status at once, at the first sight of the object.
    pub announce: Option<Status>,
    /// What takes something away: every deletion, and every write to what stands already, which may be narrower than
    /// what it replaces.
    pub close: Vec<Chain>,
    /// What makes something anew.
    pub open: Vec<Vec<Chain>>,
    /// What ends it: pods are admitted, a finalizer is taken off, the Namespace is deleted.
    pub last: Option<Last>,
    /// What to write as the object's status, where it differs from what is there.
    pub status: Option<Status>,
    /// What the status is to say where something fails and nothing else is to be written: what is over in a moment need not
    /// be said before.
    pub if_failed: Option<Status>,
    /// Whether the status can wait for what is to be opened and closed elsewhere: it says what was done, and nobody
    /// waits for it.
    pub status_can_wait: bool,
    /// When to look again, although nothing has changed.
    pub next: Option<Timestamp>,
}

impl<Status> Default for Plan<Status> {
    fn default() -> Self {
        Plan {
            announce: None,
            close: Vec::new(),
            open: Vec::new(),
            last: None,
            status: None,
            if_failed: None,
            status_can_wait: false,
            next: None,
        }
    }
}

impl<Status> Plan<Status> {
    /// Takes away what these actions take away, each on its own.
    pub fn close(&mut self, actions: impl IntoIterator<Item = Action>) {
        actions.into_iter().for_each(|action| self.close_by(Chain::of([action])));
    }

    /// Takes something away in steps.
    pub fn close_by(&mut self, chain: Chain) {
        self.close.extend(Some(chain).filter(|chain| !chain.steps.is_empty()));
    }

    /// Adds a stage of what opens, each action on its own.
    pub fn open(&mut self, actions: impl IntoIterator<Item = Action>) {
        self.open_by(actions.into_iter().map(|action| Chain::of([action])));
    }

    /// Adds a stage of what opens in steps.
    pub fn open_by(&mut self, chains: impl IntoIterator<Item = Chain>) {
        let chains: Vec<Chain> = chains.into_iter().filter(|chain| !chain.steps.is_empty()).collect();
        if !chains.is_empty() {
            self.open.push(chains);
        }
    }

    /// Ends with this.
    pub fn end_with(&mut self, action: Action, after: After) {
        self.last = Some(Last { action, after });
    }

    /// Leaves out what would open something, and answers whether there was any. What stands already is still written: it may
    /// become narrower.
    pub fn hold(&mut self) -> bool {
        let opens = |chain: &Chain| chain.actions().any(Action::opens);
        let bounds = |action: &Action| matches!(action, Action::Apply(child) if child.is_bound());
        let unseals = self.last.as_ref().is_some_and(|last| last.action.opens());
        if !unseals && !self.open.iter().flatten().any(opens) {
            return false;
        }
        for stage in &mut self.open {
            // What nothing goes beyond comes after what it must leave open.
            stage.retain(|chain| !opens(chain) && !chain.actions().any(bounds));
        }
        self.open.retain(|stage| !stage.is_empty());
        self.last = self.last.take().filter(|_| !unseals);
        true
    }

    /// Looks again at the earlier of this time and what was asked before.
    pub fn look_again(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Everything to do, in an order in which it may be done.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        let chains = self.close.iter().chain(self.open.iter().flatten());
        chains.flat_map(Chain::actions).chain(self.last.iter().map(|last| &last.action))
    }

    /// Whether there is nothing to do, whatever there is to say.
    pub fn does_nothing(&self) -> bool {
        self.actions().next().is_none()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let reads = |action: &Action| matches!(action, Action::ConfirmPodsGone { .. });
        self.status.is_none() && self.actions().all(reads)
    }
}
