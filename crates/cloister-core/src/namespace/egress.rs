//! Which of a namespace's needs are open: allowlists, rules of its own, and peers.

use super::{
    Input,
    by_name::{self, How},
    hosts, peers, policies,
    refused::{self, Closed},
    selected::selects,
    tally::Tally,
};
use crate::{
    child::{Child, ChildKey, ChildKind},
    egress::{
        Allowed, Backend, Narrowed, Opening, Peers, Refusal, Surroundings, is_as_published, narrowed, open_covered_by,
        open_rule_in_part,
    },
    evaluator::{Agreements, Declared, objection},
    names::Held,
};
use cloister_api::{Attach, EgressAllowlist, EgressRule, EgressState, EgressStatus, ResearchNamespace};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Reason of a rule that an allowlist agrees to, and that opens too much.
pub const TOO_BROAD: &str = "TooBroad";

/// Reason of a rule whose policy would open more than was agreed to, so that it is not applied.
pub const REACH_EXCEEDS_INTENT: &str = "ReachExceedsIntent";

/// An allowlist as it was read: the object, or that it cannot be understood.
#[derive(Clone, Copy, Debug)]
pub enum KnownAllowlist<'a> {
    /// It can be read.
    Read(&'a EgressAllowlist),
    /// It cannot be read by this version, so it opens nothing.
    Undecodable,
}

/// What was found out about a namespace's egress.
#[derive(Debug, Default)]
pub struct Needs {
    /// The policies that open it.
    pub policies: Vec<Child>,
    /// What became of each need, in the order of the spec.
    pub states: Vec<EgressStatus>,
    /// What of the quota is not in force, and why.
    pub refused_quota: Option<String>,
    /// What else of the declaration is not in force: the reason, and why.
    pub refused: Vec<(&'static str, String)>,
    /// Those among them that are the declaration's own mistake.
    pub mistakes: Vec<String>,
    /// What of each need stays closed, at the same places as the states.
    tallies: Vec<Option<Tally>>,
    /// The names that are open, or would be if their addresses were known.
    pub held: Vec<Held>,
    /// When the first of the allowlists in use ends, or the addresses of a name change.
    pub next: Option<Timestamp>,
}

/// An opening that an allowlist agrees to.
struct Agreed<'a> {
    /// The place of its need among the states.
    need: usize,
    rule: &'a EgressRule,
    /// The rule of an allowlist that agrees to it, where that is another.
    by: Option<&'a EgressRule>,
    /// The name of its policy.
    policy: String,
    opening: Opening,
}

impl Needs {
    /// Decides about all needs of a namespace.
    pub fn of(namespace: &ResearchNamespace, input: &Input<'_>) -> Self {
        let mut needs = Needs::default();
        if !input.settings.usable {
            return needs;
        }
        let surroundings = Surroundings {
            never: &input.settings.never,
            services: input.services,
            wildcards: input.settings.opens_wildcards(),
        };
        let mut agreed = Vec::new();
        needs.allowlists(namespace, input, &surroundings, &mut agreed);
        needs.own_rules(namespace, input, &surroundings, &mut agreed);
        needs.open(agreed, input, &surroundings);
        needs.tell();
        peers::research_namespaces(&mut needs, namespace, input);
        peers::access_networks(&mut needs, namespace, input);
        super::gateway::open(&mut needs, namespace, input);
        needs.held.sort_by(|a, b| a.host.cmp(&b.host));
        needs.held.dedup_by(|a, b| a.host == b.host);
        let changes = needs.held.iter().filter_map(|held| held.changes_at).min();
        needs.next = needs.next.into_iter().chain(changes).min();
        needs
    }

    /// What allowlists open in a namespace, by themselves and by its own rules that they cover.
    pub fn agreed(namespace: &ResearchNamespace, input: &Input<'_>) -> Vec<Opening> {
        let (mut needs, mut agreed) = (Needs::default(), Vec::new());
        let surroundings = Surroundings { never: &input.settings.never, services: input.services, wildcards: false };
        needs.allowlists(namespace, input, &surroundings, &mut agreed);
        needs.own_rules(namespace, input, &surroundings, &mut agreed);
        let openings: Vec<&Opening> = agreed.iter().map(|agreed| &agreed.opening).collect();
        narrowed(&openings, &input.settings.spec.egress).into_iter().filter_map(|left| left.opening).collect()
    }

