//! What is said of what can be asked for: storage, and ClusterRoles.

use super::{
    access_policy::{NAMED, broken},
    conditions_of,
};
use crate::{
    address::Refusal,
    cluster::{
        guard::POLICY_NOT_ALLOWED,
        role_facts::{Fault, RoleFacts, bindable},
        settings::Settings,
    },
    egress::{
        Opened, ServiceFacts, Surroundings, TOO_BROAD, endpoint_refused, endpoint_too_broad, open_endpoint_in_part,
    },
    grant::{
        CREDENTIAL_NAMESPACE_NOT_ALLOWED, CredentialFacts, Listed, Lookup, NOT_OFFERED, Sensitive, secret_named,
        too_weak, useless,
    },
    model::{
        condition::{conditions, ready},
        suggest::did_you_mean,
        text::first_of,
        writers::{CLUSTER_ADMINS, CONFIG_WRITERS, POLICY_WRITERS, SECRET_KEEPERS},
    },
};
use cloister_api::{
    AccessPolicy, AccessRole, AccessRoleStatus, CredentialSource, SecretReference, ServiceReference, StorageResource,
    StorageResourceStatus, StorageRole, condition::reason,
};
use jiff::Timestamp;

/// A reason, and a message.
type Said = (&'static str, String);

/// What storage and roles depend on.
pub struct Input<'a> {
    /// Finds an AccessPolicy.
    pub policies: &'a dyn Fn(&str) -> Lookup<'a, AccessPolicy>,
    /// Finds a ClusterRole.
    pub cluster_roles: &'a dyn Fn(&str) -> Option<&'a RoleFacts>,
    /// Finds what is known of a credential's Secret.
    pub credentials: &'a dyn Fn(&SecretReference) -> Option<CredentialFacts>,
    /// Finds a Service.
    pub services: &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    /// Finds what was meant by a name that is not there.
    pub meant: &'a dyn Fn(Listed, &str) -> Option<String>,
    /// The settings of the cluster.
    pub settings: &'a Settings,
}

/// The status of an AccessRole.
pub fn role(role: &AccessRole, input: &Input<'_>, now: Timestamp) -> Option<AccessRoleStatus> {
    let before = role.status.as_ref();
    let spec = &role.spec;
    let (policy, no_policy) = policy(&spec.access_policy, input);
    let mut faults: Vec<Said> = cluster_role(&spec.cluster_role, policy, input);
    faults.extend(no_policy);
    let updates = broken(&faults).unwrap_or_else(|| match of_no_use(&spec.access_policy, input) {
        Some((reason, message)) => ready(reason, message),
        None => ready(reason::RECONCILED, "the role can be asked for"),
    });
    let generation = role.metadata.generation;
    let status = AccessRoleStatus {
        observed_generation: generation,
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), updates, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

/// Why a policy that is there gives nothing to anybody. Its own status says the same, so that nothing here is broken.
fn of_no_use(name: &str, input: &Input<'_>) -> Option<Said> {
    let Lookup::Read(policy) = (input.policies)(name) else { return None };
    let (reason, why) = useless(&policy.spec)?;
    Some((
        reason,
        format!(
            "AccessPolicy {name} never gives access: {why}; ask {POLICY_WRITERS} to correct it, or name another policy"
        ),
    ))
}

/// The policy of this name, or why there is none.
fn policy<'a>(name: &str, input: &Input<'a>) -> (Option<&'a AccessPolicy>, Option<Said>) {
    match (input.policies)(name) {
        Lookup::Read(policy) => (Some(policy), None),
        Lookup::Absent => {
            let meant = did_you_mean((input.meant)(Listed::Policy, name).as_deref());
            (
                None,
                Some((
                    "PolicyNotFound",
                    format!(
                        "there is no AccessPolicy {name}{meant}; correct the name, or ask {POLICY_WRITERS} to publish it"
                    ),
                )),
            )
        }
        Lookup::Undecodable => {
            let message = format!("AccessPolicy {name} cannot be read by this version of the operator");
            (None, Some(("PolicyUndecodable", message)))
        }
    }
}

