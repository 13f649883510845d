//! ClusterRoles that grants bind: what they allow, and which of them may never be given for a time.
//!
//! A role that lets its holder leave something behind (a binding, a token, a credential, a workload) outlives the grant
//! that gave it. Such a role is refused, with the rule that is at fault.

use super::{
    guard::Guard,
    lasting_access::{Accepted, persistence_risk},
};
use crate::model::{hash::hash, writers::CLUSTER_ADMINS};
use cloister_api::{ResidualExposure, labels};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::json;

/// What is known of a ClusterRole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleFacts {
    /// A hash of what it allows, whatever the order of its rules.
    pub rules: Box<str>,
    /// What it allows, a line for each rule, in order.
    pub lines: Box<[Box<str>]>,
    /// The rule that would let its holder keep access, and why, if there is one.
    pub persistence_risk: Option<Box<str>>,
    /// Whether it lets its holder act as somebody else.
    pub impersonates: bool,
    /// Whether the operator may bind it.
    pub bindable: bool,
    /// Who may decide about it, as its annotations say.
    pub guard: Guard,
    /// What may outlast a binding to it, because the API server asks who may do it only at the beginning.
    pub lingering: Vec<ResidualExposure>,
}

impl RoleFacts {
    /// What is known of a role.
    pub fn of(role: &ClusterRole, bindable: bool) -> Self {
        let rules = role.rules.as_deref().unwrap_or_default();
        let annotations = role.metadata.annotations.as_ref();
        let annotation = |key: &str| annotations.and_then(|all| all.get(key)).map(String::as_str);
        let accepted = annotation(Accepted::ANNOTATION).map(Accepted::read).unwrap_or_default();
        RoleFacts {
            rules: digest(rules).into(),
            lines: lines(rules),
            persistence_risk: rules.iter().find_map(|rule| persistence_risk(rule, &accepted)).map(Into::into),
            impersonates: rules.iter().any(impersonates),
            bindable,
            guard: Guard::of(&role.metadata, &labels::OF_CLUSTER_ROLES),
            lingering: lingering(rules),
        }
    }
}

/// Why a ClusterRole cannot be bound by a grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is none.
    #[error("there is no ClusterRole {0}; correct the name, or ask {CLUSTER_ADMINS} to create it")]
    NotFound(String),
    /// It would outlive the grant.
    #[error("ClusterRole {role} would let its holder keep access after the end: {rule}{}", removal(role))]
    Lasting {
        /// The role.
        role: String,
        /// The rule, and why.
        rule: String,
    },
    /// What it says of itself cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// The operator may not bind it.
    #[error(
        "the operator may not bind ClusterRole {0}; add \"{0}\" to the resourceNames of the rule with the verb bind in \
         deploy/rbac/operator.yaml"
    )]
    NotBindable(String),
}

/// What to do about a role that would outlive its grant: those of Kubernetes are not changed.
fn removal(role: &str) -> &'static str {
    if is_of_kubernetes(role) { "" } else { "; remove that from the role" }
}

/// Whether Kubernetes itself makes a ClusterRole of this name, and restores it.
fn is_of_kubernetes(role: &str) -> bool {
    ["cluster-admin", "admin", "edit", "view"].contains(&role) || role.starts_with("system:")
}

impl Fault {
    /// Whether only another ClusterRole helps, because nobody should change this one.
    pub fn is_of_role_of_kubernetes(&self) -> bool {
        matches!(self, Fault::Lasting { role, .. } if is_of_kubernetes(role))
    }

    /// Why, in one word.
    pub fn reason(&self) -> &'static str {
        match self {
            Fault::NotFound(_) => "ClusterRoleNotFound",
            Fault::Lasting { .. } | Fault::Unreadable(_) => "ClusterRoleRefused",
            Fault::NotBindable(_) => "ClusterRoleNotBindable",
        }
    }
}

/// The digest of what a role allows, where it may be given for a time.
///
/// # Errors
///
/// Why it may not.
pub fn given<'a>(name: &str, facts: Option<&'a RoleFacts>) -> Result<&'a str, Fault> {
    let Some(facts) = facts else { return Err(Fault::NotFound(name.to_owned())) };
    if let Some(fault) = facts.guard.unreadable(&format!("ClusterRole {name}")) {
        return Err(Fault::Unreadable(fault));
    }
    match &facts.persistence_risk {
        Some(rule) => Err(Fault::Lasting { role: name.to_owned(), rule: rule.to_string() }),
        None => Ok(&facts.rules),
    }
}

