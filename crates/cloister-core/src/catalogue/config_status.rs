//! What is said of CloisterConfig: whether the settings are in force, and what of the cluster around them can be seen.

use super::conditions_of;
use crate::{
    cluster::{
        dns_service::{DnsFacts, dns_fault, dns_is_wide},
        known_networks::ClusterNetworks,
        networks_condition,
        references::{There, missing},
        settings::Settings,
    },
    egress::Backend,
    model::{
        condition::{ConditionUpdate, conditions, ready, stalled},
        text::first_of,
    },
    namespace::BACKEND_MISSING,
};
use cloister_api::{
    CloisterConfig, CloisterConfigStatus, EgressBackend,
    condition::{AUDIT_AVAILABLE, BACKEND_AVAILABLE, DNS_REACHABLE, POLICY_KINDS_WATCHED, REFERENCES_FOUND, reason},
};
use jiff::Timestamp;
use std::{collections::BTreeSet, net::SocketAddr};

/// How many kinds are named.
const KINDS: usize = 16;

/// Reason of a DNS that is reached together with other pods.
const DNS_SELECTOR_WIDE: &str = "DNSSelectorWide";

/// What the settings are judged in.
pub struct Around<'a> {
    /// What is said of the audit record where it cannot be written.
    pub record: Option<&'a str>,
    /// The cluster's own networks.
    pub networks: &'a ClusterNetworks,
    /// The kinds by which they are known, and which cannot be listed.
    pub unlisted: &'a [&'static str],
    /// The cluster's own DNS.
    pub dns: &'a DnsFacts,
    /// What there is of what the settings name.
    pub there: &'a There<'a>,
    /// Whether a research namespace of this name stands.
    pub stands: &'a dyn Fn(&str) -> bool,
    /// The DNS servers that do not answer the operator, each with what happens instead.
    pub silent_servers: &'a [(SocketAddr, String)],
    /// The kinds of network policies that are installed and that the operator does not watch, as `PLURAL.GROUP`.
    pub unwatched: &'a BTreeSet<String>,
}

/// The status of the settings.
pub fn config(
    config: &CloisterConfig,
    settings: &Settings,
    around: &Around<'_>,
    now: Timestamp,
) -> Option<CloisterConfigStatus> {
    let before = config.status.as_ref();
    let mut about = vec![match around.record {
        None => ConditionUpdate::new(AUDIT_AVAILABLE, true, "Recorded", "decisions about grants are recorded"),
        Some(why) => ConditionUpdate::new(
            AUDIT_AVAILABLE,
            false,
            reason::AUDIT_UNAVAILABLE,
            format!(
                "{why}. No grant is approved or opened until it can be written; grants still end, and their ends are \
                     recorded then"
            ),
        ),
    }];
    about.push(dns(settings, around));
    about.push(backend(settings));
    about.push(references(settings, around));
    about.push(networks_condition::known(around.networks, settings, around.unlisted, around.dns));
    about.push(policies(around));
    let faults = faults(settings, around, now);
    let mut updates = match faults.first() {
        Some((reason, _)) => {
            let all: Vec<&str> = faults.iter().map(|(_, message)| message.as_str()).collect();
            let others = amiss(&about).filter(|update| update.reason != *reason).map(|update| update.type_);
            stalled(*reason, all.join("; ") + &see_also(others))
        }
        None => in_force(&about, settings),
    };
    updates.extend(about);
    let generation = config.metadata.generation;
    let status = CloisterConfigStatus {
        observed_generation: generation,
        egress_backend: Some(settings.backend.name()),
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), updates, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

/// What somebody must correct in the settings, the worst first.
fn faults(settings: &Settings, around: &Around<'_>, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    if !settings.usable {
        let why = settings.unusable.as_deref().unwrap_or("they contain something that cannot be used");
        faults.push((reason::CONFIG_UNDECODABLE, format!("{why}; nothing is opened until it is corrected")));
    }
    faults.extend(settings.refused.iter().map(|refused| {
        let message = format!("{refused}; nothing is opened to access networks until it is corrected");
        (reason::SETTING_REFUSED, message)
    }));
    if matches!(settings.backend, Backend::Missing(_)) {
        faults.push((BACKEND_MISSING, backend(settings).message));
    }
    faults.extend(settings.left_out.iter().map(|left_out| (reason::CONFIG_UNDECODABLE, left_out.clone())));
    faults.extend(settings.not_in_force.iter().map(|why| (reason::SETTING_REFUSED, why.clone())));
    let ahead = settings.spec.invalidate_grants_before.as_ref().filter(|_| settings.invalidates_later(now).is_some());
    faults.extend(ahead.map(|ahead| {
        let message = format!(
            "spec.invalidateGrantsBefore is {}, which is more than an hour in the future, so it is not in force: it ends and \
             rejects nothing; to end all approved grants immediately, write the current time",
            ahead.0
        );
        (reason::SETTING_REFUSED, message)
    }));
    faults.extend(settings.passed_over.iter().map(|(field, name)| {
        let message = format!(
            "{field} names {name}, which is an existing research namespace, so that entry is not in force; remove it, or \
             delete ResearchNamespace {name} first"
        );
        (reason::SETTING_REFUSED, message)
    }));
    let dns = settings.spec.dns.namespace.as_str();
    if (around.stands)(dns) {
        let message = format!(
            "dns.namespace names {dns}, which is a research namespace: it is closed, and no name resolves; name the namespace \
             of the cluster's DNS"
        );
        faults.push((reason::SETTING_REFUSED, message));
    }
    faults
}