/// Why a ClusterRole cannot be given, or not under this policy.
fn cluster_role(name: &str, policy: Option<&AccessPolicy>, input: &Input<'_>) -> Vec<Said> {
    let facts = (input.cluster_roles)(name);
    if let Err(fault) = bindable(name, facts) {
        let message = match &fault {
            Fault::NotFound(name) => {
                let meant = did_you_mean((input.meant)(Listed::ClusterRole, name).as_deref());
                format!("there is no ClusterRole {name}{meant}; correct the name, or ask {CLUSTER_ADMINS} to create it")
            }
            fault if fault.is_of_role_of_kubernetes() => {
                format!("{fault}; name a ClusterRole that is made for grants")
            }
            fault => format!("{fault}: ask {CLUSTER_ADMINS} to do that, or name another ClusterRole"),
        };
        return vec![(fault.reason(), message)];
    }
    let Some((guard, policy)) = facts.map(|facts| &facts.guard).zip(policy) else { return Vec::new() };
    let of = policy.metadata.name.as_deref().unwrap_or_default();
    let refused = guard.refuses(&format!("ClusterRole {name}"), of).map(|message| (POLICY_NOT_ALLOWED, message));
    let said = guard.sensitivity.map(|sensitivity| Sensitive { sensitivity, by: format!("ClusterRole {name}") });
    let weak = said.and_then(|said| too_weak(policy, &said, input.settings));
    refused.into_iter().chain(weak.map(|message| ("PolicyTooWeak", message))).collect()
}

