//! The credential of a StorageAccessGrant: how it comes to the pods of an account, and how it is taken from them.
//!
//! A mount without a version stands before the copy is made and until nobody holds it, so that nothing is forgotten
//! whatever becomes of the grant; it is put into no pod.
//!
//! That no pod holds a copy is confirmed by a look at all pods that is newer than the last write which could bring it
//! into one: after the copy is destroyed, and after admission has noticed that the mount has no version, which takes it a
//! moment. No watch is believed in this: one that is silent says nothing.

use crate::{
    grant::{
        CredentialMountKey, Grant, Holder, Input, OtherMount,
        model::{
            credential_mount_key::{Behind, grant_mount},
            own::{apply, own},
            remains::Remains,
        },
        mount_key, mount_name, secret_name, secret_of,
    },
    model::{
        child::{ChildKey, Children, ObservedChild},
        durations::later,
        plan::{Action, Chain, Plan},
    },
};
use cloister_api::{GrantPhase, GrantStatus, Mount, OnExpiry, SecretReference};
use jiff::{SignedDuration, Timestamp};

/// How long admission may take to notice that a credential is not to be mounted any more.
pub const SETTLING: SignedDuration = SignedDuration::from_secs(1);

/// How long before its end a grant gives its credential to no new pod, so that nothing is to be waited for at the end.
const LEAD: SignedDuration = SignedDuration::from_secs(2);

/// For how long after the end of a grant a new pod may still have been given its mount.
const AFTERMATH: SignedDuration = SignedDuration::from_secs(120);

/// The seconds that a container has to end by itself when its credential is taken away.
pub const GRACE: u32 = 1;

/// How often the pods that are waited for are looked at.
pub const LOOK: SignedDuration = SignedDuration::from_secs(5);

/// A credential to be mounted.
pub struct Source<'a> {
    /// Where it is kept.
    pub from: &'a SecretReference,
    /// Its version there.
    pub version: Box<str>,
}

/// Whether a mount is put into no pod, and since when.
fn unmounted_since(mount: &ObservedChild, now: Timestamp) -> Option<Timestamp> {
    let since = mount.mount.as_ref()?.unmounted_at?;
    // A time to come was written by a clock that was wrong.
    (mount.version.as_deref().is_none_or(str::is_empty) && since <= now).then_some(since)
}

/// What brings a credential to its mount: the mount without a version; the copy; the version, which says that it is
/// there.
pub fn mounting(grant: &Grant, mount: &Mount, source: &Source<'_>, input: &Input<'_>) -> Option<Chain> {
    let key = CredentialMountKey::of(grant)?;
    let observed = input.children.get(&mount_key(&mount_name(&key)));
    if observed.is_some_and(|mount| mount.terminating) {
        // Somebody else's finalizer holds it. It cannot be written, so nothing would remember the copy.
        return None;
    }
    let mounted = |behind| grant_mount(input.namespace, &key, mount, behind);
    let record = observed.is_none().then(|| Action::Apply(Box::new(mounted(Behind::Nothing(input.now)))));
    let is_copied = observed.is_some_and(|mount| mount.version.as_deref() == Some(&source.version))
        && !is_anothers(&key, mount, input);
    // One that opens copies whatever the mount says: taking it away may have been cut off after the Secret.
    let first = grant.phase() != GrantPhase::Active;
    let copy =
        (first || !is_copied).then(|| Action::CopyCredential { from: source.from.clone(), to: secret_name(&key) });
    let version = apply(mounted(Behind::Version(&source.version)), input.children);
    Some(Chain::of(record).then_if_done(copy).then_if_done(version))
}

/// Whether the GrantMount of this key differs from what the operator wrote, in any version, so that somebody else has written
/// it. It changes only while it is mounted in no pod.
pub fn is_anothers(key: &CredentialMountKey, mount: &Mount, input: &Input<'_>) -> bool {
    let observed = input.children.get(&mount_key(&mount_name(key)));
    observed.is_some_and(|observed| {
        let version = observed.version.as_deref().filter(|version| !version.is_empty());
        version.is_some_and(|version| !observed.is(&grant_mount(input.namespace, key, mount, Behind::Version(version))))
    })
}

/// From when on a grant with this end gives its credential to no new pod.
pub fn last_call(status: &GrantStatus) -> Option<Timestamp> {
    let (begin, end) = (status.approved_at.as_ref()?.0, status.expires_at.as_ref()?.0);
    // One that is short keeps most of its time.
    let lead = (end.duration_since(begin) / 4).clamp(SignedDuration::ZERO, LEAD);
    Some(end.checked_sub(lead).unwrap_or(end))
}

