//! A namespace's own rules: each opens as far as allowlists that it may use, or its EgressGrants, cover it.

use super::{
    Input,
    granted::Granted,
    needs::{Agreed, Needs},
    refused::Closed,
    tally::Tally,
    usable::Usable,
};
use crate::egress::{AllowRule, Allowed, Surroundings, open_covered_by, too_broad};
use cloister_api::{EgressConfig, EgressRule, EgressState, ResearchNamespace};

impl Needs {
    pub(crate) fn own_rules<'a: 'b, 'b>(
        &mut self,
        namespace: &'b ResearchNamespace,
        usable: &Usable<'a>,
        input: &Input<'a>,
        surroundings: &Surroundings<'_>,
        agreed: &mut Vec<(Agreed<'b>, AllowRule)>,
    ) {
        if namespace.spec.egress.rules.is_empty() {
            return;
        }
        let rules: Vec<&'b EgressRule> = usable.published().map(|(_, rule, _)| rule).collect();
        let allowed = Allowed::of_resolved(usable.published());
        let granted = Granted::beside(&allowed, input, surroundings);
        let mut closed: Option<Closed<'_>> = None;
        for rule in &namespace.spec.egress.rules {
            let need = self.states.len();
            let mut covered = open_covered_by(rule, &allowed, surroundings);
            let openings = std::mem::take(&mut covered.openings).into_iter().zip(&covered.agreed_by);
            for (position, (opening, by)) in openings.enumerate() {
                let policy = format!("cloister-rule.{}.{position}", rule.name);
                let by = rules.get(*by).copied();
                agreed.push((Agreed { need, rule, by, policy }, opening));
            }
            let mut tally = Tally::of_rule();
            for refusal in &covered.refused {
                tally.closes(EgressState::Refused, refusal.reason(), &rule.name, refusal.to_string());
            }
            if covered.state == EgressState::NeedsGrant && !input.granted.is_empty() {
                // What a grant opens is its own matter, and ends with it; here it is only told.
                covered = granted.cover(rule, &mut tally, self.held_by.entry(need).or_default(), input, surroundings);
            }
            match covered.state {
                EgressState::NeedsGrant => {
                    let closed = closed.get_or_insert_with(|| Closed::of(namespace, input, surroundings));
                    let config = &input.settings.spec.egress;
                    let message = format!(
                        "{}{}{}",
                        covered.message,
                        agreement_missing(rule, &covered.advice, config, surroundings),
                        closed.would_cover(rule, &covered, granted.beside_allowlists(&allowed), surroundings)
                    );
                    tally.closes(EgressState::NeedsGrant, &covered.reason, &rule.name, message);
                }
                _ => tally.where_open(covered.reason, covered.message),
            }
            self.state(format!("rule/{}", rule.name), tally);
        }
    }
}

/// Whom to ask for what nothing covers: nobody for an allowlist that would open nothing of it.
fn agreement_missing(rule: &EgressRule, advice: &str, config: &EgressConfig, s: &Surroundings<'_>) -> String {
    let Some((why, is_all)) = too_broad(rule, config, s) else { return format!(". {advice}") };
    if is_all {
        format!("; no EgressAllowlist opens it: {why}")
    } else {
        format!(". {advice}. No EgressAllowlist opens this part of it: {why}")
    }
}
