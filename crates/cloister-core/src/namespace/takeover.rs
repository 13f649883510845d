//! Whether a Namespace may become, or is, the one of a ResearchNamespace.
//!
//! A Namespace that is offered is closed before it is looked at: a label makes admission refuse everything new that would
//! stand in the way, so that what is found is all there is. Only then is it looked at, in the cluster itself and not in
//! what is remembered of it, and taken over when nothing stands there that was not checked.
//!
//! What runs, makes what runs, or leads to it was never asked by the admission policies, so it is not judged: it must go,
//! and is admitted like everything else when it is made again. A namespace brings its data. Its accounts are made anew,
//! since nobody can list the tokens that were given out for them.

use super::{
    DeclaredNamespace, Input, ObservedNamespace,
    input::{Account, Inspection},
    labelled::with,
};
use crate::model::{
    child::{ChildKey, ChildKind, ObservedChild, names::DEFAULT_ACCOUNT},
    finalizers::has_finalizer,
    ownership::{Whose, whose},
    plan::{Action, NamespaceLabels, Plan},
    shell::command,
    text::{first_of, shown},
};
use cloister_api::{ResearchNamespace, labels};
use jiff::{SignedDuration, Timestamp};

/// How long every API server may take to see a label of a Namespace: admission reads Namespaces from a cache.
const SETTLE: SignedDuration = SignedDuration::from_secs(5);

/// When a Namespace that cannot be taken over is looked at again: nobody tells of all that stands in the way.
pub const AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// Who may offer a Namespace and delete what is in it: nobody does by the ClusterRoles that Cloister ships.
const ADMINISTRATOR: &str = "a cluster administrator";

/// How many of the objects in the way are named.
const NAMED: usize = 8;

/// What to do with the Namespace that has the name of a ResearchNamespace.
pub enum AdoptionCheck {
    /// There is none yet.
    ToMake,
    /// It is offered for adoption, and must be closed to whatever is new before it is looked at.
    ToClose,
    /// It is closed, and looked at from then on.
    ToLookAt(Timestamp),
    /// It holds nothing that could undo what the operator writes, once this is done.
    ToTakeOver(Vec<Action>),
    /// It is taken over, and until then admission may not see its label and refuse what the operator writes into it.
    Settling(Timestamp),
    /// It belongs to the ResearchNamespace.
    Ours,
    /// It is being deleted.
    Ending,
    /// It holds these objects that stand in the way.
    Occupied(String),
    /// It must not be touched.
    Refused(String),
}

/// Checks whether the Namespace can be adopted.
pub fn check(input: &Input<'_>) -> AdoptionCheck {
    let Some(namespace) = input.namespace else { return AdoptionCheck::ToMake };
    if namespace.terminating {
        return AdoptionCheck::Ending;
    }
    if is_ours(input.name, input.declared, namespace) {
        return match door(namespace, input.now) {
            Door::Closing(until) if !namespace.is_enforced() => AdoptionCheck::Settling(until),
            _ => AdoptionCheck::Ours,
        };
    }
    if !is_offered(input.name, input.declared, namespace) {
        return AdoptionCheck::Refused(not_offered(input.name, namespace));
    }
    match (door(namespace, input.now), input.inspection) {
        (Door::Open, _) => AdoptionCheck::ToClose,
        (Door::Closing(until), _) => AdoptionCheck::ToLookAt(until),
        (Door::Closed, None) => AdoptionCheck::ToLookAt(input.now),
        (Door::Closed, Some(inspection)) => match in_the_way(inspection, is_retained(input.name, namespace)) {
            None => AdoptionCheck::ToTakeOver(inspection.accounts.iter().map(renewal).collect()),
            Some(message) => AdoptionCheck::Occupied(format!("Namespace {} {message}", input.name)),
        },
    }
}

