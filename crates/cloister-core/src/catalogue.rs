//! What is said of the objects of the catalogue: allowlists, storage and policies. They are read, never
//! acted upon, so that a plan for one of them is a status alone.

use crate::{
    auto_approve,
    cluster_role::{RoleFacts, bindable},
    condition::{Verdict, conditions, ready, stalled},
    egress::{
        Opened, Refusal, ServiceFacts, Surroundings, endpoint_too_broad, is_as_published, narrowed, open_rule_in_part,
        published,
    },
    grant::{
        CredentialFacts, Known, NOT_OFFERED, POLICY_NOT_ALLOWED, eligibility, satisfiable, secret_named, too_weak,
    },
    namespace::{egress::TOO_BROAD, selected::label_of_owners},
    settings::Settings,
};
use cloister_api::{
    AccessPolicy, AccessPolicySpec, AccessPolicyStatus, AccessRole, AccessRoleStatus, EgressAllowlist,
    EgressAllowlistStatus, SecretReference, ServiceReference, StorageResource, StorageResourceStatus, StorageRole,
    condition::{SATISFIABLE, reason},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// How many users an allowlist's status names.
const USERS_NAMED: usize = 32;

/// Who uses an allowlist.
#[derive(Clone, Debug, Default)]
pub struct Users<'a> {
    /// The research namespaces that it opens in, in order.
    pub names: Vec<&'a str>,
    /// In how many of them all of it is open.
    pub in_whole: usize,
}

