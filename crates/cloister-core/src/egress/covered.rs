//! A namespace's own rules: each opens as far as allowlists cover it.

use super::reach::{InPart, Reach, first_few};
use super::{Opening, Refusal, Surroundings, Target, selector};
use crate::suggest::{closest, did_you_mean};
use cloister_api::{EgressRule, EgressState, ServiceReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeSet;

/// Reason of a rule that is open, all of it.
pub const COVERED: &str = "Covered";

/// Reason of a rule of which a part is open.
pub const PARTLY_COVERED: &str = "PartlyCovered";

/// Reason of a rule of which nothing is open.
pub const NOT_COVERED: &str = "NotCovered";

/// How far a namespace's own rule is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Covered {
    /// What is open of it: one opening for each allowlist rule that covers some of it, in a fixed order, without doubles.
    pub openings: Vec<Opening>,
    /// For each opening the place of a rule, among those that are allowed, which agrees to it.
    pub agreed_by: Vec<usize>,
    /// Why some of its items can never be opened, whoever covers them.
    pub refused: Vec<Refusal>,
    /// Active, NeedsGrant or, where none of its items can be opened, Refused: what became of the other items.
    pub state: EgressState,
    /// The reason in one word: [`COVERED`], [`PARTLY_COVERED`], [`NOT_COVERED`], or that of a [`Refusal`].
    pub reason: String,
    /// Why, in a sentence that says what to do.
    pub message: String,
}

/// Opens a namespace's own rule as far as `allowed` covers it: the rules of the allowlists that the namespace may use,
/// each with its allowlist's name. What is opened is never wider than the rule, nor than the allowlist's rule.
///
/// A rule of an allowlist that is itself refused covers nothing. Whether pods are covered is judged by comparing single
/// requirements of the selectors, one allowlist rule at a time: two rules for complementary pods open both halves, but
/// do not make the rule Active.
///
/// The outcome does not depend on the order of `allowed`, nor on that of a rule's networks and ports.
pub fn open_covered(rule: &EgressRule, allowed: &[(&str, &EgressRule)], s: &Surroundings) -> Covered {
    open_covered_by(rule, &Allowed::of(allowed, s), s)
}

/// The rules that allowlists allow, resolved once for all rules of a namespace. One that is refused is left out.
pub struct Allowed<'a> {
    rules: Vec<(usize, &'a str, Resolved)>,
    /// The Services that they name, whether they can be opened or not.
    services: BTreeSet<ServiceReference>,
}

