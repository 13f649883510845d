//! What to do about a research namespace: from what it declares to the plan.

use super::{
    DeclaredNamespace, children, closing, hold_by_name,
    in_the_way::{AGAIN, InTheWay},
    input::{Input, ObservedNamespace},
    labelled::{namespace_labels, with},
    members,
    needs::Needs,
    put_right::{denies, foreign, put_right},
    status::{self, StatusBuilder},
    takeover::{self, AdoptionCheck},
};
use crate::{
    egress::Backend,
    model::{
        child::{Child, ChildKey},
        finalizers::has_finalizer,
        plan::{Action, After, Plan},
    },
    policies::{cluster_policy, network_policies},
};
use cloister_api::{ResearchNamespace, ResearchNamespaceSpec, ResearchNamespaceStatus, condition::reason, labels};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use std::collections::BTreeSet;

/// What to do about a research namespace.
pub fn plan(input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    let mut plan = decide(input);
    plan.close(takeover::withdrawn(input));
    plan
}

fn decide(input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    match input.declared {
        DeclaredNamespace::Read(declared) if declared.metadata.deletion_timestamp.is_some() => {
            closing::deletion(declared, input)
        }
        DeclaredNamespace::Read(declared) => live(declared, input),
        DeclaredNamespace::Undecodable { metadata, status, error } => {
            closing::undecodable(metadata, status, error, input)
        }
        DeclaredNamespace::Absent => closing::abandoned(input),
    }
}

fn live(declared: &ResearchNamespace, input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    let say = StatusBuilder::about(declared, input.now);
    if let Some(why) = input.settings.reserved(input.name) {
        let message = status::reserved(declared, input.name, why);
        return say.of_closed().stalled(closing::closed_if_ours(input), reason::NAME_RESERVED, message);
    }
    let (sealed, class) = namespace_labels(input.name, declared.spec.tier, input.settings);
    let check = takeover::check(input);
    let not_yet = match check {
        AdoptionCheck::ToMake => Some("created"),
        AdoptionCheck::ToClose | AdoptionCheck::ToTakeOver(_) => Some("adopted"),
        _ => None,
    };
    if let (Err(missing), Some(not_yet)) = (class, not_yet) {
        let message = missing.message(&format!("Namespace {} is not {not_yet}", input.name));
        return say.without_class(Plan::default(), &message, &refused_parts(&declared.spec, input));
    }
    let mut adopting = Plan::default();
    let ours = match check {
        // It may say of itself that it is this one's; then it is closed as long as it is not.
        AdoptionCheck::Refused(message) => {
            let plan = closing::closed_if_ours(input);
            return say.of_closed().stalled(plan, reason::NAMESPACE_EXISTS, message);
        }
        AdoptionCheck::ToClose => {
            adopting.close([Action::MarkAdopting(Some(input.now))]);
            adopting.look_again(input.now);
            return say.waiting(adopting, reason::ADOPTING, takeover::closing_message(input.name));
        }
        AdoptionCheck::ToLookAt(at) | AdoptionCheck::Settling(at) => {
            adopting.look_again(at);
            return say.waiting(adopting, reason::ADOPTING, takeover::closing_message(input.name));
        }
        AdoptionCheck::Occupied(InTheWay { reason, message }) => {
            adopting.look_again(input.now + AGAIN);
            return say.stalled(adopting, reason, message);
        }
        AdoptionCheck::Ending => {
            let why = input.namespace.map(ObservedNamespace::why_held).unwrap_or_default();
            let message = format!(
                "Namespace {} is being deleted; the operator creates it again when it is gone{why}",
                input.name
            );
            let mut plan = Plan::default();
            closing::let_it_end(&mut plan, input);
            return say.of_closed().waiting(plan, reason::NAMESPACE_TERMINATING, message);
        }
        AdoptionCheck::ToTakeOver(renewal) => {
            let mut plan = takeover::take_over(declared, renewal, sealed, input.now);
            if input.settings.held && plan.hold() {
                return say.waiting(plan, reason::CLOCK_SKEW, CLOCK_SKEW.to_owned());
            }
            return say.waiting(plan, reason::ADOPTING, takeover::closing_message(input.name));
        }
        AdoptionCheck::ToMake => false,
        AdoptionCheck::Ours => true,
    };
    let enforced = with(sealed.clone(), labels::ENFORCED, "true");
    // The label alone does not do: it may be somebody else's, and it is not true while nothing denies.
    let is_enforced =
        ours && class.is_ok() && denies(input) && input.namespace.is_some_and(ObservedNamespace::is_enforced);

    let mut plan = Plan::default();
    let first = if is_enforced { &enforced } else { &sealed };
    let labelled = input.namespace.is_some_and(|namespace| namespace.has(first));
    let label = (!labelled).then(|| Action::ApplyNamespace(first.clone()));
    plan.open((!has_finalizer(&declared.metadata, labels::NAMESPACE_FINALIZER)).then_some(Action::AddFinalizer));
    if ours {
        // It seals what is open, and waits for nothing.
        plan.close(label);
    } else {
        plan.open(label);
    }

    let mut needs = Needs::of(declared, input);
    needs.refused.extend(refused_parts(&declared.spec, input));
    let desired = desired(&declared.spec, std::mem::take(&mut needs.policies), input);
    let wanted: BTreeSet<ChildKey> = desired.iter().map(Child::key).collect();
    let foreign = foreign(input, &wanted);
    put_right(&mut plan, desired, &wanted, &foreign, ours, input);

    if let Some(next) = needs.next {
        plan.look_again(next);
    }
    if let Err(missing) = class {
        return say.without_class(plan, &missing.message("no pod is admitted"), &needs.refused);
    }
    if !is_enforced {
        plan.end_with(Action::ApplyNamespace(enforced), After::WhatHoldsItUp);
    }
    if !plan.does_nothing() {
        plan.announce = status::first_sight(declared, input.now);
    }
    if input.settings.held && plan.hold() {
        return say.waiting(plan, reason::CLOCK_SKEW, CLOCK_SKEW.to_owned());
    }
    say.enforced(plan, &needs, &foreign, input.settings.usable)
}

