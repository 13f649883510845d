//! The end of a namespace, and what is left of one whose declaration is gone or cannot be read.

use super::{Input, ObservedNamespace, OwedReview, labelled::with, put_right::surplus, status::StatusBuilder};
use crate::{
    model::{
        child::{Child, ChildKey, ChildKind, names},
        finalizers::{has_finalizer, of_others},
        plan::{Action, After, Chain, NamespaceLabels, Plan},
        shell::command,
        text::counted,
    },
    policies::{cluster_policy, network_policies},
};
use cloister_api::{
    DeletionPolicy, ResearchNamespace, ResearchNamespaceStatus,
    condition::reason,
    labels::{self, NAMESPACE_FINALIZER},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// A ResearchNamespace that is being deleted: its namespace is closed, and by its policy kept or deleted too.
pub fn deletion(declared: &ResearchNamespace, input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    let mut plan = Plan::default();
    if !has_finalizer(&declared.metadata, NAMESPACE_FINALIZER) {
        return held_by_others(declared, input);
    }
    let say = StatusBuilder::about(declared, input.now).of_closed();
    let Some(namespace) = input.namespace.filter(|namespace| namespace.belongs_to(input.name)) else {
        // Never made, never ours, or gone by now.
        unbind(&mut plan, input);
        plan.end_with(Action::DropFinalizer, After::Everything);
        return plan;
    };
    if namespace.terminating {
        let_it_end(&mut plan, input);
        let why = namespace.why_held();
        let (name, grants) = (input.name, counted(input.open_grants, "grant", "grants"));
        let (reason, message) = match (input.pods, input.open_grants) {
            (None, _) => {
                let message = format!(
                    "the operator has not listed pods yet, so the policies of Namespace {name} stay; if this does not pass, give \
                     it the permission (deploy/rbac){why}"
                );
                (reason::WAITING_FOR_PODS, message)
            }
            (Some(0), 0) => (reason::DELETING, format!("Namespace {name} is being deleted{why}")),
            (Some(0), _) => (reason::WAITING_FOR_GRANTS, format!("waiting for {grants} to be revoked{why}")),
            (Some(pods), _) => {
                let pods = counted(pods, "pod", "pods");
                (reason::WAITING_FOR_PODS, format!("waiting for {pods} and {grants} to end{why}"))
            }
        };
        return say.waiting(plan, reason, message);
    }
    let retain = declared.spec.deletion_policy == DeletionPolicy::Retain;
    close(&mut plan, namespace, input, retain);
    match declared.spec.deletion_policy {
        DeletionPolicy::Delete if let Some(owed) = input.owed_review.filter(|owed| owed.due > input.now) => {
            // Once the Namespace is being deleted, nobody can make the review any more.
            let OwedReview { kind, grant, who, due, said } = owed;
            plan.look_again(due);
            let message = format!(
                "closed; nobody has reviewed the break-glass grant {} {grant} of {who} yet: {said}. At {due} the Namespace is \
                 deleted without the review",
                kind.as_str()
            );
            say.waiting(plan, reason::WAITING_FOR_REVIEW, message)
        }
        DeletionPolicy::Delete => {
            plan.end_with(Action::DeleteNamespace { uid: namespace.uid.to_string() }, After::Attempts);
            say.waiting(plan, reason::DELETING, format!("Namespace {} is being deleted", input.name))
        }
        DeletionPolicy::Retain if input.open_grants > 0 => {
            let message = format!("waiting for {} to be revoked", counted(input.open_grants, "grant", "grants"));
            say.waiting(plan, reason::WAITING_FOR_GRANTS, message)
        }
        DeletionPolicy::Retain => {
            plan.end_with(Action::DropFinalizer, After::Everything);
            plan
        }
    }
}

/// A ResearchNamespace that is there only because somebody else's finalizers hold it: its namespace is as if it were gone.
fn held_by_others(declared: &ResearchNamespace, input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    let plan = abandoned(input);
    let Some(held) = of_others(&declared.metadata, NAMESPACE_FINALIZER) else { return plan };
    let name = input.name;
    let left = match input.namespace.filter(|namespace| namespace.belongs_to(name)) {
        Some(namespace) if namespace.terminating => format!("Namespace {name} is being deleted"),
        Some(_) => format!("Namespace {name} is retained, closed"),
        None => format!("it has no Namespace {name}"),
    };
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    let how = command(["kubectl", "patch", "researchnamespace", name, "--type", "merge", "-p", patch]);
    let message = format!(
        "{left}, and Cloister has finished; finalizers of other tools hold the ResearchNamespace: {held}. Those tools must \
         remove them; if such a tool no longer exists, a platform engineer must: {how}"
    );
    StatusBuilder::about(declared, input.now).over(plan, reason::HELD_BY_FINALIZERS, message)
}

/// A namespace without a ResearchNamespace: retained, or its finalizer was taken by force. It stays closed, and may end.
pub fn abandoned(input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    let mut plan = Plan::default();
    match input.namespace.filter(|namespace| namespace.belongs_to(input.name)) {
        Some(namespace) if namespace.terminating => let_it_end(&mut plan, input),
        Some(namespace) => close(&mut plan, namespace, input, true),
        None => unbind(&mut plan, input),
    }
    plan
}

/// A declaration that cannot be read closes what it governs: the last known state might open what it now forbids.
pub fn undecodable(
    metadata: &ObjectMeta,
    status: Option<&ResearchNamespaceStatus>,
    error: &str,
    input: &Input<'_>,
) -> Plan<ResearchNamespaceStatus> {
    let say = StatusBuilder { metadata, before: status, now: input.now, is_closed: true };
    let mut plan = closed_if_ours(input);
    if metadata.deletion_timestamp.is_some() {
        // Its deletionPolicy is unknown, so the namespace stays. Without a declaration it is retained.
        if has_finalizer(metadata, NAMESPACE_FINALIZER) && input.open_grants == 0 {
            plan.end_with(Action::DropFinalizer, After::Everything);
        }
        return plan;
    }
    let message = format!(
        "this version of the operator cannot read the ResearchNamespace ({error}); its namespace is closed until the field is \
         removed or the operator is updated"
    );
    say.stalled(plan, reason::UNDECODABLE, message)
}

/// Closes a namespace that this ResearchNamespace once made, if it did.
pub fn closed_if_ours(input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    let mut plan = Plan::default();
    if let Some(namespace) = input.namespace.filter(|namespace| namespace.belongs_to(input.name)) {
        if namespace.terminating {
            let_it_end(&mut plan, input);
        } else {
            close(&mut plan, namespace, input, false);
        }
    }
    plan
}

/// Once the pods of a terminating namespace are gone, nothing needs its policies.
pub fn let_it_end(plan: &mut Plan<ResearchNamespaceStatus>, input: &Input<'_>) {
    if input.pods != Some(0) {
        return;
    }
    unbind(plan, input);
    let deny = ChildKey::new(ChildKind::NetworkPolicy, names::DENY_ALL);
    if input.children.get(&deny).is_some_and(|child| child.terminating) {
        plan.close([Action::Release(deny)]);
    }
}

/// Deletes what is about the namespace and not in it, so that it does not go with it.
fn unbind(plan: &mut Plan<ResearchNamespaceStatus>, input: &Input<'_>) {
    plan.close(surplus(input, |key| key.kind.is_cluster_wide()));
}

/// Seals the namespace, and takes away every policy but the one that denies, and every binding.
fn close(plan: &mut Plan<ResearchNamespaceStatus>, namespace: &ObservedNamespace, input: &Input<'_>, retain: bool) {
    let mut sealed: NamespaceLabels =
        SEALED_LABELS.iter().filter_map(|&key| namespace.label(key).map(|value| (key, value.to_owned()))).collect();
    if retain {
        sealed = with(sealed, labels::RETAINED, "true");
    }
    plan.close((!namespace.has(&sealed)).then_some(Action::ApplyNamespace(sealed)));
    let deny = Child::NetworkPolicy(network_policies::deny_all(input.name));
    let key = deny.key();
    let observed = input.children.get(&key);
    if !observed.is_some_and(|child| child.is(&deny)) {
        let ending = observed.is_some_and(|child| child.terminating).then_some(Action::Release(key));
        // No quota may stand against it.
        let quota = ChildKey::new(ChildKind::ResourceQuota, labels::MANAGER);
        let quota = input.children.get(&quota).filter(|child| child.marked).map(|_| Action::Delete(quota));
        plan.close_by(Chain::default().attempt(quota).then(ending).then_if_done([Action::Apply(Box::new(deny))]));
    }
    let bound = cluster_policy::deny_key(input.name);
    plan.close(surplus(input, |key| {
        let opens = key.kind.is_policy() || key.kind.is_access() || key.kind.is_cluster_wide();
        opens && &*key.name != names::DENY_ALL && *key != bound
    }));
}

/// What a closed namespace keeps of its labels.
const SEALED_LABELS: [&str; 8] = [
    labels::MANAGED_BY,
    labels::RESEARCH_NAMESPACE,
    labels::TIER,
    labels::RUNTIME_CLASS,
    labels::RETAINED,
    "pod-security.kubernetes.io/enforce",
    "pod-security.kubernetes.io/audit",
    "pod-security.kubernetes.io/warn",
];
