//! The mount that overlapping grants of one role for one ServiceAccount share, and the Secret behind it.

use crate::{
    grant::Grant,
    model::child::{Child, ChildKey, ChildKind, build::object_meta},
};
use cloister_api::{GrantMount, GrantMountSpec, Mount, StorageAccessGrant, labels};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;

/// Identifies the mount that overlapping grants share: one role of one StorageResource for one ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialMountKey {
    /// The StorageResource.
    pub storage: String,
    /// Its role.
    pub role: String,
    /// The ServiceAccount.
    pub account: String,
}

impl CredentialMountKey {
    /// The key of a grant, if it has a mount.
    pub fn of(grant: &Grant) -> Option<Self> {
        let Grant::Storage(grant) = grant else { return None };
        CredentialMountKey::of_storage(grant)
    }

    /// The key of a StorageAccessGrant, if it has a mount.
    pub fn of_storage(grant: &StorageAccessGrant) -> Option<Self> {
        grant.spec.mount.as_ref().map(|mount| CredentialMountKey {
            storage: grant.spec.storage.clone(),
            role: grant.spec.role.clone(),
            account: mount.service_account_name.clone(),
        })
    }
}

/// The name of the GrantMount. None of the parts contains a dot, so no two keys have the same name.
pub fn mount_name(key: &CredentialMountKey) -> String {
    format!("{}.{}.{}", key.storage, key.role, key.account)
}

/// The name of the Secret: it ends in the account, so that an admission policy can tell who may reference it.
pub fn secret_name(key: &CredentialMountKey) -> String {
    format!("{}{}", labels::GRANT_SECRET_PREFIX, mount_name(key))
}

/// The key of the mount of this name.
pub fn mount_key(mount: &str) -> ChildKey {
    ChildKey::new(ChildKind::GrantMount, mount)
}

/// The name of the Secret behind the mount of this name.
pub fn secret_of(mount: &str) -> String {
    format!("{}{mount}", labels::GRANT_SECRET_PREFIX)
}

/// The metadata of the copy behind the mount of this name, which the mount with this uid owns. A copy that is made when its
/// mount is gone, as by an operator that was stopped and goes on, would be remembered by nothing: the garbage collector
/// takes it.
pub fn copy_meta(namespace: &str, mount: &str, uid: &str) -> ObjectMeta {
    let owner = OwnerReference {
        api_version: format!("{}/{}", cloister_api::GROUP, cloister_api::VERSION),
        kind: ChildKind::GrantMount.as_str().to_owned(),
        name: mount.to_owned(),
        uid: uid.to_owned(),
        controller: None,
        block_owner_deletion: None,
    };
    ObjectMeta { owner_references: Some(vec![owner]), ..object_meta(namespace, &secret_of(mount)) }
}

/// The name of the mount that a Secret stands behind.
pub fn mount_of_secret(secret: &str) -> Option<&str> {
    secret.strip_prefix(labels::GRANT_SECRET_PREFIX)
}

/// Whether the mount of a credential has one that stands behind it.
pub enum Behind<'a> {
    /// The credential of this version.
    Version(&'a str),
    /// Nothing, since this time: it is put into no pod.
    Nothing(Timestamp),
}

/// The GrantMount of a key.
pub fn grant_mount(namespace: &str, key: &CredentialMountKey, mount: &Mount, behind: Behind<'_>) -> Child {
    let name = mount_name(key);
    let mut metadata = object_meta(namespace, &name);
    let (version, since) = match behind {
        Behind::Version(version) => (version, None),
        Behind::Nothing(since) => ("", Some(since)),
    };
    let annotations = metadata.annotations.insert(BTreeMap::new());
    annotations.insert(labels::CREDENTIAL_VERSION.to_owned(), version.to_owned());
    annotations.extend(since.map(|since| (labels::UNMOUNTED_AT.to_owned(), since.to_string())));
    Child::GrantMount(Box::new(GrantMount {
        metadata,
        spec: GrantMountSpec {
            service_account_name: key.account.clone(),
            secret_name: secret_name(key),
            volume_name: volume_name(key),
            mount_path: mount.mount_path.clone(),
        },
    }))
}

/// A volume's name has at most 63 characters, so it is a digest.
fn volume_name(key: &CredentialMountKey) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(mount_name(key).as_bytes());
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("cloister-{hex}")
}
