//! What egress rules open: from declared destinations to the NetworkPolicies that allow them.
//!
//! A rule of an allowlist, or the endpoint of a storage resource, was agreed to and opens whole ([`open`]). A
//! namespace's own rule opens as far as allowlist rules cover it ([`open_covered`]). An item of a rule that cannot be
//! opened is refused with a reason, and stays closed; the others open ([`open_rule_in_part`]).
//!
//! ```
//! use cloister_core::egress::{NeverOpened, Surroundings, open_rule};
//!
//! let never = NeverOpened::new(&[]);
//! let surroundings = Surroundings { never: &never, services: &|_| None, wildcards: false };
//! let rule = serde_json::from_value(serde_json::json!({
//!     "name": "lab",
//!     "networks": ["169.254.0.0/15"],
//!     "ports": [{"port": 443}],
//! }))?;
//! let spec = open_rule(&rule, &surroundings)?.to_network_policy_spec();
//! // The metadata services in the second half are left out.
//! let to = spec.egress.unwrap().remove(0).to.unwrap();
//! assert_eq!(to[0].ip_block.as_ref().unwrap().cidr, "169.255.0.0/16");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod blocks;
mod breadth;
mod by_name;
mod covered;
mod cuts;
mod domain;
mod endpoint;
mod hosts;
mod items;
mod label;
mod measure;
mod networks;
mod never;
mod opening;
mod overlap;
mod ports;
mod public;
mod published;
mod reach;
mod refusal;
mod selector;
mod service;
mod shared;
mod source;
mod target;
mod too_broad;
mod within;
mod writable;

pub use backend::{Backend, Channel, Installed};
pub use breadth::{Narrowed, narrowed, too_broad_with};
pub use by_name::{Inexact, not_the_internet, not_to_be_reached};
pub use covered::{Allowed, COVERED, Covered, NOT_COVERED, PARTLY_COVERED, open_covered, open_covered_by};
pub use domain::{DomainName, NameFault};
pub use endpoint::{endpoint_refused, grant_refused};
pub use never::NeverOpened;
pub(crate) use never::{is_link_local, is_local_nat64, is_metadata};
pub use opening::{Opening, Peers, PolicyPort, PolicyPortNumber};
pub use overlap::overlap;
pub use public::is_public;
pub use published::{is_as_published, published};
pub use refusal::Refusal;
pub(crate) use selector::canonical;
pub use selector::selector_matches;
pub use service::{PodOnNode, ServiceFacts, ServicePortFacts};
pub use source::{KnownNetwork, NeverWhy, Source};
pub use target::Target;
pub use too_broad::TooBroad;
pub use within::is_within;
pub(crate) use writable::fits;
pub use {cuts::CutBy, writable::Pieces};

use crate::{evaluator::Facts, names::Held};
use cloister_api::{EgressConfig, EgressRule, Port, ServiceReference, StorageEndpoint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use reach::{InPart, Reach};
use std::collections::BTreeMap;

/// Whether whatever `narrow` matches is also matched by `wide`; everything is, where there is no selector. A false "no" is
/// possible, a false "yes" is not.
pub(crate) fn selector_implies(narrow: Option<&LabelSelector>, wide: Option<&LabelSelector>) -> bool {
    match (selector::canonical(narrow), selector::canonical(wide)) {
        (Ok(narrow), Ok(wide)) => selector::implies(&narrow, &wide),
        _ => false,
    }
}

/// Whether whatever has these labels is matched.
pub(crate) fn selector_implies_labels(labels: &BTreeMap<String, String>, wide: Option<&LabelSelector>) -> bool {
    selector_implies(Some(&with_labels(labels)), wide)
}

/// Whether anything that has these labels can be matched. A false "yes" is possible, a false "no" is not.
pub(crate) fn selectors_can_meet(one: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    match (selector::canonical(one), selector::canonical(Some(&with_labels(labels)))) {
        (Ok(one), Ok(other)) => selector::is_satisfiable(&selector::conjunction(&one, &other)),
        _ => false,
    }
}

fn with_labels(labels: &BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels.clone()), match_expressions: None }
}

/// What is known of the cluster around a rule.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The networks that no rule opens by address.
    pub never: &'a NeverOpened,
    /// Finds a Service. Nothing where it does not exist.
    pub services: &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    /// Whether a name can stand for all names below it: whether what opens it sees names.
    pub wildcards: bool,
}

