//! Which of a namespace's needs are open: allowlists, rules of its own, and peers.

use super::{
    Input, host_status,
    input::KnownAllowlist,
    needs::{ALLOWLIST_EXPIRED, Agreed, Needs, allows, entry_of_allowlist, names, need},
    peers, refused,
    tally::Tally,
    usable::{Usable, UsableRule},
};
use crate::{
    address::{DomainName, Refusal},
    egress::{AllowRule, Allowed, Surroundings, narrowed, open_covered_by},
};
use cloister_api::{Attach, EgressAllowlist, EgressRule, EgressState, ResearchNamespace};
use std::collections::BTreeSet;

/// Whether these wildcards of a rule of an allowlist cover a part of what a namespace declares.
fn covers_own(
    wildcards: &[DomainName],
    rule: &EgressRule,
    namespace: &ResearchNamespace,
    surroundings: &Surroundings<'_>,
) -> bool {
    let covers = |host: DomainName| wildcards.iter().any(|wildcard| wildcard.covers(&host));
    let names_a_host =
        |own: &&EgressRule| own.domain_names.iter().flatten().filter_map(|name| name.parse().ok()).any(covers);
    let own: Vec<&EgressRule> = namespace.spec.egress.rules.iter().filter(names_a_host).collect();
    if own.is_empty() {
        return false;
    }
    // By its ports and its pods, too.
    let names = wildcards.iter().map(ToString::to_string).collect();
    let rule = EgressRule { domain_names: Some(names), ..rule.clone() };
    let allowed = Allowed::of(&[("", &rule)], surroundings);
    own.into_iter().any(|own| !open_covered_by(own, &allowed, surroundings).openings.is_empty())
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
        let usable = Usable::by(namespace, input, &surroundings, &mut needs);
        needs.allowlists(namespace, &usable, input, &surroundings, &mut agreed);
        needs.own_rules(namespace, &usable, input, &surroundings, &mut agreed);
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
    pub fn agreed(namespace: &ResearchNamespace, input: &Input<'_>) -> Vec<AllowRule> {
        let (mut needs, mut agreed) = (Needs::default(), Vec::new());
        let surroundings = Surroundings { never: &input.settings.never, services: input.services, wildcards: false };
        let usable = Usable::by(namespace, input, &surroundings, &mut needs);
        needs.allowlists(namespace, &usable, input, &surroundings, &mut agreed);
        needs.own_rules(namespace, &usable, input, &surroundings, &mut agreed);
        let openings: Vec<AllowRule> = agreed.into_iter().map(|(_, opening)| opening).collect();
        narrowed(openings, &input.settings.spec.egress).into_iter().filter_map(|left| left.opening).collect()
    }

    fn allowlists<'a: 'b, 'b>(
        &mut self,
        namespace: &ResearchNamespace,
        usable: &Usable<'a>,
        input: &Input<'a>,
        surroundings: &Surroundings<'_>,
        agreed: &mut Vec<(Agreed<'b>, AllowRule)>,
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
                Some(KnownAllowlist::Read(allowlist)) => self.allowlist(name, allowlist, namespace, usable, surroundings, agreed),
            }
        }
        for (&name, allowlist) in input.allowlists {
            let KnownAllowlist::Read(allowlist) = allowlist else { continue };
            if allowlist.spec.attach == Attach::Always && !requested.contains(name) && allows(allowlist, namespace) {
                self.allowlist(name, allowlist, namespace, usable, surroundings, agreed);
            }
        }
    }

    fn allowlist<'a>(
        &mut self,
        name: &str,
        allowlist: &EgressAllowlist,
        namespace: &ResearchNamespace,
        usable: &Usable<'a>,
        surroundings: &Surroundings<'_>,
        agreed: &mut Vec<(Agreed<'a>, AllowRule)>,
    ) {
        let entry = entry_of_allowlist(name);
        let Some(rules) = usable.rules(name) else {
            let message = refused::expired(name, allowlist, namespace);
            // What nobody here has asked for is no mistake of this declaration.
            return match names(namespace, name) {
                true => self.mistake(entry, ALLOWLIST_EXPIRED, message),
                false => self.states.push(need(entry, EgressState::Refused, ALLOWLIST_EXPIRED, message)),
            };
        };
        let mut tally = Tally::of_allowlist(name, rules.len());
        for &UsableRule { rule, ref resolved } in rules {
            let refused = |refusal: &Refusal| (EgressState::Refused, refusal.reason(), refusal.to_string());
            let opened = match resolved {
                Ok(resolved) => resolved.opened(surroundings),
                Err(refusal) => {
                    let (state, reason, message) = refused(refusal);
                    tally.closes(state, reason, &rule.name, message);
                    continue;
                }
            };
            for refusal in &opened.closed {
                if let Refusal::WildcardNotEnforceable { names, of_storage: false } = refusal
                    && covers_own(names, rule, namespace, surroundings)
                {
                    tally.covers(&rule.name, names);
                    continue;
                }
                let (state, reason, message) = refused(refusal);
                tally.closes(state, reason, &rule.name, message);
            }
            if let Some(opening) = opened.opening {
                let policy = format!("cloister-allow.{name}.{}", rule.name);
                agreed.push((Agreed { need: self.states.len(), rule, by: None, policy }, opening));
            }
        }
        self.state(entry, tally);
    }

    /// Lists the names of each need, and says which of them stay closed.
    fn list_names(&mut self, input: &Input<'_>) {
        for (need, mut held) in std::mem::take(&mut self.held_by) {
            held.sort_by(|a, b| a.host.cmp(&b.host));
            held.dedup_by(|a, b| a.host == b.host);
            host_status::annotate_need(&mut self.states[need], &held, input.said(), &input.settings.names);
            self.tally(need).names(&held);
            self.held.extend(held);
        }
    }
}
