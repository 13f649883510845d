//! An EgressGrant: one egress rule that is open while it lasts.

use super::{
    caution, declared,
    kind::{Kind, Opening},
    obstacle::{Effect, Missing, Obstacle},
    resolve::policy_of,
    target_error::TargetError,
};
use crate::{
    address::Refusal,
    dns::{Held, NameState},
    egress::{
        self, Opened, Peers, REACH_EXCEEDS_INTENT, grant_refused, open_rule, open_rule_in_part, target::destination,
    },
    grant::{
        Grant, Input,
        model::{
            digest,
            target::{Hashes, Target},
        },
    },
    model::{
        child::Child,
        text::{first_of, others},
    },
    namespace::host_status::{host_statuses, what_to_do},
    policies::network_policies,
    proof::{Declaration, objection},
};
use cloister_api::{EgressGrant, EgressRule, ResidualExposure, ServiceReference, Subject};
use serde_json::{Value, json};

impl Kind for EgressGrant {
    fn subjects(&self) -> &[Subject] {
        &[]
    }

    fn is_for_namespace(&self, _: &Input<'_>) -> bool {
        true
    }

    fn names_target(&self) -> String {
        destination(&self.spec.rule)
    }

    fn entry(&self) -> String {
        "egress.accessPolicy of CloisterConfig".to_owned()
    }

    fn asks(&self) -> Value {
        json!({"rule": digest::rule(&self.spec.rule)})
    }

    fn target<'a>(&self, input: &Input<'a>) -> Result<Target<'a>, TargetError> {
        let name = &input.settings.spec.egress.access_policy;
        let policy = policy_of(name, || self.entry(), input)?;
        let service = self.spec.rule.service.as_ref();
        let meaning = match service {
            Some(service) => {
                json!({"service": digest::service_as_it_is(service, &self.spec.rule.ports, input.catalogue.services)})
            }
            None => Value::Null,
        };
        Ok(Target {
            policy,
            sensitive: None,
            meaning,
            cluster_role: None,
            rules: &[],
            unguarded: None,
            hashes: Hashes::default(),
        })
    }

    fn missing(&self, _: &Target<'_>, input: &Input<'_>) -> Option<Obstacle> {
        // Nobody is asked to agree to what cannot be opened, not even in part; all of what is wrong is told at once.
        let Opened { opening, closed } = as_told(&self.spec.rule, input);
        let names = opening.and_then(|opening| astray(opening, input)).filter(|why| !is_unknown(why));
        let all: Vec<String> = closed.iter().map(grant_refused).chain(names.map(|why| why.message)).collect();
        let (reason, refused) = (closed.first()?.reason(), format!("the rule stays closed: {}", all.join("; ")));
        let waiting = format!("{refused}. {WHERE_THE_RULE_IS_WRONG}");
        Some(Obstacle { reason, waiting, refused, effect: Effect::Holds })
    }

    fn faults(&self, input: &Input<'_>) -> Vec<Missing> {
        let Opened { opening, closed } = as_told(&self.spec.rule, input);
        // Where all of it can be opened, its names are among the doubts.
        let names = opening.filter(|_| !closed.is_empty()).and_then(|opening| astray(opening, input));
        let names = names.filter(|why| !is_unknown(why));
        closed.into_iter().filter_map(refused).chain(names).collect()
    }

    fn doubts(&self, input: &Input<'_>) -> Vec<Obstacle> {
        let differs = declared::differs(&self.spec.rule, input);
        let whole = open_rule(&self.spec.rule, &input.surroundings()).ok();
        let of_names = |opening| {
            let astray = astray(opening, input)?;
            let waiting = match is_unknown(&astray) {
                true => astray.message.clone(),
                false => format!("{}. {WHERE_THE_RULE_IS_WRONG}", astray.message),
            };
            Some(Obstacle { waiting, ..Obstacle::from(astray) })
        };
        let of_whole = whole.and_then(|opening| declared::is_open(&opening, input).or_else(|| of_names(opening)));
        differs.into_iter().chain(of_whole).collect()
    }

    fn unanswered(&self, input: &Input<'_>) -> Vec<String> {
        let opening = open_rule_in_part(&self.spec.rule, &input.surroundings()).opening;
        opening.map(|opening| unanswered(opening, input)).unwrap_or_default()
    }

    fn caution(&self, input: &Input<'_>) -> Vec<String> {
        let rule = &self.spec.rule;
        let of_networks = cut_out(rule, input).map(|why| why.message);
        Kind::unanswered(self, input)
            .into_iter()
            .chain(of_networks)
            .chain(declared::is_undeclared(rule, input))
            .chain(caution::leads_to_storage(rule, input))
            .chain(caution::leads_to_people(rule, input))
            .collect()
    }

    fn residue(&self, _: &Target<'_>, _: &Input<'_>) -> Vec<ResidualExposure> {
        vec![ResidualExposure::Connections]
    }

    fn opening(&self, grant: &Grant, _: &Target<'_>, input: &Input<'_>) -> Opening {
        let rule = &self.spec.rule;
        let mut opening = opened(open_rule_in_part(rule, &input.surroundings()), Declaration::rule(rule), grant, input)
            .unwrap_or_else(|refusal| Opening { fault: refusal.and_then(refused), ..Opening::default() });
        opening.note = opening.note.or_else(|| cut_out(rule, input)).or_else(|| declared::goes_beyond(rule, input));
        opening
    }
}

