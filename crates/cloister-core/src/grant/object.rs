//! A grant of any kind.

use crate::{
    child::{build::object_meta, names},
    text::written,
};
use cloister_api::{EgressGrant, GrantKind, GrantPhase, GrantStatus, Identity, RoleGrant, StorageAccessGrant, labels};
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
    pub(super) fn as_written(&self) -> cloister_api::Terms<'_> {
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

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Where it is in its life.
    pub fn phase(&self) -> GrantPhase {
        self.status().map(|status| status.phase).unwrap_or_default()
    }

    pub(super) fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    pub(super) fn has_finalizer(&self) -> bool {
        self.metadata().finalizers.iter().flatten().any(|finalizer| finalizer == labels::GRANT_FINALIZER)
    }

    /// The metadata of what belongs to this grant alone, which the grant owns: it does not outlive the grant, whatever
    /// happens to the operator.
    pub(super) fn owned_meta(&self, namespace: &str) -> ObjectMeta {
        let mut metadata = object_meta(namespace, &names::name_of_opened(self.kind(), self.name()));
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