/// Whether this Namespace must be looked at now, for the plan of the ResearchNamespace of its name.
pub fn wants_inspection(
    name: &str,
    declared: DeclaredNamespace<'_>,
    namespace: &ObservedNamespace,
    now: Timestamp,
) -> bool {
    !namespace.terminating
        && !is_ours(name, declared, namespace)
        && is_offered(name, declared, namespace)
        && matches!(door(namespace, now), Door::Closed)
}

/// What takes a Namespace over. What it should hold follows once every API server has seen the label: until then it stays
/// closed as one that is offered is.
pub(super) fn take_over<S>(
    declared: &ResearchNamespace,
    renewal: Vec<Action>,
    sealed: NamespaceLabels,
    now: Timestamp,
) -> Plan<S> {
    let mut plan = Plan::default();
    // Before it is taken over, so that it is done again where it is cut off.
    plan.open(renewal);
    plan.open((!has_finalizer(&declared.metadata, labels::NAMESPACE_FINALIZER)).then_some(Action::AddFinalizer));
    let closed = with(sealed, labels::ADOPTING, &now.as_second().to_string());
    plan.open([Action::ApplyNamespace(closed)]);
    plan.look_again(now + SETTLE);
    plan
}

/// What opens a Namespace again that is offered no more.
pub fn withdrawn(input: &Input<'_>) -> Option<Action> {
    let namespace = input.namespace.filter(|namespace| namespace.label(labels::ADOPTING).is_some())?;
    let goes_on = is_ours(input.name, input.declared, namespace)
        || (is_offered(input.name, input.declared, namespace) && input.settings.reserved(input.name).is_none());
    (!namespace.terminating && !goes_on).then_some(Action::MarkAdopting(None))
}

/// Why a Namespace that nobody has offered is not touched. Not even one that was kept as a research namespace: labels from
/// before there was anybody to reserve them may say so, and whoever takes it back gets what it holds.
fn not_offered(name: &str, namespace: &ObservedNamespace) -> String {
    let annotation = format!("{}={name}", labels::ADOPT);
    // One that is there for another is replaced.
    let overwrite = namespace.adopt.as_ref().map(|_| "--overwrite");
    let words = ["kubectl", "annotate"].into_iter().chain(overwrite).chain(["namespace", name, &annotation]);
    let how = command(words);
    let other = namespace
        .adopt
        .as_deref()
        .filter(|other| *other != name)
        .map(|other| format!("; its annotation {} says {:?}, which is another name", labels::ADOPT, shown(other)));
    let other = other.unwrap_or_default();
    if namespace.belongs_to(name) && namespace.label(labels::RETAINED).is_some() {
        return format!(
            "Namespace {name} was retained when its ResearchNamespace was deleted{other}; to adopt it with its content, ask \
             {ADMINISTRATOR} to run: {how}"
        );
    }
    format!(
        "a Namespace {name} exists already{other}; if its content is meant to become this research namespace, ask {ADMINISTRATOR} to run: \
         {how}"
    )
}

/// Whether it was made or taken over for this ResearchNamespace. The label alone does not do: it may be from before there
/// was anybody to reserve it. What the operator has taken up carries its finalizer, or was said to be enforced; and a
/// Namespace that is younger than the ResearchNamespace got its label from the operator alone.
fn is_ours(name: &str, declared: DeclaredNamespace<'_>, namespace: &ObservedNamespace) -> bool {
    let DeclaredNamespace::Read(declared) = declared else { return false };
    let is_taken_up = has_finalizer(&declared.metadata, labels::NAMESPACE_FINALIZER)
        || declared.status.as_ref().is_some_and(|status| status.enforced_at.is_some())
        || is_younger(namespace, declared);
    namespace.belongs_to(name) && namespace.label(labels::RETAINED).is_none() && is_taken_up
}

fn is_younger(namespace: &ObservedNamespace, declared: &ResearchNamespace) -> bool {
    let made = namespace.created.zip(declared.metadata.creation_timestamp.as_ref());
    made.is_some_and(|(namespace, declared)| namespace >= declared.0)
}

