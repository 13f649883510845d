//! Why what a grant is for could not be found, or cannot be given.

use super::obstacle::{Effect, Obstacle};
use crate::{
    cluster::role_facts::Fault,
    model::{
        suggest::did_you_mean,
        writers::{CATALOGUE_WRITERS, POLICY_WRITERS},
    },
};
use cloister_api::GrantStatus;
use std::fmt::Display;

/// Why it could not be found, or cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("{}", not_found(.kind, .name, .meant.as_deref(), .list, "delete the grant and ask again for"))]
    NotFound { kind: &'static str, name: String, meant: Option<String>, list: &'static str },
    #[error("{kind} {name} cannot be read by this version of the operator; see its status")]
    Undecodable { kind: &'static str, name: String },
    #[error("{}", role_not_found(.storage, .role, .meant.as_deref(), .offered, "Delete the grant and ask again for"))]
    RoleNotFound { storage: String, role: String, meant: Option<String>, offered: String },
    #[error("there is no AccessPolicy {name}, which {named_by} names{}; ask {}", did_you_mean(meant.as_deref()), right_of_policy(named_by))]
    PolicyNotFound { name: String, named_by: String, meant: Option<String> },
    #[error("AccessPolicy {0} cannot be read by this version of the operator; see its status")]
    PolicyUndecodable(String),
    #[error(
        "there is no ClusterRole {name}, which {named_by} names{}; ask {CATALOGUE_WRITERS} to correct the name there, or a \
         cluster administrator to create it",
        did_you_mean(meant.as_deref())
    )]
    ClusterRoleNotFound { name: String, named_by: String, meant: Option<String> },
    #[error("{}", of_role(.fault, .named_by))]
    RoleRefused { fault: Fault, named_by: String },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<TargetError>),
}

fn not_found(kind: &str, name: &str, meant: Option<&str>, list: &str, instead: &str) -> String {
    let meant = did_you_mean(meant);
    format!(
        "there is no {kind} {name}{meant}; {instead} one that exists (`kubectl get {list}`), or ask {CATALOGUE_WRITERS} to \
         publish it"
    )
}

fn role_not_found(storage: &str, role: &str, meant: Option<&str>, offered: &str, instead: &str) -> String {
    let meant = did_you_mean(meant);
    format!(
        "StorageResource {storage} offers no role {role}{meant}; it offers {offered}. {instead} a role that it offers, or ask \
         {CATALOGUE_WRITERS} to add it"
    )
}

/// What is wrong with a ClusterRole, for whoever asked for what names it.
pub fn of_role(fault: &Fault, named_by: &str) -> String {
    if fault.is_of_role_of_kubernetes() {
        return format!("{fault}. The ClusterRole is named by {named_by}: ask {CATALOGUE_WRITERS} to name another");
    }
    format!(
        "{fault}. The ClusterRole is named by {named_by}: ask {CATALOGUE_WRITERS} to name another, or a cluster administrator \
         to do that"
    )
}

/// Who corrects a name of a policy where it stands, or publishes one of that name.
fn right_of_policy(named_by: &str) -> String {
    if named_by.ends_with(" of CloisterConfig") {
        format!("{POLICY_WRITERS} to publish it, or to correct the name")
    } else {
        format!("{CATALOGUE_WRITERS} to correct the name, or {POLICY_WRITERS} to publish it")
    }
}

/// What is said of a grant that ended since something could not be read.
fn unreadable(what: &str) -> String {
    format!(
        "{what} could not be read by the version of the operator that ran at that time; ask again when its status says that it \
         can be read"
    )
}