/// The rule as far as it can be opened, and why the rest cannot, for somebody to whom nobody has agreed yet: of a Service that
/// no allowlist here names, it is not told whether it is there and how it is made.
fn as_told(rule: &EgressRule, input: &Input<'_>) -> Opened {
    let Opened { opening, closed } = open_rule_in_part(rule, &input.surroundings());
    let hides = |service: &&ServiceReference| {
        closed.iter().any(Refusal::tells_of_a_service) && !(input.beside.services)().contains(*service)
    };
    match rule.service.as_ref().filter(hides) {
        Some(service) => Opened { opening, closed: vec![Refusal::ServiceNotNamed(service.clone())] },
        None => Opened { opening, closed },
    }
}

/// What whoever asked can do where the mistake is theirs.
const WHERE_THE_RULE_IS_WRONG: &str =
    "A grant cannot be changed: if its rule is wrong, delete it, and ask again with another rule";

/// The policy of what a grant opens, as far as it can be opened, and what of it cannot: the settings may have changed since
/// it was agreed to.
///
/// # Errors
///
/// Nothing of it can be opened, for this reason.
pub fn opened(
    opened: Opened,
    declared: Option<Declaration<'_>>,
    grant: &Grant,
    input: &Input<'_>,
) -> Result<Opening, Option<Refusal>> {
    let Some(opening) = opened.opening else { return Err(opened.closed.into_iter().next()) };
    let mut opening = at_addresses(opening, declared, grant, input);
    if let Some(first) = opened.closed.first() {
        opening.note = Some(Missing {
            reason: first.reason(),
            message: format!("a part of it stays closed: {}", grant_refused(first)),
        });
    }
    Ok(opening)
}

/// The policy of what a grant opens, at the addresses that its names have now, if that is no more than was declared.
fn at_addresses(
    opening: egress::AllowRule,
    declared: Option<Declaration<'_>>,
    grant: &Grant,
    input: &Input<'_>,
) -> Opening {
    let (opening, held) = opening.at_addresses(&input.names());
    let mut policy = network_policies::opening(input.namespace, "", &opening);
    policy.metadata = grant.owned_meta(input.namespace);
    let agreed = declared.into_iter().map(|declared| vec![declared]).collect();
    if let Some(message) = objection(&policy, &agreed, &input.surroundings().facts(&held)) {
        return Opening { fault: Some(Missing { reason: REACH_EXCEEDS_INTENT, message }), ..Opening::default() };
    }
    let closed: Vec<&Held> = held.iter().filter(|held| held.state != NameState::Held).collect();
    Opening {
        children: vec![Child::NetworkPolicy(policy)],
        opens_nothing: opening.peers == Peers::Networks(Vec::new()),
        note: closed.first().map(|first| Missing {
            reason: first.state.reason(),
            message: format!("{}{}", what_to_do(first), others(closed.len() - 1, "name", "status.hosts")),
        }),
        hosts: host_statuses(
            &held,
            grant.status().map(|status| status.hosts.as_slice()).unwrap_or_default(),
            &input.settings.names,
        ),
        next: held.iter().filter_map(|held| held.changes_at).min(),
        ..Opening::default()
    }
}

/// The networks that are never opened, where they are a part of those that were asked for.
fn cut_out(rule: &EgressRule, input: &Input<'_>) -> Option<Missing> {
    let surroundings = input.surroundings();
    let refusals = open_rule_in_part(rule, &surroundings).opening?.cut_out(surroundings.never);
    let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    let message = format!("a part of it stays closed: {}", all.join("; "));
    Some(Missing { reason: refusals.first()?.reason(), message })
}

/// How many names are told of in full.
const NAMED: usize = 8;

/// The names that stay closed as DNS answers them now, or else the first that nobody has answered for yet. Where DNS gives no
/// answer, nothing is known of the name.
pub fn astray(opening: egress::AllowRule, input: &Input<'_>) -> Option<Missing> {
    let (_, held) = opening.at_addresses(&input.names());
    let is_closed =
        |held: &&Held| held.is_closed() && !matches!(held.state, NameState::Unanswered(_) | NameState::Unknown);
    let closed: Vec<&Held> = held.iter().filter(is_closed).collect();
    let unknown = || held.iter().find(|held| held.state == NameState::Unknown);
    let first = closed.first().copied().or_else(unknown)?;
    let message = match closed.as_slice() {
        [] => what_to_do(first),
        all => first_of(all.iter().map(|held| what_to_do(held)), NAMED, "; "),
    };
    Some(Missing { reason: first.state.reason(), message })
}

/// Whether it is only that nobody has answered yet.
fn is_unknown(why: &Missing) -> bool {
    why.reason == NameState::Unknown.reason()
}

/// The names of which DNS says nothing, so that those who decide do not know whether they can be opened; and those of which one
/// family leads astray, while the other can be opened.
pub fn unanswered(opening: egress::AllowRule, input: &Input<'_>) -> Vec<String> {
    let (_, held) = opening.at_addresses(&input.names());
    let is_doubtful = |held: &&Held| match held.state {
        NameState::Unanswered(_) => true,
        NameState::Rebound(_) | NameState::InCluster { .. } => !held.is_closed(),
        _ => false,
    };
    held.iter().filter(is_doubtful).map(what_to_do).collect()
}

fn refused(refusal: Refusal) -> Option<Missing> {
    Some(Missing { reason: refusal.reason(), message: format!("the rule stays closed: {}", grant_refused(&refusal)) })
}
