//! What stands in a grant's name, and the writes that put it right.

use super::credential_mount_key::{CredentialMountKey, mount_key, mount_name};
use crate::{
    grant::{Grant, Input},
    model::{
        child::{Child, ChildKey, Children, ObservedChild},
        ownership::is_made_for,
        plan::{Action, After, Plan},
    },
};
use cloister_api::GrantStatus;

/// The write that makes a child what it should be, if it is not.
pub fn apply(child: Child, observed: &Children) -> Option<Action> {
    let stands = observed.get(&child.key()).is_some_and(|seen| seen.terminating || seen.is(&child));
    (!stands).then(|| Action::Apply(Box::new(child)))
}

/// Whether something stands that a grant opened which is said to have ended. What was confirmed to be gone does not
/// stand; so its end was not confirmed, or somebody has put it there since.
pub fn stands_after_its_end(grant: &Grant, input: &Input<'_>) -> bool {
    let was_approved = grant.status().is_some_and(|status| status.approved_at.is_some());
    let mount = || CredentialMountKey::of(grant).map(|key| mount_key(&mount_name(&key)));
    let is_mounted = || mount().is_some_and(|mount| input.children.contains_key(&mount) && !input.mount_is_claimed);
    grant.phase().has_ended() && was_approved && (own(input).next().is_some() || is_mounted())
}

/// Puts right what stands, and gives back the writes that make the children that do not. What stands is put right at once
/// where what must stand before it does (`guarded`); else it goes, and is made anew.
pub fn applied(plan: &mut Plan<GrantStatus>, children: Vec<Child>, guarded: bool, input: &Input<'_>) -> Vec<Action> {
    let mut anew = Vec::new();
    for child in children {
        let key = child.key();
        let Some(write) = apply(child, input.children) else { continue };
        match (input.children.contains_key(&key), guarded) {
            (true, true) => plan.close([write]),
            (true, false) => {
                plan.close([Action::Delete(key)]);
                anew.push(write);
            }
            (false, _) => anew.push(write),
        }
    }
    anew
}

/// Deletes what stands in the grant's name beyond these.
pub fn surplus(input: &Input<'_>, wanted: &[ChildKey]) -> Vec<Action> {
    let own = input.children.iter().filter(|(_, child)| child.grant.as_ref() == Some(&input.grant));
    let live = own.filter(|(_, child)| !child.terminating);
    live.filter(|(key, _)| !wanted.contains(key)).map(|(key, _)| Action::Delete(key.clone())).collect()
}

/// Deletes what stands in the grant's name and was not made for it, such as what was made for another of the same name.
pub fn forged(grant: &Grant, input: &Input<'_>) -> Vec<Action> {
    let own: Vec<ChildKey> = input
        .children
        .iter()
        .filter(|(_, child)| is_made_for(child, &input.grant, grant.uid()))
        .map(|(key, _)| key.clone())
        .collect();
    surplus(input, &own)
}

/// What stands in the grant's name.
pub fn own<'a>(input: &'a Input<'_>) -> impl Iterator<Item = &'a ObservedChild> {
    input.children.values().filter(|child| child.grant.as_ref() == Some(&input.grant))
}

/// Puts the finalizer on, where it is not.
pub fn add_finalizer(grant: &Grant) -> Option<Action> {
    (!grant.has_finalizer()).then_some(Action::AddFinalizer)
}

/// Takes the finalizer off, where it is on, once everything is done.
pub fn drop_finalizer(plan: &mut Plan<GrantStatus>, grant: &Grant) {
    if grant.has_finalizer() {
        plan.end_with(Action::DropFinalizer, After::Everything);
    }
}
