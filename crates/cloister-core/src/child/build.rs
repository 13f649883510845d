//! Parts of objects that several kinds of them share: metadata, the subjects of a binding, and the pods of an account.

use cloister_api::{Subject, SubjectKind, labels};
use k8s_openapi::{
    api::rbac::v1::{self as rbac, RoleBinding, RoleRef},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use std::collections::BTreeMap;

/// The pods of an account, by the label that admission sets and checks.
pub(crate) fn pods_of(account: &str) -> LabelSelector {
    let label = (labels::SERVICE_ACCOUNT.to_owned(), account.to_owned());
    LabelSelector { match_labels: Some(BTreeMap::from([label])), match_expressions: None }
}

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

/// A binding of these subjects to a ClusterRole.
pub fn role_binding(metadata: ObjectMeta, role: &str, namespace: &str, subjects: &[Subject]) -> RoleBinding {
    let home = |kind| (kind == SubjectKind::ServiceAccount).then(|| namespace.to_owned());
    let subjects = subjects.iter().map(|one| subject(one.kind, &one.name, home(one.kind)));
    RoleBinding { metadata, role_ref: role_ref(role), subjects: Some(subjects.collect()) }
}

/// The reference of a binding to a ClusterRole.
pub(crate) fn role_ref(role: &str) -> RoleRef {
    RoleRef { api_group: Some(RBAC_GROUP.to_owned()), kind: "ClusterRole".to_owned(), name: role.to_owned() }
}

/// A subject as RBAC has it. Only a ServiceAccount has a namespace.
pub(crate) fn subject(kind: SubjectKind, name: &str, namespace: Option<String>) -> rbac::Subject {
    let (api_group, kind) = match kind {
        SubjectKind::ServiceAccount => (None, "ServiceAccount"),
        SubjectKind::User => (Some(RBAC_GROUP.to_owned()), "User"),
        SubjectKind::Group => (Some(RBAC_GROUP.to_owned()), "Group"),
    };
    rbac::Subject { api_group, kind: kind.to_owned(), name: name.to_owned(), namespace }
}
