//! Grants: from a request, over the decision of people, to an opening that ends.
//!
//! One engine moves grants of every kind; what a kind adds (`kind::Kind`) is what it is for and how that is opened and
//! taken away. A grant's end is written down before anything is opened, and never computed again. Who has agreed is
//! written down with it, and is asked again of the policy as it is now at every look. What was opened is taken away in an
//! order that leaves no gap, and only when all of it is confirmed gone is the grant called ended.

mod afresh;
mod approval;
mod borne_out;
mod break_glass;
mod changed;
mod credential;
mod decisions;
pub mod digest;
mod egress;
pub(crate) mod eligibility;
mod end;
mod guard;
mod kind;
mod limits;
mod membership;
mod mount;
mod not_counted;
mod open;
mod pending;
mod people;
mod phases;
mod remains;
mod residue;
mod review;
mod role;
mod satisfiable;
mod share;
mod status;
mod storage;
mod summary;
mod target;
mod together;
mod wait;
mod words;

pub use break_glass::{has_broken_glass, owes_review, owes_review_by};
pub use credential::{CredentialFacts, NOT_OFFERED, secret_named, version as content_version};
pub use eligibility::signed;
pub use guard::{Guard, POLICY_NOT_ALLOWED};
use kind::Target;
pub use limits::Other;
pub use mount::{Copy, GRACE, LastEnd, Neighbour, SETTLING, goes_with, last_call, unclaimed};
pub use people::same_person;
pub use phases::plan;
pub use remains::{may_hold, mount_named_by};
pub use review::{is_answered, review};
pub use satisfiable::satisfiable;
pub use share::{Share, copy_meta, mount_key, mount_name, mount_of_secret, secret_name, secret_of};
pub use status::{failed, is_given_up};
pub use storage::mounted;
pub(crate) use storage::pods_of;
pub use target::{Known, policy_strength, too_weak};
pub use together::Beside;

use crate::{
    child::{Children, GrantRef},
    cluster_role::RoleFacts,
    egress::{ServiceFacts, Surroundings},
    hold::Held,
    names::{self, Host, Names},
    namespace::children::object_meta,
    ownership,
    settings::Settings,
    text::written,
};
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, EgressGrant, GrantKind, GrantPhase, GrantStatus, Identity, Member,
    RoleGrant, SecretReference, ServiceAccountTemplate, ServiceReference, StorageAccessGrant, StorageResource, labels,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::core::Duration;

/// What every kind of grant asks for in the same words.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// How long.
    pub requested_duration: Option<Duration>,
    /// When it starts.
    pub start_time: Option<&'a Time>,
    /// What it is needed for, where that is said.
    pub justification: Option<&'a str>,
    /// The ticket it belongs to, where one is named.
    pub ticket_ref: Option<&'a str>,
    /// Whether it opens at once and is reviewed afterwards.
    pub break_glass: bool,
    /// Who asked.
    pub requested_by: Option<&'a Identity>,
}

/// A grant of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// A role of a StorageResource.
    Storage(StorageAccessGrant),
    /// One egress rule.
    Egress(EgressGrant),
    /// An AccessRole.
    Role(RoleGrant),
}

impl Grant {
    /// Its kind.
    pub fn kind(&self) -> GrantKind {
        match self {
            Grant::Storage(_) => GrantKind::StorageAccessGrant,
            Grant::Egress(_) => GrantKind::EgressGrant,
            Grant::Role(_) => GrantKind::RoleGrant,
        }
    }

    /// What its kind adds to the engine.
    fn of_kind(&self) -> &dyn kind::Kind {
        match self {
            Grant::Storage(grant) => grant,
            Grant::Egress(grant) => grant,
            Grant::Role(grant) => grant,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Grant::Storage(grant) => &grant.metadata,
            Grant::Egress(grant) => &grant.metadata,
            Grant::Role(grant) => &grant.metadata,
        }
    }

