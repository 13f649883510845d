//! A grant of any kind.

use crate::model::{
    child::{build::object_meta, names},
    text::written,
};
use cloister_api::{GrantKind, GrantPhase, GrantStatus, Identity, grant_kinds, labels};
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

/// Declares [`Grant`], and what it reads of each kind in the same way.
macro_rules! declare {
    ({} $($(#[$doc:meta])* $kind:ident as $variant:ident,)*) => {
        /// A grant of any kind.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Grant {
            $($(#[$doc])* $variant(cloister_api::$kind),)*
        }

        impl Grant {
            /// Its kind.
            pub fn kind(&self) -> GrantKind {
                match self {
                    $(Grant::$variant(_) => GrantKind::$kind,)*
                }
            }

            /// Its metadata.
            pub fn metadata(&self) -> &ObjectMeta {
                match self {
                    $(Grant::$variant(grant) => &grant.metadata,)*
                }
            }

            /// Its metadata, to be changed.
            pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
                match self {
                    $(Grant::$variant(grant) => &mut grant.metadata,)*
                }
            }

            /// Its status.
            pub fn status(&self) -> Option<&GrantStatus> {
                match self {
                    $(Grant::$variant(grant) => grant.status.as_ref(),)*
                }
            }

            /// Its status, to be changed.
            pub fn status_mut(&mut self) -> &mut Option<GrantStatus> {
                match self {
                    $(Grant::$variant(grant) => &mut grant.status,)*
                }
            }

            /// The terms of all kinds, as they are written.
            pub(crate) fn as_written(&self) -> cloister_api::Terms<'_> {
                match self {
                    $(Grant::$variant(grant) => grant.spec.terms(),)*
                }
            }

            /// Whether two have the same spec, whatever their status is.
            pub fn same_spec(&self, other: &Grant) -> bool {
                match (self, other) {
                    $((Grant::$variant(one), Grant::$variant(other)) => one.spec == other.spec,)*
                    _ => false,
                }
            }
        }

        $(impl From<cloister_api::$kind> for Grant {
            fn from(grant: cloister_api::$kind) -> Self {
                Grant::$variant(grant)
            }
        })*
    };
}

grant_kinds!([declare]);

impl Grant {
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

    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Where it is in its life.
    pub fn phase(&self) -> GrantPhase {
        self.status().map(|status| status.phase).unwrap_or_default()
    }

    pub(crate) fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }

    pub(crate) fn has_finalizer(&self) -> bool {
        self.metadata().finalizers.iter().flatten().any(|finalizer| finalizer == labels::GRANT_FINALIZER)
    }

    /// The metadata of what belongs to this grant alone, which the grant owns: it does not outlive the grant, whatever
    /// happens to the operator.
    pub(crate) fn owned_meta(&self, namespace: &str) -> ObjectMeta {
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

/// When a grant was approved, and which it is: of any two, one has the place before the other.
pub fn place(grant: &Grant) -> (Option<Timestamp>, GrantKind, Option<&str>, &str) {
    let approved = grant.status().and_then(|status| status.approved_at.as_ref()).map(|at| at.0);
    (approved, grant.kind(), grant.metadata().namespace.as_deref(), grant.name())
}
