//! Which kinds of objects the operator writes into a namespace, and how an object and a grant are named there.

use cloister_api::GrantKind;
use std::sync::Arc;

/// The kinds of objects that the operator writes into a namespace, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChildKind {
    /// A NetworkPolicy.
    NetworkPolicy,
    /// A CiliumNetworkPolicy.
    CiliumNetworkPolicy,
    /// A ClusterNetworkPolicy about the namespace, in none itself.
    ClusterNetworkPolicy,
    /// A ResourceQuota.
    ResourceQuota,
    /// A LimitRange.
    LimitRange,
    /// A ServiceAccount.
    ServiceAccount,
    /// A RoleBinding.
    RoleBinding,
    /// A Role. The operator writes none.
    Role,
    /// The ClusterRole by which owners edit the ResearchNamespace, in none itself.
    ClusterRole,
    /// The ClusterRoleBinding of that ClusterRole to the owners.
    ClusterRoleBinding,
    /// A GrantMount.
    GrantMount,
}

impl ChildKind {
    /// Whether it decides what is open in the namespace that it is in. Such policies add up, whoever wrote them.
    pub fn is_policy(self) -> bool {
        matches!(self, ChildKind::NetworkPolicy | ChildKind::CiliumNetworkPolicy)
    }

    /// Whether it decides who may do what in the namespace that it is in, or about it. Such rights add up, whoever wrote them.
    pub fn is_access(self) -> bool {
        matches!(
            self,
            ChildKind::RoleBinding | ChildKind::Role | ChildKind::ClusterRole | ChildKind::ClusterRoleBinding
        )
    }

    /// Whether it is about a namespace and in none, so that it does not go with the namespace.
    pub fn is_cluster_wide(self) -> bool {
        matches!(self, ChildKind::ClusterNetworkPolicy | ChildKind::ClusterRole | ChildKind::ClusterRoleBinding)
    }

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            ChildKind::NetworkPolicy => "NetworkPolicy",
            ChildKind::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            ChildKind::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            ChildKind::ResourceQuota => "ResourceQuota",
            ChildKind::LimitRange => "LimitRange",
            ChildKind::ServiceAccount => "ServiceAccount",
            ChildKind::RoleBinding => "RoleBinding",
            ChildKind::Role => "Role",
            ChildKind::ClusterRole => "ClusterRole",
            ChildKind::ClusterRoleBinding => "ClusterRoleBinding",
            ChildKind::GrantMount => "GrantMount",
        }
    }
}

/// Names a child inside its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildKey {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: Box<str>,
}

impl ChildKey {
    /// The key of a child.
    pub fn new(kind: ChildKind, name: &str) -> Self {
        ChildKey { kind, name: name.into() }
    }
}

impl std::fmt::Display for ChildKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// Names a grant inside its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantRef {
    /// Its kind.
    pub kind: GrantKind,
    /// Its name.
    pub name: Arc<str>,
}

impl std::fmt::Display for GrantRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}