impl<'a> Allowed<'a> {
    /// Resolves them.
    pub fn of(allowed: &[(&'a str, &EgressRule)], s: &Surroundings) -> Self {
        let rules = allowed.iter().enumerate();
        Allowed {
            rules: rules.filter_map(|(at, (name, rule))| Some((at, *name, Resolved::of(rule, s)?))).collect(),
            services: allowed.iter().filter_map(|(_, rule)| rule.service.clone()).collect(),
        }
    }
}

/// As [`open_covered`].
pub fn open_covered_by(rule: &EgressRule, allowed: &Allowed<'_>, s: &Surroundings) -> Covered {
    if let Some(service) = rule.service.as_ref().filter(|service| !allowed.services.contains(service)) {
        // Whoever writes a rule must not learn which Services others have, and how they are made.
        let nobody_knows = Surroundings { services: &|_| None, ..*s };
        match reach_of(rule, &nobody_knows).closed.pop() {
            Some(Refusal::ServiceNotFound(_)) => return unnamed(service, allowed),
            Some(refusal) => return nothing(vec![refusal]),
            None => {}
        }
    }
    let InPart { reach, closed: refused } = reach_of(rule, s).enforceable(s);
    let own = match (reach, selector::canonical(rule.pod_selector.as_ref())) {
        (Some(reach), Ok(pods)) => Resolved { reach, pods },
        (Some(_), Err(refusal)) => return nothing(vec![refusal]),
        (None, _) => return nothing(refused),
    };
    let mut openings = Vec::new();
    let mut covering = Vec::new();
    let mut by: BTreeSet<&str> = BTreeSet::new();
    let mut for_some_pods: BTreeSet<&str> = BTreeSet::new();
    for (at, allowlist, other) in &allowed.rules {
        let Some(common) = own.reach.intersection(&other.reach) else {
            continue;
        };
        let pods = selector::conjunction(&own.pods, &other.pods);
        let all_pods = selector::implies(&own.pods, &other.pods);
        if !all_pods && !selector::is_satisfiable(&pods) {
            continue;
        }
        openings.push((common.opening(pods), *at));
        if all_pods {
            by.insert(allowlist);
            covering.push(common);
        } else {
            for_some_pods.insert(allowlist);
        }
    }
    openings.sort_by(|(one, _), (other, _)| Opening::compare(one, other));
    openings.dedup_by(|(one, _), (other, _)| one == other);
    let (openings, agreed_by): (Vec<Opening>, Vec<usize>) = openings.into_iter().unzip();

    let uncovered = own.reach.uncovered(&covering);
    if uncovered.is_empty() {
        let message = format!("covered by EgressAllowlist {}", first_few(by.iter()));
        let (state, reason) = (EgressState::Active, COVERED.to_owned());
        return Covered { openings, agreed_by, refused, state, reason, message };
    }
    let reason = if openings.is_empty() { NOT_COVERED } else { PARTLY_COVERED };
    let message = needs_grant(&uncovered, &by, &for_some_pods);
    Covered { openings, agreed_by, refused, state: EgressState::NeedsGrant, reason: reason.to_owned(), message }
}

/// A rule, resolved, and its pods.
struct Resolved {
    reach: Reach,
    pods: LabelSelector,
}

impl Resolved {
    fn of(rule: &EgressRule, s: &Surroundings) -> Option<Self> {
        Some(Self { reach: reach_of(rule, s).reach?, pods: selector::canonical(rule.pod_selector.as_ref()).ok()? })
    }
}

fn reach_of(rule: &EgressRule, s: &Surroundings) -> InPart {
    match Target::of_rule(rule) {
        Some(target) => Reach::resolve(&target, &rule.ports, s),
        None => Err(Refusal::TargetInvalid).into(),
    }
}

/// No item of the rule can be opened.
fn nothing(refused: Vec<Refusal>) -> Covered {
    Covered {
        openings: Vec::new(),
        agreed_by: Vec::new(),
        state: EgressState::Refused,
        reason: refused.first().map(Refusal::reason).unwrap_or_default().to_owned(),
        message: refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        refused,
    }
}

/// No rule that is allowed names the Service, and whether there is one is not said.
fn unnamed(service: &ServiceReference, allowed: &Allowed<'_>) -> Covered {
    let named = |service: &ServiceReference| format!("{}/{}", service.namespace, service.name);
    let known: Vec<String> = allowed.services.iter().map(named).collect();
    let asked = named(service);
    let near = did_you_mean(closest(&asked, known.iter().map(String::as_str)));
    let message = format!(
        "no EgressAllowlist that this namespace may use, and no EgressGrant of it, names Service {asked}{near}. {ASK}, or ask whoever runs \
         namespace {} for the name of the Service",
        service.namespace
    );
    Covered {
        openings: Vec::new(),
        agreed_by: Vec::new(),
        refused: Vec::new(),
        state: EgressState::NeedsGrant,
        reason: NOT_COVERED.to_owned(),
        message,
    }
}

/// What to do about a rule that is not covered.
const ASK: &str = "Ask for an EgressGrant of this rule (`kubectl explain egressgrant.spec`), or ask whoever publishes allowlists for \
                   one that covers it (`kubectl get egressallowlists` lists what there is)";

fn needs_grant(uncovered: &[String], by: &BTreeSet<&str>, for_some_pods: &BTreeSet<&str>) -> String {
    let what = first_few_of(uncovered);
    let pods = if for_some_pods.is_empty() {
        String::new()
    } else {
        format!(
            " (EgressAllowlist {} covers some of it, but only for pods that its podSelector matches; the rule's podSelector does not say as much)",
            first_few(for_some_pods.iter())
        )
    };
    let open = match (by.is_empty(), for_some_pods.is_empty()) {
        (true, true) => "nothing of it is covered".to_owned(),
        (true, false) => "the rest is not covered either".to_owned(),
        (false, _) => format!("the rest is covered by EgressAllowlist {}", first_few(by.iter())),
    };
    format!(
        "no EgressAllowlist that this namespace may use, and no EgressGrant of it, covers {what}{pods}; {open}. Ask for an EgressGrant of this rule \
         (`kubectl explain egressgrant.spec`), ask whoever publishes allowlists for one that covers it, or narrow the rule; \
         `kubectl get egressallowlists` lists what there is"
    )
}

/// Destinations have commas of their own.
fn first_few_of(uncovered: &[String]) -> String {
    const FEW: usize = 3;
    let first = uncovered.iter().take(FEW).cloned().collect::<Vec<_>>().join("; ");
    match uncovered.len().saturating_sub(FEW) {
        0 => first,
        more => format!("{first}; and {more} more"),
    }
}
