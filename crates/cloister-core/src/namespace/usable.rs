//! The allowlists that a namespace may use, with their rules resolved once: for what they open by themselves, and for what they
//! agree to.

use super::{
    Input,
    needs::{Needs, allows, is_meant_for},
};
use crate::{
    address::Refusal,
    egress::{ResolvedRule, Surroundings, is_as_published},
};
use cloister_api::{EgressAllowlist, EgressRule, ResearchNamespace, ServiceReference};
use std::collections::{BTreeMap, BTreeSet};

/// The allowlists that a namespace may use and that have not ended, by name.
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
        let resolved = |(name, allowlist): (&'a str, &'a EgressAllowlist)| {
            let resolve = |rule: &'a EgressRule| {
                let resolved = is_as_published(allowlist, rule, s.services).map(|()| ResolvedRule::of(rule, s));
                UsableRule { rule, resolved }
            };
            (name, allowlist.spec.rules.iter().map(resolve).collect())
        };
        Usable(lasting(is_used, input, needs).map(resolved).collect())
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

/// The Services that the allowlists name which a namespace may use.
pub(crate) fn named_services(namespace: &ResearchNamespace, input: &Input<'_>) -> BTreeSet<ServiceReference> {
    let mut needs = Needs::default();
    let usable = lasting(|_, allowlist| allows(allowlist, namespace), input, &mut needs);
    let rules = usable.flat_map(|(_, allowlist)| allowlist.spec.rules.iter().map(move |rule| (allowlist, rule)));
    let published = rules.filter(|(allowlist, rule)| is_as_published(allowlist, rule, input.services).is_ok());
    published.filter_map(|(_, rule)| rule.service.clone()).collect()
}

/// The allowlists of which this holds and that have not ended. Notes when the first of them ends.
fn lasting<'a>(
    is_used: impl Fn(&str, &EgressAllowlist) -> bool,
    input: &Input<'a>,
    needs: &mut Needs,
) -> impl Iterator<Item = (&'a str, &'a EgressAllowlist)> {
    let read = input.allowlists.iter().filter_map(|(name, known)| Some((*name, known.read()?)));
    let now = input.now;
    read.filter(move |(name, allowlist)| is_used(name, allowlist) && needs.lasts(allowlist, now))
}
