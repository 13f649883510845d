//! Opens what was declared, as a whole or item by item.

use super::{
    Surroundings,
    allow_rule::AllowRule,
    resolved::{Opened, ResolvedRule},
    target::EgressTarget,
};
use crate::address::Refusal;
use cloister_api::{EgressRule, Port, StorageEndpoint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Opens the whole of what was declared, for these pods; for all pods of the namespace where there is no selector.
///
/// Networks are written as the shortest list of disjoint CIDRs, without those that are never opened. Overlapping and
/// adjacent ports of one protocol become one range. A Service's ports become those of its pods.
///
/// # Errors
///
/// A [`Refusal`] where any item of it cannot be opened.
pub fn open(
    target: &EgressTarget,
    ports: &[Port],
    pods: Option<&LabelSelector>,
    s: &Surroundings,
) -> Result<AllowRule, Refusal> {
    ResolvedRule::of_target(Some(target), ports, pods, s).opened(s).whole()
}

/// Opens a rule item by item: a name or a network that cannot be opened closes itself alone.
pub fn open_rule_in_part(rule: &EgressRule, s: &Surroundings) -> Opened {
    ResolvedRule::of(rule, s).opened(s)
}

/// The same of a storage resource's endpoint, for these pods; for all pods of the namespace where there is no selector.
pub fn open_endpoint_in_part(endpoint: &StorageEndpoint, pods: Option<&LabelSelector>, s: &Surroundings) -> Opened {
    ResolvedRule::of_target(EgressTarget::of_endpoint(endpoint).as_ref(), &endpoint.ports, pods, s).opened(s)
}

/// Opens the whole of a rule.
///
/// # Errors
///
/// As [`open`], and where the rule does not name exactly one kind of target.
pub fn open_rule(rule: &EgressRule, s: &Surroundings) -> Result<AllowRule, Refusal> {
    let target = EgressTarget::of_rule(rule).ok_or(Refusal::TargetInvalid)?;
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
) -> Result<AllowRule, Refusal> {
    let target = EgressTarget::of_endpoint(endpoint).ok_or(Refusal::TargetInvalid)?;
    open(&target, &endpoint.ports, pods, s)
}