impl TargetError {
    /// Why, in one word.
    pub fn reason(&self) -> &'static str {
        match self {
            TargetError::NotFound { kind: "StorageResource", .. } => "StorageNotFound",
            TargetError::NotFound { .. } => "AccessRoleNotFound",
            TargetError::Undecodable { kind: "StorageResource", .. } => "StorageUndecodable",
            TargetError::Undecodable { .. } => "AccessRoleUndecodable",
            TargetError::RoleNotFound { .. } => "RoleNotFound",
            TargetError::PolicyNotFound { .. } => "PolicyNotFound",
            TargetError::PolicyUndecodable(_) => "PolicyUndecodable",
            TargetError::ClusterRoleNotFound { .. } => "ClusterRoleNotFound",
            TargetError::RoleRefused { fault, .. } => fault.reason(),
            TargetError::Several(all) => all.first().map_or("PolicyNotFound", TargetError::reason),
        }
    }

    /// All that is wrong, one by one.
    pub fn all(&self) -> &[TargetError] {
        match self {
            TargetError::Several(all) => all,
            one => std::slice::from_ref(one),
        }
    }

    /// What is said of it to whose request it stands in the way.
    pub fn obstacles(&self) -> impl Iterator<Item = Obstacle> {
        self.all().iter().map(|one| {
            let refused = match one {
                TargetError::NotFound { kind, name, meant, list } => {
                    not_found(kind, name, meant.as_deref(), list, "name")
                }
                TargetError::RoleNotFound { storage, role, meant, offered } => {
                    role_not_found(storage, role, meant.as_deref(), offered, "Name")
                }
                other => other.to_string(),
            };
            Obstacle { reason: one.reason(), waiting: one.to_string(), refused, effect: Effect::Holds }
        })
    }

    /// What is said of it to whom it concerns that was approved: nobody misspelt what was there.
    pub fn gone(&self, status: Option<&GrantStatus>) -> String {
        let agreed_under = status.and_then(|status| status.policy.as_ref()).map(|policy| policy.name.as_str());
        match self {
            TargetError::NotFound { kind, name, .. } => {
                format!("{kind} {name} no longer exists; ask {CATALOGUE_WRITERS} to publish it again")
            }
            TargetError::RoleNotFound { storage, role, offered, .. } => format!(
                "StorageResource {storage} no longer offers role {role}; it offers {offered}. Ask {CATALOGUE_WRITERS} to add \
                 it again"
            ),
            TargetError::PolicyNotFound { name, named_by, .. } if agreed_under == Some(name) => {
                format!(
                    "AccessPolicy {name}, which {named_by} names, no longer exists; ask {POLICY_WRITERS} to publish it again"
                )
            }
            TargetError::Several(all) => all.iter().map(|one| one.gone(status)).collect::<Vec<_>>().join("; "),
            other => other.to_string(),
        }
    }

    /// What is said of a grant that ended by it: it stays true, whatever is published afterwards.
    pub fn ended(&self) -> String {
        match self {
            TargetError::NotFound { kind, name, .. } => was_deleted(&format!("{kind} {name}"), CATALOGUE_WRITERS),
            TargetError::RoleNotFound { storage, role, offered, .. } => format!(
                "StorageResource {storage} no longer offered role {role}, but {offered}; create another request for a role \
                 that it offers, or first ask {CATALOGUE_WRITERS} to add that role"
            ),
            TargetError::PolicyNotFound { name, .. } => was_deleted(&format!("AccessPolicy {name}"), POLICY_WRITERS),
            TargetError::ClusterRoleNotFound { name, named_by, .. } => format!(
                "ClusterRole {name}, which {named_by} named, no longer existed; ask a cluster administrator to create it, or \
                 {CATALOGUE_WRITERS} to name another, then create another request"
            ),
            TargetError::Undecodable { kind, name } => unreadable(&format!("{kind} {name}")),
            TargetError::PolicyUndecodable(name) => unreadable(&format!("AccessPolicy {name}")),
            TargetError::RoleRefused { .. } => could_no_longer_be_granted(self),
            TargetError::Several(all) => all.iter().map(TargetError::ended).collect::<Vec<_>>().join("; "),
        }
    }

    /// The policy that is named now and is not there, and what names it.
    pub fn policy_not_found(&self) -> Option<(&str, &str)> {
        self.all().iter().find_map(|one| match one {
            TargetError::PolicyNotFound { name, named_by, .. } => Some((name.as_str(), named_by.as_str())),
            _ => None,
        })
    }

    /// Whether something is not there that may be on its way.
    pub fn is_of_what_may_come(&self) -> bool {
        self.all().iter().all(|one| {
            matches!(
                one,
                TargetError::NotFound { .. }
                    | TargetError::RoleNotFound { .. }
                    | TargetError::PolicyNotFound { .. }
                    | TargetError::ClusterRoleNotFound { .. }
            )
        })
    }

    /// Whether it is the policy that is gone, and not what the grant is for.
    pub fn is_of_policy(&self) -> bool {
        let is_of_policy =
            |one: &TargetError| matches!(one, TargetError::PolicyNotFound { .. } | TargetError::PolicyUndecodable(_));
        self.all().iter().all(is_of_policy)
    }
}

/// What is said of a grant that ended by what was so then, and may be otherwise when it is read.
pub fn could_no_longer_be_granted(why: impl Display) -> String {
    format!(
        "when it ended, it could no longer be granted: {why}. That brings no grant back which has ended: once it can be granted, \
         create another request"
    )
}

/// What is said of a grant that ended because what it was for was deleted.
fn was_deleted(what: &str, writers: &str) -> String {
    format!(
        "{what} was deleted; unless it is there again by now, ask {writers} to publish it, then create another request"
    )
}
