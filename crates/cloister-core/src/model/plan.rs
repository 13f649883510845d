//! A plan: the actions for one object, their order, and the status to write.
//!
//! An action that removes something waits for nothing: it is attempted even if other actions fail. An action that opens
//! something waits only for what must exist before it. [`crate::model::carry_out`] carries a plan out.

use super::child::{Child, ChildKey, ChildKind};
use cloister_api::{OnExpiry, labels};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// One request to the API server; it is not sent if the object is already as wanted.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Add the operator's finalizer to the object that the plan is for.
    AddFinalizer,
    /// Remove the operator's finalizer from the object that the plan is for.
    DropFinalizer,
    /// Create the Namespace, or correct its labels.
    ApplyNamespace(NamespaceLabels),
    /// Write to the Namespace since when it is closed for adoption, or remove this time.
    MarkAdopting(Option<Timestamp>),
    /// Delete the ServiceAccount with this uid, so that its tokens become invalid. It is created again afterwards.
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
    /// Create a child, or correct it.
    Apply(Box<Child>),
    /// Delete a child.
    Delete(ChildKey),
    /// Remove the operator's finalizer from a child, so that its deletion can complete.
    Release(ChildKey),
    /// Copy a credential to the Secret that a grant's pods mount.
    CopyCredential {
        /// Where it is kept.
        from: cloister_api::SecretReference,
        /// The name of the copy.
        to: String,
    },
    /// Stop mounting a credential in new pods: the GrantMount stays, without its version.
    Unmount {
        /// The name of the GrantMount.
        name: Box<str>,
        /// The time, which is recorded with it.
        at: Timestamp,
    },
    /// Empty the copy of a credential, then delete it. A copy that does not exist counts as deleted.
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
    /// List all pods of the namespace from the API server. Fails if one of them still holds the copy of a credential that was
    /// removed. The result is kept.
    ConfirmPodsGone {
        /// The name of the copy.
        secret: String,
        /// Which pods may still run.
        on_expiry: OnExpiry,
    },
}

impl Action {
    /// Which parts of the plan wait until this action has succeeded.
    pub fn holds_up(&self) -> HoldsUp {
        match self {
            Action::AddFinalizer | Action::ApplyNamespace(_) | Action::RenewAccount { .. } => HoldsUp::Opening,
            Action::Apply(child) if child.is_deny() => HoldsUp::Opening,
            Action::Apply(child) => match child.kind() {
                ChildKind::ResourceQuota | ChildKind::LimitRange => HoldsUp::Last,
                ChildKind::ClusterNetworkPolicy if child.is_bound() => HoldsUp::Last,
                _ => HoldsUp::Nothing,
            },
            _ => HoldsUp::Nothing,
        }
    }

    /// Whether it lets somebody do or reach something that they could not do or reach before.
    pub fn opens(&self) -> bool {
        match self {
            Action::Apply(child) if child.is_deny() || child.is_bound() => false,
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

    /// The object that it is about, for the message about a failure.
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

/// The labels that a Namespace must have, by key. It must have no other labels of the operator.
pub type NamespaceLabels = BTreeMap<&'static str, String>;

/// Which parts of a plan wait for the success of an action; a later variant includes the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldsUp {
    /// Nothing.
    Nothing,
    /// The last action of the plan.
    Last,
    /// Everything that opens something, and the last action.
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
    /// The list of all pods.
    Look,
}

/// Actions in sequence: a step begins when the step before it has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// The steps. The actions of one step may run concurrently.
    pub steps: Vec<Step>,
}

/// A step of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Its actions.
    pub actions: Vec<Action>,
    /// Whether it is skipped if something before it in its chain has failed.
    pub needs_all_before: bool,
    /// Whether the rest of the chain continues as if it had succeeded.
    pub may_fail: bool,
}

impl Chain {
    /// A chain that begins with these actions.
    pub fn of(actions: impl IntoIterator<Item = Action>) -> Self {
        Chain::default().then(actions)
    }

