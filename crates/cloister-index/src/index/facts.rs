//! What the index keeps of objects that it does not keep whole.

use crate::decode::Decoded;
use cloister_api::{AccessReview, GrantPhase, Protocol, labels};
use cloister_core::{
    egress::ServiceFacts,
    grant::{Grant, has_broken_glass, owes_review_by},
    model::child::GrantRef,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// What is known of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// Its uid.
    pub uid: Box<str>,
    /// The seconds of grace that it is being deleted with, if it is.
    pub grace: Option<i64>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The copies of credentials that it references, in any form.
    pub copies: Vec<HeldCopy>,
}

/// The copy of a credential that a pod references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCopy {
    /// The name of the Secret.
    pub secret: Box<str>,
    /// Whether the kubelet takes it out of the pod when it is emptied: every reference is a whole volume that is optional.
    pub emptied: bool,
}

/// What is known of a pod that is on the network of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnNode {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The name of its Node.
    pub node: Arc<str>,
}

/// What is known of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// What a rule needs to know.
    pub facts: ServiceFacts,
    /// Its addresses inside the cluster.
    pub addresses: Vec<IpAddr>,
    /// The names of its ports that are port 53: their numbers at the pods are told by the endpoints.
    pub dns_ports: BTreeSet<Box<str>>,
}

/// The endpoints in one EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsEndpoints {
    pub(super) service: Box<str>,
    pub(super) sockets: Vec<SocketAddr>,
    /// The ports by the names that the Service has for them.
    pub(super) ports: BTreeSet<(Box<str>, Protocol, u16)>,
}

/// Takes what is to be in the audit record, so that nothing is forgotten before it is on its way there.
pub trait Recorded: Send + Sync {
    /// Takes what is not yet recorded of a grant that has ended. Whether there was room for it is returned.
    fn takes_grant(&self, grant: &Grant, namespace: &str) -> bool;
    /// Takes what was said of a review, if it is not recorded. Whether there was room for it is returned.
    fn takes_review(&self, review: &AccessReview, namespace: &str) -> bool;
}

/// Who takes it. Where nobody does, nothing is taken for recorded.
#[derive(Clone, Default)]
pub struct Recorder(pub Option<Arc<dyn Recorded>>);

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Recorder" } else { "no Recorder" })
    }
}

/// A grant that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedGrant {
    /// Its uid.
    pub uid: Box<str>,
    /// The version that it was seen at.
    pub version: u64,
    /// How it ended.
    pub phase: GrantPhase,
    /// When.
    pub ended_at: Option<Timestamp>,
    /// Whether it is being deleted, and the operator holds it.
    pub is_held: bool,
    /// Whether it used break-glass: then the review that it owed must stay to be seen.
    pub used_break_glass: bool,
    /// Whether a review of one that used break-glass is gone since: then it may be owed again.
    pub lost_a_review: bool,
}

/// A review of a grant that has ended, of which all is said.
#[derive(Clone, Debug, PartialEq)]
pub struct SaidReview {
    /// Its uid.
    pub uid: Box<str>,
    /// The version that it was seen at.
    pub version: u64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The grant that it is about.
    pub grant: GrantRef,
    /// The whole of it, where the grant used break-glass: it may be what settles that.
    pub whole: Option<Box<AccessReview>>,
}

impl EndedGrant {
    pub(super) fn of(grant: &Decoded<Grant>) -> Option<Self> {
        let object = grant.object.as_ref().ok()?;
        let status = object.status().filter(|status| status.phase.has_ended() && !owes_review_by(status))?;
        Some(EndedGrant {
            uid: grant.metadata.uid.as_deref().unwrap_or_default().into(),
            version: grant.version(),
            phase: status.phase,
            ended_at: status.ended_at.as_ref().map(|at| at.0),
            used_break_glass: has_broken_glass(object),
            lost_a_review: false,
            is_held: grant.metadata.deletion_timestamp.is_some()
                && grant.metadata.finalizers.iter().flatten().any(|held| held == labels::GRANT_FINALIZER),
        })
    }
}

/// The grant that a review names.
pub fn reviewed(review: &AccessReview) -> GrantRef {
    let named = &review.spec.request_ref;
    GrantRef { kind: named.kind, name: named.name.as_str().into() }
}

/// The reviews of a grant, whole ones and others.
#[derive(Debug, Default)]
pub struct ReviewsOf {
    /// Their names, in the order in which they were made.
    pub names: BTreeSet<(Option<Timestamp>, Arc<str>)>,
    /// Those that ask for its end.
    pub revokes: BTreeSet<Arc<str>>,
}

/// When an object was made.
pub(super) fn created(metadata: &ObjectMeta) -> Option<Timestamp> {
    metadata.creation_timestamp.as_ref().map(|at| at.0)
}
