//! From a ResearchNamespace to what must stand in the cluster.
//!
//! A namespace is closed before anything in it opens: it is created sealed, its deny policy stands before any other,
//! and only then is it marked enforced, from which moment pods are admitted. What leaves the spec leaves the cluster.

pub mod children;
pub mod egress;
pub mod policies;

mod by_name;
mod cilium;
mod closing;
pub(crate) mod cluster;
mod gateway;
pub(crate) mod hosts;
pub(crate) mod members;
mod peers;
mod refused;
pub(crate) mod selected;
mod status;
mod takeover;
mod tally;

pub use by_name::{BACKEND_MISSING, NOT_EXACT};
pub use cluster::{is_bound, namespace_of};
pub use hosts::is_fresh;
pub use hosts::what_to_do;
pub use members::namespace_owned;
pub use refused::keeps_out;
pub use status::failed;
pub use takeover::{Account, Inspection, has_own_volume, wants_inspection};

use crate::{
    child::{Child, ChildKey, ChildKind, Children, GrantRef, IfRefused, is_deny},
    egress::{Backend, Opening, PolicyPort, ServiceFacts},
    names::{Host, Known, Names},
    ownership::{Whose, whose},
    plan::{Action, After, Chain, NamespaceLabels, Plan},
    settings::Settings,
};
use cloister_api::{
    EgressRule, EgressState, EgressStatus, ResearchNamespace, ResearchNamespaceSpec, ResearchNamespaceStatus,
    ServiceReference, StorageEndpoint, Tier, condition::reason, labels,
};
use egress::{KnownAllowlist, Needs};
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use status::Say;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};
use takeover::Standing;

/// What a ResearchNamespace says, as far as it can be read.
#[derive(Clone, Copy, Debug)]
pub enum Declared<'a> {
    /// It can be read.
    Read(&'a ResearchNamespace),
    /// It is there, but this version of the operator cannot read it.
    Undecodable {
        /// Its metadata.
        metadata: &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
        /// Its status, if that much can be read.
        status: Option<&'a ResearchNamespaceStatus>,
        /// What is wrong with it.
        error: &'a str,
    },
    /// There is none.
    Absent,
}

/// What is known of a Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedNamespace {
    /// Its uid.
    pub uid: Box<str>,
    /// Those of its labels that are the operator's to set.
    pub labels: BTreeMap<Box<str>, Box<str>>,
    /// The ResearchNamespace that may take it over, by its annotation.
    pub adopt: Option<Box<str>>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// What holds it up while it is being deleted, in Kubernetes' own words.
    pub held_by: Option<Box<str>>,
}

impl ObservedNamespace {
    /// What holds its deletion up, to end a sentence with.
    fn why_held(&self) -> String {
        self.held_by.as_ref().map(|why| format!("; Kubernetes says: {why}")).unwrap_or_default()
    }

    /// Whether it belongs to the ResearchNamespace of this name.
    pub fn belongs_to(&self, name: &str) -> bool {
        self.label(labels::RESEARCH_NAMESPACE) == Some(name)
    }

    /// Whether pods are admitted.
    pub fn is_enforced(&self) -> bool {
        self.label(labels::ENFORCED) == Some("true")
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(|value| &**value)
    }

    fn has(&self, wanted: &NamespaceLabels) -> bool {
        wanted.len() == self.labels.len() && wanted.iter().all(|(key, value)| self.label(key) == Some(value))
    }
}

/// Another research namespace, whose Namespace stands and is enforced.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// What it declares.
    pub spec: &'a ResearchNamespaceSpec,
}

