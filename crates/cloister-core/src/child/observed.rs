//! What is remembered of an object that was seen in a namespace.

use super::{Child, ChildKey, ChildKind, Fingerprint, GrantRef, names};
use cloister_api::{GrantMount, labels};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What is remembered of an object in a research namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedChild {
    /// The fingerprint of what the operator owns of it.
    pub fingerprint: Fingerprint,
    /// The fingerprint of what the operator wrote, where the API server made this of it: it rounds quantities.
    pub stands_for: Option<Fingerprint>,
    /// Whether it carries a mark that is the operator's to set. Anybody may have set it, before admission reserved it.
    pub marked: bool,
    /// Of a policy: whether it allows anything. Policies add up, so that one that does widens a namespace.
    pub widens: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The grant in whose name it stands. Whether there is such a grant, and whether it wants this, is another matter.
    pub grant: Option<GrantRef>,
    /// The uid of that grant, by the object's one owner reference.
    pub owner: Option<Box<str>>,
    /// Of what a grant opened, and of a GrantMount: its uid.
    pub uid: Option<Box<str>>,
    /// Of a GrantMount: the version of the credential that was copied.
    pub version: Option<Box<str>>,
    /// Of a GrantMount: where it is mounted.
    pub mount: Option<Box<MountFacts>>,
}

/// What is remembered of a GrantMount beyond the version of its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFacts {
    /// The ServiceAccount whose pods get it.
    pub account: Box<str>,
    /// The folder in them.
    pub path: Box<str>,
    /// Since when it is put into no pod, where it has no version.
    pub unmounted_at: Option<Timestamp>,
}

impl MountFacts {
    fn of(mount: &GrantMount) -> Self {
        let annotations = mount.metadata.annotations.as_ref();
        MountFacts {
            account: mount.spec.service_account_name.as_str().into(),
            path: mount.spec.mount_path.as_str().into(),
            unmounted_at: annotations.and_then(|all| all.get(labels::UNMOUNTED_AT)?.parse().ok()),
        }
    }
}

impl ObservedChild {
    /// Whether it is what should stand: as it was written, or as the API server keeps what was written.
    pub fn is(&self, child: &Child) -> bool {
        let wanted = child.fingerprint();
        !self.terminating && (self.fingerprint == wanted || self.stands_for == Some(wanted))
    }
}

/// The children of one namespace.
pub type Children = BTreeMap<ChildKey, ObservedChild>;

impl Child {
    /// What is remembered of it.
    pub fn observe(&self) -> ObservedChild {
        let metadata = self.metadata();
        let grant = names::named_after(self.kind(), metadata.name.as_deref().unwrap_or_default());
        let is_mount = self.kind() == ChildKind::GrantMount;
        ObservedChild {
            fingerprint: self.fingerprint(),
            stands_for: None,
            marked: names::is_marked(self.kind(), metadata),
            widens: match self {
                Child::NetworkPolicy(policy) => policy.spec.as_ref().is_some_and(|spec| {
                    spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())
                        || spec.ingress.as_ref().is_some_and(|rules| !rules.is_empty())
                }),
                // Whatever it says: nobody else has a say.
                Child::CiliumNetworkPolicy(_) => true,
                _ => false,
            },
            terminating: metadata.deletion_timestamp.is_some(),
            owner: grant.as_ref().and_then(|grant| names::owner_of(grant, metadata)),
            // What a grant opened is named in its record by its uid, and a copy by that of the mount it is for.
            uid: metadata.uid.as_deref().filter(|_| grant.is_some() || is_mount).map(Into::into),
            grant,
            version: match self {
                Child::GrantMount(mount) => mount
                    .metadata
                    .annotations
                    .as_ref()
                    .and_then(|a| a.get(labels::CREDENTIAL_VERSION))
                    .map(|v| v.as_str().into()),
                _ => None,
            },
            mount: match self {
                Child::GrantMount(mount) => Some(Box::new(MountFacts::of(mount))),
                _ => None,
            },
        }
    }
}