/// Whether somebody has offered it to a ResearchNamespace that is there and can be read.
fn is_offered(name: &str, declared: DeclaredNamespace<'_>, namespace: &ObservedNamespace) -> bool {
    let is_wanted =
        matches!(declared, DeclaredNamespace::Read(declared) if declared.metadata.deletion_timestamp.is_none());
    is_wanted && namespace.adopt.as_deref() == Some(name)
}

/// Whether it was a research namespace and is kept as one, so that what is ours there is. The policies of research
/// namespaces leave its people much that makes pods once it is taken back, so it is closed like any other.
fn is_retained(name: &str, namespace: &ObservedNamespace) -> bool {
    namespace.belongs_to(name)
}

/// Whether anything new can come into a Namespace that is offered.
enum Door {
    Open,
    Closing(Timestamp),
    Closed,
}

fn door(namespace: &ObservedNamespace, now: Timestamp) -> Door {
    let since = namespace.label(labels::ADOPTING).and_then(|since| since.parse().ok());
    let since = since.and_then(|since| Timestamp::from_second(since).ok());
    // One from a time to come says nothing.
    match since.filter(|since| *since <= now + SETTLE) {
        None => Door::Open,
        Some(since) if now < since + SETTLE => Door::Closing(since + SETTLE),
        Some(_) => Door::Closed,
    }
}

/// What stands in the way of a takeover, in words.
fn in_the_way(found: &Inspection, retained: bool) -> Option<String> {
    if let Some(first) = found.unseen.first() {
        return Some(format!("could not be checked ({first}); the operator tries again"));
    }
    let children = found.children.iter().filter(|(key, child)| is_in_the_way(key, child, retained));
    let mut all: Vec<String> = children.map(|(key, _)| key.to_string()).collect();
    all.extend(found.others.iter().cloned());
    if all.is_empty() {
        return None;
    }
    Some(format!(
        "contains objects that admission has never checked: {}; ask {ADMINISTRATOR} to delete them, then the Namespace is \
         adopted. Until then, new objects of these kinds are rejected there; create what is still needed afterwards",
        first_of(all, NAMED, ", ")
    ))
}

/// A policy that allows nothing opens nothing, and may stay. In a Namespace that was never ours nothing is ours, whatever
/// it says of itself.
fn is_in_the_way(key: &ChildKey, child: &ObservedChild, retained: bool) -> bool {
    match whose(key, child, &|_| false) {
        Whose::Others if key.kind.is_policy() => child.widens,
        // One of this name would be overwritten.
        Whose::Others if matches!(key.kind, ChildKind::ResourceQuota | ChildKind::LimitRange) => {
            !retained && *key.name == *labels::MANAGER
        }
        // Whoever had a right to it may have a token.
        Whose::Others if key.kind == ChildKind::ServiceAccount => *key.name != *DEFAULT_ACCOUNT,
        Whose::Others => key.kind.is_access(),
        Whose::Namespaces | Whose::Grants | Whose::Mounts => !retained,
    }
}

/// What makes all tokens worthless that were given out for an account: they name its uid.
fn renewal(account: &Account) -> Action {
    Action::RenewAccount { name: account.name.clone(), uid: account.uid.clone() }
}

/// What may stay of a claim that is there: whether it has a volume that was made for it, or that is listed for research
/// namespaces in `workloads.volumes`. A provisioner names the volume after the claim's uid, which nobody chooses.
pub fn has_own_volume(uid: &str, volume: &str, listed: &[String]) -> bool {
    let is_listed = || listed.iter().any(|entry| entry.strip_prefix("persistentVolume:") == Some(volume));
    !volume.is_empty() && (volume.strip_prefix("pvc-") == Some(uid) || is_listed())
}

/// Why a Namespace that is offered is not taken over yet.
pub fn closing_message(name: &str) -> String {
    format!(
        "Namespace {name} is offered for adoption; no new pods, workloads, Services, claims, policies, accounts, Roles, \
         RoleBindings or tokens are admitted there while the operator checks it"
    )
}
