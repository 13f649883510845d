//! Which parts of an allowlist or a rule stay closed, and why: collected rule by rule, and reported in one message.

use super::host_status::what_to_do;
use crate::{
    address::{DomainName, Refusal, WILDCARD_NOT_ENFORCEABLE, listed},
    dns::{Held, NameState},
    model::{once::once_each, text::others},
    namespace::hold_by_name::BACKEND_MISSING,
};
use cloister_api::{EgressState, EgressStatus};
use std::collections::BTreeSet;

/// The end of the message about an allowlist that somebody must correct.
pub const CORRECTED_BY: &str = "can be corrected by a catalogue administrator";

/// That networks are cut out of a rule.
pub fn part_closed(rule: &str, why: &str) -> String {
    format!("a part of {rule} stays closed: {why}")
}

/// The result for one entry of `status.egress`: an allowlist, or an own rule of the namespace.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many rules it has.
    rules: usize,
    /// The rules that open something.
    open: BTreeSet<String>,
    /// The rules of which wildcards cover rules of the namespace.
    covers: BTreeSet<String>,
    /// The rules of which something should open, and nothing has an address.
    without_address: BTreeSet<String>,
    closed: Vec<Closed>,
    /// What is to be known of what is open: what wildcards cover though no address opens them, and what is cut out.
    notes: Vec<String>,
    /// Who can correct its rules, as the end of the message.
    corrected_by: String,
    /// The reason and the message if all of it is open.
    whole: (String, String),
}

/// Something that stays closed.
#[derive(Debug)]
struct Closed {
    state: EgressState,
    reason: String,
    rule: String,
    message: String,
}

impl Closed {
    /// Whether somebody has to correct the rule.
    fn is_wrong(&self) -> bool {
        self.state == EgressState::Refused && ![WILDCARD_NOT_ENFORCEABLE, BACKEND_MISSING].contains(&&*self.reason)
    }
}

impl Tally {
    /// For an allowlist with this number of rules.
    pub fn of_allowlist(name: &str, rules: usize) -> Self {
        let corrected_by = format!("; EgressAllowlist {name} {CORRECTED_BY}");
        Tally { rules, corrected_by, ..Tally::default() }
    }

    /// For an own rule of the namespace.
    pub fn of_rule() -> Self {
        Tally { rules: 1, ..Tally::default() }
    }

    /// Sets the reason and the message for when nothing stays closed.
    pub fn where_open(&mut self, reason: String, message: String) {
        self.whole = (reason, message);
    }

    /// Notes that a rule opens something.
    pub fn opens(&mut self, rule: &str) {
        self.open.insert(rule.to_owned());
    }

    /// Notes that nothing of a rule has an address.
    pub fn has_no_address(&mut self, rule: &str) {
        self.without_address.insert(rule.to_owned());
    }

    /// Whether any rule opens something.
    pub fn opens_anything(&self) -> bool {
        !self.open.is_empty()
    }

    /// Notes that a part of a rule stays closed.
    pub fn closes(&mut self, state: EgressState, reason: &str, rule: &str, message: String) {
        let closed = Closed { state, reason: reason.to_owned(), rule: rule.to_owned(), message };
        self.closed.push(closed);
    }

    /// Notes that wildcards of a rule, which no address opens, cover hosts that the namespace names.
    pub fn covers(&mut self, rule: &str, wildcards: &[DomainName]) {
        self.covers.insert(rule.to_owned());
        self.notes.push(format!(
            "{} covers the hosts below it that egress.rules of the ResearchNamespace name, and opens no other",
            listed(wildcards)
        ));
    }

    /// Notes that a part of the networks of a rule is never opened.
    pub fn cuts_out(&mut self, rule: &str, refusal: &Refusal) {
        let what = if self.rules == 1 { "it" } else { rule };
        self.notes.push(part_closed(what, &refusal.to_string()));
    }

