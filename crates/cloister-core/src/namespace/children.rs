//! Everything in a namespace that is not a NetworkPolicy: people, accounts, quota and limits.

use crate::child::Child;
use cloister_api::{LimitRangeItem, LimitType, MemberRole, ResearchNamespaceSpec, Subject, SubjectKind, labels};
use k8s_openapi::{
    api::{
        core::v1::{self as core, LimitRange, LimitRangeSpec, ResourceQuota, ResourceQuotaSpec, ServiceAccount},
        rbac::v1::{self as rbac, RoleBinding, RoleRef},
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};
use std::collections::BTreeMap;

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// The metadata of a child: a name, and the label that says who manages it. Nothing of its source is copied.
pub fn object_meta(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(BTreeMap::from([(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())])),
        ..ObjectMeta::default()
    }
}

/// The quota, where one is declared. What would count the operator's own writes is left out: neither what denies nor the end
/// of a grant depends on how much room a quota leaves.
pub fn quota(namespace: &str, spec: &ResearchNamespaceSpec) -> Option<Child> {
    let declared = spec.quota.iter().filter(|(key, _)| !counts_own_writes(key));
    let hard: BTreeMap<String, Quantity> = declared.map(|(key, limit)| (key.clone(), limit.clone())).collect();
    (!hard.is_empty()).then(|| {
        Child::ResourceQuota(ResourceQuota {
            metadata: object_meta(namespace, labels::MANAGER),
            spec: Some(ResourceQuotaSpec { hard: Some(hard), ..ResourceQuotaSpec::default() }),
            status: None,
        })
    })
}

/// Whether a key of a quota counts objects of a kind that the operator writes.
pub fn counts_own_writes(key: &str) -> bool {
    let own = [
        "secrets",
        "serviceaccounts",
        "resourcequotas",
        "limitranges",
        "networkpolicies.networking.k8s.io",
        "ciliumnetworkpolicies.cilium.io",
        "rolebindings.rbac.authorization.k8s.io",
        "grantmounts.cloister.dev",
        "events",
        "events.events.k8s.io",
    ];
    own.contains(&key.strip_prefix("count/").unwrap_or(key))
}

/// The limits, where some are declared.
pub fn limits(namespace: &str, spec: &ResearchNamespaceSpec) -> Option<Child> {
    (!spec.limit_range.is_empty()).then(|| {
        Child::LimitRange(LimitRange {
            metadata: object_meta(namespace, labels::MANAGER),
            spec: Some(LimitRangeSpec { limits: spec.limit_range.iter().map(limit).collect() }),
        })
    })
}

fn limit(item: &LimitRangeItem) -> core::LimitRangeItem {
    let LimitRangeItem { type_, default, default_request, max, min, max_limit_request_ratio } = item;
    let some = |quantities: &BTreeMap<String, Quantity>| (!quantities.is_empty()).then(|| quantities.clone());
    core::LimitRangeItem {
        type_: match type_ {
            LimitType::Container => "Container",
            LimitType::Pod => "Pod",
            LimitType::PersistentVolumeClaim => "PersistentVolumeClaim",
        }
        .to_owned(),
        default: some(default),
        default_request: some(default_request),
        max: some(max),
        min: some(min),
        max_limit_request_ratio: some(max_limit_request_ratio),
    }
}

/// The name of the account that Kubernetes makes in every namespace.
pub const DEFAULT_ACCOUNT: &str = "default";

/// The default account, whose token no pod gets.
pub fn default_account(namespace: &str) -> Child {
    Child::ServiceAccount(ServiceAccount {
        metadata: object_meta(namespace, DEFAULT_ACCOUNT),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    })
}

/// The declared accounts.
pub fn accounts(namespace: &str, spec: &ResearchNamespaceSpec) -> impl Iterator<Item = Child> {
    spec.service_accounts.iter().filter(|account| account.name != DEFAULT_ACCOUNT).map(move |account| {
        let mut metadata = object_meta(namespace, &account.name);
        if !account.annotations.is_empty() {
            metadata.annotations = Some(account.annotations.clone());
        }
        Child::ServiceAccount(ServiceAccount { metadata, ..ServiceAccount::default() })
    })
}

/// The members' bindings: one for each role, to the ClusterRole that is shipped for it.
pub fn bindings(namespace: &str, spec: &ResearchNamespaceSpec) -> impl Iterator<Item = Child> {
    spec.members.iter().map(move |member| {
        let (name, role) = match member.role {
            MemberRole::Owner => ("cloister-owners", "cloister:owner"),
            MemberRole::Researcher => ("cloister-researchers", "cloister:researcher"),
            MemberRole::Viewer => ("cloister-viewers", "cloister:viewer"),
        };
        Child::RoleBinding(role_binding(object_meta(namespace, name), role, namespace, &member.subjects))
    })
}

/// A binding of these subjects to a ClusterRole.
pub fn role_binding(metadata: ObjectMeta, role: &str, namespace: &str, subjects: &[Subject]) -> RoleBinding {
    RoleBinding {
        metadata,
        role_ref: RoleRef {
            api_group: Some(RBAC_GROUP.to_owned()),
            kind: "ClusterRole".to_owned(),
            name: role.to_owned(),
        },
        subjects: Some(subjects.iter().map(|subject| rbac_subject(namespace, subject)).collect()),
    }
}

fn rbac_subject(namespace: &str, subject: &Subject) -> rbac::Subject {
    let (api_group, namespace) = match subject.kind {
        SubjectKind::ServiceAccount => (None, Some(namespace.to_owned())),
        SubjectKind::User | SubjectKind::Group => (Some(RBAC_GROUP.to_owned()), None),
    };
    let kind = match subject.kind {
        SubjectKind::User => "User",
        SubjectKind::Group => "Group",
        SubjectKind::ServiceAccount => "ServiceAccount",
    };
    rbac::Subject { api_group, kind: kind.to_owned(), name: subject.name.clone(), namespace }
}