/// Everything that the decision about one namespace depends on.
pub struct Input<'a> {
    /// The name of the ResearchNamespace and of its Namespace.
    pub name: &'a str,
    /// What is declared.
    pub declared: Declared<'a>,
    /// The settings of the cluster.
    pub settings: &'a Settings,
    /// The allowlists, by name.
    pub allowlists: &'a BTreeMap<&'a str, KnownAllowlist<'a>>,
    /// The rules of the namespace's EgressGrants that are open now, with the grants' names.
    pub granted: &'a [(&'a str, &'a EgressRule)],
    /// The endpoints of storage that the namespace's grants have open now, each with the ServiceAccount of its pods; all pods
    /// where there is none.
    pub endpoints: &'a [(&'a StorageEndpoint, Option<&'a str>)],
    /// Finds a research namespace that is enforced.
    pub peers: &'a dyn Fn(&str) -> Option<Peer<'a>>,
    /// Finds a Service.
    pub services: &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    /// Finds what is known of a name.
    pub hosts: &'a dyn Fn(&Host) -> Option<Known>,
    /// The addresses of the DNS Service.
    pub dns_addresses: &'a [IpAddr],
    /// The ports of its pods that the Service leads to: what is sent to it arrives there.
    pub dns_ports: &'a [PolicyPort],
    /// The Namespace, where there is one.
    pub namespace: Option<&'a ObservedNamespace>,
    /// What is in it.
    pub children: &'a Children,
    /// Whether there is a grant of this kind and name in it, in whatever phase.
    pub has_grant: &'a dyn Fn(&GrantRef) -> bool,
    /// What a look at the cluster itself found in it, where [`wants_inspection`] asked for one.
    pub inspection: Option<&'a Inspection>,
    /// How many pods are in it.
    pub pods: usize,
    /// How many of its grants have opened something that is not yet confirmed gone.
    pub open_grants: usize,
    /// The grant in it that broke the glass and owes a review which is due last, and when that is.
    pub owed_review: Option<(&'a str, Timestamp)>,
    /// The time.
    pub now: Timestamp,
}

impl Input<'_> {
    fn names(&self) -> Names<'_> {
        self.settings.names_at(self.hosts, self.now)
    }

    /// What was said of the needs before.
    fn said(&self) -> &[EgressStatus] {
        match self.declared {
            Declared::Read(declared) => declared.status.as_ref().map(|status| status.egress.as_slice()),
            _ => None,
        }
        .unwrap_or_default()
    }
}

/// What allowlists open in a research namespace.
pub fn agreed(
    namespace: &ResearchNamespace,
    allowlists: &BTreeMap<&str, KnownAllowlist<'_>>,
    services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    settings: &Settings,
    now: Timestamp,
) -> Vec<Opening> {
    static NOTHING: Children = Children::new();
    let input = Input {
        name: namespace.metadata.name.as_deref().unwrap_or_default(),
        declared: Declared::Read(namespace),
        settings,
        allowlists,
        granted: &[],
        endpoints: &[],
        peers: &|_| None,
        services,
        hosts: &|_| None,
        dns_addresses: &[],
        dns_ports: &[],
        namespace: None,
        children: &NOTHING,
        has_grant: &|_| false,
        inspection: None,
        pods: 0,
        open_grants: 0,
        owed_review: None,
        now,
    };
    Needs::agreed(namespace, &input)
}

/// What to do about a research namespace.
pub fn plan(input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    let mut plan = decide(input);
    plan.close(takeover::withdrawn(input));
    plan
}

fn decide(input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    match input.declared {
        Declared::Read(declared) if declared.metadata.deletion_timestamp.is_some() => {
            closing::deletion(declared, input)
        }
        Declared::Read(declared) => live(declared, input),
        Declared::Undecodable { metadata, status, error } => closing::undecodable(metadata, status, error, input),
        Declared::Absent => closing::abandoned(input),
    }
}

