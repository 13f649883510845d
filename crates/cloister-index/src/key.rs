//! What the operator works on: one key is one object to reconcile.

use cloister_core::model::child::GrantRef;
use std::{fmt, sync::Arc};

/// Names an object to reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The settings.
    Config,
    /// A research namespace: the ResearchNamespace and the Namespace of this name.
    Namespace(Arc<str>),
    /// An EgressAllowlist.
    Allowlist(Arc<str>),
    /// The research namespaces that use an EgressAllowlist, by its name: there may be others by now.
    Users(Arc<str>),
    /// A StorageResource.
    Storage(Arc<str>),
    /// An AccessPolicy.
    Policy(Arc<str>),
    /// An AccessRole.
    Role(Arc<str>),
    /// A grant of any kind, by namespace.
    Grant(Arc<str>, GrantRef),
    /// An AccessReview, by namespace and name.
    Review(Arc<str>, Arc<str>),
    /// Who may act as somebody else.
    Impersonation,
    /// What is over and has been kept long enough.
    Retention,
    /// A GrantMount that may have lost its grants, by namespace and name.
    Mount(Arc<str>, Arc<str>),
}

impl Key {
    /// Whether it can wait for the others: there is only something to say of it.
    pub fn can_wait(&self) -> bool {
        matches!(self, Key::Review(..) | Key::Allowlist(_) | Key::Users(_) | Key::Impersonation | Key::Retention)
    }

    /// Whether it is about all namespaces: it waits a little, so that many changes are looked at once.
    pub fn gathers(&self) -> bool {
        matches!(self, Key::Impersonation | Key::Users(_))
    }

    /// The kind of the object, for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Key::Config => "CloisterConfig",
            Key::Namespace(_) => "ResearchNamespace",
            Key::Allowlist(_) => "EgressAllowlist",
            Key::Users(_) => "Users",
            Key::Storage(_) => "StorageResource",
            Key::Policy(_) => "AccessPolicy",
            Key::Role(_) => "AccessRole",
            Key::Grant(_, grant) => grant.kind.as_str(),
            Key::Review(..) => "AccessReview",
            Key::Impersonation => "Impersonation",
            Key::Retention => "Retention",
            Key::Mount(..) => "GrantMount",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Key::Config => write!(f, "{kind}/cloister"),
            Key::Impersonation | Key::Retention => f.write_str(kind),
            Key::Namespace(name)
            | Key::Allowlist(name)
            | Key::Users(name)
            | Key::Storage(name)
            | Key::Policy(name)
            | Key::Role(name) => write!(f, "{kind}/{name}"),
            Key::Grant(namespace, grant) => write!(f, "{kind}/{namespace}/{}", grant.name),
            Key::Mount(namespace, name) | Key::Review(namespace, name) => write!(f, "{kind}/{namespace}/{name}"),
        }
    }
}

/// The name of an object; the namespace is empty where it has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// Its namespace, or nothing.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// The name of an object.
    pub fn of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Self {
        ObjectName {
            namespace: metadata.namespace.as_deref().unwrap_or_default().into(),
            name: metadata.name.as_deref().unwrap_or_default().into(),
        }
    }
}
