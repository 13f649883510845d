//! A namespace's own rules: each opens as far as allowlists that it may use, or its EgressGrants, cover it.

use super::{
    Input,
    granted::Granted,
    input::KnownAllowlist,
    needs::{Agreed, Needs, allows},
    refused::Closed,
    tally::Tally,
};
use crate::egress::{Allowed, Surroundings, is_as_published, open_covered_by, too_broad};
use cloister_api::{EgressConfig, EgressRule, EgressState, ResearchNamespace};

impl Needs {
    /// The rules of the allowlists that a namespace may use, each with its allowlist's name.
    pub(crate) fn rules_to_use<'a>(
        &mut self,
        namespace: &ResearchNamespace,
        input: &Input<'a>,
        surroundings: &Surroundings<'_>,
    ) -> Vec<(&'a str, &'a EgressRule)> {
        let mut rules = Vec::new();
        for (&name, allowlist) in input.allowlists {
            let KnownAllowlist::Read(allowlist) = allowlist else { continue };
            if allows(allowlist, namespace) && self.lasts(allowlist, input.now) {
                let all = allowlist.spec.rules.iter();
                let published = all.filter(|rule| is_as_published(allowlist, rule, surroundings.services).is_ok());
                rules.extend(published.map(|rule| (name, rule)));
            }
        }
        rules
    }

    pub(crate) fn own_rules<'a: 'b, 'b>(
        &mut self,
        namespace: &'b ResearchNamespace,
        input: &Input<'a>,
        surroundings: &Surroundings<'_>,
        agreed: &mut Vec<Agreed<'b>>,
    ) {
        if namespace.spec.egress.rules.is_empty() {
            return;
        }
        let rules: Vec<(&str, &'b EgressRule)> = self.rules_to_use(namespace, input, surroundings);
        let allowed = Allowed::of(&rules, surroundings);
        let granted = Granted::beside(&rules, input, surroundings);
        let mut closed: Option<Closed<'_>> = None;
        for rule in &namespace.spec.egress.rules {
            let need = self.states.len();
            let mut covered = open_covered_by(rule, &allowed, surroundings);
            let openings = std::mem::take(&mut covered.openings).into_iter().zip(&covered.agreed_by);
            for (position, (opening, by)) in openings.enumerate() {
                let policy = format!("cloister-rule.{}.{position}", rule.name);
                let by = rules.get(*by).map(|(_, rule)| *rule);
                agreed.push(Agreed { need, rule, by, policy, opening });
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
                        closed.would_cover(rule, surroundings)
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