/// What stops new pods from getting a credential.
pub fn unmount(mount: &str, children: &Children, now: Timestamp) -> Option<Action> {
    let observed = children.get(&mount_key(mount)).filter(|mount| !mount.terminating)?;
    let mounted = unmounted_since(observed, now).is_none();
    mounted.then(|| Action::Unmount { name: mount.into(), at: now })
}

/// How a credential is taken away.
#[derive(Debug, Default)]
pub struct Closing {
    /// How, in steps.
    pub chain: Chain,
    /// The look that confirms it, when nothing is waited for any more.
    pub confirm: Option<Action>,
    /// What goes after it.
    pub last: Option<Action>,
    /// How many pods are waited for.
    pub pods: usize,
    /// How many objects are held by somebody else's finalizer.
    pub held: usize,
    /// When admission has noticed, where that is to come.
    pub settled_at: Option<Timestamp>,
}

/// What is known of a mount and of the pods that hold its copy.
pub struct Copy<'a> {
    /// The name of the mount.
    pub mount: &'a str,
    /// What is in the namespace.
    pub children: &'a Children,
    /// The pods that hold the copy.
    pub holders: &'a [Holder],
    /// What becomes of them.
    pub on_expiry: OnExpiry,
    /// The time.
    pub now: Timestamp,
}

impl Copy<'_> {
    /// Takes it away. Of what is destroyed already it is destroyed again only before it is said to be over.
    fn take_away(&self, is_destroyed: bool, others_are_held: bool) -> Closing {
        let key = mount_key(self.mount);
        let secret = secret_of(self.mount);
        let observed = self.children.get(&key);
        let mut closing = Closing::default();
        let leaving: Vec<&Holder> = self.holders.iter().filter(|holder| holder.must_go(self.on_expiry)).collect();
        closing.pods = leaving.len();
        closing.held = usize::from(observed.is_some_and(|mount| mount.terminating));
        let since = |mount: &ObservedChild| unmounted_since(mount, self.now).unwrap_or(self.now);
        let settled = observed.filter(|mount| !mount.terminating).map(|mount| later(since(mount), SETTLING));
        closing.settled_at = settled.filter(|settled| *settled > self.now);
        let waits = others_are_held || closing.pods > 0 || closing.held > 0 || closing.settled_at.is_some();
        let unmount = unmount(self.mount, self.children, self.now);
        let destroy = !is_destroyed || !waits || unmount.is_some();
        closing.chain = Chain::default()
            .attempt(unmount)
            .then(destroy.then(|| Action::DestroyCredential { name: secret.clone() }))
            // Whatever became of the credential: what holds it ends. The grant itself waits for them.
            .attempt(leaving.iter().filter(|holder| !holder.is_going()).map(|holder| delete_pod(holder)));
        closing.confirm = Some(Action::ConfirmPodsGone { secret, on_expiry: self.on_expiry });
        // The mount goes last: until then it remembers the copy.
        closing.last = observed.filter(|mount| !mount.terminating).map(|_| Action::Delete(key));
        closing
    }
}

impl Closing {
    /// All of it, with the look that confirms it.
    pub fn whole(self) -> Chain {
        self.chain.then_if_done(self.confirm).then_if_done(self.last)
    }
}

impl Holder {
    /// Whether it goes with the credential.
    pub fn must_go(&self, on_expiry: OnExpiry) -> bool {
        goes_with(on_expiry, self.emptied)
    }

    /// Whether nothing is to be done for its end. One that somebody else has deleted goes on for the grace that its own
    /// spec names, which may be a year: a second deletion makes that shorter.
    fn is_going(&self) -> bool {
        self.grace.is_some_and(|grace| grace <= i64::from(GRACE))
    }
}

/// Whether a pod goes with the credential that it holds: what the kubelet does not take out of it goes with the pod.
pub fn goes_with(on_expiry: OnExpiry, emptied: bool) -> bool {
    on_expiry == OnExpiry::Terminate || !emptied
}

/// What takes away the credential of a grant that ends. That it was destroyed is believed only of one that is ending: an
/// end begins with it.
pub fn closing(remains: &Remains<'_>, input: &Input<'_>) -> Closing {
    let is_ending = remains.phase() == GrantPhase::Revoking;
    taking_away(remains, is_ending && remains.status.is_some_and(|status| status.secret_destroyed), input)
}

fn taking_away(remains: &Remains<'_>, is_destroyed: bool, input: &Input<'_>) -> Closing {
    let Some(mount) = &remains.mount else { return Closing::default() };
    // What another counts on stays.
    if input.other_mounts.iter().any(|other| other.mount == *mount && other.is_open) {
        return Closing::default();
    }
    let Input { children, holders, now, .. } = *input;
    Copy { mount, children, holders, on_expiry: remains.on_expiry, now }
        .take_away(is_destroyed, own(input).any(|child| child.terminating))
}

