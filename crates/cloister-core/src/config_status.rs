//! What is said of CloisterConfig: whether the settings are in force, and what of the cluster around them can be seen.

use crate::{
    catalogue::conditions_of,
    cluster_facts::{DnsFacts, dns_fault},
    cluster_networks::{self, ClusterNetworks},
    condition::{Verdict, conditions, ready, stalled},
    egress::Backend,
    namespace::BACKEND_MISSING,
    settings::Settings,
};
use cloister_api::{
    CloisterConfig, CloisterConfigStatus, EgressBackend,
    condition::{AUDIT_AVAILABLE, BACKEND_AVAILABLE, DNS_REACHABLE, POLICY_KINDS_WATCHED, reason},
};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// How many kinds are named.
const KINDS: usize = 16;

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
    let mut verdicts = if let Some(refused) = settings.refused.as_ref().filter(|_| settings.usable) {
        stalled(
            reason::SETTING_REFUSED,
            format!("{refused}; nothing is opened to access networks until it is corrected"),
        )
    } else if settings.usable {
        match settings.backend {
            Backend::Missing(_) => stalled(BACKEND_MISSING, backend(settings).message),
            _ => match &settings.left_out {
                Some(left_out) => stalled(reason::CONFIG_UNDECODABLE, left_out.clone()),
                None => ready(reason::RECONCILED, "in force"),
            },
        }
    } else {
        stalled(
            reason::CONFIG_UNDECODABLE,
            format!(
                "{}; nothing is opened until it is corrected",
                settings.unusable.as_deref().unwrap_or("they hold something that cannot be used")
            ),
        )
    };
    verdicts.push(backend(settings));
    verdicts.push(cluster_networks::known(around.networks, settings, around.unlisted, around.dns));
    verdicts.push(dns(settings, around));
    verdicts.push(policies(around));
    verdicts.push(match around.record {
        None => Verdict::new(AUDIT_AVAILABLE, true, "Recorded", "what is decided about grants is recorded"),
        Some(why) => Verdict::new(
            AUDIT_AVAILABLE,
            false,
            reason::AUDIT_UNAVAILABLE,
            format!("{why}. No grant is approved or opened until it can be; what ends, ends, and is recorded then"),
        ),
    });
    let generation = config.metadata.generation;
    let status = CloisterConfigStatus {
        observed_generation: generation,
        egress_backend: Some(settings.backend.name()),
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), verdicts, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

/// What opens egress, and why that.
fn backend(settings: &Settings) -> Verdict {
    let (choice, name) = (settings.spec.egress.backend, settings.backend.name().as_str());
    let (available, reason, message) = match (settings.backend, choice) {
        (Backend::Missing(missing), _) => {
            let message = format!(
                "egress.backend is {}, and the definition of its policies is not installed: nothing opens by name; install it, or \
                 choose another",
                missing.as_str()
            );
            (false, BACKEND_MISSING, message)
        }
        (Backend::NetworkPolicy, EgressBackend::Auto) if settings.ambiguous => {
            let message = "both CiliumNetworkPolicies and ClusterNetworkPolicies are installed, and which is enforced cannot be \
                           seen: egress opens by NetworkPolicy alone until egress.backend says which";
            (true, "Ambiguous", message.to_owned())
        }
        (_, EgressBackend::Auto) => (true, "Detected", format!("egress opens by {name}, which is what was found")),
        _ => (true, "Chosen", format!("egress opens by {name}")),
    };
    Verdict::new(BACKEND_AVAILABLE, available, reason, message)
}

/// Whether pods reach the DNS by which names are resolved.
fn dns(settings: &Settings, around: &Around<'_>) -> Verdict {
    match dns_fault(&settings.spec.dns, around.dns, &around.networks.nodes) {
        None => Verdict::new(
            DNS_REACHABLE,
            true,
            "Reachable",
            "the DNS Service has endpoints, which dns.podSelector selects",
        ),
        Some((reason, true, message)) => Verdict::new(DNS_REACHABLE, false, reason, message),
        Some((reason, false, message)) => {
            Verdict { type_: DNS_REACHABLE, status: None, reason: reason.into(), message }
        }
    }
}

