//! The Services that allowlists name, as they were when security published them: whoever may change a Service must not lead a
//! rule elsewhere by it.

use super::ServiceFacts;
use crate::{address::Refusal, model::hash::hash};
use cloister_api::{EgressAllowlist, EgressRule, PublishedService, ServiceReference};

type Services<'a> = &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>;

/// The Services that the rules of an allowlist name: as they were when this generation of it was first seen, or as they are.
pub fn published(allowlist: &EgressAllowlist, services: Services<'_>) -> Vec<PublishedService> {
    let rules = allowlist.spec.rules.iter();
    let seen = rules.filter_map(|rule| {
        let hash = known(allowlist, rule).map(str::to_owned).or_else(|| hash_now(rule, services))?;
        Some(PublishedService { rule: rule.name.clone(), hash })
    });
    seen.collect()
}

/// Why a rule stays closed: its Service is another than the one that was published.
pub fn is_as_published(allowlist: &EgressAllowlist, rule: &EgressRule, services: Services<'_>) -> Result<(), Refusal> {
    match (&rule.service, known(allowlist, rule), hash_now(rule, services)) {
        (Some(service), Some(before), Some(now)) if before != now => Err(Refusal::ServiceChanged(service.clone())),
        _ => Ok(()),
    }
}

/// What is written down of a rule's Service, for the allowlist as it is now.
fn known<'a>(allowlist: &'a EgressAllowlist, rule: &EgressRule) -> Option<&'a str> {
    let status = allowlist.status.as_ref()?;
    let is_current = status.observed_generation == allowlist.metadata.generation && rule.service.is_some();
    let known = status.services.iter().filter(|_| is_current).find(|known| known.rule == rule.name)?;
    Some(&known.hash)
}

fn hash_now(rule: &EgressRule, services: Services<'_>) -> Option<String> {
    let facts = services(rule.service.as_ref()?)?;
    Some(hash(&facts.pinned(&rule.ports)))
}