/// The status of a storage resource.
pub fn storage(storage: &StorageResource, input: &Input<'_>, now: Timestamp) -> Option<StorageResourceStatus> {
    let before = storage.status.as_ref();
    let (mut faults, to_come) = endpoint(storage, input);
    faults.extend(storage.spec.roles.iter().flat_map(|role| {
        let faults = role_faults(storage, role, input).into_iter();
        faults.map(|(reason, message)| (reason, format!("role {}: {message}", role.name)))
    }));
    let updates = broken(&faults).unwrap_or_else(|| {
        let of_no_use = storage.spec.roles.iter().filter_map(|role| {
            let (reason, message) = of_no_use(&role.access_policy, input)?;
            Some((reason, format!("role {}: {message}", role.name)))
        });
        let of_no_use: Vec<Said> = of_no_use.collect();
        let reason = of_no_use.first().or(to_come.first()).map_or(reason::RECONCILED, |(reason, _)| *reason);
        let about = match of_no_use.is_empty() {
            true => "all roles can be asked for".to_owned(),
            false => first_of(of_no_use.iter().map(|(_, message)| message), NAMED, "; "),
        };
        let to_come = to_come.into_iter().map(|(_, message)| message);
        let all: Vec<String> = [about].into_iter().chain(judged(storage, input)).chain(to_come).collect();
        ready(reason, all.join("; "))
    });
    let generation = storage.metadata.generation;
    let status = StorageResourceStatus {
        observed_generation: generation,
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), updates, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

/// Why the endpoint never opens, and why it does not open yet. No grant is given for one of which a part stays closed.
fn endpoint(storage: &StorageResource, input: &Input<'_>) -> (Vec<Said>, Vec<Said>) {
    let Some(endpoint) = &storage.spec.endpoint else { return Default::default() };
    let settings = input.settings;
    // What a grant opens is held by addresses, whatever opens egress.
    let surroundings = Surroundings { never: &settings.never, services: input.services, wildcards: false };
    let Opened { closed, .. } = open_endpoint_in_part(endpoint, None, &surroundings);
    let (mut never, mut to_come) = (Vec::new(), Vec::new());
    for refusal in closed {
        let message = format!("the endpoint stays closed: {}", endpoint_refused(&refusal));
        match refusal {
            // Whoever runs the Service makes it.
            Refusal::ServiceNotFound(_) => to_come.push((refusal.reason(), message)),
            // Said below, as of whatever else opens too much.
            Refusal::NetworksTooWide { .. } | Refusal::NetworksTooMany { .. } => {}
            _ => never.push((refusal.reason(), message)),
        }
    }
    let broad = endpoint_too_broad(endpoint, &surroundings, &settings.spec.egress);
    never.extend(broad.map(|(why, help)| (TOO_BROAD, format!("the endpoint stays closed: {why}; {help}"))));
    (never, to_come)
}

/// As how sensitive the approvals of a storage's roles are judged where that is more than it says.
fn judged(storage: &StorageResource, input: &Input<'_>) -> Vec<String> {
    let facts = storage.spec.roles.iter().filter_map(|role| {
        let CredentialSource::Secret(at) = role.credential_source()?;
        let facts = (input.credentials)(at)?;
        Some((role, facts.sensitivity.filter(|sensitivity| *sensitivity > storage.spec.sensitivity)?, facts.named_by))
    });
    facts
        .map(|(role, sensitivity, by)| {
            let why =
                by.map_or("its Secret says so".to_owned(), |by| format!("StorageResource {by} uses the same Secret"));
            format!("role {} has the sensitivity {sensitivity:?}, because {why}", role.name)
        })
        .collect()
}

/// All that keeps a role of a storage from being given.
fn role_faults(storage: &StorageResource, role: &StorageRole, input: &Input<'_>) -> Vec<Said> {
    let (policy, no_policy) = policy(&role.access_policy, input);
    let mut faults: Vec<Said> = no_policy.into_iter().collect();
    let source = role.credential_source().map(|CredentialSource::Secret(at)| at);
    let facts = source.and_then(|source| (input.credentials)(source));
    let of_secret = source.zip(facts.as_ref()).and_then(|(at, facts)| facts.says(at));
    let said = Sensitive::highest([Sensitive::of_storage(storage)].into_iter().chain(of_secret));
    let weak = policy.zip(said).and_then(|(policy, said)| too_weak(policy, &said, input.settings));
    faults.extend(weak.map(|message| ("PolicyTooWeak", message)));
    let of_role = role.cluster_role.iter().flat_map(|name| cluster_role(name, policy, input));
    for fault in of_role {
        // What makes the policy too weak is said once.
        if !faults.iter().any(|(reason, _)| *reason == fault.0) {
            faults.push(fault);
        }
    }
    faults.extend(source.into_iter().flat_map(|kept| credential(storage, role, kept, facts.as_ref(), input)));
    faults
}

/// What is wrong with the Secret of a role's credential.
fn credential(
    storage: &StorageResource,
    role: &StorageRole,
    kept: &SecretReference,
    facts: Option<&CredentialFacts>,
    input: &Input<'_>,
) -> Vec<Said> {
    let SecretReference { namespace, name, .. } = kept;
    if let Some(why) = input.settings.keeps_no_credentials(namespace) {
        let message = format!(
            "Secret {namespace}/{name} is outside the credentialNamespaces of CloisterConfig, {why}; keep the credential in one of them and \
             correct the secretRef, or ask {CONFIG_WRITERS} to list {namespace}"
        );
        return vec![(CREDENTIAL_NAMESPACE_NOT_ALLOWED, message)];
    }
    let Some(facts) = facts else {
        let message = format!(
            "there is no Secret {name} in {namespace}; ask {SECRET_KEEPERS} to put the credential there, or correct the secretRef"
        );
        return vec![("CredentialMissing", message)];
    };
    let guarded = facts.guard.refuses(&secret_named(kept), &role.access_policy);
    let guarded = guarded.map(|message| (POLICY_NOT_ALLOWED, message));
    let own = storage.metadata.name.as_deref().unwrap_or_default();
    let withheld = facts.not_offered(kept, own).map(|message| (NOT_OFFERED, message));
    let empty = facts.content.is_none().then(|| {
        let message =
            format!("Secret {name} in {namespace} is empty; ask {SECRET_KEEPERS} to put the credential there");
        ("CredentialMissing", message)
    });
    // What cannot be read of it is said by both.
    let withheld = withheld.filter(|(_, why)| guarded.as_ref().is_none_or(|(_, said)| said != why));
    guarded.into_iter().chain(withheld).chain(empty).collect()
}