    /// Its metadata, to be changed.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Grant::Storage(grant) => &mut grant.metadata,
            Grant::Egress(grant) => &mut grant.metadata,
            Grant::Role(grant) => &mut grant.metadata,
        }
    }

    /// What was said of it.
    pub fn status(&self) -> Option<&GrantStatus> {
        match self {
            Grant::Storage(grant) => grant.status.as_ref(),
            Grant::Egress(grant) => grant.status.as_ref(),
            Grant::Role(grant) => grant.status.as_ref(),
        }
    }

    /// What was said of it, to be changed.
    pub fn status_mut(&mut self) -> &mut Option<GrantStatus> {
        match self {
            Grant::Storage(grant) => &mut grant.status,
            Grant::Egress(grant) => &mut grant.status,
            Grant::Role(grant) => &mut grant.status,
        }
    }

    /// What it asks for in the words of all kinds. A text that shows nothing is none.
    pub fn terms(&self) -> Terms<'_> {
        let asked = self.as_written();
        Terms {
            requested_duration: asked.requested_duration,
            start_time: asked.start_time,
            justification: written(asked.justification),
            ticket_ref: asked.ticket_ref.and_then(written),
            break_glass: asked.break_glass,
            requested_by: asked.requested_by,
        }
    }

    /// The same, as it is written.
    fn as_written(&self) -> cloister_api::Terms<'_> {
        match self {
            Grant::Storage(grant) => grant.spec.terms(),
            Grant::Egress(grant) => grant.spec.terms(),
            Grant::Role(grant) => grant.spec.terms(),
        }
    }

    /// Whether two say the same, whatever was said of them.
    pub fn same_spec(&self, other: &Grant) -> bool {
        match (self, other) {
            (Grant::Storage(one), Grant::Storage(other)) => one.spec == other.spec,
            (Grant::Egress(one), Grant::Egress(other)) => one.spec == other.spec,
            (Grant::Role(one), Grant::Role(other)) => one.spec == other.spec,
            _ => false,
        }
    }

    /// What it asks for in its own fields.
    pub fn asks(&self) -> serde_json::Value {
        self.of_kind().asks()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Where it is in its life.
    pub fn phase(&self) -> GrantPhase {
        self.status().map(|status| status.phase).unwrap_or_default()
    }

    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    fn is_deleted(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    fn has_finalizer(&self) -> bool {
        self.metadata().finalizers.iter().flatten().any(|finalizer| finalizer == labels::GRANT_FINALIZER)
    }

    /// The metadata of what belongs to this grant alone, which the grant owns: it does not outlive the grant, whatever
    /// happens to the operator.
    fn owned_meta(&self, namespace: &str) -> ObjectMeta {
        let mut metadata = object_meta(namespace, &ownership::name_of_opened(self.kind(), self.name()));
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(labels::GRANT.to_owned(), self.name().to_owned());
        labels.insert(labels::GRANT_KIND.to_owned(), self.kind().as_str().to_owned());
        metadata.owner_references = self.metadata().uid.clone().map(|uid| {
            vec![OwnerReference {
                api_version: format!("{}/{}", cloister_api::GROUP, cloister_api::VERSION),
                kind: self.kind().as_str().to_owned(),
                name: self.name().to_owned(),
                uid,
                controller: None,
                block_owner_deletion: None,
            }]
        });
        metadata
    }
}

impl From<StorageAccessGrant> for Grant {
    fn from(grant: StorageAccessGrant) -> Self {
        Grant::Storage(grant)
    }
}

impl From<EgressGrant> for Grant {
    fn from(grant: EgressGrant) -> Self {
        Grant::Egress(grant)
    }
}

impl From<RoleGrant> for Grant {
    fn from(grant: RoleGrant) -> Self {
        Grant::Role(grant)
    }
}

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
    pub debts: &'a dyn Fn(&Identity) -> Option<String>,
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
    fn surroundings(&self) -> Surroundings<'a> {
        // What a grant opens is held by addresses, so that it can be taken away again by one deletion.
        Surroundings { never: &self.settings.never, services: self.catalogue.services, wildcards: false }
    }

    fn names(&self) -> Names<'a> {
        self.settings.names_at(self.catalogue.hosts, self.now)
    }
}

/// Whether a grant counts on what it opens: it is approved, its time has come, and it has not ended.
pub fn is_open(grant: &Grant, now: Timestamp) -> bool {
    is_approved(grant, now) && has_begun(grant, now)
}

/// Whether the time has come at which a grant starts, if it is approved.
pub fn has_begun(grant: &Grant, now: Timestamp) -> bool {
    grant.terms().start_time.is_none_or(|start| start.0 <= now)
}

/// Whether a grant is approved and has not ended.
pub fn is_approved(grant: &Grant, now: Timestamp) -> bool {
    let Some(status) = grant.status() else { return false };
    matches!(status.phase, GrantPhase::Approved | GrantPhase::Active)
        && !grant.is_deleted()
        && status.expires_at.as_ref().is_some_and(|end| end.0 > now)
}
