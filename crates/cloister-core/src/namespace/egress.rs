//! Which of a namespace's needs are open: allowlists, rules of its own, and peers.

use super::{
    Input,
    by_name::{self, How},
    hosts, policies,
};
use crate::{
    child::{Child, ChildKey, ChildKind},
    egress::{
        Allowed, Backend, Opening, Refusal, Surroundings, TooBroad, is_as_published, open_covered_by, open_rule,
        selector_matches, too_broad,
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
            // What is missing would have opened them: that is said, and not that they cannot be opened.
            wildcards: input.settings.backend.sees_names() || matches!(input.settings.backend, Backend::Missing(_)),
        };
        let mut agreed = Vec::new();
        needs.allowlists(namespace, input, &surroundings, &mut agreed);
        needs.own_rules(namespace, input, &surroundings, &mut agreed);
        needs.open(agreed, input, &surroundings);
        needs.peers(namespace, input);
        needs.access_networks(namespace, input);
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
        let broad = too_broad(&openings, &input.settings.spec.egress);
        openings
            .into_iter()
            .zip(broad)
            .filter(|(_, broad)| broad.is_none())
            .map(|(opening, _)| opening.clone())
            .collect()
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
                    format!("there is no EgressAllowlist {name}; ask security to publish it, or take it out of egress.allowlists"),
                ),
                Some(KnownAllowlist::Undecodable) => self.mistake(
                    format!("allowlist/{name}"),
                    "AllowlistUndecodable",
                    format!("EgressAllowlist {name} cannot be read by this version of the operator, so it opens nothing; see its status"),
                ),
                Some(KnownAllowlist::Read(allowlist)) if !allows(allowlist, namespace) => self.mistake(
                    format!("allowlist/{name}"),
                    "AllowlistNotAllowed",
                    format!("EgressAllowlist {name} does not allow this namespace; ask security to extend its namespaceSelector, or take it out of egress.allowlists"),
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
            let message = format!("EgressAllowlist {name} has ended; ask security to renew it");
            return self.mistake(entry, "AllowlistExpired", message);
        }
        let mut refused: Vec<(&str, Refusal)> = Vec::new();
        for rule in &allowlist.spec.rules {
            let published = is_as_published(allowlist, rule, surroundings.services);
            match published.and_then(|()| open_rule(rule, surroundings)) {
                Ok(opening) => {
                    let policy = format!("cloister-allow.{name}.{}", rule.name);
                    agreed.push(Agreed { need: self.states.len(), rule, by: None, policy, opening });
                }
                Err(refusal) => refused.push((&rule.name, refusal)),
            }
        }
        let need = match refused.first() {
            None => need(entry, EgressState::Active, "", String::new()),
            Some((rule, refusal)) => {
                let (closed, all) = (refused.len(), allowlist.spec.rules.len());
                let message = format!("{closed} of {all} rules stay closed; {rule}: {refusal}");
                need(entry, EgressState::Refused, refusal.reason(), message)
            }
        };
        self.states.push(need);
    }

    /// Opens what was agreed to, as long as it is not too much in all, at the addresses that its names have.
    fn open(&mut self, agreed: Vec<Agreed<'_>>, input: &Input<'_>, surroundings: &Surroundings<'_>) {
        let openings: Vec<&Opening> = agreed.iter().map(|agreed| &agreed.opening).collect();
        let broad = too_broad(&openings, &input.settings.spec.egress);
        let granted = Allowed::of(input.granted, surroundings);
        let others = if input.settings.backend == Backend::Cilium {
            let narrow = openings.iter().zip(&broad).filter(|(_, broad)| broad.is_none());
            let here = narrow.filter_map(|(opening, _)| by_name::at_addresses((*opening).clone(), input));
            here.chain(by_name::of_grants(input)).collect()
        } else {
            Vec::new()
        };
        let mut held_by: BTreeMap<usize, Vec<Held>> = BTreeMap::new();
        for (Agreed { need, rule, by, policy, opening }, broad) in agreed.into_iter().zip(broad) {
            if let Some(why) = broad {
                if open_covered_by(rule, &granted, surroundings).state != EgressState::Active {
                    say_too_broad(&mut self.states[need], &rule.name, &why);
                }
                continue;
            }
            let agreed: Agreements<'_> =
                vec![[Some(rule), by].into_iter().flatten().filter_map(Declared::rule).collect()];
            match by_name::hold(&policy, &opening, &agreed, &others, input) {
                How::Addresses(None) => {}
                How::Addresses(Some(message)) => self.unresolved(need, by_name::NOT_EXACT, message),
                How::Names(policy, enforcement) => {
                    self.policies.push(*policy);
                    self.states[need].enforcement = Some(enforcement);
                    continue;
                }
                How::Closed(reason, message) => {
                    self.unresolved(need, reason, message);
                    continue;
                }
                How::Excess(message) => {
                    self.exceeds(need, message);
                    continue;
                }
            }
            let (opening, held) = opening.at_addresses(&input.names());
            let policy = policies::opening(input.name, &policy, &opening);
            match objection(&policy, &agreed, &surroundings.facts(&held)) {
                None => self.policies.push(Child::NetworkPolicy(policy)),
                Some(message) => self.exceeds(need, message),
            }
            held_by.entry(need).or_default().extend(held);
        }
        for (need, held) in held_by {
            hosts::tell(&mut self.states[need], &held, input.said(), &input.settings.names);
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
        for rule in &namespace.spec.egress.rules {
            let mut covered = open_covered_by(rule, &allowed, surroundings);
            let openings = std::mem::take(&mut covered.openings).into_iter().zip(&covered.agreed_by);
            for (position, (opening, by)) in openings.enumerate() {
                let policy = format!("cloister-rule.{}.{position}", rule.name);
                let by = rules.get(*by).map(|(_, rule)| *rule);
                agreed.push(Agreed { need: self.states.len(), rule, by, policy, opening });
            }
            if covered.state == EgressState::NeedsGrant {
                // What a grant opens is its own matter, and ends with it; here it is only told.
                let with_grants = open_covered_by(rule, &granted, surroundings);
                covered.state = with_grants.state;
                covered.reason = with_grants.reason;
                covered.message = match with_grants.state {
                    EgressState::Active => format!("open by EgressGrant {}", self.names_of(input)),
                    _ => with_grants.message,
                };
            }
            if covered.state == EgressState::Refused {
                self.mistakes.push(format!("rule {}: {}", rule.name, covered.message));
            }
            self.states.push(need(format!("rule/{}", rule.name), covered.state, &covered.reason, covered.message));
        }
    }

    /// What was agreed to stays closed in part.
    fn unresolved(&mut self, need: usize, reason: &str, message: String) {
        let need = &mut self.states[need];
        if need.state == EgressState::Active {
            (need.state, need.reason, need.message) = (EgressState::Unresolved, reason.to_owned(), message);
        }
    }

    /// A policy would open more than was agreed to.
    fn exceeds(&mut self, need: usize, message: String) {
        self.mistakes.push(message.clone());
        let need = &mut self.states[need];
        (need.state, need.reason, need.message) = (EgressState::Refused, REACH_EXCEEDS_INTENT.to_owned(), message);
    }

    fn names_of(&self, input: &Input<'_>) -> String {
        let names: BTreeSet<&str> = input.granted.iter().map(|(name, _)| *name).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }

    fn peers(&mut self, namespace: &ResearchNamespace, input: &Input<'_>) {
        let own = input.name;
        let to = namespace.spec.egress.to_research_namespaces.iter().map(|peer| (true, peer));
        let from = namespace.spec.ingress.from_research_namespaces.iter().map(|peer| (false, peer));
        let distinct: BTreeSet<(bool, &String)> = to.chain(from).filter(|(_, peer)| peer.as_str() != own).collect();
        for (egress, peer) in distinct {
            let known = (input.peers)(peer);
            let agreed = known.is_some_and(|known| {
                let names = |list: &[String]| list.iter().any(|name| name == own);
                if egress {
                    names(&known.spec.ingress.from_research_namespaces)
                } else {
                    names(&known.spec.egress.to_research_namespaces)
                }
            });
            let (direction, field) =
                if egress { ("to", "ingress.fromResearchNamespaces") } else { ("from", "egress.toResearchNamespaces") };
            let mut state = need(format!("{direction}/{peer}"), EgressState::Active, "", String::new());
            if agreed {
                let policy = if egress { policies::to_peer(own, peer) } else { policies::from_peer(own, peer) };
                self.policies.push(Child::NetworkPolicy(policy));
            } else {
                state.state = EgressState::NeedsGrant;
                state.reason = "PeerHasNotAgreed".to_owned();
                state.message = format!(
                    "ResearchNamespace {peer} must be enforced and name {own} in {field}; ask its owners to add it"
                );
            }
            self.states.push(state);
        }
    }

    fn access_networks(&mut self, namespace: &ResearchNamespace, input: &Input<'_>) {
        let networks = &input.settings.spec.access_networks;
        for (position, rule) in namespace.spec.ingress.from_access_networks.iter().enumerate() {
            match policies::access(input.name, position, rule, networks) {
                Ok(policy) => self.policies.extend(policy.map(Child::NetworkPolicy)),
                Err(refusal) => self.mistake(format!("access/{position}"), refusal.reason(), refusal.to_string()),
            }
        }
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

/// Says of a need that a rule of it opens too much, unless something worse is said already.
fn say_too_broad(need: &mut EgressStatus, rule: &str, why: &TooBroad) {
    if need.state == EgressState::Refused {
        return;
    }
    need.state = EgressState::NeedsGrant;
    need.reason = TOO_BROAD.to_owned();
    need.message = format!("rule {rule} stays closed here: {why}; or ask for an EgressGrant of it");
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
    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
    let labels = namespace.metadata.labels.as_ref().unwrap_or(&NO_LABELS);
    allowlist.spec.namespace_selector.as_ref().is_some_and(|selector| selector_matches(selector, labels))
}

/// Whether an allowlist opens in a namespace: it allows it, has not ended, and is asked for or always attached.
pub fn attaches(name: &str, allowlist: &EgressAllowlist, namespace: &ResearchNamespace, now: Timestamp) -> bool {
    let asked =
        allowlist.spec.attach == Attach::Always || namespace.spec.egress.allowlists.iter().any(|asked| asked == name);
    asked && allows(allowlist, namespace) && allowlist.spec.expires_at.as_ref().is_none_or(|end| end.0 > now)
}
