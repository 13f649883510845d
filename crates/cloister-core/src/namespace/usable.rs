//! The allowlists that a namespace may use, with their rules resolved once: for what they open by themselves, and for what they
//! agree to.

use super::{
    Input,
    input::KnownAllowlist,
    needs::{Needs, allows, is_meant_for},
};
use crate::{
    address::Refusal,
    egress::{ResolvedRule, Surroundings, is_as_published},
};
use cloister_api::{EgressAllowlist, EgressRule, ResearchNamespace};
use std::collections::BTreeMap;

/// The allowlists that a namespace may use and that have not ended, by name.
#[derive(Default)]
pub(crate) struct Usable<'a>(BTreeMap<&'a str, Vec<UsableRule<'a>>>);

/// A rule of an allowlist.
pub(crate) struct UsableRule<'a> {
    pub rule: &'a EgressRule,
    /// What it reaches; or that its Service is another than the one that was published.
    pub resolved: Result<ResolvedRule, Refusal>,
}

impl<'a> Usable<'a> {
    /// What a namespace uses: what opens something by itself; and where it has rules of its own, all that may cover them. Notes
    /// when the first of them ends.
    pub fn by(namespace: &ResearchNamespace, input: &Input<'a>, s: &Surroundings<'_>, needs: &mut Needs) -> Self {
        let has_rules = !namespace.spec.egress.rules.is_empty();
        let is_used = |name: &str, allowlist: &EgressAllowlist| {
            is_meant_for(name, allowlist, namespace) || (has_rules && allows(allowlist, namespace))
        };
        Self::those(is_used, input, s, needs)
    }

    /// All that it may use.
    pub fn all(namespace: &ResearchNamespace, input: &Input<'a>, s: &Surroundings<'_>) -> Self {
        Self::those(|_, allowlist| allows(allowlist, namespace), input, s, &mut Needs::default())
    }

    fn those(
        is_used: impl Fn(&str, &EgressAllowlist) -> bool,
        input: &Input<'a>,
        s: &Surroundings<'_>,
        needs: &mut Needs,
    ) -> Self {
        let mut usable = Usable::default();
        for (&name, allowlist) in input.allowlists {
            let KnownAllowlist::Read(allowlist) = allowlist else { continue };
            if !is_used(name, allowlist) || !needs.lasts(allowlist, input.now) {
                continue;
            }
            let resolve = |rule: &'a EgressRule| {
                let resolved = is_as_published(allowlist, rule, s.services).map(|()| ResolvedRule::of(rule, s));
                UsableRule { rule, resolved }
            };
            usable.0.insert(name, allowlist.spec.rules.iter().map(resolve).collect());
        }
        usable
    }

    /// The rules of an allowlist; nothing where it has ended.
    pub fn rules(&self, allowlist: &str) -> Option<&[UsableRule<'a>]> {
        self.0.get(allowlist).map(Vec::as_slice)
    }

    /// All rules that are as published, each with its allowlist's name.
    pub fn published(&self) -> impl Iterator<Item = (&'a str, &'a EgressRule, &ResolvedRule)> {
        let all = self.0.iter().flat_map(|(name, rules)| rules.iter().map(|rule| (*name, rule)));
        all.filter_map(|(name, one)| Some((name, one.rule, one.resolved.as_ref().ok()?)))
    }
}