    /// Notes the names that have no address, among those that are opened by address.
    pub fn names(&mut self, held: &[Held]) {
        let mut closed: Vec<&Held> = held.iter().filter(|held| held.state != NameState::Held).collect();
        closed.sort_by(|one, other| (rank(one), &one.host).cmp(&(rank(other), &other.host)));
        closed.dedup_by(|one, other| one.host == other.host);
        let Some(first) = closed.first() else { return };
        let more = others(closed.len() - 1, "name", "hosts in status.egress of the ResearchNamespace");
        self.closes(EgressState::Unresolved, first.state.reason(), "", format!("{}{more}", what_to_do(first)));
    }

    /// Writes the result into the entry of the status.
    pub fn tell(mut self, need: &mut EgressStatus) {
        self.closed.sort_by_key(|closed| severity(closed.state));
        let Some(worst) = self.closed.first() else {
            let (reason, whole) = self.whole;
            let message = [whole].into_iter().chain(once_each(self.notes)).filter(|said| !said.is_empty());
            (need.state, need.reason, need.message) =
                (EgressState::Active, reason, message.collect::<Vec<_>>().join("; "));
            return;
        };
        (need.state, need.reason) = (worst.state, worst.reason.clone());
        let closed = self.closed.iter().map(|closed| match (self.rules, closed.rule.as_str()) {
            (_, "") | (1, _) => closed.message.clone(),
            (_, rule) => format!("{rule}: {}", closed.message),
        });
        // What stays closed of public networks is cut out as well.
        let is_told = |note: &&String| self.closed.iter().any(|closed| note.ends_with(&closed.message));
        let said = once_each(closed.chain(self.notes.iter().filter(|note| !is_told(note)).cloned()));
        // An answer of DNS that is missing is nobody's mistake, and a wildcard is there for the hosts that it covers.
        let of_dns = [NameState::Unknown.reason(), NameState::Unanswered(String::new()).reason()];
        let is_mistake = match need.state {
            EgressState::Refused => self.closed.iter().any(Closed::is_wrong),
            EgressState::Unresolved => !of_dns.contains(&need.reason.as_str()),
            _ => false,
        };
        let corrected_by = if is_mistake { self.corrected_by.as_str() } else { "" };
        need.message = format!("{}: {}{corrected_by}", self.extent(), said.join("; "));
    }

    /// How much stays closed, in words.
    fn extent(&self) -> String {
        let in_part: BTreeSet<&String> =
            self.closed.iter().map(|closed| &closed.rule).filter(|rule| self.open.contains(*rule)).collect();
        // What only covers rules of the namespace opens nothing by itself.
        let covering = self.covers.difference(&self.without_address);
        let some = covering.chain(&self.open).collect::<BTreeSet<_>>().len();
        let wholly = self.rules.saturating_sub(if self.rules == 1 { self.open.len() } else { some });
        let are = |count| if count == 1 { "is" } else { "are" };
        match (self.rules, wholly, in_part.len()) {
            (1, 0, _) => "partly open".to_owned(),
            (1, ..) => "closed".to_owned(),
            (all, 0, 0) => format!("all {all} rules are open, at least in part"),
            (all, 0, part) => {
                format!("{part} of {all} rules {} open only in part, the others are fully open", are(part))
            }
            (all, closed, 0) => format!("{closed} of {all} rules {} closed", are(closed)),
            (all, closed, part) => {
                format!("{closed} of {all} rules {} closed, and {part} {} open only in part", are(closed), are(part))
            }
        }
    }
}

fn severity(state: EgressState) -> u8 {
    match state {
        EgressState::Refused => 0,
        EgressState::NeedsGrant => 1,
        EgressState::Unresolved => 2,
        EgressState::Active => 3,
    }
}

/// Names that lead to unexpected addresses come first, names that are not resolved yet come last.
fn rank(held: &Held) -> u8 {
    match held.state {
        NameState::Rebound(_) => 0,
        NameState::Unknown => 2,
        _ => 1,
    }
}
