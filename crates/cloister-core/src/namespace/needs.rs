//! What was found out about a namespace's needs of egress, and what is said of each.

use super::{selects::selects, tally::Tally};
use crate::{
    dns::Held,
    egress::REACH_EXCEEDS_INTENT,
    model::child::{Child, ChildKey, ChildKind},
};
use cloister_api::{Attach, EgressAllowlist, EgressRule, EgressState, EgressStatus, ResearchNamespace};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// How an allowlist agrees to an opening.
pub(crate) struct Agreed<'a> {
    /// The place of its need among the states.
    pub need: usize,
    pub rule: &'a EgressRule,
    /// The rule of an allowlist that agrees to it, where that is another.
    pub by: Option<&'a EgressRule>,
    /// The name of its policy.
    pub policy: String,
}

/// Reason of an allowlist that has ended.
pub const ALLOWLIST_EXPIRED: &str = "AllowlistExpired";

/// What stands before the name of an allowlist in the name of its entry in `status.egress`.
const OF_ALLOWLIST: &str = "allowlist/";

pub fn entry_of_allowlist(name: &str) -> String {
    format!("{OF_ALLOWLIST}{name}")
}

/// The allowlist that an entry of `status.egress` is about, by the entry's name.
pub fn allowlist_of_entry(entry: &str) -> Option<&str> {
    entry.strip_prefix(OF_ALLOWLIST)
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
    pub(crate) tallies: Vec<Option<Tally>>,
    /// The names of each need that are held by addresses.
    pub(crate) held_by: BTreeMap<usize, Vec<Held>>,
    /// The names that are open, or would be if their addresses were known.
    pub held: Vec<Held>,
    /// When the first of the allowlists in use ends, or the addresses of a name change.
    pub next: Option<Timestamp>,
}

/// The name of the need that a policy opens, by the policy's name.
pub(crate) fn need_of(policy: &ChildKey) -> Option<String> {
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

pub(crate) fn need(name: String, state: EgressState, reason: &str, message: String) -> EgressStatus {
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

impl Needs {
    /// Begins what is said of a need; the rest is said when it is known what of it opens.
    pub(crate) fn state(&mut self, name: String, tally: Tally) {
        self.states.push(need(name, EgressState::Active, "", String::new()));
        self.tallies.resize_with(self.states.len() - 1, || None);
        self.tallies.push(Some(tally));
    }

    /// Says of each need what stays closed of it.
    pub(crate) fn tell(&mut self) {
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

    pub(crate) fn tally(&mut self, need: usize) -> &mut Tally {
        self.tallies.resize_with(self.states.len(), || None);
        self.tallies[need].get_or_insert_with(Tally::of_rule)
    }

    /// Whether an allowlist has not ended yet; if so, its end is when to look again.
    pub(crate) fn lasts(&mut self, allowlist: &EgressAllowlist, now: Timestamp) -> bool {
        let Some(end) = &allowlist.spec.expires_at else { return true };
        if end.0 > now {
            self.next = Some(self.next.map_or(end.0, |next| next.min(end.0)));
        }
        end.0 > now
    }

    pub(crate) fn mistake(&mut self, name: String, reason: &str, message: String) {
        self.mistakes.push(message.clone());
        self.states.push(need(name, EgressState::Refused, reason, message));
    }
}
