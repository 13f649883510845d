//! An object that the operator wants to stand in a namespace.

use super::{
    key::{ChildKey, ChildKind},
    names,
};
use cloister_api::{
    GrantMount,
    plugin::{CiliumNetworkPolicy, ClusterNetworkPolicy},
};
use k8s_openapi::{
    api::{
        core::v1::{LimitRange, ResourceQuota, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// An object that the operator wants to stand in a namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// A NetworkPolicy.
    NetworkPolicy(NetworkPolicy),
    /// A CiliumNetworkPolicy.
    CiliumNetworkPolicy(Box<CiliumNetworkPolicy>),
    /// A ClusterNetworkPolicy.
    ClusterNetworkPolicy(Box<ClusterNetworkPolicy>),
    /// A ResourceQuota.
    ResourceQuota(ResourceQuota),
    /// A LimitRange.
    LimitRange(LimitRange),
    /// A ServiceAccount.
    ServiceAccount(ServiceAccount),
    /// A RoleBinding.
    RoleBinding(RoleBinding),
    /// A Role.
    Role(Role),
    /// A ClusterRole.
    ClusterRole(Box<ClusterRole>),
    /// A ClusterRoleBinding.
    ClusterRoleBinding(Box<ClusterRoleBinding>),
    /// A GrantMount.
    GrantMount(Box<GrantMount>),
}

impl Child {
    /// Its kind.
    pub fn kind(&self) -> ChildKind {
        match self {
            Child::NetworkPolicy(_) => ChildKind::NetworkPolicy,
            Child::CiliumNetworkPolicy(_) => ChildKind::CiliumNetworkPolicy,
            Child::ClusterNetworkPolicy(_) => ChildKind::ClusterNetworkPolicy,
            Child::ResourceQuota(_) => ChildKind::ResourceQuota,
            Child::LimitRange(_) => ChildKind::LimitRange,
            Child::ServiceAccount(_) => ChildKind::ServiceAccount,
            Child::RoleBinding(_) => ChildKind::RoleBinding,
            Child::Role(_) => ChildKind::Role,
            Child::ClusterRole(_) => ChildKind::ClusterRole,
            Child::ClusterRoleBinding(_) => ChildKind::ClusterRoleBinding,
            Child::GrantMount(_) => ChildKind::GrantMount,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Child::NetworkPolicy(object) => &object.metadata,
            Child::CiliumNetworkPolicy(object) => &object.metadata,
            Child::ClusterNetworkPolicy(object) => &object.metadata,
            Child::ResourceQuota(object) => &object.metadata,
            Child::LimitRange(object) => &object.metadata,
            Child::ServiceAccount(object) => &object.metadata,
            Child::RoleBinding(object) => &object.metadata,
            Child::Role(object) => &object.metadata,
            Child::ClusterRole(object) => &object.metadata,
            Child::ClusterRoleBinding(object) => &object.metadata,
            Child::GrantMount(object) => &object.metadata,
        }
    }

    /// Its key.
    pub fn key(&self) -> ChildKey {
        ChildKey::new(self.kind(), self.name())
    }

    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or_default()
    }

    /// Whether it is the policy that denies everything in its namespace.
    pub fn is_deny(&self) -> bool {
        names::is_deny_named(self.kind(), self.name())
    }

    /// Whether it denies what is not passed on, above every NetworkPolicy.
    pub fn is_bound(&self) -> bool {
        names::is_bound_named(self.kind(), self.name())
    }

    /// What is done where the API server refuses for good to write this over what stands, so that what stands would stay
    /// as it is, however much more it opens.
    pub fn if_refused(&self) -> IfRefused {
        match self {
            // What denies is better old than gone.
            _ if self.is_deny() || self.is_bound() => IfRefused::Keep,
            Child::NetworkPolicy(_)
            | Child::CiliumNetworkPolicy(_)
            | Child::ClusterNetworkPolicy(_)
            | Child::RoleBinding(_)
            | Child::Role(_)
            | Child::ClusterRole(_)
            | Child::ClusterRoleBinding(_) => IfRefused::Delete,
            // An account that goes takes the pods with it that run as it. Its annotations are what gives it access.
            Child::ServiceAccount(account) if account.metadata.annotations.is_some() => {
                let mut bare = account.clone();
                bare.metadata.annotations = None;
                IfRefused::Write(Box::new(Child::ServiceAccount(bare)))
            }
            // They bound what is there. A mount opens nothing by being old, and is all that tells of the copy.
            Child::ServiceAccount(_) | Child::ResourceQuota(_) | Child::LimitRange(_) | Child::GrantMount(_) => {
                IfRefused::Keep
            }
        }
    }
}

/// What is done in place of a write that was refused for good.
#[derive(Clone, Debug, PartialEq)]
pub enum IfRefused {
    /// What stands is deleted.
    Delete,
    /// This is written, which gives nothing.
    Write(Box<Child>),
    /// What stands is kept.
    Keep,
}