/// Whether the operator may bind a role.
///
/// # Errors
///
/// It may not, and what to do about it.
pub fn bindable(name: &str, facts: Option<&RoleFacts>) -> Result<(), Fault> {
    given(name, facts)?;
    if facts.is_some_and(|facts| facts.bindable) { Ok(()) } else { Err(Fault::NotBindable(name.to_owned())) }
}

/// Whether a rule lets its holder act as somebody else.
pub fn impersonates(rule: &PolicyRule) -> bool {
    rule.verbs.iter().any(|verb| verb == "impersonate" || verb == "*" || verb.starts_with("impersonate:"))
        && matches_any(rule.api_groups.as_deref(), &["", "authentication.k8s.io"])
        && matches_any(rule.resources.as_deref(), &["users", "groups", "serviceaccounts", "uids", "userextras"])
}

/// The subresources whose requests are connections that stay: the API server ends none of them.
const SESSIONS: [&str; 5] = ["exec", "attach", "portforward", "proxy", "log"];

/// What may outlast a role with these rules.
fn lingering(rules: &[PolicyRule]) -> Vec<ResidualExposure> {
    let watches = |rule: &PolicyRule| rule.verbs.iter().any(|verb| verb == "watch" || verb == "*");
    let session = |resource: &String| {
        resource == "*" || resource.split_once('/').is_some_and(|(_, part)| part == "*" || SESSIONS.contains(&part))
    };
    let sessions = |rule: &PolicyRule| rule.resources.iter().flatten().any(session);
    let watches = rules.iter().any(watches).then_some(ResidualExposure::Watches);
    watches.into_iter().chain(rules.iter().any(sessions).then_some(ResidualExposure::Sessions)).collect()
}

fn matches_any(listed: Option<&[String]>, wanted: &[&str]) -> bool {
    listed.unwrap_or_default().iter().any(|one| one == "*" || wanted.contains(&one.split('/').next().unwrap_or(one)))
}

/// The longest line that says what a rule allows.
const LINE: usize = 160;

/// What each rule allows, in words.
fn lines(rules: &[PolicyRule]) -> Box<[Box<str>]> {
    let line = |rule: &PolicyRule| {
        let joined = |list: Option<&Vec<String>>| sorted(list).join(",");
        let groups: Vec<String> =
            sorted(rule.api_groups.as_ref()).into_iter().filter(|group| !group.is_empty()).collect();
        let mut line = format!("{} of {}", joined(Some(&rule.verbs)), joined(rule.resources.as_ref()));
        line.push_str(&joined(rule.non_resource_urls.as_ref()));
        for (what, list) in [(" in ", groups), (" named ", sorted(rule.resource_names.as_ref()))] {
            if !list.is_empty() {
                line.push_str(what);
                line.push_str(&list.join(","));
            }
        }
        if line.len() > LINE {
            let end = (0..=LINE).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
            line.truncate(end);
            line.push_str("...");
        }
        line.into_boxed_str()
    };
    let mut lines: Vec<Box<str>> = rules.iter().map(line).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.into()
}

fn sorted(list: Option<&Vec<String>>) -> Vec<String> {
    let mut list = list.cloned().unwrap_or_default();
    list.sort();
    list.dedup();
    list
}

