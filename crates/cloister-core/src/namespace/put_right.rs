//! What makes the objects of a research namespace what they should be, and what of others stands among them.

use super::{Input, policies};
use crate::{
    child::{Child, ChildKey, ChildKind, IfRefused, is_deny},
    ownership::{Whose, whose},
    plan::{Action, Chain, Plan},
};
use cloister_api::ResearchNamespaceStatus;
use std::collections::BTreeSet;

/// Makes the children what they should be. What stands already is put right together with all that closes, since it may
/// be narrowed; what is new opens after that.
pub(super) fn put_right(
    plan: &mut Plan<ResearchNamespaceStatus>,
    desired: Vec<Child>,
    wanted: &BTreeSet<ChildKey>,
    foreign: &Foreign<'_>,
    ours: bool,
    input: &Input<'_>,
) {
    let theirs = foreign.all().filter(|key| input.children.get(key).is_some_and(|child| !child.terminating));
    let theirs: Vec<Action> = theirs.cloned().map(Action::Delete).collect();
    if input.settings.spec.egress.remove_foreign_policies && !theirs.is_empty() {
        plan.close(theirs);
        // That they were there is told first, and that they are gone next.
        plan.look_again(input.now);
    }
    let gone = surplus(input, |key| !wanted.contains(key));
    let denies = denies(input);
    let mut deny: Vec<Chain> = Vec::new();
    let mut roles: Vec<Action> = Vec::new();
    let mut open: Vec<Action> = Vec::new();
    let mut bound: Vec<Action> = Vec::new();
    for child in desired {
        let key = child.key();
        let observed = input.children.get(&key);
        let stands = observed.is_some_and(|observed| {
            // One that is being deleted is made again once it is gone, which its deletion will tell.
            (observed.terminating && !is_deny(&key)) || observed.is(&child)
        });
        if stands {
            continue;
        }
        let (is_deny, is_bound) = (is_deny(&key), child.is_bound());
        let opens = child.if_refused() == IfRefused::Delete;
        let apply = Action::Apply(Box::new(child));
        if is_deny {
            // One that somebody deletes still stands, by its finalizer. Its place must be free to make it again.
            let ending = observed.is_some_and(|deny| deny.terminating).then_some(Action::Release(key));
            deny.push(Chain::of(ending).then_if_done([apply]));
        } else if ours && observed.is_some() && (denies || !opens) {
            plan.close([apply]);
        } else if ours && observed.is_some() {
            // It may be wider than what stands, which nothing may be while nothing denies.
            plan.close([Action::Delete(key)]);
            open.push(apply);
        } else if is_bound {
            // Above all others, so that what it must leave open stands before.
            bound.push(apply);
        } else if key.kind == ChildKind::ClusterRole {
            // A binding to a role that is not there is refused.
            roles.push(apply);
        } else {
            open.push(apply);
        }
    }
    if ours {
        deny.into_iter().for_each(|chain| plan.close_by(chain));
        plan.close(gone);
    } else {
        // The namespace is made, or sealed, before anything in it is touched.
        plan.open_by(deny.into_iter().chain(gone.into_iter().map(|action| Chain::of([action]))));
    }
    plan.open(roles);
    plan.open(open);
    plan.open(bound);
}

/// Deletes what carries a mark of the operator and is wanted no more, or never was: what it once wrote for the namespace,
/// and what calls itself so. What stands in the name of a grant is that grant's matter, as long as there is one.
pub(super) fn surplus(input: &Input<'_>, unwanted: impl Fn(&ChildKey) -> bool) -> Vec<Action> {
    let ours = input
        .children
        .iter()
        .filter(|(key, child)| whose(key, child, input.has_grant) == Whose::Namespaces && !child.terminating);
    ours.filter(|(key, _)| unwanted(key)).map(|(key, _)| Action::Delete(key.clone())).collect()
}

/// What others have in a research namespace that opens it.
#[derive(Debug, Default)]
pub(super) struct Foreign<'a> {
    /// Policies that allow something: policies add up, so that what is denied is not.
    pub policies: Vec<&'a ChildKey>,
    /// Roles and bindings: they give what nobody agreed to.
    pub access: Vec<&'a ChildKey>,
}

impl<'a> Foreign<'a> {
    fn all(&self) -> impl Iterator<Item = &'a ChildKey> {
        self.policies.iter().chain(&self.access).copied()
    }
}

pub(super) fn foreign<'a>(input: &Input<'a>, wanted: &BTreeSet<ChildKey>) -> Foreign<'a> {
    let mut foreign = Foreign::default();
    for (key, child) in input.children {
        let theirs = match whose(key, child, input.has_grant) {
            Whose::Others => true,
            // It was deleted, and opens as before for as long as somebody else's finalizer holds it.
            Whose::Namespaces => child.terminating && !wanted.contains(key),
            // The end of the grant, or its own plan, has deleted it.
            Whose::Grants => child.terminating,
            Whose::Mounts => false,
        };
        if !theirs {
            continue;
        }
        if key.kind.is_policy() && child.widens {
            foreign.policies.push(key);
        } else if key.kind.is_access() {
            foreign.access.push(key);
        }
    }
    foreign
}

/// Whether the policy that denies everything stands as it should.
pub fn denies(input: &Input<'_>) -> bool {
    let deny = Child::NetworkPolicy(policies::deny_all(input.name));
    let observed = input.children.get(&deny.key());
    observed.is_some_and(|observed| observed.is(&deny))
}
