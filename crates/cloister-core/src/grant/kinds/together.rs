//! What the endpoints of a namespace's storage open together, and with what allowlists open there: each was agreed to by
//! itself.

use super::obstacle::{Effect, Obstacle};
use crate::{
    egress::{AllowRule, TOO_BROAD, open_endpoint_in_part, too_broad_with},
    grant::{DeclaredGrant, Grant, Input, Lookup, may_hold, model::any_grant::place},
};
use cloister_api::{GrantPhase, StorageEndpoint};

/// Why a grant is not given its endpoint for now: with it, what is open in the namespace would be wider than allowlists may
/// open. What is open already stays.
pub fn too_broad(endpoint: &StorageEndpoint, input: &Input<'_>) -> Option<Obstacle> {
    let DeclaredGrant::Read(grant) = input.declared else { return None };
    let surroundings = input.surroundings();
    let opened = |endpoint: &StorageEndpoint| open_endpoint_in_part(endpoint, None, &surroundings).opening;
    let own = opened(endpoint).filter(AllowRule::is_public)?;
    let storages = (input.beside.grants)().into_iter().filter(|other| goes_first(other, grant)).filter_map(|other| {
        let Grant::Storage(other) = other else { return None };
        match (input.catalogue.storages)(&other.spec.storage) {
            Lookup::Read(storage) => storage.spec.endpoint.as_ref(),
            _ => None,
        }
    });
    let others: Vec<AllowRule> = storages.filter_map(opened).chain((input.beside.agreed)()).collect();
    let why = too_broad_with(&own, &others, &input.settings.spec.egress)?;
    let said = |then: &str| {
        format!(
            "the endpoint stays closed: {why}. Revoke a grant in {} whose storage is no longer needed{then}",
            input.namespace
        )
    };
    let (waiting, refused) = (said("; then this endpoint can be opened"), said(""));
    Some(Obstacle { reason: TOO_BROAD, waiting, refused, effect: Effect::Holds })
}

/// Whether a grant has its endpoint before another has. Of two that are approved and not open yet, exactly one does.
fn goes_first(other: &Grant, grant: &Grant) -> bool {
    let holds = other.status().is_some_and(may_hold);
    let both_wait = [other, grant].iter().all(|grant| grant.phase() == GrantPhase::Approved);
    holds && (!both_wait || place(other) < place(grant))
}
