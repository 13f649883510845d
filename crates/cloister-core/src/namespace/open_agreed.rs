//! Opens what allowlists agree to, as far as that is not too much in all.

use super::{
    Input,
    granted::Granted,
    hold_by_name::{self, How},
    needs::{Agreed, Needs},
};
use crate::{
    egress::{AllowRule, Backend, Narrowed, Peers, REACH_EXCEEDS_INTENT, Surroundings, TOO_BROAD, TooBroad, narrowed},
    model::child::Child,
    policies::network_policies,
    proof::objection::{Agreements, Declaration, objection},
};
use cloister_api::EgressState;

impl Needs {
    /// Opens what was agreed to, as long as it is not too much in all, at the addresses that its names have.
    pub(crate) fn open(
        &mut self,
        agreed: Vec<(Agreed<'_>, AllowRule)>,
        input: &Input<'_>,
        surroundings: &Surroundings<'_>,
    ) {
        let (agreed, openings): (Vec<Agreed<'_>>, Vec<AllowRule>) = agreed.into_iter().unzip();
        let narrowed: Vec<Narrowed> = narrowed(openings, &input.settings.spec.egress);
        self.policies.reserve(agreed.len());
        let granted = Granted::of(input, surroundings);
        let others = if input.settings.backend == Backend::Cilium {
            let narrow = narrowed.iter().filter_map(|narrowed| narrowed.opening.clone());
            let here = narrow.filter_map(|opening| hold_by_name::at_addresses(opening, input));
            here.chain(hold_by_name::of_grants(input)).collect()
        } else {
            Vec::new()
        };
        for (Agreed { need, rule, by, policy }, Narrowed { opening, too_broad }) in agreed.into_iter().zip(narrowed) {
            let mut not_granted = Vec::new();
            for why in too_broad {
                if !granted.opens(&why.part_of(rule), self, need, input, surroundings) {
                    not_granted.push(why);
                }
            }
            for why in TooBroad::folded(not_granted) {
                self.tally(need).closes(EgressState::NeedsGrant, TOO_BROAD, &rule.name, why.message());
            }
            let Some(opening) = opening else { continue };
            let agreed: Agreements<'_> =
                vec![[Some(rule), by].into_iter().flatten().filter_map(Declaration::rule).collect()];
            match hold_by_name::hold(&policy, &opening, &agreed, &others, input) {
                How::Addresses(None) => {}
                How::Addresses(Some(message)) => {
                    self.tally(need).closes(EgressState::Unresolved, hold_by_name::NOT_EXACT, &rule.name, message);
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
            let policy = network_policies::opening(input.name, &policy, &opening);
            match objection(&policy, &agreed, &surroundings.facts(&held)) {
                None => {
                    if opening.peers == Peers::Networks(Vec::new()) {
                        self.tally(need).has_no_address(&rule.name);
                    } else {
                        self.tally(need).opens(&rule.name);
                    }
                    for why in opening.cut_out(surroundings.never) {
                        self.tally(need).cuts_out(&rule.name, &why);
                    }
                    self.policies.push(Child::NetworkPolicy(policy));
                }
                Some(message) => self.exceeds(need, &rule.name, message),
            }
            self.held_by.entry(need).or_default().extend(held);
        }
    }

    /// A policy would open more than was agreed to.
    fn exceeds(&mut self, need: usize, rule: &str, message: String) {
        self.tally(need).closes(EgressState::Refused, REACH_EXCEEDS_INTENT, rule, message);
    }
}
