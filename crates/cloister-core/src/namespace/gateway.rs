//! What comes in through a gateway of the cluster: the pods of an ingress controller, or of a hub of notebooks.
//!
//! Security lists the gateways in CloisterConfig, each with the namespaces that may name it. The other side need not agree: it
//! is no research namespace, and is opened to nothing.

use super::{
    Input,
    needs::{Needs, need},
    refused::{missing, useless},
    selects::selects,
};
use crate::{
    address::Selector,
    cluster::dns_service::in_words,
    egress::PodOnNode,
    model::{
        child::Child,
        suggest::{closest, did_you_mean},
        writers::{CATALOGUE_WRITERS, CONFIG_WRITERS},
    },
    policies::network_policies,
};
use cloister_api::{EgressState, GatewayConfig, GatewayRule, ResearchNamespace};

/// Reason of a gateway that is not in the list.
pub const GATEWAY_NOT_FOUND: &str = "GatewayNotFound";

/// Reason of a gateway that the namespace may not name.
pub const GATEWAY_NOT_ALLOWED: &str = "GatewayNotAllowed";

/// Reason of a gateway whose own namespace is not there.
pub const GATEWAY_NAMESPACE_NOT_FOUND: &str = "GatewayNamespaceNotFound";

/// Reason of a gateway with a pod that is on the network of its node.
pub const GATEWAY_ON_NODES: &str = "GatewayOnNodes";

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
        if !(input.is_namespace)(&gateway.namespace) {
            // Nobody here is at fault, and a tool that waits must not hang until somebody installs the gateway.
            let message = format!(
                "gateway {} lets nobody in: its pods are in Namespace {}, which does not exist; ask {CONFIG_WRITERS} to \
                 correct gateways, or the owner of the gateway to install it",
                gateway.name, gateway.namespace
            );
            needs.states.push(need(entry, EgressState::Refused, GATEWAY_NAMESPACE_NOT_FOUND, message));
            continue;
        }
        match network_policies::from_gateway(input.name, position, rule, gateway) {
            Ok(policy) => {
                needs.policies.push(Child::NetworkPolicy(policy));
                let pods = Selector::parse(Some(&gateway.pod_selector)).ok();
                needs.states.push(match pods.and_then(|pods| (input.pods_on_nodes)(&gateway.namespace, &pods)) {
                    Some(pod) => need(entry, EgressState::Unresolved, GATEWAY_ON_NODES, on_nodes(gateway, &pod)),
                    None => need(entry, EgressState::Active, "", open_from(gateway, rule)),
                });
            }
            Err(refusal) => needs.mistake(entry, refusal.reason(), refusal.to_string()),
        }
    }
}

fn open_from(gateway: &GatewayConfig, rule: &GatewayRule) -> String {
    format!(
        "open from pods of Namespace {} ({}) to pods here ({}), as soon as there are such pods",
        gateway.namespace,
        in_words(&gateway.pod_selector),
        in_words(&rule.pod_selector)
    )
}

/// That a pod of a gateway comes from the address of its Node, which no selector finds. The policy stands: pods of the gateway
/// on the pod network come in by it, such as those that replace this one. Its Node is not named: few who read this list Nodes.
fn on_nodes(gateway: &GatewayConfig, pod: &PodOnNode) -> String {
    let GatewayConfig { name, namespace, .. } = gateway;
    format!(
        "gateway {name} does not let in pod {namespace}/{}: it is on the network of its node (hostNetwork), where a NetworkPolicy \
         cannot select it by labels; ask the owner of namespace {namespace} to run the gateway on the pod network, because no \
         setting of Cloister admits that pod; pods of the gateway on the pod network are admitted",
        pod.pod
    )
}

/// The gateway that a rule names, where this namespace may name it.
fn find<'a>(
    namespace: &ResearchNamespace,
    rule: &GatewayRule,
    gateways: &'a [GatewayConfig],
) -> Result<&'a GatewayConfig, (&'static str, String)> {
    let wanted = &rule.gateway;
    let Some(gateway) = gateways.iter().find(|gateway| gateway.name == *wanted) else {
        return Err((GATEWAY_NOT_FOUND, not_found(wanted, gateways)));
    };
    if selects(gateway.namespace_selector.as_ref(), namespace) {
        return Ok(gateway);
    }
    let selector = gateway.namespace_selector.as_ref();
    let help = match useless(selector) {
        Some(help) => format!("ask {CONFIG_WRITERS} {help} in gateways"),
        None => format!(
            "ask {CATALOGUE_WRITERS} to label the ResearchNamespace, or {CONFIG_WRITERS} to widen the namespaceSelector in gateways"
        ),
    };
    let message = format!(
        "gateway {wanted} may not be named by this namespace: {}; {help}, or remove it from ingress.fromGateways",
        missing(selector, namespace)
    );
    Err((GATEWAY_NOT_ALLOWED, message))
}

fn not_found(wanted: &str, gateways: &[GatewayConfig]) -> String {
    let names: Vec<&str> = gateways.iter().map(|gateway| gateway.name.as_str()).collect();
    let meant = did_you_mean(closest(wanted, names.iter().copied()));
    let there = if names.is_empty() { "none is".to_owned() } else { format!("there are: {}", names.join(", ")) };
    format!(
        "gateway {wanted} is not listed in gateways of CloisterConfig ({there}){meant}; correct the name, or ask {CONFIG_WRITERS} \
         to list it"
    )
}
