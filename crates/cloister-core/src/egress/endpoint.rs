//! Why the endpoint of a storage resource, or the rule of a grant, stays closed, in words for whoever wrote it: a grant opens
//! addresses alone.

use super::{Opened, Surroundings, breadth::narrowed, open_endpoint_in_part, too_broad::TooBroad};
use crate::address::{DomainName, Refusal, listed};
use cloister_api::{EgressConfig, StorageEndpoint};

/// Why an endpoint stays closed.
pub fn endpoint_refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::WildcardNotEnforceable { names, .. } => not_by_grants(names),
        refusal => refusal.to_string(),
    }
}

/// Why the rule of an EgressGrant stays closed.
pub fn grant_refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::WildcardNotEnforceable { names, of_storage: true } => not_by_grants(names),
        Refusal::WildcardNotEnforceable { names, of_storage: false } => format!(
            "{}, or ask a catalogue administrator for an EgressAllowlist with this name, which covers egress.rules of the \
             ResearchNamespace that name hosts below it",
            not_by_grants(names)
        ),
        refusal => refusal.to_string(),
    }
}

fn not_by_grants(names: &[DomainName]) -> String {
    format!(
        "{} cannot be opened by addresses, because nobody can list the names that it stands for, and a grant opens only \
         addresses, whatever egress.backend of CloisterConfig is; name the hosts that are needed",
        listed(names)
    )
}

/// Why a storage resource's endpoint opens more than the catalogue may, if it does, and what a catalogue administrator can do
/// about it: it is judged as an allowlist's rule is, but no EgressGrant opens it.
pub fn endpoint_too_broad(
    endpoint: &StorageEndpoint,
    s: &Surroundings,
    config: &EgressConfig,
) -> Option<(String, String)> {
    let Opened { opening, closed } = open_endpoint_in_part(endpoint, None, s);
    let is_wide = |why: &&Refusal| matches!(why, Refusal::NetworksTooWide { .. } | Refusal::NetworksTooMany { .. });
    if let Some(wide) = closed.iter().find(is_wide) {
        return Some((wide.to_string(), format!("name narrower networks, or {WITHOUT_ENDPOINT}")));
    }
    let broad = TooBroad::folded(narrowed(vec![opening?], config).pop()?.too_broad).into_iter().next()?;
    Some((broad.to_string(), format!("{}, or {WITHOUT_ENDPOINT}", broad.help())))
}

/// What is left where an endpoint cannot be narrower.
const WITHOUT_ENDPOINT: &str =
    "remove endpoint from the StorageResource, and then the network path needs an EgressGrant of its own";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::NeverOpened;
    use serde_json::json;

    /// No EgressGrant opens the endpoint of a StorageResource.
    #[test]
    fn of_an_endpoint_that_is_too_broad_it_is_said_what_helps() {
        let never = NeverOpened::new(&[]);
        let s = Surroundings { never: &never, services: &|_| None, wildcards: false };
        let endpoint = json!({"domainNames": ["acmeweights.blob.core.windows.net"], "ports": [{"port": 443}]});
        let endpoint = serde_json::from_value(endpoint).unwrap();
        let (why, help) = endpoint_too_broad(&endpoint, &s, &EgressConfig::default()).unwrap();
        assert_eq!(
            why,
            "acmeweights.blob.core.windows.net is at or below core.windows.net, where anybody can have storage"
        );
        assert_eq!(
            help,
            "declare it as privateEndpoint with private expectedNetworks, or remove endpoint from the StorageResource, and \
             then the network path needs an EgressGrant of its own"
        );
    }
}
