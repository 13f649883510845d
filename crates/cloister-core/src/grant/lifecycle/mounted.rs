//! The credential that stands behind the mount of a grant.

use super::end;
use crate::grant::{
    DeclaredGrant, Grant, Input,
    kinds::storage_role::credential,
    model::credential_mount_key::{CredentialMountKey, mount_key, mount_name},
};
use cloister_api::{GrantPhase, SecretReference};

/// The credential that stands behind the mount of a grant, and its version: none where the grant ends, or copies it anew.
pub fn mounted(input: &Input<'_>) -> Option<(SecretReference, Box<str>)> {
    let DeclaredGrant::Read(grant @ Grant::Storage(asked)) = input.declared else { return None };
    let is_open = grant.phase() == GrantPhase::Active && end::reason_to_end(grant, input).is_ok();
    let source = credential(asked, input).ok()?.filter(|_| is_open)?;
    let mount = input.children.get(&mount_key(&mount_name(&CredentialMountKey::of(grant)?)))?;
    let stands = !mount.terminating && mount.version.as_ref() == Some(&source.version);
    stands.then(|| (source.from.clone(), source.version))
}