fn live(declared: &ResearchNamespace, input: &Input<'_>) -> Plan<ResearchNamespaceStatus> {
    let say = Say::about(declared, input.now);
    if let Some(why) = input.settings.reserved(input.name) {
        let message = status::reserved(declared, input.name, why);
        return say.stalled(closing::closed_if_ours(input), reason::NAME_RESERVED, message);
    }
    let (sealed, class) = namespace_labels(input.name, declared.spec.tier, input.settings);
    let class_known = class.is_ok();
    let standing = takeover::standing(input);
    if let Err(missing) = &class
        && matches!(standing, Standing::ToMake | Standing::ToClose | Standing::ToTakeOver(_))
    {
        return say.stalled(Plan::default(), reason::RUNTIME_CLASS_MISSING, missing.clone());
    }
    let mut adopting = Plan::default();
    let mut renewal = Vec::new();
    let ours = match standing {
        // It may say of itself that it is this one's; then it is closed as long as it is not.
        Standing::Refused(message) => {
            return say.stalled(closing::closed_if_ours(input), reason::NAMESPACE_EXISTS, message);
        }
        Standing::ToClose => {
            adopting.close([Action::MarkAdopting(Some(input.now))]);
            adopting.look_again(input.now);
            return say.waiting(adopting, reason::ADOPTING, takeover::closing_message(input.name));
        }
        Standing::ToLookAt(at) => {
            adopting.look_again(at);
            return say.waiting(adopting, reason::ADOPTING, takeover::closing_message(input.name));
        }
        Standing::Occupied(message) => {
            adopting.look_again(input.now + takeover::AGAIN);
            return say.stalled(adopting, reason::FOREIGN_OBJECTS, message);
        }
        Standing::Ending => {
            let why = input.namespace.map(ObservedNamespace::why_held).unwrap_or_default();
            let message = format!("Namespace {} is being deleted; it is made again once it is gone{why}", input.name);
            let mut plan = Plan::default();
            closing::let_it_end(&mut plan, input);
            return say.waiting(plan, reason::NAMESPACE_TERMINATING, message);
        }
        Standing::ToMake => false,
        Standing::ToTakeOver(first) => {
            renewal = first;
            false
        }
        Standing::Ours => true,
    };
    let enforced = with(sealed.clone(), labels::ENFORCED, "true");
    // The label alone does not do: it may be somebody else's, and it is not true while nothing denies.
    let is_enforced =
        ours && class_known && denies(input) && input.namespace.is_some_and(ObservedNamespace::is_enforced);

    let mut plan = Plan::default();
    // Before it is taken over, so that it is done again where it is cut off.
    plan.open(renewal);
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
    let desired = desired(&declared.spec, &needs, input);
    let wanted: BTreeSet<ChildKey> = desired.iter().map(Child::key).collect();
    let foreign = foreign(input, &wanted);
    put_right(&mut plan, desired, &wanted, &foreign, ours, input);

    if let Some(next) = needs.next {
        plan.look_again(next);
    }
    if let Err(missing) = class {
        return say.stalled(plan, reason::RUNTIME_CLASS_MISSING, missing);
    }
    if !is_enforced {
        plan.end_with(Action::ApplyNamespace(enforced), After::WhatHoldsItUp);
    }
    if !plan.does_nothing() {
        plan.announce = status::first_sight(declared, input.now);
    }
    if let Some(key) = declared.spec.quota.keys().find(|key| children::counts_own_writes(key)) {
        needs.refused_quota = Some(format!(
            "quota {key} would count what the operator writes itself, and is not in force; take it out of spec.quota"
        ));
    }
    let members = members::refused(input.name, &declared.spec, input.settings);
    needs.refused.extend(members.into_iter().map(|why| (members::MEMBER_REFUSED, why)));
    let annotations = children::refused_annotations(&declared.spec, &input.settings.spec.workloads);
    needs.refused.extend(annotations.into_iter().map(|why| (children::ANNOTATION_REFUSED, why)));
    if input.settings.held && plan.hold() {
        return say.waiting(plan, reason::CLOCK_SKEW, CLOCK_SKEW.to_owned());
    }
    say.enforced(plan, &needs, &foreign, input.settings.usable)
}

const CLOCK_SKEW: &str = "the operator's clock and the API server's disagree: nothing more is opened until they agree, and \
     what stands stays as it is; whoever runs the cluster has an alarm";

/// Whether the policy that denies everything stands as it should.
fn denies(input: &Input<'_>) -> bool {
    let deny = Child::NetworkPolicy(policies::deny_all(input.name));
    let observed = input.children.get(&deny.key());
    observed.is_some_and(|observed| observed.is(&deny))
}

