//! A rule, resolved once: what it reaches, for which pods, and why the rest of it stays closed.

use super::{
    EgressTarget, Opened, Surroundings,
    reach::{InPart, Reach},
};
use crate::address::{Refusal, Selector, SelectorFault};
use cloister_api::{EgressRule, Port};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

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
