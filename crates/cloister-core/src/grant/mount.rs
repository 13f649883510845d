//! The credential of a StorageAccessGrant: how it comes to the pods of an account, and how it is taken from them.
//!
//! A mount without a version stands before the copy is made and until it is destroyed, so that nothing is forgotten
//! whatever becomes of the grant; it is put into no pod.

use super::{
    Grant, Holder, Input,
    kind::Closing,
    share::{Share, grant_mount, mount_key, secret_name},
};
use crate::{
    child::{Child, ChildKey, Children},
    plan::{Action, Chain, Plan},
};
use cloister_api::{GrantPhase, GrantStatus, Mount, OnExpiry, SecretReference, labels};

/// Whether a grant speaks for its mount: it may have opened it, and has not yet destroyed it or left it to another.
pub fn answers_for_share(grant: &Grant) -> bool {
    grant.status().is_some_and(|status| match status.phase {
        GrantPhase::Approved | GrantPhase::Active => true,
        GrantPhase::Revoking => status.secret_name.is_some(),
        _ => false,
    })
}

/// A credential to be mounted.
pub struct Source<'a> {
    /// Where it is kept.
    pub from: &'a SecretReference,
    /// Its version there.
    pub version: Box<str>,
}

/// What brings a credential to its mount: the mount without a version; the copy; the version, which says that it is
/// there.
pub fn mounting(grant: &Grant, mount: &Mount, source: &Source<'_>, input: &Input<'_>) -> Option<Chain> {
    let share = Share::of(grant)?;
    let observed = input.children.get(&mount_key(&share));
    if observed.is_some_and(|mount| mount.terminating) {
        // Somebody else's finalizer holds it. It cannot be written, so nothing would remember the copy.
        return None;
    }
    let mounted = |version| grant_mount(input.namespace, &share, mount, version);
    let record = observed.is_none().then(|| Action::Apply(Box::new(mounted(""))));
    let is_copied = observed.is_some_and(|mount| mount.version.as_deref() == Some(&source.version));
    // One that opens copies whatever the mount says: taking it away may have been cut off after the Secret.
    let first = grant.phase() != GrantPhase::Active;
    let copy =
        (first || !is_copied).then(|| Action::CopyCredential { from: source.from.clone(), to: secret_name(&share) });
    let version = apply(mounted(&source.version), input.children);
    Some(Chain::of(record).then_if_done(copy).then_if_done(version))
}

/// What takes a credential away.
pub fn unmounting(grant: &Grant, mount: &Mount, on_expiry: OnExpiry, input: &Input<'_>) -> Closing {
    let mut closing = Closing::default();
    let standing = |share: &Share| input.children.get(&mount_key(share)).filter(|mount| !mount.terminating);
    let answers = answers_for_share(grant);
    // What another counts on stays, and so does what another has opened anew since this one destroyed its own.
    let share = Share::of(grant)
        .filter(|_| !input.sharers.iter().any(|sharer| sharer.counts_on_it))
        .filter(|share| answers || standing(share).is_none());
    let Some(share) = share else { return closing };
    // Without its version no new pod gets it. It goes last: until then it remembers the copy.
    let emptied = grant_mount(input.namespace, &share, mount, "");
    let mut chain = Chain::default().attempt(standing(&share).and_then(|_| apply(emptied, input.children)));
    if answers {
        chain = chain.then([Action::DestroyCredential { name: secret_name(&share) }]);
    }
    match on_expiry {
        OnExpiry::Terminate => {
            closing.pods = input.holders.len();
            // Whatever became of the credential: what holds it ends. The grant itself waits for them.
            chain = chain.attempt(input.holders.iter().filter(|holder| !holder.terminating).map(delete_pod));
        }
        OnExpiry::Empty => {}
    }
    closing.chain = chain.then_if_done(standing(&share).map(|_| Action::Delete(mount_key(&share))));
    // What somebody else's finalizer holds is not gone.
    closing.held = usize::from(input.children.get(&mount_key(&share)).is_some_and(|mount| mount.terminating));
    closing
}

/// Takes away a mount that no grant counts on, such as one whose grant was removed by force.
pub fn orphaned_mount(mount: &ChildKey, holders: &[Holder]) -> Plan<GrantStatus> {
    let mut plan = Plan::default();
    // The mount goes last: it is all that tells of the copy.
    let secret = format!("{}{}", labels::GRANT_SECRET_PREFIX, mount.name);
    plan.close_by(
        Chain::of([Action::DestroyCredential { name: secret }])
            .then(holders.iter().filter(|holder| !holder.terminating).map(delete_pod))
            .then_if_done([Action::Delete(mount.clone())]),
    );
    plan
}

/// The grant whose mount is at another path, if there is one: one share is mounted at one path.
pub fn conflict<'a>(mount: &Mount, input: &Input<'a>) -> Option<(&'a str, &'a str)> {
    let other = input.sharers.iter().find(|sharer| sharer.mount_path != mount.mount_path)?;
    Some((other.name, other.mount_path))
}

/// The write that makes a child what it should be, if it is not.
pub fn apply(child: Child, observed: &Children) -> Option<Action> {
    let stands = observed.get(&child.key()).is_some_and(|seen| seen.terminating || seen.is(&child));
    (!stands).then(|| Action::Apply(Box::new(child)))
}

fn delete_pod(holder: &Holder) -> Action {
    Action::DeletePod { name: holder.name.clone(), uid: holder.uid.clone() }
}
