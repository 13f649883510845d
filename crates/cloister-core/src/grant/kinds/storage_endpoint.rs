//! The endpoint of a StorageResource: how a StorageAccessGrant opens it, and what keeps it closed.

use super::{egress_grant::opened, kind::Opening, obstacle::Missing, storage_role::found};
use crate::{
    address::Refusal,
    dns::NameState,
    egress::{TOO_BROAD, endpoint_refused, endpoint_too_broad, open_endpoint_in_part},
    grant::{
        DeclaredGrant, Grant, Input,
        model::{digest, target::Target},
    },
    model::{child::build::pods_of, writers::CATALOGUE_WRITERS},
    proof::objection,
};
use cloister_api::{GrantPhase, StorageAccessGrant, StorageEndpoint, StorageResource};

/// That the Service of the endpoint of a request is not there: one that was made later is another than was agreed to, and would
/// end what was given meanwhile.
pub fn unmade(asked: &StorageAccessGrant, target: &Target<'_>, input: &Input<'_>) -> Option<Missing> {
    let is_request = matches!(input.declared, DeclaredGrant::Read(grant) if grant.phase() == GrantPhase::Pending);
    if !is_request || !digest::lacks_its_service(target) {
        return None;
    }
    let service = found(asked, input).ok()?.0.spec.endpoint.as_ref()?.service.clone()?;
    Some(closed_by(&asked.spec.storage, &Refusal::ServiceNotFound(service)))
}

/// Opens the storage's endpoint for the pods of the mount, or of the whole namespace.
pub fn add_endpoint(asked: &StorageAccessGrant, grant: &Grant, input: &Input<'_>, opening: &mut Opening) {
    let Ok((StorageResource { spec, .. }, _)) = found(asked, input) else { return };
    let Some(endpoint) = &spec.endpoint else { return };
    let storage = &asked.spec.storage;
    if let Some(fault) = too_broad(storage, endpoint, input) {
        opening.fault = Some(fault);
        return;
    }
    let pods = asked.spec.mount.as_ref().map(|mount| pods_of(&mount.service_account_name));
    let declared = objection::Declaration::endpoint(endpoint, pods.as_ref());
    let parts = open_endpoint_in_part(endpoint, pods.as_ref(), &input.surroundings());
    let closed_part = parts.closed.first().map(|refusal| closed_by(storage, refusal));
    match opened(parts, declared, grant, input) {
        Ok(endpoint) => {
            opening.children.extend(endpoint.children);
            opening.next = endpoint.next;
            opening.note = closed_part.or_else(|| endpoint.note.map(|missing| led_astray(storage, missing)));
            opening.hosts = endpoint.hosts;
            opening.fault = endpoint.fault;
        }
        Err(refusal) => opening.fault = refusal.map(|refusal| closed_by(storage, &refusal)),
    }
}

/// What keeps the endpoint of a storage closed, in part or as a whole, for those who can correct it.
pub fn closed_by(storage: &str, refusal: &Refusal) -> Missing {
    of_endpoint(storage, refusal.reason(), &endpoint_refused(refusal))
}

fn of_endpoint(storage: &str, reason: &'static str, why: &str) -> Missing {
    // Of two who are named, one can act: the one whose mistake it is.
    let names_somebody = ["ask a ", "ask the owner "].iter().any(|ask| why.contains(ask));
    let or = if names_somebody { "or, if the StorageResource is wrong, " } else { "" };
    let message = format!(
        "the endpoint of StorageResource {storage} stays closed: {why}; {or}ask {CATALOGUE_WRITERS} to correct the StorageResource"
    );
    Missing { reason, message }
}

/// Where a name of the endpoint leads elsewhere, or nowhere.
pub fn led_astray(storage: &str, Missing { reason, message }: Missing) -> Missing {
    if reason == NameState::Unknown.reason() {
        // It is being looked up: there is nothing to correct.
        return Missing { reason, message };
    }
    of_endpoint(storage, reason, &message)
}

/// What keeps an endpoint closed that opens more than the catalogue may.
pub fn too_broad(storage: &str, endpoint: &StorageEndpoint, input: &Input<'_>) -> Option<Missing> {
    let (why, help) = endpoint_too_broad(endpoint, &input.surroundings(), &input.settings.spec.egress)?;
    let message = format!(
        "the endpoint of StorageResource {storage} stays closed: {why}; ask {CATALOGUE_WRITERS} to correct the \
         StorageResource: {help}"
    );
    Some(Missing { reason: TOO_BROAD, message })
}
