//! The members of a namespace, as RBAC has them: by the ClusterRoles that are shipped for them, and by the one that lets
//! owners edit their own ResearchNamespace.
//!
//! What of the latter they may change, admission says (deploy/admission/research-namespaces.yaml); that the operator's account
//! writes no ClusterRoles but these, deploy/admission/operator-owners.yaml.

use crate::{
    cluster::settings::Settings,
    model::{
        child::{
            Child,
            build::{object_meta, role_ref},
            names::{DEFAULT_ACCOUNT, OWNERS_PREFIX},
        },
        once::once_each,
        suggest::{closest, did_you_mean},
        writers::CONFIG_WRITERS,
    },
};
use cloister_api::{GROUP, MemberRole, MemberSubject, ResearchNamespaceSpec, SubjectKind, labels};
use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleBinding, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Reason of a member that is not bound.
pub const MEMBER_REFUSED: &str = "MemberRefused";

/// What owners do with their ResearchNamespace. They neither make nor delete it.
const VERBS: [&str; 5] = ["get", "list", "watch", "update", "patch"];

/// The members' bindings in their namespace: one for each role.
pub fn bindings(namespace: &str, spec: &ResearchNamespaceSpec, settings: &Settings) -> impl Iterator<Item = Child> {
    spec.members.iter().filter_map(move |member| {
        let (name, role) = match member.role {
            MemberRole::Owner => ("cloister-owners", "cloister:owner"),
            MemberRole::Researcher => ("cloister-researchers", "cloister:researcher"),
            MemberRole::Viewer => ("cloister-viewers", "cloister:viewer"),
        };
        let subjects = bound(namespace, &member.subjects, spec, settings);
        let mut metadata = object_meta(namespace, name);
        if subjects.iter().any(|subject| subject.namespace.as_deref().is_some_and(|home| home != namespace)) {
            metadata.labels.get_or_insert_default().insert(labels::LISTED.to_owned(), "true".to_owned());
        }
        let binding = RoleBinding { metadata, role_ref: role_ref(role), subjects: Some(subjects) };
        binding.subjects.as_ref().is_some_and(|all| !all.is_empty()).then_some(Child::RoleBinding(binding))
    })
}

/// The ClusterRole by which owners edit their ResearchNamespace, and its binding, where the namespace has owners.
pub fn owners_rights(namespace: &str, spec: &ResearchNamespaceSpec, settings: &Settings) -> Vec<Child> {
    let owners = spec.members.iter().filter(|member| member.role == MemberRole::Owner);
    let subjects = bound(namespace, owners.flat_map(|member| &member.subjects), spec, settings);
    if subjects.is_empty() {
        return Vec::new();
    }
    let name = format!("{OWNERS_PREFIX}{namespace}");
    let metadata = || ObjectMeta { namespace: None, ..object_meta(namespace, &name) };
    let text = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<String>>();
    let rule = PolicyRule {
        api_groups: Some(text(&[GROUP])),
        resources: Some(text(&["researchnamespaces"])),
        resource_names: Some(text(&[namespace])),
        verbs: text(&VERBS),
        non_resource_urls: None,
    };
    let role = ClusterRole { metadata: metadata(), rules: Some(vec![rule]), aggregation_rule: None };
    let binding = ClusterRoleBinding { metadata: metadata(), role_ref: role_ref(&name), subjects: Some(subjects) };
    vec![Child::ClusterRole(Box::new(role)), Child::ClusterRoleBinding(Box::new(binding))]
}

/// Why members are not bound, each that is not.
pub fn refused(namespace: &str, spec: &ResearchNamespaceSpec, settings: &Settings) -> Vec<String> {
    let subjects = spec.members.iter().flat_map(|member| &member.subjects);
    subjects.filter_map(|subject| refusal(namespace, subject, spec, settings)).collect()
}

fn bound<'a>(
    namespace: &str,
    subjects: impl IntoIterator<Item = &'a MemberSubject>,
    spec: &ResearchNamespaceSpec,
    settings: &Settings,
) -> Vec<Subject> {
    let allowed = subjects.into_iter().filter(|subject| refusal(namespace, subject, spec, settings).is_none());
    once_each(allowed.map(|subject| rbac_subject(namespace, subject)))
}

/// Why this member is not bound, if it is not: an account of another namespace leads from there into this one, and one that is
/// not declared would be whoever's makes it.
fn refusal(
    namespace: &str,
    subject: &MemberSubject,
    spec: &ResearchNamespaceSpec,
    settings: &Settings,
) -> Option<String> {
    let Some(home) = subject.namespace.as_deref().filter(|home| *home != namespace) else {
        return (subject.kind == SubjectKind::ServiceAccount).then(|| undeclared(&subject.name, spec)).flatten();
    };
    let listed = &settings.spec.workloads.controller_namespaces;
    if settings.usable && listed.iter().any(|one| one == home) {
        return None;
    }
    let name = &subject.name;
    let near = did_you_mean(closest(home, listed.iter().map(String::as_str)));
    let known = if listed.is_empty() { "none is".to_owned() } else { format!("those are: {}", listed.join(", ")) };
    Some(format!(
        "ServiceAccount {home}/{name} is not bound: namespace {home} is not listed in workloads.controllerNamespaces of \
         CloisterConfig ({known}){near}; correct or remove it in spec.members, or ask {CONFIG_WRITERS} to list the namespace"
    ))
}

fn undeclared(name: &str, spec: &ResearchNamespaceSpec) -> Option<String> {
    let mut declared = spec.service_accounts.iter().map(|account| account.name.as_str()).chain([DEFAULT_ACCOUNT]);
    if declared.clone().any(|one| one == name) {
        return None;
    }
    let meant = did_you_mean(closest(name, &mut declared));
    Some(format!(
        "ServiceAccount {name} is not bound: spec.serviceAccounts declares none of that name{meant}; correct it in \
         spec.members (set the namespace field for a ServiceAccount of another namespace), or declare it"
    ))
}

fn rbac_subject(namespace: &str, subject: &MemberSubject) -> Subject {
    let home = || subject.namespace.clone().unwrap_or_else(|| namespace.to_owned());
    crate::model::child::build::subject(
        subject.kind,
        &subject.name,
        (subject.kind == SubjectKind::ServiceAccount).then(home),
    )
}
