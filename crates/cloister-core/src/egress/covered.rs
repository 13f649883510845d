//! A namespace's own rules: each opens as far as allowlists cover it.

use super::{AllowRule, Surroundings, resolved::ResolvedRule};
use crate::{
    address::Refusal,
    model::{
        suggest::{closest, did_you_mean},
        text::{first_few, first_of},
    },
};
use cloister_api::{EgressRule, EgressState, ServiceReference};
use std::{borrow::Cow, collections::BTreeSet};

/// Reason of a rule that is open, all of it.
pub const COVERED: &str = "Covered";

/// Reason of a rule of which a part is open.
pub const PARTLY_COVERED: &str = "PartlyCovered";

/// Reason of a rule of which nothing is open.
pub const NOT_COVERED: &str = "NotCovered";

/// How far a namespace's own rule is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Covered {
    /// What is open of it: one opening for each allowlist rule that covers some of it, in a fixed order, without doubles.
    pub openings: Vec<AllowRule>,
    /// For each opening the place of a rule, among those that are allowed, which agrees to it.
    pub agreed_by: Vec<usize>,
    /// Why some of its items can never be opened, whoever covers them.
    pub refused: Vec<Refusal>,
    /// Active, NeedsGrant or, where none of its items can be opened, Refused: what became of the other items.
    pub state: EgressState,
    /// The reason in one word: [`COVERED`], [`PARTLY_COVERED`], [`NOT_COVERED`], or that of a [`Refusal`].
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Where an agreement is missing, whom to ask for it.
    pub advice: String,
    /// What nothing covers, in words.
    pub uncovered: Vec<String>,
}

/// Opens a namespace's own rule as far as `allowed` covers it: the rules of the allowlists that the namespace may use,
/// each with its allowlist's name. What is opened is never wider than the rule, nor than the allowlist's rule.
///
/// A rule of an allowlist that is itself refused covers nothing. Whether pods are covered is judged by comparing single
/// requirements of the selectors, one allowlist rule at a time: two rules for complementary pods open both halves, but
/// do not make the rule Active.
///
/// The outcome does not depend on the order of `allowed`, nor on that of a rule's networks and ports.
pub fn open_covered(rule: &EgressRule, allowed: &[(&str, &EgressRule)], s: &Surroundings) -> Covered {
    open_covered_by(rule, &Allowed::of(allowed, s), s)
}

/// The rules that a namespace may use, resolved once for all rules of a namespace: those of allowlists, and those of its
/// EgressGrants. One that is refused is left out.
#[derive(Clone, Default)]
pub struct Allowed<'a> {
    rules: Vec<(usize, Source<'a>, Cow<'a, ResolvedRule>)>,
    /// The Services that they name, whether they can be opened or not.
    services: BTreeSet<ServiceReference>,
    /// How many were given, those included that are refused.
    given: usize,
}