/// What takes away the credential of a grant that is closed and not over. A copy whose mount somebody has deleted is
/// destroyed all the same, once, and so are the pods that hold it.
pub fn shutting(remains: &Remains<'_>, input: &Input<'_>) -> Closing {
    let is_destroyed = remains.status.is_some_and(|status| status.secret_destroyed);
    let stands = |mount: &String| input.children.contains_key(&mount_key(mount));
    let is_held = || input.holders.iter().any(|holder| holder.must_go(remains.on_expiry));
    if is_destroyed && !remains.mount.as_ref().is_some_and(stands) && !is_held() {
        return Closing::default();
    }
    taking_away(remains, is_destroyed, input)
}

/// The grant of a mount that ended last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEnd {
    /// When it ended.
    pub at: Timestamp,
    /// What was to become of the pods that held its credential.
    pub on_expiry: OnExpiry,
}

/// Takes away a mount that no grant speaks for, such as one whose grant was removed by force, and the pods that hold a
/// copy for which no grant speaks, however they came to it. A copy whose mount somebody has deleted is destroyed all the same,
/// unless it is known to be.
pub fn unclaimed(copy: &Copy<'_>, is_destroyed: bool, last: Option<LastEnd>) -> Plan<GrantStatus> {
    let mut plan = Plan::default();
    if copy.children.contains_key(&mount_key(copy.mount)) {
        let closing = copy.take_away(false, false);
        match closing.settled_at {
            Some(settled) => {
                plan.look_again(settled);
                plan.close_by(closing.chain);
            }
            // Those that are known may be gone: the look says.
            None => {
                plan.look_again(later(copy.now, LOOK));
                plan.close_by(closing.whole());
            }
        }
        return plan;
    }
    plan.close((!is_destroyed).then(|| Action::DestroyCredential { name: secret_of(copy.mount) }));
    // A reference that the kubelet empties holds nothing once the copy is gone, unless the pod was made around the end.
    let around = |holder: &Holder, end: LastEnd| {
        end.on_expiry == OnExpiry::Terminate && holder.created.is_none_or(|made| made <= later(end.at, AFTERMATH))
    };
    let survivors = copy.holders.iter().filter(|holder| !holder.is_going());
    plan.close(
        survivors.filter(|holder| !holder.emptied || last.is_some_and(|end| around(holder, end))).map(delete_pod),
    );
    plan
}

/// Another grant that counts on the same mount at another path, and goes first: the one at whose path it is mounted, or else
/// the one whose name comes first. Neither was there for the other when it was decided about.
pub fn goes_first<'a>(grant: &str, mount: &Mount, name: &str, input: &Input<'a>) -> Option<(&'a str, &'a str)> {
    let observed = input.children.get(&mount_key(name)).filter(|child| is_mounted(child));
    let stands_at = observed.and_then(|child| Some(&*child.mount.as_ref()?.path));
    let is_elsewhere =
        |other: &&OtherMount<'_>| other.mount == name && other.is_open && other.mount_path != mount.mount_path;
    let goes_first = |other: &&OtherMount<'_>| match stands_at {
        Some(path) if path == mount.mount_path => false,
        Some(path) if path == other.mount_path => true,
        _ => other.name < grant,
    };
    let other = input.other_mounts.iter().filter(is_elsewhere).find(goes_first)?;
    Some((other.name, other.mount_path))
}

/// Whether it is put into new pods.
fn is_mounted(child: &ObservedChild) -> bool {
    child.version.as_deref().is_some_and(|version| !version.is_empty())
}

/// A mount with another key that conflicts with this one: the one that is mounted first stays, and of two at once the one
/// whose name comes first.
pub fn in_the_way<'a>(mount: &Mount, name: &str, input: &Input<'a>) -> Option<&'a ChildKey> {
    let mine = input.children.get(&mount_key(name)).is_some_and(is_mounted);
    input.children.iter().find_map(|(key, child)| {
        let facts = child.mount.as_ref()?;
        let other = *key.name != *name && *facts.account == *mount.service_account_name;
        let goes_first = (is_mounted(child), std::cmp::Reverse(&*key.name)) > (mine, std::cmp::Reverse(name));
        (other && goes_first && overlap(&facts.path, &mount.mount_path)).then_some(key)
    })
}

/// Whether one folder is the other, or in it.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    within(one, other) || within(other, one)
}

fn delete_pod(holder: &Holder) -> Action {
    Action::DeletePod { name: holder.name.clone(), uid: holder.uid.clone() }
}
