//! What a kind of grant adds to the engine: what it is for, how that is opened, and how it is taken away.

use super::{
    ineligible::Ineligible,
    obstacle::{Effect, Missing, Obstacle},
    target_error::{TargetError, of_role},
};
use crate::{
    cluster::role_facts::bindable,
    dns::NameState,
    grant::{Grant, Home, Input, model::target::Target},
    model::{
        child::{Child, names::DEFAULT_ACCOUNT},
        plan::{Action, Chain},
        shell::command,
        suggest::{closest, did_you_mean},
    },
};
use cloister_api::{HostStatus, ResidualExposure, Subject, SubjectKind};
use jiff::Timestamp;
use serde_json::Value;

/// What a grant opens.
#[derive(Debug, Default)]
pub struct Opening {
    /// What stands in the grant's name. Everything else in its name goes.
    pub children: Vec<Child>,
    /// What is done together with them, in steps.
    pub chain: Option<Chain>,
    /// What of it is taken away.
    pub close: Vec<Action>,
    /// Whether all of it is closed for now, without being anybody's mistake.
    pub opens_nothing: bool,
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

    /// The names of which DNS says nothing, or leads one family astray, each in a sentence.
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

impl Grant {
    /// What its kind adds to the engine.
    pub(crate) fn of_kind(&self) -> &dyn Kind {
        match self {
            Grant::Storage(grant) => grant,
            Grant::Egress(grant) => grant,
            Grant::Role(grant) => grant,
        }
    }

    /// What it asks for in its own fields.
    pub fn asks(&self) -> serde_json::Value {
        self.of_kind().asks()
    }
}

/// What is known to stand in the way of a request, and not just not known yet.
pub fn known_doubts(kind: &dyn Kind, input: &Input<'_>) -> impl Iterator<Item = Obstacle> {
    kind.doubts(input).into_iter().filter(|doubt| doubt.reason != NameState::Unknown.reason())
}

/// What is said of an account that gets it and is not declared, while nothing is open for it.
pub fn undeclared(kind: &dyn Kind, input: &Input<'_>) -> Option<Obstacle> {
    if matches!(input.home, Home::Closed | Home::Ending) {
        // There are no owners who could declare it.
        return None;
    }
    let name = undeclared_account(kind, input)?;
    let namespace = input.namespace;
    let declared = input.accounts.iter().map(|account| account.name.as_str());
    let meant = did_you_mean(closest(name, declared));
    let path = "jsonpath={.spec.serviceAccounts[*].name}";
    let list = command(["kubectl", "get", "researchnamespace", namespace, "-o", path]);
    let said = |instead: &str| {
        format!(
            "ResearchNamespace {namespace} does not declare ServiceAccount {name}{meant}; ask one of its owners to declare it in \
             serviceAccounts, or {instead} one that it declares (`{list}`)"
        )
    };
    let (waiting, refused) = (said("delete the grant and ask again for"), said("name"));
    Some(Obstacle { reason: "ServiceAccountNotFound", waiting, refused, effect: Effect::Holds })
}
