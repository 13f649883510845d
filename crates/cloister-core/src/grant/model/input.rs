//! Everything that the decision about a grant depends on.

use super::lookups::Catalogue;
use crate::{
    cluster::settings::Settings,
    dns::Names,
    egress::{AllowRule, Surroundings},
    grant::Grant,
    model::{
        child::{Children, GrantRef},
        hold::Held,
    },
};
use cloister_api::{AccessReview, EgressRule, GrantStatus, Member, ServiceAccountTemplate, ServiceReference};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;

/// What a grant says, as far as it can be read.
#[derive(Clone, Copy, Debug)]
pub enum DeclaredGrant<'a> {
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

/// Everything that the decision about one grant depends on.
pub struct Input<'a> {
    /// The namespace of the grant.
    pub namespace: &'a str,
    /// The kind and the name of the grant.
    pub grant: GrantRef,
    /// What is asked for.
    pub declared: DeclaredGrant<'a>,
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
    pub other_mounts: &'a [OtherMount<'a>],
    /// The pods that hold the credential's copy.
    pub holders: &'a [Holder],
    /// The time.
    pub now: Timestamp,
}

impl<'a> Input<'a> {
    pub(crate) fn surroundings(&self) -> Surroundings<'a> {
        // What a grant opens is held by addresses, so that it can be taken away again by one deletion.
        Surroundings { never: &self.settings.never, services: self.catalogue.services, wildcards: false }
    }

    pub(crate) fn names(&self) -> Names<'a> {
        self.settings.names_at(self.catalogue.hosts, self.now)
    }
}

/// Another grant's mount for the same account.
#[derive(Clone, Copy, Debug)]
pub struct OtherMount<'a> {
    /// The grant's name.
    pub name: &'a str,
    /// The name of its mount.
    pub mount: &'a str,
    /// The folder in the account's pods.
    pub mount_path: &'a str,
    /// Whether the grant is open: it is approved and has started, so it needs the mount.
    pub is_open: bool,
    /// From when on new pods do not get its credential.
    pub last_call: Option<Timestamp>,
}

/// What else is open in the namespace of a grant.
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    /// What allowlists open there.
    pub agreed: &'a dyn Fn() -> Vec<AllowRule>,
    /// The Services that those allowlists name which the namespace may use.
    pub services: &'a dyn Fn() -> BTreeSet<ServiceReference>,
    /// The other grants there that have not ended.
    pub grants: &'a dyn Fn() -> Vec<&'a Grant>,
}

impl Default for Beside<'_> {
    fn default() -> Self {
        Beside { agreed: &Vec::new, services: &BTreeSet::new, grants: &Vec::new }
    }
}
