//! How the engine looks up what a grant depends on.

use crate::{
    cluster::role_facts::RoleFacts,
    dns::{Host, KnownName},
    egress::ServiceFacts,
    grant::{CredentialFacts, Grant, UnreviewedBreakGlass},
};
use cloister_api::{
    AccessPolicy, AccessRole, Identity, SecretReference, ServiceReference, StorageEndpoint, StorageResource,
};

/// What the catalogue lists by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// StorageResources.
    Storage,
    /// AccessRoles.
    Role,
    /// AccessPolicies.
    Policy,
    /// ClusterRoles.
    ClusterRole,
}

/// Finds what grants are for, and who decides.
#[derive(Clone, Copy)]
pub struct Catalogue<'a> {
    /// Finds a StorageResource.
    pub storages: &'a dyn Fn(&str) -> Lookup<'a, StorageResource>,
    /// Finds an AccessRole.
    pub roles: &'a dyn Fn(&str) -> Lookup<'a, AccessRole>,
    /// Finds an AccessPolicy.
    pub policies: &'a dyn Fn(&str) -> Lookup<'a, AccessPolicy>,
    /// The endpoints of all StorageResources, by their names.
    pub endpoints: &'a dyn Fn() -> Vec<(&'a str, &'a StorageEndpoint)>,
    /// Finds the name that was meant by one that is not listed.
    pub meant: &'a dyn Fn(Listed, &str) -> Option<String>,
    /// Finds a ClusterRole.
    pub cluster_roles: &'a dyn Fn(&str) -> Option<&'a RoleFacts>,
    /// Finds a Service.
    pub services: &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    /// Finds what is known of a name.
    pub hosts: &'a dyn Fn(&Host) -> Option<KnownName>,
    /// Finds what is known of a credential's Secret.
    pub credentials: &'a dyn Fn(&SecretReference) -> Option<CredentialFacts>,
    /// Finds the other grants of a person that have not ended.
    pub others: &'a dyn Fn(&Identity) -> Vec<Other<'a>>,
    /// Finds another grant by which this person used break-glass, and which is not yet reviewed.
    pub unreviewed_break_glass: &'a dyn Fn(&Identity) -> Option<UnreviewedBreakGlass>,
}

/// Another grant of the same person that has not ended.
#[derive(Clone, Copy, Debug)]
pub struct Other<'a> {
    /// The grant.
    pub grant: &'a Grant,
    /// Whether it was known before the one that is decided about. Of two, exactly one was: so two that are decided at the
    /// same time do not both take the last place.
    pub is_earlier: bool,
}

/// An object of the catalogue, as it was found.
#[derive(Debug)]
pub enum Lookup<'a, K> {
    /// There is none.
    Absent,
    /// It is there, but this version of the operator cannot read it.
    Undecodable,
    /// It can be read.
    Read(&'a K),
}

impl<K> Clone for Lookup<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Lookup<'_, K> {}