/// That the settings are in force, and what does not work all the same: the worst of it in full, and where to read of the
/// rest.
fn in_force(about: &[ConditionUpdate], settings: &Settings) -> Vec<ConditionUpdate> {
    let narrowed: String = settings.narrowed.iter().map(|narrowed| format!("; {narrowed}")).collect();
    let mut amiss = amiss(about);
    let Some(worst) = amiss.next() else { return ready(reason::RECONCILED, format!("in force{narrowed}")) };
    let more = see_also(amiss.map(|update| update.type_));
    ready(worst.reason.clone(), format!("in force, but: {}{narrowed}{more}", worst.message))
}

/// What of the cluster around the settings does not work, or is not as it should be; what is certain first.
fn amiss(about: &[ConditionUpdate]) -> impl Iterator<Item = &ConditionUpdate> {
    let is_doubtful = |update: &&ConditionUpdate| update.status.is_none() || update.reason == DNS_SELECTOR_WIDE;
    about.iter().filter(|update| update.status == Some(false)).chain(about.iter().filter(is_doubtful))
}

fn see_also<'a>(others: impl Iterator<Item = &'a str>) -> String {
    let others: Vec<&str> = others.collect();
    if others.is_empty() { String::new() } else { format!("; see also {}", others.join(" and ")) }
}

/// Whether what the settings name is there.
fn references(settings: &Settings, around: &Around<'_>) -> ConditionUpdate {
    let missing = missing(&settings.spec, around.there);
    if missing.is_empty() {
        return ConditionUpdate::new(
            REFERENCES_FOUND,
            true,
            "Found",
            "the AccessPolicies, RuntimeClasses, Namespaces, StorageClasses, CSIDrivers and PriorityClasses that the settings name \
             and use exist; for the DNS that they name, see DNSReachable",
        );
    }
    let message = format!("{}; create what is missing, or name another there", missing.join("; "));
    ConditionUpdate::new(REFERENCES_FOUND, false, "ReferenceNotFound", message)
}

/// What opens egress, and why that.
fn backend(settings: &Settings) -> ConditionUpdate {
    let (choice, name) = (settings.spec.egress.backend, settings.backend.name().as_str());
    let (available, reason, message) = match (settings.backend, choice) {
        (Backend::Missing(missing), _) => {
            let message = format!(
                "egress.backend is {}, but the CustomResourceDefinition of its policies is not installed: nothing opens by \
                 name; install it, or choose another",
                missing.as_str()
            );
            (false, BACKEND_MISSING, message)
        }
        (Backend::NetworkPolicy, EgressBackend::Auto) if settings.ambiguous => {
            let message = "both CiliumNetworkPolicies and ClusterNetworkPolicies are installed, and the operator cannot see \
                           which is enforced: egress opens only by NetworkPolicy until egress.backend names one";
            (true, "Ambiguous", message.to_owned())
        }
        (_, EgressBackend::Auto) => (true, "Detected", format!("egress opens by {name}, which was detected")),
        _ => (true, "Chosen", format!("egress opens by {name}")),
    };
    ConditionUpdate::new(BACKEND_AVAILABLE, available, reason, message)
}

/// Whether pods reach the DNS by which names are resolved.
fn dns(settings: &Settings, around: &Around<'_>) -> ConditionUpdate {
    let unanswered = (!around.silent_servers.is_empty()).then(|| silent(settings, around.silent_servers));
    let by_cilium = settings.backend == Backend::Cilium;
    match (dns_fault(&settings.spec.dns, around.dns, &around.networks.nodes, by_cilium), unanswered) {
        (None, None) => match dns_is_wide(&settings.spec.dns, around.dns) {
            None => ConditionUpdate::new(
                DNS_REACHABLE,
                true,
                "Reachable",
                "the DNS Service has endpoints, which dns.podSelector selects",
            ),
            Some(wide) => ConditionUpdate::new(DNS_REACHABLE, true, DNS_SELECTOR_WIDE, wide),
        },
        (None | Some((_, false, _)), Some(unanswered)) => unanswered,
        (Some((reason, true, message)), unanswered) => {
            let all: Vec<String> = [message].into_iter().chain(unanswered.map(|said| said.message)).collect();
            ConditionUpdate::new(DNS_REACHABLE, false, reason, all.join("; "))
        }
        (Some((reason, false, message)), None) => {
            ConditionUpdate { type_: DNS_REACHABLE, status: None, reason: reason.into(), message }
        }
    }
}

/// That the operator asks DNS servers in vain.
fn silent(settings: &Settings, servers: &[(SocketAddr, String)]) -> ConditionUpdate {
    let all: Vec<String> = servers.iter().map(|(server, why)| format!("{server} ({why})")).collect();
    let whose = if settings.spec.dns.servers.is_empty() {
        "they are the endpoints of the DNS Service: let the operator's pod reach them"
    } else {
        "correct dns.servers, or let the operator's pod reach them"
    };
    let message = format!(
        "the operator has no answer from {}: a name for which no other server has an answer is not opened, and closes if it is \
         open (dns.resolution.stale); {whose}",
        all.join(", ")
    );
    ConditionUpdate::new(DNS_REACHABLE, false, "DNSServersSilent", message)
}

/// Whether there are kinds of network policies that nobody looks at.
fn policies(around: &Around<'_>) -> ConditionUpdate {
    if around.unwatched.is_empty() {
        return ConditionUpdate::new(
            POLICY_KINDS_WATCHED,
            true,
            "Watched",
            "no other kind of network policy is installed",
        );
    }
    let named = first_of(around.unwatched, KINDS, ", ");
    let message = format!(
        "the operator does not watch {named}: namespaced kinds are rejected in research namespaces, but a policy of a \
         cluster-scoped kind can open them unseen; let only cluster administrators write those"
    );
    ConditionUpdate::new(POLICY_KINDS_WATCHED, false, "Unwatched", message)
}

#[cfg(test)]
mod tests;
