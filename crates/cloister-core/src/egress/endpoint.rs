//! Why the endpoint of a storage resource, or the rule of a grant, stays closed, in words for whoever wrote it: a grant opens
//! addresses alone.

use super::{Opened, Surroundings, breadth::narrowed, open_endpoint_in_part, too_broad::TooBroad};
use crate::address::Refusal;
use cloister_api::{EgressConfig, StorageEndpoint};

/// Why an endpoint stays closed. It has no rule that could be corrected, and is opened by addresses alone.
pub fn endpoint_refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::WildcardNotEnforceable { names } => format!(
            "{names} cannot be opened by addresses, because nobody can list the names that it stands for, and a grant opens \
             only addresses, whatever egress.backend of CloisterConfig is; name the hosts that are needed"
        ),
        refusal => refusal.to_string().replace("the rule", "the endpoint"),
    }
}

/// Why the rule of an EgressGrant stays closed.
pub fn grant_refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::WildcardNotEnforceable { names } => format!(
            "{names} cannot be opened by addresses, because nobody can list the names that it stands for, and a grant opens \
             only addresses, whatever egress.backend of CloisterConfig is; name the hosts that are needed, or ask a catalogue \
             administrator for one with this name, which covers egress.rules of the ResearchNamespace that name hosts below it"
        ),
        refusal => refusal.to_string(),
    }
}

/// Why a storage resource's endpoint opens more than the catalogue may, if it does: it is judged as an allowlist's rule is.
pub fn endpoint_too_broad(endpoint: &StorageEndpoint, s: &Surroundings, config: &EgressConfig) -> Option<String> {
    let Opened { opening, closed } = open_endpoint_in_part(endpoint, None, s);
    let is_wide = |why: &&Refusal| matches!(why, Refusal::NetworksTooWide { .. } | Refusal::NetworksTooMany { .. });
    let broad = || Some(TooBroad::folded(narrowed(&[&opening?], config).pop()?.too_broad).first()?.message());
    let said = closed.iter().find(is_wide).map(ToString::to_string).or_else(broad)?;
    // What allowlists may open is what an endpoint may.
    Some(said.replace("than allowlists may open", "than allowlists and endpoints of StorageResources may open"))
}
