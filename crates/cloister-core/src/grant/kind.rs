//! What a kind of grant adds to the engine: what it is for, how that is opened, and how it is taken away.

use super::{
    Grant, Input,
    digest::Hashes,
    eligibility::Ineligible,
    obstacle::{Effect, Obstacle},
    target::Sensitive,
    words::{CATALOGUE_WRITERS, POLICY_WRITERS},
};
use crate::{
    child::Child,
    cluster_role::{Fault, bindable},
    namespace::children::DEFAULT_ACCOUNT,
    plan::{Action, Chain},
    suggest::did_you_mean,
};
use cloister_api::{AccessPolicy, GrantStatus, HostStatus, ResidualExposure, Subject, SubjectKind};
use jiff::Timestamp;
use serde_json::Value;

/// What a grant is for, as it was found in the catalogue.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// The policy that decides.
    pub policy: &'a AccessPolicy,
    /// How much is at stake, where that is said.
    pub sensitive: Option<Sensitive>,
    /// Everything about the target that a decision rests on, by which its digest is made.
    pub meaning: Value,
    /// The hashes of that, once they were asked for.
    pub hashes: Hashes,
    /// The ClusterRole that is bound while the grant lasts.
    pub cluster_role: Option<&'a str>,
    /// What that allows, a line for each rule.
    pub rules: &'a [Box<str>],
    /// Why the policy may not decide about it, if it may not.
    pub unguarded: Option<String>,
}

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
        "there is no ClusterRole {name}, which {named_by} names{}; ask {CATALOGUE_WRITERS} to correct the name there, or whoever runs \
         the cluster to create it",
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
        "there is no {kind} {name}{meant}; {instead} one that is there (`kubectl get {list}`), or ask {CATALOGUE_WRITERS} to publish it"
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
fn of_role(fault: &Fault, named_by: &str) -> String {
    format!(
        "{fault}. It is {named_by} that names it: ask {CATALOGUE_WRITERS} to name another, or whoever runs the cluster to do that"
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
        "{what} could not be read by the version of the operator that ran then; ask again once its status says that it can"
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
                format!("there is no {kind} {name} any more; ask {CATALOGUE_WRITERS} to publish it again")
            }
            TargetError::RoleNotFound { storage, role, offered, .. } => format!(
                "StorageResource {storage} offers no role {role} any more; it offers {offered}. Ask {CATALOGUE_WRITERS} to add it again"
            ),
            TargetError::PolicyNotFound { name, named_by, .. } if agreed_under == Some(name) => {
                format!(
                    "there is no AccessPolicy {name} any more, which {named_by} names; ask {POLICY_WRITERS} to publish it again"
                )
            }
            TargetError::Several(all) => all.iter().map(|one| one.gone(status)).collect::<Vec<_>>().join("; "),
            other => other.to_string(),
        }
    }

    /// What is said of a grant that ended by it: it stays true, whatever is published afterwards.
    pub fn ended(&self) -> String {
        match self {
            TargetError::NotFound { kind, name, .. } => {
                format!("{kind} {name} was deleted; ask again once it is there, which {CATALOGUE_WRITERS} can see to")
            }
            TargetError::RoleNotFound { storage, role, offered, .. } => format!(
                "StorageResource {storage} offered no role {role} any more, but {offered}; ask again for a role that it offers, or once \
                 it offers that one, which {CATALOGUE_WRITERS} can see to"
            ),
            TargetError::PolicyNotFound { name, .. } => {
                format!(
                    "AccessPolicy {name} was deleted; ask again once it is there, which {POLICY_WRITERS} can see to"
                )
            }
            TargetError::ClusterRoleNotFound { name, named_by, .. } => format!(
                "there was no ClusterRole {name} any more, which {named_by} named; ask again once it is there, which whoever runs the \
                 cluster can see to, or once another is named, which {CATALOGUE_WRITERS} can see to"
            ),
            TargetError::Undecodable { kind, name } => unreadable(&format!("{kind} {name}")),
            TargetError::PolicyUndecodable(name) => unreadable(&format!("AccessPolicy {name}")),
            TargetError::RoleRefused { .. } => {
                format!("what it was for could not be given any more: {self}; then ask again")
            }
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

/// Something that is missing for now, so that nothing can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Why, in one word.
    pub reason: &'static str,
    /// What to do about it.
    pub message: String,
}

/// What a grant opens.
#[derive(Debug, Default)]
pub struct Opening {
    /// What stands in the grant's name. Everything else in its name goes.
    pub children: Vec<Child>,
    /// What is done together with them, in steps.
    pub chain: Option<Chain>,
    /// What of it is taken away.
    pub close: Vec<Action>,
    /// What stays closed, and why.
    pub fault: Option<Missing>,
    /// What stays closed without being anybody's mistake.
    pub note: Option<Missing>,
    /// What is known of the names that it opens.
    pub hosts: Vec<HostStatus>,
    /// When the addresses of a name change.
    pub next: Option<Timestamp>,
}

/// A kind of grant.
pub trait Kind {
    /// Who gets it: those that it names.
    fn subjects(&self) -> &[Subject];

    /// The ServiceAccount whose pods it is mounted into.
    fn mounted_account(&self) -> Option<&str> {
        None
    }

    /// Whether all of the namespace profits, so that its members may not decide.
    fn is_for_namespace(&self, _: &Input<'_>) -> bool {
        is_for_accounts(self.subjects())
    }

    /// What it is for, in one word for lists.
    fn names_target(&self) -> String;

    /// Where it is written what may be given and who decides, in words.
    fn entry(&self) -> String;

    /// What it asks for, in its own fields: a part of what is decided about, and what `autoApprove` sees.
    fn asks(&self) -> Value;

    /// Finds what it is for.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be given.
    fn target<'a>(&self, input: &Input<'a>) -> Result<Target<'a>, TargetError>;

    /// Whether something else stands against it for good.
    ///
    /// # Errors
    ///
    /// It does.
    fn conflict(&self, _: &Input<'_>) -> Result<(), Ineligible> {
        Ok(())
    }

    /// Why it may not be given any more, although nothing that was agreed to has changed.
    fn withdrawn(&self, _: &Input<'_>) -> Option<Missing> {
        None
    }

    /// What is wrong with the request itself, whatever its policy says.
    fn faults(&self, _: &Input<'_>) -> Vec<Missing> {
        Vec::new()
    }

    /// What is missing for now, in the kind's own matters.
    fn missing(&self, _: &Target<'_>, _: &Input<'_>) -> Option<Obstacle> {
        None
    }

    /// Why it is not known yet to work, so that nobody is asked to agree to it.
    fn doubts(&self, _: &Input<'_>) -> Vec<Obstacle> {
        Vec::new()
    }

    /// The names of which DNS says nothing, each in a sentence.
    fn unanswered(&self, _: &Input<'_>) -> Vec<String> {
        Vec::new()
    }

    /// What those who decide should know of it, though nothing is wrong for sure.
    fn caution(&self, _: &Input<'_>) -> Vec<String> {
        Vec::new()
    }

    /// What of it may outlast the grant.
    fn residue(&self, target: &Target<'_>, input: &Input<'_>) -> Vec<ResidualExposure>;

    /// What it opens.
    fn opening(&self, grant: &Grant, target: &Target<'_>, input: &Input<'_>) -> Opening;
}

