//! What those who decide about a request should know of it, though nothing is wrong with it.

use crate::{
    egress::{endpoint_overlaps, overlapping_networks},
    grant::{DeclaredGrant, Grant, Input},
    model::text::first_of,
};
use cloister_api::{EgressRule, GrantPhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How many StorageResources or networks are named.
const NAMED: usize = 4;

/// That another grant of the namespace gives the same already, or asked for it earlier.
pub fn asked_already(input: &Input<'_>) -> Option<String> {
    let DeclaredGrant::Read(grant) = input.declared else { return None };
    let others = (input.beside.grants)();
    let alike = || others.iter().copied().filter(|other| asks_alike(other, grant));
    let open = alike().filter(|other| matches!(other.phase(), GrantPhase::Approved | GrantPhase::Active));
    let earlier = alike().filter(|other| other.phase() == GrantPhase::Pending && place(other) < place(grant));
    let named = |other: &Grant| {
        let who = other.terms().requested_by.map(|who| format!(" of {}", who.username)).unwrap_or_default();
        format!("{} {}{who}", other.kind().as_str(), other.name())
    };
    let until = |other: &Grant| other.status()?.expires_at.as_ref().map(|end| end.0);
    let open = open.filter_map(|other| Some((until(other)?, other))).max_by_key(|(end, other)| (*end, place(other)));
    if let Some((end, other)) = open {
        return Some(format!("{} is approved for the same, until {end}", named(other)));
    }
    earlier
        .min_by_key(|other| place(other))
        .map(|other| format!("{} asked for the same earlier, and waits", named(other)))
}

/// Whether two grants of a namespace ask for the same.
fn asks_alike(one: &Grant, other: &Grant) -> bool {
    one.kind() == other.kind()
        && one.of_kind().names_target() == other.of_kind().names_target()
        && one.asks() == other.asks()
}

/// Whether what becomes of one grant bears on what is said of another, which waits in the same namespace: it asks for the same,
/// or mounts for the same ServiceAccount.
pub fn bears_on(one: &Grant, other: &Grant) -> bool {
    let mounts_for = |grant: &Grant, account: &str| grant.of_kind().mounted_account() == Some(account);
    asks_alike(one, other) || one.of_kind().mounted_account().is_some_and(|account| mounts_for(other, account))
}

/// When a request was made, and which it is: of any two, one comes before the other.
fn place(grant: &Grant) -> (Option<&Time>, &str) {
    (grant.metadata().creation_timestamp.as_ref(), grant.name())
}

/// That a rule leads to the endpoint of a StorageResource, which has approvals of its own.
pub fn leads_to_storage(rule: &EgressRule, input: &Input<'_>) -> Option<String> {
    let endpoints = (input.catalogue.endpoints)();
    let mut storages: Vec<&str> =
        endpoints.iter().filter(|(_, endpoint)| endpoint_overlaps(rule, endpoint)).map(|(name, _)| *name).collect();
    storages.sort_unstable();
    (!storages.is_empty()).then(|| {
        format!(
            "the rule has some of the destinations of the endpoint of StorageResource {}: a StorageAccessGrant opens that to \
             those whom the AccessPolicy of its role admits",
            first_of(&storages, NAMED, ", ")
        )
    })
}

/// That a rule leads to the networks from which people reach pods.
pub fn leads_to_people(rule: &EgressRule, input: &Input<'_>) -> Option<String> {
    let networks = overlapping_networks(rule, &input.settings.spec.access_networks);
    (!networks.is_empty()).then(|| {
        format!(
            "the rule leads to {}, from where people reach pods (accessNetworks of CloisterConfig)",
            first_of(&networks, NAMED, ", ")
        )
    })
}