/// Whether there are kinds of network policies that nobody looks at.
fn policies(around: &Around<'_>) -> Verdict {
    let kinds: Vec<&str> = around.unwatched.iter().map(String::as_str).collect();
    if kinds.is_empty() {
        return Verdict::new(POLICY_KINDS_WATCHED, true, "Watched", "no other kind of network policy is installed");
    }
    let more = kinds.len().saturating_sub(KINDS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named = kinds.iter().take(KINDS).copied().collect::<Vec<_>>().join(", ");
    let message = format!(
        "the operator does not watch {named}{more}: what is namespaced is refused in research namespaces, and a policy of a kind that \
         is not can open them unseen; let nobody write those but who runs the cluster"
    );
    Verdict::new(POLICY_KINDS_WATCHED, false, "Unwatched", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(spec: serde_json::Value, around: &Around<'_>) -> Vec<(String, String, String)> {
        let config = CloisterConfig::new("cloister", serde_json::from_value(spec).unwrap());
        let settings = Settings::new(Some(&config.spec)).around(around.networks);
        let status = super::config(&config, &settings, around, Timestamp::UNIX_EPOCH).unwrap();
        status.conditions.into_iter().map(|said| (said.type_, said.status, said.reason)).collect()
    }

    fn has(said: &[(String, String, String)], type_: &str, status: &str, reason: &str) -> bool {
        said.contains(&(type_.to_owned(), status.to_owned(), reason.to_owned()))
    }

    #[test]
    fn a_server_that_is_no_address_is_told_and_closes_nothing() {
        let (networks, dns, unwatched) = (ClusterNetworks::default(), DnsFacts::default(), BTreeSet::new());
        let around = Around { record: None, networks: &networks, unlisted: &[], dns: &dns, unwatched: &unwatched };
        for server in ["10.96.0.10:99999", "999.1.1.1:53", "1.2:53", "010.0.0.1:53"] {
            let spec = json!({"dns": {"servers": ["127.0.0.1:53", server]}});
            assert!(has(&said(spec.clone(), &around), "Stalled", "True", "ConfigUndecodable"), "{server}");
            assert!(Settings::new(serde_json::from_value(spec).ok().as_ref()).usable, "{server}");
        }
        let right = json!({"dns": {"servers": ["127.0.0.1:53", "[2001:db8::53]:5353"]}});
        assert!(has(&said(right, &around), "Ready", "True", "Reconciled"));
        let cache = json!({"dns": {"nodeLocalAddresses": ["169.254.20.300"]}});
        assert!(has(&said(cache, &around), "Ready", "False", "ConfigUndecodable"));
    }

    #[test]
    fn access_networks_that_are_everything_are_told_and_none_of_them_is_open() {
        let (networks, dns, unwatched) = (ClusterNetworks::default(), DnsFacts::default(), BTreeSet::new());
        let around = Around { record: None, networks: &networks, unlisted: &[], dns: &dns, unwatched: &unwatched };
        for everything in [json!(["0.0.0.0/0", "::/0"]), json!(["0.0.0.0/1", "128.0.0.0/1", "10.8.0.0/16"])] {
            let spec = json!({"accessNetworks": everything});
            assert!(has(&said(spec.clone(), &around), "Stalled", "True", "SettingRefused"), "{spec}");
            let settings = Settings::new(serde_json::from_value(spec).ok().as_ref());
            assert!(settings.usable && settings.spec.access_networks.is_empty());
        }
    }

    #[test]
    fn what_cannot_be_seen_of_the_cluster_is_told() {
        let mut networks = ClusterNetworks { node_count: 2, ..ClusterNetworks::default() };
        let (dns, mut unwatched) = (DnsFacts::default(), BTreeSet::new());
        let around = |networks: &ClusterNetworks, unlisted: &[&'static str], unwatched: &BTreeSet<String>, spec| {
            said(spec, &Around { record: None, networks, unlisted, dns: &dns, unwatched })
        };
        let known = |said: &[(String, String, String)], status: &str, reason: &str| {
            has(said, "ClusterNetworksKnown", status, reason)
        };
        assert!(known(&around(&networks, &["Node"], &unwatched, json!({})), "False", "NotListed"));
        assert!(known(&around(&networks, &[], &unwatched, json!({})), "False", "PodNetworksUnknown"));
        let written = json!({"clusterNetworks": ["10.244.0.0/16"]});
        assert!(known(&around(&networks, &[], &unwatched, written), "True", "Known"));
        networks.pods.insert("10.244.1.0/24".parse().unwrap(), "a".into());
        let said = around(&networks, &[], &unwatched, json!({}));
        assert!(known(&said, "True", "Known") && has(&said, "DNSReachable", "False", "DNSServiceNotFound"));
        assert!(has(&said, "PolicyKindsWatched", "True", "Watched"));
        unwatched.insert("globalnetworkpolicies.crd.projectcalico.org".to_owned());
        let said = around(&networks, &[], &unwatched, json!({}));
        assert!(has(&said, "PolicyKindsWatched", "False", "Unwatched") && has(&said, "Ready", "True", "Reconciled"));
    }
}
