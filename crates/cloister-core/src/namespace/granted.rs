//! What the EgressGrants of a namespace open of what it needs. Their policies are their own; here it is only told.

use super::{Input, input::GrantedRule, needs::Needs, tally::Tally};
use crate::{
    dns::Held,
    egress::{Allowed, Covered, Peers, Surroundings, open_covered_by, open_rule_in_part, target::destination},
};
use cloister_api::{EgressRule, EgressState, ResearchNamespace};
use std::collections::BTreeSet;

/// Reason of what an EgressGrant has open beyond the declared rules.
const BEYOND_DECLARED: &str = "BeyondDeclared";

/// Tells what EgressGrants have open of which the declared rules do not hold all: nobody would find it in the declaration.
pub(crate) fn beyond_declared(
    needs: &mut Needs,
    namespace: &ResearchNamespace,
    input: &Input<'_>,
    s: &Surroundings<'_>,
) {
    if input.granted.is_empty() {
        return;
    }
    let rules: Vec<(&str, &EgressRule)> = namespace.spec.egress.rules.iter().map(|rule| ("", rule)).collect();
    let declared = Allowed::of(&rules, s);
    for GrantedRule { grant, rule, .. } in input.granted.iter().filter(|one| one.fault.is_none()) {
        if open_covered_by(rule, &declared, s).state == EgressState::Active {
            continue;
        }
        let Some(opening) = open_rule_in_part(rule, s).opening else { continue };
        let (opening, held) = opening.at_addresses(&input.names());
        let mut tally = Tally::of_rule();
        if opening.peers != Peers::Networks(Vec::new()) {
            tally.opens(&rule.name);
        }
        let message = format!(
            "EgressGrant {grant} opens {} as far as its status says, and egress.rules does not declare all of it; it stays \
             so until the grant ends: revoke the grant if it is not needed (an AccessReview with the decision Revoke), or declare all of it",
            destination(rule)
        );
        tally.where_open(BEYOND_DECLARED.to_owned(), message);
        needs.held_by.entry(needs.states.len()).or_default().extend(held);
        needs.state(format!("grant/{grant}"), tally);
    }
}

/// The rules that the grants open, resolved once for all needs of a namespace.
#[derive(Default)]
pub(crate) struct Granted<'a> {
    /// Those that are open, after the rules of the allowlists that they stand beside.
    open: Allowed<'a>,
    /// At which place the first of the grants is.
    first: usize,
    /// The same, and after them those that stay closed.
    all: Allowed<'a>,
    /// At which place the first of those is.
    first_closed: usize,
    closed: Vec<GrantedRule<'a>>,
}

impl<'a> Granted<'a> {
    /// The rules of grants alone.
    pub fn of(input: &Input<'a>, s: &Surroundings<'_>) -> Self {
        Granted::beside(&Allowed::default(), input, s)
    }

    /// The rules of grants beside those of allowlists.
    pub fn beside<'i: 'a>(allowed: &Allowed<'a>, input: &Input<'i>, s: &Surroundings<'_>) -> Self {
        if input.granted.is_empty() {
            return Granted::default();
        }
        let (closed, open): (Vec<_>, Vec<_>) = input.granted.iter().copied().partition(|one| one.fault.is_some());
        let rules = |all: &[GrantedRule<'a>]| all.iter().map(|one| (one.grant, one.rule)).collect::<Vec<_>>();
        let with_open = allowed.clone().and_granted(&rules(&open), s);
        Granted {
            first: allowed.given(),
            all: if closed.is_empty() { Allowed::default() } else { with_open.clone().and_granted(&rules(&closed), s) },
            open: with_open,
            first_closed: allowed.given() + open.len(),
            closed,
        }
    }

    /// What covers rules now: the grants and the allowlists.
    pub fn beside_allowlists<'s>(&'s self, allowed: &'s Allowed<'a>) -> &'s Allowed<'a> {
        if self.open.given() == 0 { allowed } else { &self.open }
    }

    /// How far grants cover a rule beside the allowlists, with what of it they have open, at the addresses that its names have
    /// now, and what stays closed although it is granted.
    pub fn cover(
        &self,
        rule: &EgressRule,
        tally: &mut Tally,
        names: &mut Vec<Held>,
        input: &Input<'_>,
        s: &Surroundings<'_>,
    ) -> Covered {
        let covered = open_covered_by(rule, &self.open, s);
        for (opening, by) in covered.openings.iter().zip(&covered.agreed_by) {
            if *by < self.first {
                continue;
            }
            opening.cut_out(s.never).iter().for_each(|why| tally.cuts_out(&rule.name, why));
            let (opening, held) = opening.clone().at_addresses(&input.names());
            if opening.peers != Peers::Networks(Vec::new()) {
                tally.opens(&rule.name);
            }
            names.extend(held);
        }
        if covered.state != EgressState::NeedsGrant || self.closed.is_empty() {
            return covered;
        }
        let covered = open_covered_by(rule, &self.all, s);
        let closed: BTreeSet<usize> =
            covered.agreed_by.iter().filter_map(|by| by.checked_sub(self.first_closed)).collect();
        for GrantedRule { grant, fault, .. } in closed.into_iter().filter_map(|at| self.closed.get(at)) {
            let (reason, message) = fault.unwrap_or_default();
            let message = format!("EgressGrant {grant} covers some of it, and does not open it: {message}");
            tally.closes(EgressState::Unresolved, reason, &rule.name, message);
        }
        covered
    }

    /// Whether grants cover all of a part of a need, so that it is not for allowlists to open; what of it is open is told.
    pub fn opens(
        &self,
        part: &EgressRule,
        needs: &mut Needs,
        need: usize,
        input: &Input<'_>,
        s: &Surroundings<'_>,
    ) -> bool {
        let (mut of_part, mut names) = (Tally::of_rule(), Vec::new());
        if self.cover(part, &mut of_part, &mut names, input, s).state != EgressState::Active {
            return false;
        }
        if of_part.opens_anything() {
            needs.tally(need).opens(&part.name);
        }
        needs.held_by.entry(need).or_default().extend(names);
        true
    }
}
