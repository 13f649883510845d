//! Everything that the decision about a grant depends on.

use super::{Beside, CredentialFacts, Debt, Grant, Known, Neighbour, Other};
use crate::{
    child::{Children, GrantRef},
    cluster_role::RoleFacts,
    egress::{ServiceFacts, Surroundings},
    hold::Held,
    names::{self, Host, Names},
    settings::Settings,
};
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, EgressRule, GrantStatus, Identity, Member, SecretReference,
    ServiceAccountTemplate, ServiceReference, StorageResource,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What a grant says, as far as it can be read.
#[derive(Clone, Copy, Debug)]
pub enum Declared<'a> {
    /// It can be read.
    Read(&'a Grant),
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
    /// It is being closed, or is no research namespace.
    Closed,
    /// Its Namespace is being deleted: nothing can be made in it any more.
    Ending,
}

/// A pod that holds the credential's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The seconds of grace that it is being deleted with, if it is: not the operator's, where somebody else deleted it.
    pub grace: Option<i64>,
    /// Whether the kubelet takes the copy out of it when it is emptied: it holds it as a whole volume that is optional, and
    /// in no other way.
    pub emptied: bool,
    /// When it was made.
    pub created: Option<Timestamp>,
}

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
    pub storages: &'a dyn Fn(&str) -> Known<'a, StorageResource>,
    /// Finds an AccessRole.
    pub roles: &'a dyn Fn(&str) -> Known<'a, AccessRole>,
    /// Finds an AccessPolicy.
    pub policies: &'a dyn Fn(&str) -> Known<'a, AccessPolicy>,
    /// Finds the name that was meant by one that is not listed.
    pub meant: &'a dyn Fn(Listed, &str) -> Option<String>,
    /// Finds a ClusterRole.
    pub cluster_roles: &'a dyn Fn(&str) -> Option<&'a RoleFacts>,
    /// Finds a Service.
    pub services: &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    /// Finds what is known of a name.
    pub hosts: &'a dyn Fn(&Host) -> Option<names::Known>,
    /// Finds what is known of a credential's Secret.
    pub credentials: &'a dyn Fn(&SecretReference) -> Option<CredentialFacts>,
    /// Finds the other grants of a person that have not ended.
    pub others: &'a dyn Fn(&Identity) -> Vec<Other<'a>>,
    /// Finds another grant by which this person broke the glass, and which is not yet reviewed.
    pub debts: &'a dyn Fn(&Identity) -> Option<Debt>,
}

/// Everything that the decision about one grant depends on.
pub struct Input<'a> {
    /// The namespace of the grant.
    pub namespace: &'a str,
    /// The kind and the name of the grant.
    pub grant: GrantRef,
    /// What is asked for.
    pub declared: Declared<'a>,
    /// What grants are for, and who decides.
    pub catalogue: Catalogue<'a>,
    /// The settings of the cluster.
    pub settings: &'a Settings,
    /// Why nothing new is opened now, if that is so.
    pub held: Option<Held>,
    /// Whether the audit record holds all that was said of the grant so far.
    pub recorded: bool,
    /// The namespace.
    pub home: Home,
    /// The members of the research namespace.
    pub members: &'a [Member],
    /// The ServiceAccounts that it declares.
    pub accounts: &'a [ServiceAccountTemplate],
    /// The egress rules that it declares.
    pub rules: &'a [EgressRule],
    /// Who has an AccessRole in it, by another grant that is approved and not over.
    pub role_holders: &'a [&'a cloister_api::Subject],
    /// What else is open in it.
    pub beside: Beside<'a>,
    /// The reviews that name this grant, in the order in which they were made.
    pub reviews: &'a [&'a AccessReview],
    /// What is in the namespace.
    pub children: &'a Children,
    /// Whether another grant that has not ended speaks for the mount of this one.
    pub mount_is_claimed: bool,
    /// The mounts of other grants for the same account that are approved, whether their time has come or not.
    pub neighbours: &'a [Neighbour<'a>],
    /// The pods that hold the credential's copy.
    pub holders: &'a [Holder],
    /// The time.
    pub now: Timestamp,
}

impl<'a> Input<'a> {
    pub(super) fn surroundings(&self) -> Surroundings<'a> {
        // What a grant opens is held by addresses, so that it can be taken away again by one deletion.
        Surroundings { never: &self.settings.never, services: self.catalogue.services, wildcards: false }
    }

    pub(super) fn names(&self) -> Names<'a> {
        self.settings.names_at(self.catalogue.hosts, self.now)
    }
}