/// Whether pods get it, and with them whoever may run pods.
pub fn is_for_accounts(subjects: &[Subject]) -> bool {
    accounts(subjects).next().is_some()
}

/// The ServiceAccounts that it names.
pub fn accounts(subjects: &[Subject]) -> impl Iterator<Item = &str> {
    let accounts = subjects.iter().filter(|subject| subject.kind == SubjectKind::ServiceAccount);
    accounts.map(|subject| subject.name.as_str())
}

/// Of the ServiceAccounts that get it the first that the namespace does not declare.
pub fn undeclared_account<'a>(kind: &'a dyn Kind, input: &Input<'_>) -> Option<&'a str> {
    let has = |name: &str| name == DEFAULT_ACCOUNT || input.accounts.iter().any(|account| account.name == name);
    accounts(kind.subjects()).chain(kind.mounted_account()).find(|name| !has(name))
}

/// What is missing for now, so that nothing is opened.
pub fn missing(kind: &dyn Kind, target: &Target<'_>, input: &Input<'_>) -> Option<Obstacle> {
    let facts = target.cluster_role.map(|name| (name, (input.catalogue.cluster_roles)(name)));
    let fault = facts.and_then(|(name, facts)| bindable(name, facts).err());
    let unbound = fault.map(|fault| Missing { reason: fault.reason(), message: of_role(&fault, &kind.entry()) });
    unbound.map(Obstacle::from).or_else(|| kind.missing(target, input))
}