const CLOCK_SKEW: &str = "the clocks of the operator and the API server disagree: nothing more is opened until they agree, and \
                          what is open stays open; the cluster administrators have an alarm";

/// What of a declaration is not in force, whatever else is there: the reason of each, and its message.
fn refused_parts(spec: &ResearchNamespaceSpec, input: &Input<'_>) -> Vec<(&'static str, String)> {
    let counted = spec.quota.keys().filter(|key| children::counts_own_writes(key)).map(|key| {
        let why = "would count objects that the operator writes, and is not in force; remove it from spec.quota";
        (reason::QUOTA_REFUSED, format!("quota {key} {why}"))
    });
    let members = members::refused(input.name, spec, input.settings);
    let annotations = children::refused_annotations(spec, &input.settings.spec.workloads);
    let members = members.into_iter().map(|why| (members::MEMBER_REFUSED, why));
    counted.chain(members).chain(annotations.into_iter().map(|why| (children::ANNOTATION_REFUSED, why))).collect()
}

/// About how many children a namespace has besides what it declares.
const BESIDE: usize = 12;

/// All children that a namespace should have, with these policies for what it needs.
fn desired(spec: &ResearchNamespaceSpec, opening: Vec<Child>, input: &Input<'_>) -> Vec<Child> {
    let name = input.name;
    let config = &input.settings.spec;
    let mut children = Vec::with_capacity(opening.len() + spec.members.len() + spec.service_accounts.len() + BESIDE);
    children.push(Child::NetworkPolicy(network_policies::deny_all(name)));
    if input.settings.usable {
        children.push(Child::NetworkPolicy(network_policies::dns(name, config, input.dns_addresses, input.dns_ports)));
        children.push(Child::NetworkPolicy(network_policies::own_pods(name)));
        children.extend(opening);
    }
    if let Backend::ClusterNetworkPolicy(_) = input.settings.backend {
        children.extend(bound(&children, input));
    }
    children.extend(children::quota(name, spec));
    children.extend(children::limits(name, spec));
    children.push(children::default_account(name));
    children.extend(children::accounts(name, spec, &config.workloads));
    children.extend(members::bindings(name, spec, input.settings));
    children.extend(members::owners_rights(name, spec, input.settings));
    children
}

/// What no NetworkPolicy goes beyond: what ours open, and those of the grants.
fn bound(children: &[Child], input: &Input<'_>) -> Vec<Child> {
    let granted = if input.settings.usable { hold_by_name::of_grants(input) } else { Vec::new() };
    let granted: Vec<NetworkPolicy> =
        granted.iter().map(|opening| network_policies::opening(input.name, "", opening)).collect();
    let ours = children.iter().filter_map(|child| match child {
        Child::NetworkPolicy(policy) => Some(policy),
        _ => None,
    });
    let passed = cluster_policy::pass(input.name, ours.chain(&granted));
    let all = passed.into_iter().chain([cluster_policy::deny(input.name)]);
    all.map(|policy| Child::ClusterNetworkPolicy(Box::new(policy))).collect()
}
