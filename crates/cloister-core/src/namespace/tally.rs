//! What of a need stays closed, and why: gathered rule by rule, and said in one message.

use super::host_status::what_to_do;
use crate::{
    dns::{Held, NameState},
    model::text::others,
};
use cloister_api::{EgressState, EgressStatus};
use std::collections::BTreeSet;

/// Who can correct an allowlist, as its entry ends.
pub const CORRECTED_BY: &str = "can be corrected by a catalogue administrator";

/// What is known of one need: an allowlist, or a rule of the namespace's own.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many rules it has.
    rules: usize,
    /// Those that open anything.
    open: BTreeSet<String>,
    closed: Vec<Closed>,
    /// Who can put right what is wrong with its rules.
    corrected_by: String,
    /// What is to be said where all of it is open.
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

impl Tally {
    /// Of an allowlist with so many rules, which somebody else has published.
    pub fn of_allowlist(name: &str, rules: usize) -> Self {
        let corrected_by = format!("; EgressAllowlist {name} {CORRECTED_BY}");
        Tally { rules, corrected_by, ..Tally::default() }
    }

    /// Of a rule of the namespace's own.
    pub fn of_rule() -> Self {
        Tally { rules: 1, ..Tally::default() }
    }

    /// What to say where nothing stays closed.
    pub fn where_open(&mut self, reason: String, message: String) {
        self.whole = (reason, message);
    }

    /// A rule opens something.
    pub fn opens(&mut self, rule: &str) {
        self.open.insert(rule.to_owned());
    }

    /// Whether any rule opens something.
    pub fn opens_anything(&self) -> bool {
        !self.open.is_empty()
    }

    /// Something of a rule stays closed.
    pub fn closes(&mut self, state: EgressState, reason: &str, rule: &str, message: String) {
        let closed = Closed { state, reason: reason.to_owned(), rule: rule.to_owned(), message };
        self.closed.push(closed);
    }

    /// The names of it that have no address, of those that are held by addresses.
    pub fn names(&mut self, held: &[Held]) {
        let mut closed: Vec<&Held> = held.iter().filter(|held| held.standing != NameState::Held).collect();
        closed.sort_by(|one, other| (rank(one), &one.host).cmp(&(rank(other), &other.host)));
        closed.dedup_by(|one, other| one.host == other.host);
        let Some(first) = closed.first() else { return };
        let more = others(closed.len() - 1, "name", "hosts in status.egress of the ResearchNamespace");
        self.closes(EgressState::Unresolved, first.standing.reason(), "", format!("{}{more}", what_to_do(first)));
    }

    /// Says it.
    pub fn tell(mut self, need: &mut EgressStatus) {
        self.closed.sort_by_key(|closed| severity(closed.state));
        let Some(worst) = self.closed.first() else {
            (need.state, (need.reason, need.message)) = (EgressState::Active, self.whole);
            return;
        };
        (need.state, need.reason) = (worst.state, worst.reason.clone());
        let mut said: Vec<String> = Vec::new();
        for closed in &self.closed {
            let named = match (self.rules, closed.rule.as_str()) {
                (_, "") | (1, _) => closed.message.clone(),
                (_, rule) => format!("{rule}: {}", closed.message),
            };
            if !said.contains(&named) {
                said.push(named);
            }
        }
        // What DNS has not answered is nobody's mistake.
        let of_dns = [NameState::Unknown.reason(), NameState::Unanswered(String::new()).reason()];
        let is_mistake = match need.state {
            EgressState::Refused => true,
            EgressState::Unresolved => !of_dns.contains(&need.reason.as_str()),
            _ => false,
        };
        let corrected_by = if is_mistake { self.corrected_by.as_str() } else { "" };
        need.message = format!("{}: {}{corrected_by}", self.extent(), said.join("; "));
    }

    /// How much stays closed.
    fn extent(&self) -> String {
        let in_part: BTreeSet<&String> =
            self.closed.iter().map(|closed| &closed.rule).filter(|rule| self.open.contains(*rule)).collect();
        let wholly = self.rules.saturating_sub(self.open.len());
        match (self.rules, wholly, in_part.len()) {
            (1, 0, _) => "a part stays closed, the rest is open".to_owned(),
            (1, ..) => "nothing of it is open".to_owned(),
            (all, 0, 0) => format!("all {all} rules open something"),
            (all, 0, part) => format!("{part} of {all} rules stay closed in part, the rest is open"),
            (all, closed, 0) => format!("{closed} of {all} rules stay closed"),
            (all, closed, part) => format!("{closed} of {all} rules stay closed, and {part} in part"),
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

/// What was led astray is said before what is not known yet.
fn rank(held: &Held) -> u8 {
    match held.standing {
        NameState::Rebound(_) => 0,
        NameState::Unknown => 2,
        _ => 1,
    }
}
