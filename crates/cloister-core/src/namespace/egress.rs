//! Which of a namespace's needs are open: allowlists, rules of its own, and peers.

use super::{Input, hosts, opening::Agreed, peers, refused, selected::selects, tally::Tally};
use crate::{
    child::{Child, ChildKey, ChildKind},
    egress::{Opening, Refusal, Surroundings, is_as_published, narrowed, open_rule_in_part},
    names::Held,
};
use cloister_api::{Attach, EgressAllowlist, EgressState, EgressStatus, ResearchNamespace, ServiceReference};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Reason of a rule that an allowlist agrees to, and that opens too much.
pub const TOO_BROAD: &str = "TooBroad";

/// Reason of an allowlist that has ended.
const ALLOWLIST_EXPIRED: &str = "AllowlistExpired";

/// Reason of a rule whose policy would open more than was agreed to, so that it is not applied.
pub const REACH_EXCEEDS_INTENT: &str = "ReachExceedsIntent";

/// What stands before the name of an allowlist in the name of its entry in `status.egress`.
const OF_ALLOWLIST: &str = "allowlist/";

fn entry_of_allowlist(name: &str) -> String {
    format!("{OF_ALLOWLIST}{name}")
}

/// The allowlist that an entry of `status.egress` is about, by the entry's name.
pub fn allowlist_of_entry(entry: &str) -> Option<&str> {
    entry.strip_prefix(OF_ALLOWLIST)
}

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
    /// What else of the declaration is not in force: the reason, and why.
    pub refused: Vec<(&'static str, String)>,
    /// Those among them that are the declaration's own mistake.
    pub mistakes: Vec<String>,
    /// What of each need stays closed, at the same places as the states.
    tallies: Vec<Option<Tally>>,
    /// The names of each need that are held by addresses.
    pub(super) held_by: BTreeMap<usize, Vec<Held>>,
    /// The names that are open, or would be if their addresses were known.
    pub held: Vec<Held>,
    /// When the first of the allowlists in use ends, or the addresses of a name change.
    pub next: Option<Timestamp>,
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
        super::granted::beyond_declared(&mut needs, namespace, input, &surroundings);
        needs.open(agreed, input, &surroundings);
        needs.list_names(input);
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

    /// The Services that the allowlists name which a namespace may use.
    pub fn named_services(namespace: &ResearchNamespace, input: &Input<'_>) -> BTreeSet<ServiceReference> {
        let surroundings = Surroundings { never: &input.settings.never, services: input.services, wildcards: false };
        let rules = Needs::default().rules_to_use(namespace, input, &surroundings);
        rules.into_iter().filter_map(|(_, rule)| rule.service.clone()).collect()
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
                    entry_of_allowlist(name),
                    "AllowlistNotFound",
                    refused::not_found(name, input.allowlists.keys().copied()),
                ),
                Some(KnownAllowlist::Undecodable) => self.mistake(
                    entry_of_allowlist(name),
                    "AllowlistUndecodable",
                    format!("EgressAllowlist {name} cannot be read by this version of the operator, so it opens nothing; see its status"),
                ),
                Some(KnownAllowlist::Read(allowlist)) if !allows(allowlist, namespace) => self.mistake(
                    entry_of_allowlist(name),
                    "AllowlistNotAllowed",
                    refused::not_allowed(name, allowlist, namespace),
                ),
                Some(KnownAllowlist::Read(allowlist)) => self.allowlist(name, allowlist, namespace, input, surroundings, agreed),
            }
        }
        for (&name, allowlist) in input.allowlists {
            let KnownAllowlist::Read(allowlist) = allowlist else { continue };
            if allowlist.spec.attach == Attach::Always && !requested.contains(name) && allows(allowlist, namespace) {
                self.allowlist(name, allowlist, namespace, input, surroundings, agreed);
            }
        }
    }

    fn allowlist<'a>(
        &mut self,
        name: &str,
        allowlist: &'a EgressAllowlist,
        namespace: &ResearchNamespace,
        input: &Input<'_>,
        surroundings: &Surroundings<'_>,
        agreed: &mut Vec<Agreed<'a>>,
    ) {
        let entry = entry_of_allowlist(name);
        if !self.lasts(allowlist, input.now) {
            let message = refused::expired(name, allowlist, namespace);
            // What nobody here has asked for is no mistake of this declaration.
            return match names(namespace, name) {
                true => self.mistake(entry, ALLOWLIST_EXPIRED, message),
                false => self.states.push(need(entry, EgressState::Refused, ALLOWLIST_EXPIRED, message)),
            };
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

    /// Lists the names of each need, and says which of them stay closed.
    fn list_names(&mut self, input: &Input<'_>) {
        for (need, mut held) in std::mem::take(&mut self.held_by) {
            held.sort_by(|a, b| a.host.cmp(&b.host));
            held.dedup_by(|a, b| a.host == b.host);
            hosts::tell(&mut self.states[need], &held, input.said(), &input.settings.names);
            self.tally(need).names(&held);
            self.held.extend(held);
        }
    }

    /// Begins what is said of a need; the rest is said when it is known what of it opens.
    pub(super) fn state(&mut self, name: String, tally: Tally) {
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

    pub(super) fn tally(&mut self, need: usize) -> &mut Tally {
        self.tallies.resize_with(self.states.len(), || None);
        self.tallies[need].get_or_insert_with(Tally::of_rule)
    }

    /// Whether an allowlist has not ended yet; if so, its end is when to look again.
    pub(super) fn lasts(&mut self, allowlist: &EgressAllowlist, now: Timestamp) -> bool {
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

/// Whether a namespace names an allowlist.
pub fn names(namespace: &ResearchNamespace, allowlist: &str) -> bool {
    namespace.spec.egress.allowlists.iter().any(|named| named == allowlist)
}

/// Whether an allowlist is for a namespace until it ends: it allows it, and is asked for or always attached.
pub fn is_meant_for(name: &str, allowlist: &EgressAllowlist, namespace: &ResearchNamespace) -> bool {
    (allowlist.spec.attach == Attach::Always || names(namespace, name)) && allows(allowlist, namespace)
}