    /// Adds a step that runs even if earlier steps fail.
    pub fn then(self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.step(actions, false, false)
    }

    /// Adds a step that runs even if earlier steps fail, and that later steps do not need.
    pub fn attempt(self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.step(actions, false, true)
    }

    /// Adds a step that runs only if all earlier steps have succeeded.
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
    /// Everything has succeeded or failed permanently, so that there is nothing to wait for.
    Attempts,
}

/// What to do for one object.
///
/// All chains of `close` run concurrently, even if some fail. Then the stages of `open` run one after the other, unless an
/// action that they wait for has failed. Then comes the last action. The status is written in any case.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<Status> {
    /// The status to write immediately, when the operator first reconciles the object.
    pub announce: Option<Status>,
    /// What removes something: every deletion, and every write to an object that exists, because it may narrow the object.
    pub close: Vec<Chain>,
    /// What creates something.
    pub open: Vec<Vec<Chain>>,
    /// The last action: admit pods, remove a finalizer, or delete the Namespace.
    pub last: Option<Last>,
    /// The status to write, if it differs from the current one.
    pub status: Option<Status>,
    /// The status to write only if something fails: a state that lasts a moment need not be reported.
    pub if_failed: Option<Status>,
    /// Whether writes for other objects that open or close something go before this status, because nobody waits for it.
    pub status_can_wait: bool,
    /// When to reconcile again, even if nothing has changed.
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
    /// Adds actions that remove something, independent of each other.
    pub fn close(&mut self, actions: impl IntoIterator<Item = Action>) {
        actions.into_iter().for_each(|action| self.close_by(Chain::of([action])));
    }

    /// Adds a chain that removes something in steps.
    pub fn close_by(&mut self, chain: Chain) {
        self.close.extend(Some(chain).filter(|chain| !chain.steps.is_empty()));
    }

    /// Adds a stage of actions that open something, independent of each other.
    pub fn open(&mut self, actions: impl IntoIterator<Item = Action>) {
        self.open_by(actions.into_iter().map(|action| Chain::of([action])));
    }

    /// Adds a stage of chains that open something in steps.
    pub fn open_by(&mut self, chains: impl IntoIterator<Item = Chain>) {
        let chains: Vec<Chain> = chains.into_iter().filter(|chain| !chain.steps.is_empty()).collect();
        if !chains.is_empty() {
            self.open.push(chains);
        }
    }

    /// Sets the last action.
    pub fn end_with(&mut self, action: Action, after: After) {
        self.last = Some(Last { action, after });
    }

    /// Removes the actions that would open something, and returns whether there were any. Objects that exist are still
    /// written, because the write may narrow them.
    pub fn hold(&mut self) -> bool {
        let opens = |chain: &Chain| chain.actions().any(Action::opens);
        let bounds = |action: &Action| matches!(action, Action::Apply(child) if child.is_bound());
        let unseals = self.last.as_ref().is_some_and(|last| last.action.opens());
        if !unseals && !self.open.iter().flatten().any(opens) {
            return false;
        }
        for stage in &mut self.open {
            // An outer bound is written only after the policies that it must leave open.
            stage.retain(|chain| !opens(chain) && !chain.actions().any(bounds));
        }
        self.open.retain(|stage| !stage.is_empty());
        self.last = self.last.take().filter(|_| !unseals);
        true
    }

    /// Reconciles again at this time, or at the time that was set before if it is earlier.
    pub fn look_again(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// All actions, in a valid order.
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        let chains = self.close.iter().chain(self.open.iter().flatten());
        chains.flat_map(Chain::actions).chain(self.last.iter().map(|last| &last.action))
    }

    /// Whether there are no actions. There may be a status to write.
    pub fn does_nothing(&self) -> bool {
        self.actions().next().is_none()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let reads = |action: &Action| matches!(action, Action::ConfirmPodsGone { .. });
        self.status.is_none() && self.actions().all(reads)
    }
}
