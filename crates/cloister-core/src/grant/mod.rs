//! Grants: from a request to an opening that ends.
//!
//! A grant's end is written down before anything is opened, and never computed again. What was opened is taken away in
//! an order that leaves no gap: no new pod gets the mount, the binding goes, the copy of the credential is emptied and
//! deleted, and the pods that hold it are deleted. Only when all of that is confirmed is the grant called ended.

pub(crate) mod eligibility;
mod opening;
mod phases;
mod status;
mod target;

pub use opening::{Share, mount_name, secret_name};
pub use phases::{orphaned_mount, plan};
pub use status::failed;
pub use target::{Known, policy_strength, too_weak};

use crate::{child::Children, egress::ServiceFacts, settings::Settings};
use cloister_api::{
    AccessPolicy, GrantPhase, GrantStatus, OnExpiry, SecretReference, ServiceReference, StorageAccessGrant,
    StorageResource,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What a grant says, as far as it can be read.
#[derive(Clone, Copy, Debug)]
pub enum Declared<'a> {
    /// It can be read.
    Read(&'a StorageAccessGrant),
    /// It is there, but this version of the operator cannot read it.
    Undecodable {
        /// Its metadata.
        metadata: &'a ObjectMeta,
        /// Its status, if that much can be read.
        status: Option<&'a GrantStatus>,
        /// What is wrong with it.
        error: &'a str,
    },
}

/// How the namespace of a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// It is a research namespace, and enforced.
    Enforced,
    /// It is a research namespace that is not enforced yet.
    NotEnforced,
    /// It is being closed or deleted, or is no research namespace.
    Closed,
}

/// Another grant of the same storage, role and account in the namespace.
#[derive(Clone, Copy, Debug)]
pub struct Sharer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it mounts the credential.
    pub mount_path: &'a str,
    /// Whether it counts on the mount now: it is approved, and its time has come.
    pub counts_on_it: bool,
}

/// A pod that holds the credential's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// Everything that the decision about one grant depends on.
pub struct Input<'a> {
    /// The namespace of the grant.
    pub namespace: &'a str,
    /// The name of the grant.
    pub name: &'a str,
    /// What is asked for.
    pub declared: Declared<'a>,
    /// Finds a StorageResource.
    pub storages: &'a dyn Fn(&str) -> Known<'a, StorageResource>,
    /// Finds an AccessPolicy.
    pub policies: &'a dyn Fn(&str) -> Known<'a, AccessPolicy>,
    /// Finds a Service.
    pub services: &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    /// Finds the version of a credential's Secret.
    pub credentials: &'a dyn Fn(&SecretReference) -> Option<Box<str>>,
    /// The settings of the cluster.
    pub settings: &'a Settings,
    /// The namespace.
    pub home: Home,
    /// What is in the namespace.
    pub children: &'a Children,
    /// The other grants that share the mount and are approved, whether their time has come or not.
    pub sharers: &'a [Sharer<'a>],
    /// The pods that hold the credential's copy.
    pub holders: &'a [Holder],
    /// The time.
    pub now: Timestamp,
}

/// Whether a grant counts on its mount: it is approved, its time has come, and it has not ended.
pub fn is_open(grant: &StorageAccessGrant, now: Timestamp) -> bool {
    is_approved(grant, now) && has_begun(grant, now)
}

/// Whether the time has come at which a grant starts, if it is approved.
pub fn has_begun(grant: &StorageAccessGrant, now: Timestamp) -> bool {
    grant.spec.start_time.as_ref().is_none_or(|start| start.0 <= now)
}

/// Whether a grant is approved and has not ended.
pub fn is_approved(grant: &StorageAccessGrant, now: Timestamp) -> bool {
    let Some(status) = &grant.status else { return false };
    matches!(status.phase, GrantPhase::Approved | GrantPhase::Active)
        && grant.metadata.deletion_timestamp.is_none()
        && status.expires_at.as_ref().is_some_and(|end| end.0 > now)
}

/// Whether a grant may have opened something that is not yet confirmed gone.
pub fn may_hold(grant: &StorageAccessGrant) -> bool {
    grant
        .status
        .as_ref()
        .is_some_and(|status| matches!(status.phase, GrantPhase::Approved | GrantPhase::Active | GrantPhase::Revoking))
}

/// Whether a grant speaks for its mount: it may have opened it, and has not yet destroyed it or left it to another.
pub fn answers_for_share(grant: &StorageAccessGrant) -> bool {
    grant.status.as_ref().is_some_and(|status| match status.phase {
        GrantPhase::Approved | GrantPhase::Active => true,
        GrantPhase::Revoking => status.secret_name.is_some(),
        _ => false,
    })
}

/// What becomes of the pods of a grant that ends.
fn deletes_pods(grant: &StorageAccessGrant) -> bool {
    match grant.spec.on_expiry {
        OnExpiry::Terminate => true,
        OnExpiry::Empty => false,
    }
}
