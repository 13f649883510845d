//! A rule, resolved once: what it reaches, for which pods, and why the rest of it stays closed.

use super::{
    AllowRule, EgressTarget, Surroundings,
    reach::{InPart, Reach},
};
use crate::address::{Refusal, Selector, SelectorFault};
use cloister_api::{EgressRule, Port};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// What was declared, as far as it can be opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opened {
    /// What is open of it, where anything is.
    pub opening: Option<AllowRule>,
    /// Why the rest stays closed: each names the items that it is about.
    pub closed: Vec<Refusal>,
}

impl Opened {
    /// All of it.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] of an item.
    pub fn whole(self) -> Result<AllowRule, Refusal> {
        match self.closed.into_iter().next() {
            Some(refusal) => Err(refusal),
            None => self.opening.ok_or(Refusal::TargetInvalid),
        }
    }
}

/// A rule, resolved.
#[derive(Clone, Debug)]
pub struct ResolvedRule {
    in_part: InPart,
    pods: Result<Selector, SelectorFault>,
}

impl ResolvedRule {
    /// Resolves a rule, item by item.
    pub fn of(rule: &EgressRule, s: &Surroundings) -> Self {
        Self::of_target(EgressTarget::of_rule(rule).as_ref(), &rule.ports, rule.pod_selector.as_ref(), s)
    }

    pub(super) fn of_target(
        target: Option<&EgressTarget>,
        ports: &[Port],
        pods: Option<&LabelSelector>,
        s: &Surroundings,
    ) -> Self {
        let in_part = match target {
            Some(target) => Reach::resolve(target, ports, s),
            None => Err(Refusal::TargetInvalid).into(),
        };
        Self { in_part, pods: Selector::parse(pods) }
    }

    /// The same without what cannot be held by what opens it.
    #[must_use]
    pub(super) fn enforceable(self, s: &Surroundings) -> Self {
        Self { in_part: self.in_part.enforceable(s), ..self }
    }

    /// What it opens by itself: a name or a network that cannot be opened closes itself alone.
    pub fn opened(&self, s: &Surroundings) -> Opened {
        let (reach, closed) = self.in_part.held(s);
        match (reach, &self.pods) {
            (Some(reach), Ok(pods)) => Opened { opening: Some(reach.opening(pods.clone())), closed },
            (Some(_), Err(fault)) => Opened { opening: None, closed: vec![fault.clone().into()] },
            (None, _) => Opened { opening: None, closed },
        }
    }

    /// What it reaches, and for which pods; nothing where none of it can be opened.
    pub(super) fn reach(&self) -> Option<(&Reach, &Selector)> {
        Some((self.in_part.reach.as_ref()?, self.pods.as_ref().ok()?))
    }

    /// Why nothing of it can be opened, or a part of it.
    pub(super) fn refusals(self) -> Vec<Refusal> {
        match (self.in_part.reach, self.pods) {
            (Some(_), Err(fault)) => vec![fault.into()],
            _ => self.in_part.closed,
        }
    }
}
