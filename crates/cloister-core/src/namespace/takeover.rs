//! Whether a Namespace may become, or is, the one of a ResearchNamespace.

use super::Input;
use crate::child::ChildKind;
use cloister_api::{condition::reason, labels};

/// How a Namespace stands to the ResearchNamespace of its name.
pub enum Standing {
    /// There is none yet.
    ToMake,
    /// Somebody offered it for adoption, and it holds nothing that could undo what the operator writes.
    ToTakeOver,
    /// It belongs to the ResearchNamespace.
    Ours,
    /// It is being deleted.
    Ending,
    /// It must not be touched.
    Refused {
        /// Why, in one word.
        reason: &'static str,
        /// Why, in a sentence that says what to do.
        message: String,
    },
}

/// Finds out how it stands.
pub fn standing(input: &Input<'_>) -> Standing {
    let name = input.name;
    let Some(namespace) = input.namespace else { return Standing::ToMake };
    let retained = namespace.label(labels::RETAINED).is_some();
    if namespace.terminating {
        return Standing::Ending;
    }
    if namespace.belongs_to(name) && !retained {
        return Standing::Ours;
    }
    if namespace.adopt.as_deref() != Some(name) {
        return Standing::Refused {
            reason: reason::NAMESPACE_EXISTS,
            message: format!(
                "a Namespace {name} exists already; if its content is meant to become this research namespace, run: \
                 kubectl annotate namespace {name} {}={name}",
                labels::ADOPT
            ),
        };
    }
    let foreign: Vec<String> = input
        .children
        .iter()
        .filter(|(key, child)| !child.managed && (key.kind.is_policy() || key.kind == ChildKind::RoleBinding))
        .map(|(key, _)| key.to_string())
        .collect();
    if foreign.is_empty() {
        return Standing::ToTakeOver;
    }
    let shown = foreign.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    Standing::Refused {
        reason: reason::FOREIGN_OBJECTS,
        message: format!(
            "Namespace {name} holds {} policies or bindings that somebody else wrote ({shown}{}); delete them, and it is taken over",
            foreign.len(),
            if foreign.len() > 5 { ", …" } else { "" }
        ),
    }
}
