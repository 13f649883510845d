//! What the operator works on: one key is one object to reconcile.

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
    /// A StorageResource.
    Storage(Arc<str>),
    /// An AccessPolicy.
    Policy(Arc<str>),
    /// A StorageAccessGrant, by namespace and name.
    Grant(Arc<str>, Arc<str>),
    /// A GrantMount that may have lost its grants, by namespace and name.
    Mount(Arc<str>, Arc<str>),
}

impl Key {
    /// The kind of the object, for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Key::Config => "CloisterConfig",
            Key::Namespace(_) => "ResearchNamespace",
            Key::Allowlist(_) => "EgressAllowlist",
            Key::Storage(_) => "StorageResource",
            Key::Policy(_) => "AccessPolicy",
            Key::Grant(..) => "StorageAccessGrant",
            Key::Mount(..) => "GrantMount",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Key::Config => write!(f, "{kind}/cloister"),
            Key::Namespace(name) | Key::Allowlist(name) | Key::Storage(name) | Key::Policy(name) => {
                write!(f, "{kind}/{name}")
            }
            Key::Grant(namespace, name) | Key::Mount(namespace, name) => write!(f, "{kind}/{namespace}/{name}"),
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