/// The status of an allowlist, where it differs from what is there.
pub fn allowlist(
    allowlist: &EgressAllowlist,
    users: &Users<'_>,
    services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    settings: &Settings,
    now: Timestamp,
) -> Option<EgressAllowlistStatus> {
    let before = allowlist.status.as_ref();
    let end = allowlist.spec.expires_at.as_ref().filter(|end| end.0 <= now);
    let used = match users.names.len() {
        0 => "no research namespace uses it".to_owned(),
        all => format!("open as a whole in {} of the {all} research namespaces that use it", users.in_whole),
    };
    let never = never_open(allowlist, services, settings);
    let verdicts = match (end, label_of_owners(allowlist.spec.namespace_selector.as_ref()), never.broken.first()) {
        (Some(end), _, _) => stalled(
            reason::EXPIRED,
            format!("ended at {} (expiresAt), and opens nothing; set a later expiresAt, or delete it", end.0),
        ),
        (None, Some(label), _) => stalled(
            reason::SELECTOR_REFUSED,
            format!(
                "namespaceSelector asks for label {label}, which the owners of a ResearchNamespace may write, so that the allowlist \
                 opens nothing; select by a label of your own, such as team"
            ),
        ),
        (None, None, Some((reason, _))) => {
            let (reason, said) = (*reason, never.said());
            stalled(reason, format!("what stays closed wherever it is used: {said}; the rest is {used}"))
        }
        (None, None, None) if never.covering.is_empty() => ready(reason::RECONCILED, used),
        (None, None, None) => ready(reason::RECONCILED, format!("{used}; {}", never.said())),
    };
    let users = users.names.as_slice();
    let generation = allowlist.metadata.generation;
    let status = EgressAllowlistStatus {
        observed_generation: generation,
        namespaces: i64::try_from(users.len()).unwrap_or(i64::MAX),
        services: published(allowlist, services),
        used_by: users.iter().take(USERS_NAMED).map(|&name| name.to_owned()).collect(),
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), verdicts, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

/// What of an allowlist never opens, wherever it is used.
struct NeverOpen {
    /// What somebody must correct, with its reason.
    broken: Vec<(&'static str, String)>,
    /// What only covers rules of namespaces.
    covering: Vec<String>,
}

/// How many of them a message names.
const NEVER_NAMED: usize = 8;

impl NeverOpen {
    fn said(&self) -> String {
        let all: Vec<&str> = self
            .broken
            .iter()
            .map(|(_, message)| message.as_str())
            .chain(self.covering.iter().map(String::as_str))
            .collect();
        let more = all.len().saturating_sub(NEVER_NAMED);
        let said = all[..all.len() - more].join("; ");
        if more == 0 { said } else { format!("{said}; and {more} more") }
    }
}

fn never_open(
    allowlist: &EgressAllowlist,
    services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    settings: &Settings,
) -> NeverOpen {
    let surroundings = Surroundings { never: &settings.never, services, wildcards: settings.opens_wildcards() };
    let mut never = NeverOpen { broken: Vec::new(), covering: Vec::new() };
    for rule in &allowlist.spec.rules {
        if let Err(refusal) = is_as_published(allowlist, rule, services) {
            never.broken.push((refusal.reason(), format!("rule {}: {refusal}", rule.name)));
            continue;
        }
        let Opened { opening, closed } = open_rule_in_part(rule, &surroundings);
        for refusal in closed {
            let message = format!("rule {}: {refusal}", rule.name);
            match refusal {
                // It covers rules of namespaces all the same; and whoever runs a Service makes it.
                Refusal::WildcardNotEnforceable { .. } | Refusal::ServiceNotFound(_) => never.covering.push(message),
                _ => never.broken.push((refusal.reason(), message)),
            }
        }
        let alone = opening.as_ref().map(|opening| narrowed(&[opening], &settings.spec.egress));
        let broad = alone.into_iter().flatten().flat_map(|narrowed| narrowed.too_broad);
        never.broken.extend(broad.map(|why| (TOO_BROAD, format!("rule {}: {why}", rule.name))));
    }
    never
}

/// The status of a policy.
pub fn policy(policy: &AccessPolicy, now: Timestamp) -> Option<AccessPolicyStatus> {
    let before = policy.status.as_ref();
    let spec = &policy.spec;
    let faults = auto_approve::check(&spec.auto_approve);
    let pattern = spec.ticket.pattern.as_deref().and_then(eligibility::pattern_error);
    let mut verdicts = if let Some(fault) = faults.first() {
        stalled("ExpressionInvalid", format!("autoApprove: {fault}; it counts as false until it is corrected"))
    } else if let Some(error) = pattern {
        stalled("PatternInvalid", format!("ticket.pattern: {error}; no ticket is accepted until it is corrected"))
    } else if spec.requesters.is_empty() {
        ready("NobodyMayAsk", "requesters is empty, so that nobody may ask")
    } else if spec.auto_approve.is_empty() && spec.approval_rules.is_empty() {
        ready("NeverApproves", "there are neither approvalRules nor autoApprove, so that it never approves")
    } else {
        ready(reason::RECONCILED, "the policy can be used")
    };
    verdicts.extend(quorum(spec));
    let generation = policy.metadata.generation;
    let status = AccessPolicyStatus {
        observed_generation: generation,
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), verdicts, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

/// Whether the people who must agree are there at all, as far as is known.
fn quorum(spec: &AccessPolicySpec) -> Option<Verdict> {
    if spec.approval_rules.is_empty() {
        return None;
    }
    Some(match satisfiable(spec) {
        Ok(Some(())) => Verdict::new(SATISFIABLE, true, "EnoughPeople", "enough people are named for all rules"),
        Ok(None) => Verdict {
            type_: SATISFIABLE,
            status: None,
            reason: "GroupsUnknown".into(),
            message: "it depends on who is in the groups, which the cluster does not know".into(),
        },
        Err(why) => Verdict::new(SATISFIABLE, false, "TooFewPeople", why),
    })
}

/// What an AccessRole depends on.
pub struct RoleInput<'a> {
    /// Finds an AccessPolicy.
    pub policies: &'a dyn Fn(&str) -> Known<'a, AccessPolicy>,
    /// Finds a ClusterRole.
    pub cluster_roles: &'a dyn Fn(&str) -> Option<&'a RoleFacts>,
    /// The settings of the cluster.
    pub settings: &'a Settings,
}

/// The status of an AccessRole.
pub fn role(role: &AccessRole, input: &RoleInput<'_>, now: Timestamp) -> Option<AccessRoleStatus> {
    let before = role.status.as_ref();
    let name = &role.spec.access_policy;
    let verdicts = match (
        (input.policies)(name),
        bindable(&role.spec.cluster_role, (input.cluster_roles)(&role.spec.cluster_role)),
    ) {
        (_, Err(fault)) => stalled(fault.reason(), fault.to_string()),
        (Known::Absent, _) => stalled("PolicyNotFound", format!("there is no AccessPolicy {name}; publish it")),
        (Known::Undecodable, _) => {
            stalled("PolicyUndecodable", format!("AccessPolicy {name} cannot be read by this version of the operator"))
        }
        (Known::Read(policy), Ok(_)) => match weakly_guarded(&role.spec.cluster_role, policy, input) {
            Some((reason, message)) => stalled(reason, message),
            None => ready(reason::RECONCILED, "the role can be asked for"),
        },
    };
    let generation = role.metadata.generation;
    let status = AccessRoleStatus {
        observed_generation: generation,
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), verdicts, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

/// Why a policy may not decide about a ClusterRole that says who may.
fn weakly_guarded(role: &str, policy: &AccessPolicy, input: &RoleInput<'_>) -> Option<(&'static str, String)> {
    let guard = &(input.cluster_roles)(role)?.guard;
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    let refused = guard.refuses(&format!("ClusterRole {role}"), name).map(|message| (POLICY_NOT_ALLOWED, message));
    let weak = || Some(("PolicyTooWeak", too_weak(policy, guard.sensitivity?, input.settings)?));
    refused.or_else(weak)
}

/// What a storage resource depends on.
pub struct StorageInput<'a> {
    /// Finds an AccessPolicy.
    pub policies: &'a dyn Fn(&str) -> Known<'a, AccessPolicy>,
    /// Finds a ClusterRole.
    pub cluster_roles: &'a dyn Fn(&str) -> Option<&'a RoleFacts>,
    /// Finds what is known of a credential's Secret.
    pub credentials: &'a dyn Fn(&SecretReference) -> Option<CredentialFacts>,
    /// The settings of the cluster.
    pub settings: &'a Settings,
}

/// The status of a storage resource.
pub fn storage(storage: &StorageResource, input: &StorageInput<'_>, now: Timestamp) -> Option<StorageResourceStatus> {
    let before = storage.status.as_ref();
    let fault = storage.spec.roles.iter().find_map(|role| {
        role_fault(storage, role, input).map(|(reason, message)| (reason, format!("role {}: {message}", role.name)))
    });
    let broad = too_broad(storage, input).map(|message| (TOO_BROAD, message));
    let verdicts = match broad.or(fault) {
        Some((reason, message)) => stalled(reason, message),
        None => ready(reason::RECONCILED, judged(storage, input)),
    };
    let generation = storage.metadata.generation;
    let status = StorageResourceStatus {
        observed_generation: generation,
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), verdicts, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

/// Why the endpoint opens more than the catalogue may.
fn too_broad(storage: &StorageResource, input: &StorageInput<'_>) -> Option<String> {
    let endpoint = storage.spec.endpoint.as_ref()?;
    // A Service is never too broad.
    let surroundings = Surroundings { never: &input.settings.never, services: &|_| None, wildcards: false };
    let why = endpoint_too_broad(endpoint, &surroundings, &input.settings.spec.egress)?;
    Some(format!("the endpoint stays closed: {why}; narrow it"))
}

/// That a storage can be used, and as how sensitive the approvals of its roles are judged where that is more than it says.
fn judged(storage: &StorageResource, input: &StorageInput<'_>) -> String {
    let facts = storage.spec.roles.iter().filter_map(|role| {
        let facts = (input.credentials)(role.credential.as_ref()?.secret_ref.as_ref()?)?;
        Some((role, facts.sensitivity.filter(|sensitivity| *sensitivity > storage.spec.sensitivity)?, facts.named_by))
    });
    let notes: Vec<String> = facts
        .map(|(role, sensitivity, by)| {
            let why = by.map_or("its Secret says so".to_owned(), |by| {
                format!("StorageResource {by} hands out the same Secret")
            });
            format!("role {} is judged as {sensitivity:?}, because {why}", role.name)
        })
        .collect();
    let all = "all roles can be asked for";
    if notes.is_empty() { all.to_owned() } else { format!("{all}; {}", notes.join("; ")) }
}

fn role_fault(
    storage: &StorageResource,
    role: &StorageRole,
    input: &StorageInput<'_>,
) -> Option<(&'static str, String)> {
    let policy = match (input.policies)(&role.access_policy) {
        Known::Absent => {
            return Some(("PolicyNotFound", format!("there is no AccessPolicy {}; publish it", role.access_policy)));
        }
        Known::Undecodable => {
            let message = format!("AccessPolicy {} cannot be read by this version of the operator", role.access_policy);
            return Some(("PolicyUndecodable", message));
        }
        Known::Read(policy) => policy,
    };
    let source = role.credential.as_ref().and_then(|kept| kept.secret_ref.as_ref());
    let facts = source.and_then(|source| (input.credentials)(source));
    let least = facts.as_ref().and_then(|facts| facts.sensitivity).unwrap_or(storage.spec.sensitivity);
    if let Some(message) = too_weak(policy, least.max(storage.spec.sensitivity), input.settings) {
        return Some(("PolicyTooWeak", message));
    }
    if let Some(name) = &role.cluster_role {
        if let Err(fault) = bindable(name, (input.cluster_roles)(name)) {
            return Some((fault.reason(), fault.to_string()));
        }
        let of_role =
            RoleInput { policies: input.policies, cluster_roles: input.cluster_roles, settings: input.settings };
        if let Some(fault) = weakly_guarded(name, policy, &of_role) {
            return Some(fault);
        }
    }
    let kept = role.credential.as_ref()?.secret_ref.as_ref()?;
    let (namespace, name) = (&kept.namespace, &kept.name);
    if !input.settings.spec.credential_namespaces.contains(namespace) {
        let message = format!(
            "Secret {namespace}/{name} is outside the credentialNamespaces of CloisterConfig; keep the credential in one of them"
        );
        return Some(("CredentialNamespaceNotAllowed", message));
    }
    let Some(facts) = facts else {
        return Some((
            "CredentialMissing",
            format!("there is no Secret {name} in {namespace}; put the credential there"),
        ));
    };
    if let Some(message) = facts.guard.refuses(&secret_named(kept), &role.access_policy) {
        return Some((POLICY_NOT_ALLOWED, message));
    }
    if let Some(message) = facts.not_offered(kept, storage.metadata.name.as_deref().unwrap_or_default()) {
        return Some((NOT_OFFERED, message));
    }
    let empty = || ("CredentialMissing", format!("Secret {name} in {namespace} is empty; put the credential there"));
    facts.content.is_none().then(empty)
}

/// The conditions of an object that this version of the operator cannot read.
pub fn undecodable(error: &str) -> Vec<Verdict> {
    let message = format!(
        "this version of the operator cannot read it ({error}); it opens nothing until the field is taken out or the operator is \
         updated"
    );
    stalled(reason::UNDECODABLE, message)
}

pub(crate) fn conditions_of(before: Option<&Vec<Condition>>) -> &[Condition] {
    before.map(Vec::as_slice).unwrap_or_default()
}
