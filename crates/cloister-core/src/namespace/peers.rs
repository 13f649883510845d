//! The peers of a namespace: other research namespaces, where both sides agree, and the networks that people come from.

use super::{
    Input,
    egress::{Needs, need},
    policies,
};
use crate::child::Child;
use cloister_api::{EgressState, ResearchNamespace};
use std::collections::BTreeSet;

/// Opens other research namespaces in both directions, each where the other side names this one.
pub fn research_namespaces(needs: &mut Needs, namespace: &ResearchNamespace, input: &Input<'_>) {
    let own = input.name;
    let to = namespace.spec.egress.to_research_namespaces.iter().map(|peer| (true, peer));
    let from = namespace.spec.ingress.from_research_namespaces.iter().map(|peer| (false, peer));
    let distinct: BTreeSet<(bool, &String)> = to.chain(from).filter(|(_, peer)| peer.as_str() != own).collect();
    for (egress, peer) in distinct {
        let known = (input.peers)(peer);
        let agreed = known.is_some_and(|known| {
            let names = |list: &[String]| list.iter().any(|name| name == own);
            if egress {
                names(&known.spec.ingress.from_research_namespaces)
            } else {
                names(&known.spec.egress.to_research_namespaces)
            }
        });
        let (direction, field) =
            if egress { ("to", "ingress.fromResearchNamespaces") } else { ("from", "egress.toResearchNamespaces") };
        let mut state = need(format!("{direction}/{peer}"), EgressState::Active, "", String::new());
        if agreed {
            let policy = if egress { policies::to_peer(own, peer) } else { policies::from_peer(own, peer) };
            needs.policies.push(Child::NetworkPolicy(policy));
        } else {
            state.state = EgressState::NeedsGrant;
            state.reason = "PeerHasNotAgreed".to_owned();
            state.message = format!(
                "ResearchNamespace {peer} must be enforced and name {own} in {field}; ask its owners to add it"
            );
        }
        needs.states.push(state);
    }
}

/// Lets people in from the access networks.
pub fn access_networks(needs: &mut Needs, namespace: &ResearchNamespace, input: &Input<'_>) {
    let networks = &input.settings.spec.access_networks;
    for (position, rule) in namespace.spec.ingress.from_access_networks.iter().enumerate() {
        match policies::access(input.name, position, rule, networks) {
            Ok(policy) => needs.policies.extend(policy.map(Child::NetworkPolicy)),
            Err(refusal) => needs.mistake(format!("access/{position}"), refusal.reason(), refusal.to_string()),
        }
    }
}