fn digest(rules: &[PolicyRule]) -> String {
    let mut rules: Vec<serde_json::Value> = rules
        .iter()
        .map(|rule| {
            json!({
                "verbs": sorted(Some(&rule.verbs)),
                "apiGroups": sorted(rule.api_groups.as_ref()),
                "resources": sorted(rule.resources.as_ref()),
                "resourceNames": sorted(rule.resource_names.as_ref()),
                "nonResourceURLs": sorted(rule.non_resource_urls.as_ref()),
            })
        })
        .collect();
    rules.sort_by_cached_key(serde_json::Value::to_string);
    rules.dedup();
    hash(&serde_json::Value::Array(rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(rules: serde_json::Value) -> RoleFacts {
        RoleFacts::of(&serde_json::from_value(json!({"rules": rules})).unwrap(), true)
    }

    fn rule(group: &str, resource: &str, verbs: &[&str]) -> serde_json::Value {
        json!([{"apiGroups": [group], "resources": [resource], "verbs": verbs}])
    }

    #[test]
    fn what_ends_with_the_grant_may_be_bound() {
        for rules in [
            rule("", "pods/exec", &["create"]),
            rule("", "pods", &["get", "list", "delete"]),
            rule("apps", "deployments/scale", &["patch"]),
            rule("rbac.authorization.k8s.io", "rolebindings", &["get"]),
            rule("cloister.dev", "storageaccessgrants", &["list"]),
        ] {
            assert_eq!(role(rules.clone()).persistence_risk, None, "{rules}");
        }
    }

    #[test]
    fn what_outlives_the_grant_is_refused() {
        for rules in [
            rule("", "secrets", &["get"]),
            rule("", "serviceaccounts/token", &["create"]),
            rule("", "serviceaccounts", &["impersonate"]),
            rule("", "users", &["impersonate"]),
            rule("", "*", &["get"]),
            rule("*", "pods", &["get"]),
            rule("", "pods", &["*"]),
            rule("", "pods/*", &["get"]),
            rule("rbac.authorization.k8s.io", "rolebindings", &["create"]),
            rule("rbac.authorization.k8s.io", "clusterroles", &["bind"]),
            rule("rbac.authorization.k8s.io", "roles", &["escalate"]),
            rule("cloister.dev", "accessreviews", &["create"]),
            rule("networking.k8s.io", "networkpolicies", &["delete"]),
            rule("policy.networking.k8s.io", "clusternetworkpolicies", &["patch"]),
            rule("cilium.io", "ciliumnetworkpolicies", &["create"]),
            rule("projectcalico.org", "networkpolicies", &["update"]),
            rule("crd.projectcalico.org", "networkpolicies", &["update"]),
            rule("certificates.k8s.io", "certificatesigningrequests", &["create"]),
            rule("apps", "deployments", &["patch"]),
            rule("batch", "cronjobs", &["create"]),
            rule("discovery.k8s.io", "endpointslices", &["update"]),
            rule("", "pods/ephemeralcontainers", &["patch"]),
            rule("gateway.networking.k8s.io", "httproutes", &["create"]),
            rule("external-secrets.io", "externalsecrets", &["create"]),
        ] {
            assert!(role(rules.clone()).persistence_risk.is_some(), "{rules}");
        }
    }

    #[test]
    fn a_role_names_what_may_outlast_its_grant() {
        let with = |accepted: &str| {
            let metadata = json!({"annotations": {"cloister.dev/may-outlast-grant": accepted}});
            let role = json!({"metadata": metadata, "rules": rule("apps", "deployments", &["get", "patch"])});
            RoleFacts::of(&serde_json::from_value(role).unwrap(), true)
        };
        assert_eq!(with("patch deployments.apps").persistence_risk, None);
        let refused = with("patch deployments").persistence_risk.unwrap();
        assert!(
            refused.contains("cloister.dev/may-outlast-grant of the ClusterRole: \"patch deployments.apps\""),
            "{refused}"
        );
        assert_eq!(with("").rules, with("patch deployments.apps").rules, "it allows the same");
    }

    #[test]
    fn the_order_of_rules_means_nothing_and_their_content_all() {
        let one = role(json!([
            {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
        ]));
        let turned = role(json!([
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get"]},
        ]));
        let wider = role(json!([{"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list"]}]));
        assert_eq!(one.rules, turned.rules);
        assert_ne!(one.rules, wider.rules);
    }

    #[test]
    fn what_goes_on_after_a_binding_is_known() {
        use ResidualExposure::{Sessions, Watches};
        for (rules, left) in [
            (rule("", "pods", &["get", "list"]), vec![]),
            (rule("", "pods", &["get", "list", "watch"]), vec![Watches]),
            (rule("apps", "deployments", &["*"]), vec![Watches]),
            (rule("", "pods/exec", &["create"]), vec![Sessions]),
            (rule("", "pods/attach", &["get"]), vec![Sessions]),
            (rule("", "pods/portforward", &["create"]), vec![Sessions]),
            (rule("", "services/proxy", &["get"]), vec![Sessions]),
            (rule("", "pods/log", &["get"]), vec![Sessions]),
            (rule("", "pods/*", &["watch"]), vec![Watches, Sessions]),
            (rule("", "pods/eviction", &["create"]), vec![]),
        ] {
            assert_eq!(role(rules.clone()).lingering, left, "{rules}");
        }
    }

    #[test]
    fn who_may_be_somebody_else_is_seen() {
        assert!(role(rule("", "users", &["impersonate"])).impersonates);
        assert!(role(rule("*", "*", &["*"])).impersonates);
        assert!(!role(rule("", "pods", &["*"])).impersonates);
    }
}