impl<'a> Allowed<'a> {
    /// Resolves the rules of allowlists.
    pub fn of(allowed: &[(&'a str, &EgressRule)], s: &Surroundings) -> Self {
        let mut all = Allowed::default();
        for (name, rule) in allowed {
            all.push(Source::Allowlist(name), rule, Cow::Owned(ResolvedRule::of(rule, s)));
        }
        all
    }

    /// Those of allowlists that are resolved already.
    pub fn of_resolved(allowed: impl Iterator<Item = (&'a str, &'a EgressRule, &'a ResolvedRule)>) -> Self {
        let mut all = Allowed::default();
        allowed.for_each(|(name, rule, resolved)| all.push(Source::Allowlist(name), rule, Cow::Borrowed(resolved)));
        all
    }

    /// Adds the rules of EgressGrants, whose places come after those of the others. What a grant opens is held by addresses,
    /// so that a name which stands for others covers nothing.
    #[must_use]
    pub fn and_granted(mut self, granted: &[(&'a str, &EgressRule)], s: &Surroundings) -> Self {
        let by_address = Surroundings { wildcards: false, ..*s };
        for (name, rule) in granted {
            let held = ResolvedRule::of(rule, &by_address).enforceable(&by_address);
            self.push(Source::Grant(name), rule, Cow::Owned(held));
        }
        self
    }

    /// Adds others, whose places come after those of these.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.rules.extend(others.rules.iter().map(|(at, source, rule)| (self.given + at, *source, rule.clone())));
        self.services.extend(others.services.iter().cloned());
        self.given += others.given;
        self
    }

    /// How many were given, those included that are refused.
    pub fn given(&self) -> usize {
        self.given
    }

    fn push(&mut self, source: Source<'a>, rule: &EgressRule, resolved: Cow<'a, ResolvedRule>) {
        self.services.extend(rule.service.clone());
        if resolved.reach().is_some() {
            self.rules.push((self.given, source, resolved));
        }
        self.given += 1;
    }
}

/// Where a rule that agrees to another is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source<'a> {
    Allowlist(&'a str),
    Grant(&'a str),
}

impl<'a> Source<'a> {
    fn kind(self) -> &'static str {
        match self {
            Source::Allowlist(_) => "EgressAllowlist",
            Source::Grant(_) => "EgressGrant",
        }
    }

    fn name(self) -> &'a str {
        let (Source::Allowlist(name) | Source::Grant(name)) = self;
        name
    }
}

/// As [`open_covered`].
pub fn open_covered_by(rule: &EgressRule, allowed: &Allowed<'_>, s: &Surroundings) -> Covered {
    if let Some(service) = rule.service.as_ref().filter(|service| !allowed.services.contains(service)) {
        // Whoever writes a rule must not learn which Services others have, and how they are made.
        let nobody_knows = Surroundings { services: &|_| None, ..*s };
        match ResolvedRule::of(rule, &nobody_knows).refusals().pop() {
            Some(Refusal::ServiceNotFound(_)) => return unnamed(service, allowed, s),
            Some(refusal) => return nothing(vec![refusal]),
            None => {}
        }
    }
    let own = ResolvedRule::of(rule, s).enforceable(s);
    let Some((reach, pods)) = own.reach() else { return nothing(own.refusals()) };
    let mut openings = Vec::new();
    let mut covering = Vec::new();
    let mut by = Sources::default();
    for (at, source, other) in &allowed.rules {
        let Some((theirs, their_pods)) = other.reach().filter(|(theirs, _)| !reach.is_apart(theirs)) else { continue };
        by.apart.extend(reach.in_another_form(theirs).map(|form| (*source, form)));
        let Some(common) = reach.intersection(theirs) else {
            by.elsewhere.extend(reach.on_other_ports(theirs).map(|ports| (*source, ports)));
            continue;
        };
        let of_both = pods.conjunction(their_pods);
        let all_pods = pods.implies(their_pods);
        if !all_pods && !of_both.is_satisfiable() {
            continue;
        }
        openings.push((common.opening(of_both), *at));
        if all_pods {
            by.covering.insert(*source);
            covering.push(common);
        } else {
            by.for_some_pods.insert(*source);
        }
    }
    openings.sort_by(|(one, _), (other, _)| AllowRule::compare(one, other));
    // Of two agreements to the same, the narrower one is counted.
    openings.dedup_by(|(one, _), (other, _)| one.opens_what(other));
    let (openings, agreed_by): (Vec<AllowRule>, Vec<usize>) = openings.into_iter().unzip();

    let uncovered = reach.uncovered(&covering);
    if !uncovered.is_empty() {
        by.meant = reach.meant(allowed.rules.iter().filter_map(|(_, _, other)| Some(other.reach()?.0)));
    }
    let refused = own.refusals();
    if uncovered.is_empty() {
        let message = format!("covered by {}", named(&by.covering));
        let (state, reason) = (EgressState::Active, COVERED.to_owned());
        return Covered { openings, agreed_by, refused, state, reason, message, advice: String::new(), uncovered };
    }
    let reason = if openings.is_empty() { NOT_COVERED } else { PARTLY_COVERED };
    let (message, advice) = (by.misses(&uncovered), by.advice());
    let (state, reason) = (EgressState::NeedsGrant, reason.to_owned());
    Covered { openings, agreed_by, refused, state, reason, message, advice, uncovered }
}

/// No item of the rule can be opened.
fn nothing(refused: Vec<Refusal>) -> Covered {
    Covered {
        openings: Vec::new(),
        agreed_by: Vec::new(),
        state: EgressState::Refused,
        reason: refused.first().map(Refusal::reason).unwrap_or_default().to_owned(),
        message: refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        advice: String::new(),
        uncovered: Vec::new(),
        refused,
    }
}

/// No rule that is allowed names the Service, and whether there is one is not said. Of those that they name, one that exists
/// may be meant.
fn unnamed(service: &ServiceReference, allowed: &Allowed<'_>, s: &Surroundings) -> Covered {
    let named = |service: &ServiceReference| format!("{}/{}", service.namespace, service.name);
    let there = allowed.services.iter().filter(|service| (s.services)(service).is_some());
    let known: Vec<String> = there.map(named).collect();
    let asked = named(service);
    let near = did_you_mean(closest(&asked, known.iter().map(String::as_str)));
    let message = format!(
        "no EgressAllowlist that this namespace may use, and no EgressGrant of it, names Service {asked}{near}"
    );
    let advice = format!(
        "Ask for an EgressGrant of this rule, unless one waits already (`kubectl explain egressgrant.spec`), ask a catalogue \
         administrator for an EgressAllowlist that covers it (`kubectl get egressallowlists` lists what there is), or ask the \
         owner of namespace {} for the name of the Service",
        service.namespace
    );
    Covered {
        openings: Vec::new(),
        agreed_by: Vec::new(),
        refused: Vec::new(),
        state: EgressState::NeedsGrant,
        reason: NOT_COVERED.to_owned(),
        message,
        advice,
        uncovered: vec![asked],
    }
}

/// What agrees to a rule, and how far.
#[derive(Default)]
struct Sources<'a> {
    /// Those that cover some of it, for all its pods.
    covering: BTreeSet<Source<'a>>,
    /// Those that cover some of it, for some of its pods.
    for_some_pods: BTreeSet<Source<'a>>,
    /// Those that lead to the same place on other ports alone, and on which.
    elsewhere: BTreeSet<(Source<'a>, String)>,
    /// Those that have the same names in another form, or led to other networks, and how.
    apart: BTreeSet<(Source<'a>, String)>,
    /// The name of theirs that may be meant by one that is not theirs.
    meant: Option<String>,
}

impl Sources<'_> {
    /// What nothing covers, and what comes near.
    fn misses(&self, uncovered: &[String]) -> String {
        let what = first_few_of(uncovered);
        let meant = did_you_mean(self.meant.as_deref());
        let ports = self.nearly();
        let pods = match named(&self.for_some_pods) {
            none if none.is_empty() => none,
            some => format!(
                " ({some} covers some of it, but only for pods that its podSelector matches; the podSelector of the rule may \
                 match other pods)"
            ),
        };
        let rest = match named(&self.covering) {
            none if none.is_empty() => none,
            some => format!("; the rest is covered by {some}"),
        };
        format!(
            "no EgressAllowlist that this namespace may use, and no EgressGrant of it, covers {what}{meant}{ports}{pods}{rest}"
        )
    }

    fn advice(&self) -> String {
        let is_granted = self.covering.iter().chain(&self.for_some_pods).any(|one| matches!(one, Source::Grant(_)));
        let missing = if is_granted { "what is missing" } else { "this rule" };
        format!(
            "Ask for an EgressGrant of {missing}, unless one waits already (`kubectl explain egressgrant.spec`), ask a catalogue \
             administrator for an EgressAllowlist that covers it, or narrow the rule; `kubectl get egressallowlists` lists what \
             there is"
        )
    }

    /// A rule that differs in its ports, its form or its expectedNetworks alone is often a slip.
    fn nearly(&self) -> String {
        const NAMED: usize = 3;
        let all = self.elsewhere.iter().filter(|(source, _)| !self.covering.contains(source));
        let all = all.map(|(source, ports)| format!("{} leads there on {ports} only", named(&[*source].into())));
        let apart = self.apart.iter().map(|(source, form)| format!("{} has {form}", named(&[*source].into())));
        let all: Vec<String> = apart.chain(all).take(NAMED).collect();
        if all.is_empty() { String::new() } else { format!(" ({})", all.join("; ")) }
    }
}

/// Allowlists and grants, by their kinds.
fn named(sources: &BTreeSet<Source<'_>>) -> String {
    let mut said = String::new();
    for kind in ["EgressAllowlist", "EgressGrant"] {
        let names = sources.iter().filter(|source| source.kind() == kind).map(|source| source.name());
        let names = first_few(names.collect::<Vec<_>>().iter());
        if !names.is_empty() {
            let and = if said.is_empty() { "" } else { " and " };
            said.extend([and, kind, " ", &names]);
        }
    }
    said
}

/// Destinations have commas of their own.
fn first_few_of(uncovered: &[String]) -> String {
    const FEW: usize = 16;
    first_of(uncovered.iter(), FEW, "; ")
}

/// Reason of a rule whose policy would open more than was agreed to, so that it is not applied.
pub const REACH_EXCEEDS_INTENT: &str = "ReachExceedsIntent";
