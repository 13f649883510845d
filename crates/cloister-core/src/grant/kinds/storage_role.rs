//! The StorageResource and the role that a StorageAccessGrant names, and the credential behind its mount.

use super::{obstacle::Missing, target_error::TargetError};
use crate::{
    grant::{CREDENTIAL_NAMESPACE_NOT_ALLOWED, Input, Listed, Lookup, NOT_OFFERED, credential::mount::Source},
    model::{
        suggest::closest,
        writers::{CATALOGUE_WRITERS, CONFIG_WRITERS},
    },
};
use cloister_api::{CredentialSource, StorageAccessGrant, StorageResource, StorageRole};

/// The storage, and the role of it.
pub fn found<'a>(
    grant: &StorageAccessGrant,
    input: &Input<'a>,
) -> Result<(&'a StorageResource, &'a StorageRole), TargetError> {
    let name = &grant.spec.storage;
    let storage = match (input.catalogue.storages)(name) {
        Lookup::Absent => {
            let meant = (input.catalogue.meant)(Listed::Storage, name);
            let list = "storageresources";
            return Err(TargetError::NotFound { kind: "StorageResource", name: name.clone(), meant, list });
        }
        Lookup::Undecodable => return Err(TargetError::Undecodable { kind: "StorageResource", name: name.clone() }),
        Lookup::Read(storage) => storage,
    };
    let Some(role) = storage.spec.roles.iter().find(|role| role.name == grant.spec.role) else {
        let offered: Vec<&str> = storage.spec.roles.iter().map(|role| role.name.as_str()).collect();
        // Whoever names the ClusterRole means the role that gives it.
        let giving = || {
            let gives = |role: &&StorageRole| role.cluster_role.as_deref() == Some(&*grant.spec.role);
            storage.spec.roles.iter().find(gives).map(|role| role.name.as_str())
        };
        return Err(TargetError::RoleNotFound {
            storage: name.clone(),
            role: grant.spec.role.clone(),
            meant: closest(&grant.spec.role, offered.iter().copied()).or_else(giving).map(str::to_owned),
            offered: offered.join(", "),
        });
    };
    Ok((storage, role))
}

/// The credential behind the mount, where there is one to copy.
pub fn credential<'a>(grant: &StorageAccessGrant, input: &Input<'a>) -> Result<Option<Source<'a>>, Missing> {
    let missing = |message: String| Err(Missing { reason: "CredentialMissing", message });
    let Ok((_, role)) = found(grant, input) else { return Ok(None) };
    let (Some(_), Some(kept)) = (&grant.spec.mount, &role.credential) else { return Ok(None) };
    let Some(source) = kept.source() else {
        return missing(
            "the role's credential is kept in a way that this version of the operator does not know".into(),
        );
    };
    let CredentialSource::Secret(from) = source;
    let (namespace, name) = (&from.namespace, &from.name);
    if let Some(why) = input.settings.keeps_no_credentials(namespace) {
        let reason = CREDENTIAL_NAMESPACE_NOT_ALLOWED;
        let message = format!(
            "Secret {namespace}/{name} is outside the credentialNamespaces of CloisterConfig, {why}; ask {CATALOGUE_WRITERS} to keep the \
             credential in one of them and to correct the StorageResource, or {CONFIG_WRITERS} to list {namespace}"
        );
        return Err(Missing { reason, message });
    }
    let storage = &grant.spec.storage;
    let Some(facts) = (input.catalogue.credentials)(from) else {
        return missing(format!(
            "there is no Secret {name} in {namespace}; ask the owner of the Secrets in that Namespace to put the credential \
             there"
        ));
    };
    if let Some(message) = facts.not_offered(from, storage) {
        return Err(Missing { reason: NOT_OFFERED, message });
    }
    match facts.content {
        Some(version) => Ok(Some(Source { from, version })),
        None => missing(format!(
            "Secret {name} in {namespace} is empty; ask the owner of the Secrets in that Namespace to put the credential there"
        )),
    }
}