/// All children that a namespace should have.
fn desired(spec: &ResearchNamespaceSpec, needs: &Needs, input: &Input<'_>) -> Vec<Child> {
    let name = input.name;
    let config = &input.settings.spec;
    let mut children = vec![Child::NetworkPolicy(policies::deny_all(name))];
    if input.settings.usable {
        children.push(Child::NetworkPolicy(policies::dns(name, config, input.dns_addresses, input.dns_ports)));
        children.push(Child::NetworkPolicy(policies::own_pods(name)));
        children.extend(needs.policies.iter().cloned());
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
    let granted = if input.settings.usable { by_name::of_grants(input) } else { Vec::new() };
    let granted: Vec<NetworkPolicy> =
        granted.iter().map(|opening| policies::opening(input.name, "", opening)).collect();
    let ours = children.iter().filter_map(|child| match child {
        Child::NetworkPolicy(policy) => Some(policy),
        _ => None,
    });
    let passed = cluster::pass(input.name, ours.chain(&granted));
    let all = passed.into_iter().chain([cluster::deny(input.name)]);
    all.map(|policy| Child::ClusterNetworkPolicy(Box::new(policy))).collect()
}

/// Makes the children what they should be. What stands already is put right together with all that closes, since it may
/// be narrowed; what is new opens after that.
fn put_right(
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
fn surplus(input: &Input<'_>, unwanted: impl Fn(&ChildKey) -> bool) -> Vec<Action> {
    let ours = input
        .children
        .iter()
        .filter(|(key, child)| whose(key, child, input.has_grant) == Whose::Namespaces && !child.terminating);
    ours.filter(|(key, _)| unwanted(key)).map(|(key, _)| Action::Delete(key.clone())).collect()
}

/// What others have in a research namespace that opens it.
#[derive(Debug, Default)]
struct Foreign<'a> {
    /// Policies that allow something: policies add up, so that what is denied is not.
    policies: Vec<&'a ChildKey>,
    /// Roles and bindings: they give what nobody agreed to.
    access: Vec<&'a ChildKey>,
}

impl<'a> Foreign<'a> {
    fn all(&self) -> impl Iterator<Item = &'a ChildKey> {
        self.policies.iter().chain(&self.access).copied()
    }
}

fn foreign<'a>(input: &Input<'a>, wanted: &BTreeSet<ChildKey>) -> Foreign<'a> {
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

/// The labels of a Namespace of this tier that is not yet enforced, and why no pod of it would be admitted, if so.
fn namespace_labels(name: &str, tier: Tier, settings: &Settings) -> (NamespaceLabels, Result<(), String>) {
    let mut all = NamespaceLabels::from([
        (labels::MANAGED_BY, labels::MANAGER.to_owned()),
        (labels::RESEARCH_NAMESPACE, name.to_owned()),
    ]);
    let tier_name = match tier {
        Tier::Standard => "Standard",
        Tier::Sandboxed => "Sandboxed",
    };
    all.insert(labels::TIER, tier_name.to_owned());
    for mode in POD_SECURITY {
        all.insert(mode, "restricted".to_owned());
    }
    if settings.spec.lists() {
        all.insert(labels::WORKLOADS, "listed".to_owned());
    }
    // Admission holds pods to it, whether it is there or not.
    if let Ok(Some(class)) = settings.spec.runtime_class(tier) {
        all.insert(labels::RUNTIME_CLASS, class.to_owned());
    }
    (all, settings.runtime_class(tier).map(|_| ()))
}

const POD_SECURITY: [&str; 3] =
    ["pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/audit", "pod-security.kubernetes.io/warn"];

/// The labels of a Namespace that are the operator's to set.
pub fn is_owned_label(key: &str) -> bool {
    key == labels::MANAGED_BY || key.starts_with("cloister.dev/") || POD_SECURITY.contains(&key)
}

fn with(mut all: NamespaceLabels, key: &'static str, value: &str) -> NamespaceLabels {
    all.insert(key, value.to_owned());
    all
}

fn has_finalizer(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, finalizer: &str) -> bool {
    metadata.finalizers.iter().flatten().any(|held| held == finalizer)
}

/// Whether an entry of the status says that something is open.
fn is_open(state: EgressState) -> bool {
    state == EgressState::Active
}
