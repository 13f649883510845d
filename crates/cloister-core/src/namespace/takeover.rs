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
    in_the_way::{ADMINISTRATOR, InTheWay, in_the_way, renewal},
    labelled::with,
};
use crate::model::{
    finalizers::has_finalizer,
    plan::{Action, NamespaceLabels, Plan},
    shell::command,
    text::shown,
};
use cloister_api::{ResearchNamespace, labels};
use jiff::{SignedDuration, Timestamp};

/// How long every API server may take to see a label of a Namespace: admission reads Namespaces from a cache.
const SETTLE: SignedDuration = SignedDuration::from_secs(5);

/// Who may declare a research namespace, and so take back the Namespace of one that was retained.
const CATALOGUE_ADMINISTRATOR: &str = "a catalogue administrator (ClusterRole cloister:catalogue-admin)";

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
    /// It holds objects that stand in the way, or could not be looked through.
    Occupied(InTheWay),
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
        return AdoptionCheck::Refused(not_offered(input.name, input.declared, namespace));
    }
    match (door(namespace, input.now), input.inspection) {
        (Door::Open, _) => AdoptionCheck::ToClose,
        (Door::Closing(until), _) => AdoptionCheck::ToLookAt(until),
        (Door::Closed, None) => AdoptionCheck::ToLookAt(input.now),
        (Door::Closed, Some(inspection)) => match in_the_way(input.name, inspection, was_ours(input.name, namespace)) {
            None => AdoptionCheck::ToTakeOver(inspection.accounts.iter().map(renewal).collect()),
            Some(in_the_way) => AdoptionCheck::Occupied(in_the_way),
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

/// Why a Namespace that nobody has offered is not touched. Somebody must ask for one that was kept as a research namespace,
/// too: whoever is declared as a member now gets what it holds.
fn not_offered(name: &str, declared: DeclaredNamespace<'_>, namespace: &ObservedNamespace) -> String {
    let annotation = format!("{}={name}", labels::ADOPT);
    let on_declared = declared_adopt(declared);
    // One that is there for another is replaced.
    let how = |kind: &str, there: Option<&str>| {
        let overwrite = there.map(|_| "--overwrite");
        command(["kubectl", "annotate"].into_iter().chain(overwrite).chain([kind, name, annotation.as_str()]))
    };
    let other = |whose: &str, there: Option<&str>| {
        let other = there.filter(|other| *other != name);
        let other = other.map(|other| {
            format!("; {whose} annotation {} says {:?}, which is another name", labels::ADOPT, shown(other))
        });
        other.unwrap_or_default()
    };
    if is_retained(name, namespace) {
        return format!(
            "Namespace {name} was retained when its ResearchNamespace was deleted{}; to take it back, with its content for the \
             members that are declared now, ask {CATALOGUE_ADMINISTRATOR} to run: {}",
            other("the ResearchNamespace's", on_declared),
            how("researchnamespace", on_declared)
        );
    }
    let not_that = match on_declared {
        Some(wanted) if wanted == name => {
            "; the annotation of the ResearchNamespace takes back only a Namespace that Cloister has retained"
        }
        _ => "",
    };
    let adopt = namespace.adopt.as_deref();
    format!(
        "a Namespace {name} exists already{}{not_that}; choose another name, or, if its content is meant to become this research namespace, ask \
         {ADMINISTRATOR} to run: {}",
        other("its", adopt),
        how("namespace", adopt)
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

/// Whether somebody has offered it to a ResearchNamespace that is there and can be read: on the Namespace, or, of one that
/// was retained, on the ResearchNamespace. Whoever may write that there decides about its members too, and decided about
/// them when the Namespace was theirs; a Namespace that never was a research namespace is not theirs to give.
fn is_offered(name: &str, declared: DeclaredNamespace<'_>, namespace: &ObservedNamespace) -> bool {
    let is_wanted =
        matches!(declared, DeclaredNamespace::Read(declared) if declared.metadata.deletion_timestamp.is_none());
    let is_taken_back = || is_retained(name, namespace) && declared_adopt(declared) == Some(name);
    is_wanted && (namespace.adopt.as_deref() == Some(name) || is_taken_back())
}

/// The Namespace that a ResearchNamespace asks back. Admission lets only those write it who may create ResearchNamespaces:
/// neither its owners nor the operator.
fn declared_adopt(declared: DeclaredNamespace<'_>) -> Option<&str> {
    let DeclaredNamespace::Read(declared) = declared else { return None };
    declared.metadata.annotations.as_ref()?.get(labels::ADOPT).map(String::as_str)
}

/// Whether it was a research namespace of this name before, so that what is ours there is. The policies of research
/// namespaces leave its people much that makes pods once it is taken back, so it is closed like any other.
fn was_ours(name: &str, namespace: &ObservedNamespace) -> bool {
    namespace.belongs_to(name)
}

/// Whether it was kept when its ResearchNamespace was deleted. Admission lets nobody but the operator write these labels.
fn is_retained(name: &str, namespace: &ObservedNamespace) -> bool {
    was_ours(name, namespace) && namespace.label(labels::RETAINED) == Some("true")
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

/// Why a Namespace that is offered is not taken over yet.
pub fn closing_message(name: &str) -> String {
    format!(
        "Namespace {name} is offered for adoption; no new pods, workloads, Services, claims, policies, accounts, Roles, \
         RoleBindings or tokens are admitted there while the operator checks it"
    )
}
