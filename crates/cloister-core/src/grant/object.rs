//! A grant of any kind.

use super::kind;
use crate::{namespace::children::object_meta, ownership, text::written};
use cloister_api::{EgressGrant, GrantKind, GrantPhase, GrantStatus, Identity, RoleGrant, StorageAccessGrant, labels};
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
    pub(super) fn of_kind(&self) -> &dyn kind::Kind {
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
