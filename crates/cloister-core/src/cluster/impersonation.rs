//! Who of the tenants may act as somebody else.
//!
//! The API server stamps the identity that it is told, so a review made by impersonation cannot be told from a real one.
//! RBAC that lets a tenant do so is therefore an alarm.

use super::role_facts::RoleFacts;
use cloister_api::{AccessPolicySpec, Principal, ResearchNamespaceSpec, SubjectKind};
use k8s_openapi::api::rbac::v1;
use std::{borrow::Cow, collections::BTreeSet};

/// Groups that every tenant is in.
const EVERYBODY: [&str; 3] = ["system:authenticated", "system:unauthenticated", "system:serviceaccounts"];

/// The people and groups that Cloister's objects name.
#[derive(Debug, Default)]
pub struct Tenants<'a> {
    names: BTreeSet<(SubjectKind, Cow<'a, str>)>,
    namespaces: BTreeSet<&'a str>,
}

impl<'a> Tenants<'a> {
    /// Adds the members of a research namespace, and its accounts.
    pub fn add_namespace(&mut self, name: &'a str, spec: &'a ResearchNamespaceSpec) {
        self.namespaces.insert(name);
        let members = spec.members.iter().flat_map(|member| &member.subjects);
        self.add_people(members.map(|subject| (subject.kind, &subject.name)));
    }

    /// Adds those who may ask, agree and get something.
    pub fn add_policy(&mut self, spec: &'a AccessPolicySpec) {
        self.add_people(spec.beneficiaries.iter().map(|subject| (subject.kind, &subject.name)));
        let approvers = spec.approval_rules.iter().flat_map(|rule| &rule.approvers);
        let emergency = spec.break_glass.iter().flat_map(|glass| &glass.requesters);
        for principal in spec.requesters.iter().chain(approvers).chain(emergency) {
            self.add_principal(principal);
        }
    }

    fn add_people(&mut self, subjects: impl Iterator<Item = (SubjectKind, &'a String)>) {
        let people = subjects.filter(|(kind, _)| *kind != SubjectKind::ServiceAccount);
        self.names.extend(people.map(|(kind, name)| (kind, name.into())));
    }

    fn add_principal(&mut self, principal: &'a Principal) {
        let name = match &principal.namespace {
            Some(namespace) => Cow::Owned(format!("{namespace}/{}", principal.name)),
            None => Cow::Borrowed(&*principal.name),
        };
        self.names.insert((principal.kind, name));
    }

    fn include(&self, subject: &Bound) -> bool {
        let named = |name: &str| self.names.contains(&(subject.kind, Cow::Borrowed(name)));
        match subject.kind {
            SubjectKind::User => named(&subject.name),
            SubjectKind::Group => {
                let of_accounts = subject.name.strip_prefix("system:serviceaccounts:");
                EVERYBODY.contains(&&*subject.name)
                    || of_accounts.is_some_and(|namespace| self.namespaces.contains(namespace))
                    || named(&subject.name)
            }
            SubjectKind::ServiceAccount => {
                self.namespaces.contains(&*subject.namespace)
                    || named(&format!("{}/{}", subject.namespace, subject.name))
            }
        }
    }
}

/// Somebody to whom a role is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    kind: SubjectKind,
    name: Box<str>,
    /// Of a ServiceAccount.
    namespace: Box<str>,
}

impl Bound {
    /// None where the API server knows no such kind: then nobody is meant.
    fn of(subject: &v1::Subject) -> Option<Self> {
        let kind = match subject.kind.as_str() {
            "User" => SubjectKind::User,
            "Group" => SubjectKind::Group,
            "ServiceAccount" => SubjectKind::ServiceAccount,
            _ => return None,
        };
        let namespace = subject.namespace.as_deref().unwrap_or_default().into();
        Some(Bound { kind, name: subject.name.as_str().into(), namespace })
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            SubjectKind::User => "User",
            SubjectKind::Group => "Group",
            SubjectKind::ServiceAccount => "ServiceAccount",
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// A binding of a role to subjects.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Whether the role is a ClusterRole.
    pub cluster_role: bool,
    /// The role's name.
    pub role: Box<str>,
    /// Who has it.
    pub subjects: Box<[Bound]>,
}

impl Binding {
    /// What is known of a binding.
    pub fn of(role: &v1::RoleRef, subjects: Option<&[v1::Subject]>) -> Self {
        Binding {
            cluster_role: role.kind == "ClusterRole",
            role: role.name.as_str().into(),
            subjects: subjects.into_iter().flatten().filter_map(Bound::of).collect(),
        }
    }

    /// The tenants whom this binding lets act as somebody else, given what is known of its role.
    pub fn impersonators<'a>(&'a self, impersonates: bool, tenants: &Tenants<'_>) -> Vec<&'a Bound> {
        if !impersonates {
            return Vec::new();
        }
        self.subjects.iter().filter(|subject| tenants.include(subject)).collect()
    }
}

/// Whether a ClusterRole lets its holder act as somebody else; one that is not known does not.
pub fn impersonates(facts: Option<&RoleFacts>) -> bool {
    facts.is_some_and(|facts| facts.impersonates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn binding(subjects: serde_json::Value) -> Binding {
        let role = v1::RoleRef { kind: "ClusterRole".into(), name: "x".into(), ..v1::RoleRef::default() };
        let subjects: Vec<v1::Subject> = serde_json::from_value(subjects).unwrap();
        Binding::of(&role, Some(&subjects))
    }

    #[test]
    fn tenants_are_those_whom_our_objects_name_and_everybody() {
        let spec = json!({"tier": "Standard", "members": [{"role": "Owner", "subjects": [{"kind": "Group", "name": "leads"}]}]});
        let spec = serde_json::from_value(spec).unwrap();
        let policy = json!({"maxDuration": "1h", "requesters": [
            {"kind": "User", "name": "alice"}, {"kind": "ServiceAccount", "namespace": "flux", "name": "sync"},
        ]});
        let policy = serde_json::from_value(policy).unwrap();
        let mut tenants = Tenants::default();
        tenants.add_namespace("interp", &spec);
        tenants.add_policy(&policy);
        let all = binding(json!([
            {"kind": "Group", "name": "leads"}, {"kind": "User", "name": "alice"},
            {"kind": "ServiceAccount", "namespace": "flux", "name": "sync"},
            {"kind": "ServiceAccount", "namespace": "interp", "name": "trainer"},
            {"kind": "Group", "name": "system:authenticated"}, {"kind": "Group", "name": "system:serviceaccounts:interp"},
        ]));
        assert_eq!(all.impersonators(true, &tenants).len(), 6);
        assert!(all.impersonators(false, &tenants).is_empty());
        let others = binding(json!([
            {"kind": "Group", "name": "system:masters"}, {"kind": "User", "name": "root"},
            {"kind": "ServiceAccount", "namespace": "flux", "name": "other"},
        ]));
        assert!(others.impersonators(true, &tenants).is_empty());
    }
}