impl<'a> Surroundings<'a> {
    /// What declarations about these names speak of.
    pub(crate) fn facts(&self, names: &'a [Held]) -> Facts<'a> {
        Facts { names, services: self.services, never: self.never }
    }
}

/// Opens the whole of what was declared, for these pods; for all pods of the namespace where there is no selector.
///
/// Networks are written as the shortest list of disjoint CIDRs, without those that are never opened. Overlapping and
/// adjacent ports of one protocol become one range. A Service's ports become those of its pods.
///
/// # Errors
///
/// A [`Refusal`] where any item of it cannot be opened.
pub fn open(
    target: &Target,
    ports: &[Port],
    pods: Option<&LabelSelector>,
    s: &Surroundings,
) -> Result<Opening, Refusal> {
    in_part(Some(target), ports, pods, s).whole()
}

/// What was declared, as far as it can be opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opened {
    /// What is open of it, where anything is.
    pub opening: Option<Opening>,
    /// Why the rest stays closed: each names the items that it is about.
    pub closed: Vec<Refusal>,
}

impl Opened {
    /// All of it.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] of an item.
    pub fn whole(self) -> Result<Opening, Refusal> {
        match self.closed.into_iter().next() {
            Some(refusal) => Err(refusal),
            None => self.opening.ok_or(Refusal::TargetInvalid),
        }
    }
}

/// Opens a rule item by item: a name or a network that cannot be opened closes itself alone.
pub fn open_rule_in_part(rule: &EgressRule, s: &Surroundings) -> Opened {
    in_part(Target::of_rule(rule).as_ref(), &rule.ports, rule.pod_selector.as_ref(), s)
}

/// The same of a storage resource's endpoint, for these pods; for all pods of the namespace where there is no selector.
pub fn open_endpoint_in_part(endpoint: &StorageEndpoint, pods: Option<&LabelSelector>, s: &Surroundings) -> Opened {
    in_part(Target::of_endpoint(endpoint).as_ref(), &endpoint.ports, pods, s)
}

fn in_part(target: Option<&Target>, ports: &[Port], pods: Option<&LabelSelector>, s: &Surroundings) -> Opened {
    let refused = |refusal| Opened { opening: None, closed: vec![refusal] };
    let Some(target) = target else { return refused(Refusal::TargetInvalid) };
    let InPart { reach, closed } = Reach::resolve(target, ports, s).enforceable(s);
    match (reach, selector::canonical(pods)) {
        (Some(reach), Ok(pods)) => Opened { opening: Some(reach.opening(pods)), closed },
        (Some(_), Err(refusal)) => refused(refusal),
        (None, _) => Opened { opening: None, closed },
    }
}

/// Opens the whole of a rule.
///
/// # Errors
///
/// As [`open`], and where the rule does not name exactly one kind of target.
pub fn open_rule(rule: &EgressRule, s: &Surroundings) -> Result<Opening, Refusal> {
    let target = Target::of_rule(rule).ok_or(Refusal::TargetInvalid)?;
    open(&target, &rule.ports, rule.pod_selector.as_ref(), s)
}

/// Opens the whole of a storage resource's endpoint, for these pods; for all pods of the namespace where there is no
/// selector.
///
/// # Errors
///
/// As [`open`], and where the endpoint does not name exactly one kind of target.
pub fn open_endpoint(
    endpoint: &StorageEndpoint,
    pods: Option<&LabelSelector>,
    s: &Surroundings,
) -> Result<Opening, Refusal> {
    let target = Target::of_endpoint(endpoint).ok_or(Refusal::TargetInvalid)?;
    open(&target, &endpoint.ports, pods, s)
}

/// Why a storage resource's endpoint opens more than the catalogue may, if it does: it is judged as an allowlist's rule is.
pub fn endpoint_too_broad(endpoint: &StorageEndpoint, s: &Surroundings, config: &EgressConfig) -> Option<String> {
    let Opened { opening, closed } = open_endpoint_in_part(endpoint, None, s);
    let is_wide = |why: &&Refusal| matches!(why, Refusal::NetworksTooWide { .. } | Refusal::NetworksTooMany { .. });
    let broad = || Some(TooBroad::folded(narrowed(&[&opening?], config).pop()?.too_broad).first()?.told());
    let said = closed.iter().find(is_wide).map(ToString::to_string).or_else(broad)?;
    // What allowlists may open is what an endpoint may.
    Some(said.replace("than allowlists may open", "than allowlists and endpoints of StorageResources may open"))
}