    fn allowlists<'a: 'b, 'b>(
        &mut self,
        namespace: &ResearchNamespace,
        input: &Input<'a>,
        surroundings: &Surroundings<'_>,
        agreed: &mut Vec<Agreed<'b>>,
    ) {
        let requested: BTreeSet<&str> = namespace.spec.egress.allowlists.iter().map(String::as_str).collect();
        for &name in &requested {
            match input.allowlists.get(name) {
                None => self.mistake(
                    format!("allowlist/{name}"),
                    "AllowlistNotFound",
                    refused::not_found(name, input.allowlists.keys().copied()),
                ),
                Some(KnownAllowlist::Undecodable) => self.mistake(
                    format!("allowlist/{name}"),
                    "AllowlistUndecodable",
                    format!("EgressAllowlist {name} cannot be read by this version of the operator, so it opens nothing; see its status"),
                ),
                Some(KnownAllowlist::Read(allowlist)) if !allows(allowlist, namespace) => self.mistake(
                    format!("allowlist/{name}"),
                    "AllowlistNotAllowed",
                    refused::not_allowed(name, allowlist, namespace),
                ),
                Some(KnownAllowlist::Read(allowlist)) => self.allowlist(name, allowlist, input, surroundings, agreed),
            }
        }
        for (&name, allowlist) in input.allowlists {
            let KnownAllowlist::Read(allowlist) = allowlist else { continue };
            if allowlist.spec.attach == Attach::Always && !requested.contains(name) && allows(allowlist, namespace) {
                self.allowlist(name, allowlist, input, surroundings, agreed);
            }
        }
    }

    fn allowlist<'a>(
        &mut self,
        name: &str,
        allowlist: &'a EgressAllowlist,
        input: &Input<'_>,
        surroundings: &Surroundings<'_>,
        agreed: &mut Vec<Agreed<'a>>,
    ) {
        let entry = format!("allowlist/{name}");
        if !self.lasts(allowlist, input.now) {
            return self.mistake(entry, "AllowlistExpired", refused::expired(name, allowlist));
        }
        let mut tally = Tally::of_allowlist(name, allowlist.spec.rules.len());
        for rule in &allowlist.spec.rules {
            let refused = |refusal: &Refusal| (EgressState::Refused, refusal.reason(), refusal.to_string());
            if let Err(refusal) = is_as_published(allowlist, rule, surroundings.services) {
                let (state, reason, message) = refused(&refusal);
                tally.closes(state, reason, &rule.name, message);
                continue;
            }
            let opened = open_rule_in_part(rule, surroundings);
            for refusal in &opened.closed {
                let (state, reason, message) = refused(refusal);
                tally.closes(state, reason, &rule.name, message);
            }
            if let Some(opening) = opened.opening {
                let policy = format!("cloister-allow.{name}.{}", rule.name);
                agreed.push(Agreed { need: self.states.len(), rule, by: None, policy, opening });
            }
        }
        self.state(entry, tally);
    }

    /// Begins what is said of a need; the rest is said when it is known what of it opens.
    fn state(&mut self, name: String, tally: Tally) {
        self.states.push(need(name, EgressState::Active, "", String::new()));
        self.tallies.resize_with(self.states.len() - 1, || None);
        self.tallies.push(Some(tally));
    }

    /// Says of each need what stays closed of it.
    fn tell(&mut self) {
        for (need, tally) in self.states.iter_mut().zip(std::mem::take(&mut self.tallies)) {
            let Some(tally) = tally else { continue };
            tally.tell(need);
            // What allowlists get wrong is no mistake of this declaration, unless it is Cloister's.
            let is_own = need.name.starts_with("rule/") || need.reason == REACH_EXCEEDS_INTENT;
            if need.state == EgressState::Refused && is_own {
                self.mistakes.push(format!("{}: {}", need.name.replacen('/', " ", 1), need.message));
            }
        }
    }

    fn tally(&mut self, need: usize) -> &mut Tally {
        self.tallies.resize_with(self.states.len(), || None);
        self.tallies[need].get_or_insert_with(Tally::of_rule)
    }

    /// Opens what was agreed to, as long as it is not too much in all, at the addresses that its names have.
    fn open(&mut self, agreed: Vec<Agreed<'_>>, input: &Input<'_>, surroundings: &Surroundings<'_>) {
        let openings: Vec<&Opening> = agreed.iter().map(|agreed| &agreed.opening).collect();
        let narrowed: Vec<Narrowed> = narrowed(&openings, &input.settings.spec.egress);
        let granted = Allowed::of(input.granted, surroundings);
        let others = if input.settings.backend == Backend::Cilium {
            let narrow = narrowed.iter().filter_map(|narrowed| narrowed.opening.clone());
            let here = narrow.filter_map(|opening| by_name::at_addresses(opening, input));
            here.chain(by_name::of_grants(input)).collect()
        } else {
            Vec::new()
        };
        let mut held_by: BTreeMap<usize, Vec<Held>> = BTreeMap::new();
        for (Agreed { need, rule, by, policy, .. }, Narrowed { opening, too_broad }) in agreed.into_iter().zip(narrowed)
        {
            for why in too_broad {
                let part = why.part_of(rule);
                if open_covered_by(&part, &granted, surroundings).state == EgressState::Active {
                    // A grant opens it, by a policy of its own.
                    self.tally(need).opens(&rule.name);
                } else {
                    let message = format!("{why}; or ask for an EgressGrant of it");
                    self.tally(need).closes(EgressState::NeedsGrant, TOO_BROAD, &rule.name, message);
                }
            }
            let Some(opening) = opening else { continue };
            let agreed: Agreements<'_> =
                vec![[Some(rule), by].into_iter().flatten().filter_map(Declared::rule).collect()];
            match by_name::hold(&policy, &opening, &agreed, &others, input) {
                How::Addresses(None) => {}
                How::Addresses(Some(message)) => {
                    self.tally(need).closes(EgressState::Unresolved, by_name::NOT_EXACT, &rule.name, message);
                }
                How::Names(policy, enforcement) => {
                    self.policies.push(*policy);
                    self.states[need].enforcement = Some(enforcement);
                    self.tally(need).opens(&rule.name);
                    continue;
                }
                How::Closed(reason, message) => {
                    self.tally(need).closes(EgressState::Unresolved, reason, &rule.name, message);
                    continue;
                }
                How::Excess(message) => {
                    self.exceeds(need, &rule.name, message);
                    continue;
                }
            }
            let (opening, held) = opening.at_addresses(&input.names());
            let policy = policies::opening(input.name, &policy, &opening);
            match objection(&policy, &agreed, &surroundings.facts(&held)) {
                None => {
                    if opening.peers != Peers::Networks(Vec::new()) {
                        self.tally(need).opens(&rule.name);
                    }
                    self.policies.push(Child::NetworkPolicy(policy));
                }
                Some(message) => self.exceeds(need, &rule.name, message),
            }
            held_by.entry(need).or_default().extend(held);
        }
        for (need, held) in held_by {
            hosts::tell(&mut self.states[need], &held, input.said(), &input.settings.names);
            self.tally(need).names(&held);
            self.held.extend(held);
        }
    }

    fn own_rules<'a: 'b, 'b>(
        &mut self,
        namespace: &'b ResearchNamespace,
        input: &Input<'a>,
        surroundings: &Surroundings<'_>,
        agreed: &mut Vec<Agreed<'b>>,
    ) {
        if namespace.spec.egress.rules.is_empty() {
            return;
        }
        let mut rules: Vec<(&str, &'b EgressRule)> = Vec::new();
        for (&name, allowlist) in input.allowlists {
            let KnownAllowlist::Read(allowlist) = allowlist else { continue };
            if allows(allowlist, namespace) && self.lasts(allowlist, input.now) {
                let all = allowlist.spec.rules.iter();
                let published = all.filter(|rule| is_as_published(allowlist, rule, surroundings.services).is_ok());
                rules.extend(published.map(|rule| (name, rule)));
            }
        }
        let granted: Vec<(&str, &EgressRule)> = rules.iter().chain(input.granted).copied().collect();
        let (allowed, granted) = (Allowed::of(&rules, surroundings), Allowed::of(&granted, surroundings));
        let mut closed: Option<Closed<'_>> = None;
        for rule in &namespace.spec.egress.rules {
            let mut covered = open_covered_by(rule, &allowed, surroundings);
            let openings = std::mem::take(&mut covered.openings).into_iter().zip(&covered.agreed_by);
            for (position, (opening, by)) in openings.enumerate() {
                let policy = format!("cloister-rule.{}.{position}", rule.name);
                let by = rules.get(*by).map(|(_, rule)| *rule);
                agreed.push(Agreed { need: self.states.len(), rule, by, policy, opening });
            }
            let mut tally = Tally::of_rule();
            for refusal in &covered.refused {
                tally.closes(EgressState::Refused, refusal.reason(), &rule.name, refusal.to_string());
            }
            if covered.state == EgressState::NeedsGrant {
                // What a grant opens is its own matter, and ends with it; here it is only told.
                let with_grants = open_covered_by(rule, &granted, surroundings);
                covered.state = with_grants.state;
                covered.reason = with_grants.reason;
                covered.message = match with_grants.state {
                    EgressState::Active => {
                        tally.opens(&rule.name);
                        format!("open by EgressGrant {}", self.names_of(input))
                    }
                    _ => with_grants.message,
                };
            }
            match covered.state {
                EgressState::NeedsGrant => {
                    let closed = closed.get_or_insert_with(|| Closed::of(namespace, input, surroundings));
                    let message = format!("{}{}", covered.message, closed.would_cover(rule, surroundings));
                    tally.closes(EgressState::NeedsGrant, &covered.reason, &rule.name, message);
                }
                _ => tally.where_open(covered.reason, covered.message),
            }
            self.state(format!("rule/{}", rule.name), tally);
        }
    }

    /// A policy would open more than was agreed to.
    fn exceeds(&mut self, need: usize, rule: &str, message: String) {
        self.tally(need).closes(EgressState::Refused, REACH_EXCEEDS_INTENT, rule, message);
    }

    fn names_of(&self, input: &Input<'_>) -> String {
        let names: BTreeSet<&str> = input.granted.iter().map(|(name, _)| *name).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// Whether an allowlist has not ended yet; if so, its end is when to look again.
    fn lasts(&mut self, allowlist: &EgressAllowlist, now: Timestamp) -> bool {
        let Some(end) = &allowlist.spec.expires_at else { return true };
        if end.0 > now {
            self.next = Some(self.next.map_or(end.0, |next| next.min(end.0)));
        }
        end.0 > now
    }

    pub(super) fn mistake(&mut self, name: String, reason: &str, message: String) {
        self.mistakes.push(message.clone());
        self.states.push(need(name, EgressState::Refused, reason, message));
    }
}

/// The name of the need that a policy opens, by the policy's name.
pub(super) fn need_of(policy: &ChildKey) -> Option<String> {
    let name = match policy.kind {
        ChildKind::NetworkPolicy | ChildKind::CiliumNetworkPolicy => &*policy.name,
        ChildKind::ClusterNetworkPolicy => policy.name.splitn(3, '.').nth(2)?,
        _ => return None,
    };
    let mut parts = name.strip_prefix("cloister-")?.split('.');
    let kind = match parts.next()? {
        "allow" => "allowlist",
        kind @ ("rule" | "to" | "from" | "access" | "gateway") => kind,
        _ => return None,
    };
    Some(format!("{kind}/{}", parts.next()?))
}

pub(super) fn need(name: String, state: EgressState, reason: &str, message: String) -> EgressStatus {
    EgressStatus {
        name,
        state,
        reason: reason.to_owned(),
        message,
        enforcement: None,
        hosts: Vec::new(),
        host_count: None,
    }
}

/// Whether an allowlist's selector allows a namespace. An absent selector allows none.
pub fn allows(allowlist: &EgressAllowlist, namespace: &ResearchNamespace) -> bool {
    selects(allowlist.spec.namespace_selector.as_ref(), namespace)
}

/// Whether an allowlist opens in a namespace: it allows it, has not ended, and is asked for or always attached.
pub fn attaches(name: &str, allowlist: &EgressAllowlist, namespace: &ResearchNamespace, now: Timestamp) -> bool {
    let asked =
        allowlist.spec.attach == Attach::Always || namespace.spec.egress.allowlists.iter().any(|asked| asked == name);
    asked && allows(allowlist, namespace) && allowlist.spec.expires_at.as_ref().is_none_or(|end| end.0 > now)
}
