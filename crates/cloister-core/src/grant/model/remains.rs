//! What is known of a grant that ends, whether its spec can be read or not.
//!
//! What ends, ends by what was written down before it was opened. A spec that this version cannot read opens nothing, and
//! keeps nothing open.

use super::credential_mount_key::{CredentialMountKey, mount_name, mount_of_secret};
use crate::grant::Grant;
use cloister_api::{GrantPhase, GrantStatus, OnExpiry, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What is known of a grant that ends.
pub struct Remains<'a> {
    /// Its metadata.
    pub metadata: &'a ObjectMeta,
    /// Its status.
    pub status: Option<&'a GrantStatus>,
    /// The name of the mount that it has or had.
    pub mount: Option<String>,
    /// What becomes of the pods that hold its credential.
    pub on_expiry: OnExpiry,
}

impl<'a> Remains<'a> {
    /// Of a grant that can be read.
    pub fn of(grant: &'a Grant) -> Self {
        let on_expiry = match grant {
            Grant::Storage(grant) => grant.spec.on_expiry,
            _ => OnExpiry::default(),
        };
        Remains {
            metadata: grant.metadata(),
            status: grant.status(),
            mount: mount_named_by(Some(grant), grant.status()),
            on_expiry,
        }
    }

    /// Of one that cannot. Nobody knows whether its pods were to go on, so they are not.
    pub fn unread(metadata: &'a ObjectMeta, status: Option<&'a GrantStatus>) -> Self {
        Remains { metadata, status, mount: mount_named_by(None, status), on_expiry: OnExpiry::Terminate }
    }

    /// Where it is in its life.
    pub fn phase(&self) -> GrantPhase {
        self.status.map(|status| status.phase).unwrap_or_default()
    }

    /// Whether it is being deleted.
    pub fn is_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Whether the operator holds it.
    pub fn has_finalizer(&self) -> bool {
        self.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == labels::GRANT_FINALIZER)
    }

    /// Whether something may stand that it opened.
    pub fn may_hold(&self) -> bool {
        self.status.is_some_and(may_hold)
    }
}

/// The name of the mount that a grant has or may have: by its spec, or by what was written down when it was approved.
pub fn mount_named_by(grant: Option<&Grant>, status: Option<&GrantStatus>) -> Option<String> {
    let by_spec = grant.and_then(CredentialMountKey::of).map(|key| mount_name(&key));
    by_spec.or_else(|| {
        let secret = status.filter(|_| grant.is_none())?.secret_name.as_deref()?;
        mount_of_secret(secret).map(str::to_owned)
    })
}

/// Whether a grant may have opened something that is not yet confirmed gone.
pub fn may_hold(status: &GrantStatus) -> bool {
    matches!(status.phase, GrantPhase::Approved | GrantPhase::Active | GrantPhase::Revoking)
}
