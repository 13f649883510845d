//! What comes in through a gateway of the cluster: the pods of an ingress controller, or of a hub of notebooks.
//!
//! Security lists the gateways in CloisterConfig, each with the namespaces that may name it. The other side need not agree: it
//! is no research namespace, and is opened to nothing.

use super::{
    Input,
    egress::{Needs, need},
    policies,
};
use crate::{child::Child, egress::selector_matches};
use cloister_api::{EgressState, GatewayConfig, GatewayRule, ResearchNamespace};
use std::collections::BTreeMap;

/// Reason of a gateway that is not in the list.
pub const GATEWAY_NOT_FOUND: &str = "GatewayNotFound";

/// Reason of a gateway that the namespace may not name.
pub const GATEWAY_NOT_ALLOWED: &str = "GatewayNotAllowed";

/// Opens what comes in through gateways.
pub fn open(needs: &mut Needs, namespace: &ResearchNamespace, input: &Input<'_>) {
    for (position, rule) in namespace.spec.ingress.from_gateways.iter().enumerate() {
        let entry = format!("gateway/{position}");
        let gateway = match find(namespace, rule, &input.settings.spec.gateways) {
            Ok(gateway) => gateway,
            Err((reason, message)) => {
                needs.mistake(entry, reason, message);
                continue;
            }
        };
        match policies::from_gateway(input.name, position, rule, gateway) {
            Ok(policy) => {
                needs.policies.push(Child::NetworkPolicy(policy));
                needs.states.push(need(entry, EgressState::Active, "", String::new()));
            }
            Err(refusal) => needs.mistake(entry, refusal.reason(), refusal.to_string()),
        }
    }
}

/// The gateway that a rule names, where this namespace may name it.
fn find<'a>(
    namespace: &ResearchNamespace,
    rule: &GatewayRule,
    gateways: &'a [GatewayConfig],
) -> Result<&'a GatewayConfig, (&'static str, String)> {
    static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
    let wanted = &rule.gateway;
    let Some(gateway) = gateways.iter().find(|gateway| gateway.name == *wanted) else {
        return Err((GATEWAY_NOT_FOUND, not_found(wanted, gateways)));
    };
    let labels = namespace.metadata.labels.as_ref().unwrap_or(&NO_LABELS);
    if gateway.namespace_selector.as_ref().is_some_and(|selector| selector_matches(selector, labels)) {
        return Ok(gateway);
    }
    let message = format!(
        "gateway {wanted} may not be named by this namespace: its namespaceSelector (gateways of CloisterConfig) does not select \
         the labels of the ResearchNamespace; ask whoever writes CloisterConfig to extend it, or take it out of \
         ingress.fromGateways"
    );
    Err((GATEWAY_NOT_ALLOWED, message))
}

fn not_found(wanted: &str, gateways: &[GatewayConfig]) -> String {
    let names: Vec<&str> = gateways.iter().map(|gateway| gateway.name.as_str()).collect();
    let meant = names.iter().find(|name| is_alike(name, wanted));
    let meant = meant.map(|name| format!("; did you mean {name}")).unwrap_or_default();
    let there = if names.is_empty() { "none is".to_owned() } else { format!("there are: {}", names.join(", ")) };
    format!(
        "gateway {wanted} is not listed in gateways of CloisterConfig ({there}){meant}; correct the name, or ask whoever writes \
         CloisterConfig to list it"
    )
}

/// Whether two names differ by one letter left out, added, or another, or by two that changed places.
fn is_alike(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let (rest, other_rest) = (&one[common..], &other[common..]);
    let swapped =
        |a: &[char], b: &[char]| a.len() >= 2 && b.len() >= 2 && a[0] == b[1] && a[1] == b[0] && a[2..] == b[2..];
    let without_first = |all: &'_ [char]| all.get(1..).unwrap_or_default().to_vec();
    without_first(rest) == other_rest
        || without_first(other_rest) == rest
        || without_first(rest) == without_first(other_rest)
        || swapped(rest, other_rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised() {
        for (one, other) in [("hub", "hub1"), ("huub", "hub"), ("hbu", "hub"), ("hab", "hub"), ("istio", "istoi")] {
            assert!(is_alike(one, other) && is_alike(other, one), "{one} {other}");
        }
        assert!(!is_alike("hub", "gateway") && !is_alike("gateway-a", "gateway-bc"));
    }
}
