//! The peers of a namespace: other research namespaces, where both sides agree, and the networks that people come from.

use super::{
    Input, PeerFound,
    needs::{Needs, need},
};
use crate::{
    cluster::dns_service::in_words,
    model::{child::Child, writers::CATALOGUE_WRITERS},
    policies::network_policies,
};
use cloister_api::{EgressState, EgressStatus, ResearchNamespace};
use std::collections::BTreeSet;

/// Reason of a peer that is not there.
pub const PEER_NOT_FOUND: &str = "PeerNotFound";

/// Reason of a peer that is the namespace itself.
pub const PEER_IS_ITSELF: &str = "PeerIsItself";

/// Reason of a peer that is not enforced, or does not name this namespace.
pub const PEER_HAS_NOT_AGREED: &str = "PeerHasNotAgreed";

/// Reason of an access rule while there is nothing that it could open to.
pub const NO_ACCESS_NETWORKS: &str = "NoAccessNetworks";

const NO_NETWORK_IS_LISTED: &str = "accessNetworks of CloisterConfig lists no network that people may come from, so \
                                    ingress.fromAccessNetworks lets nobody in; ask a policy administrator (ClusterRole \
                                    cloister:policy-admin) to list the networks, or remove it";

/// Opens other research namespaces in both directions, each where the other side names this one.
pub fn research_namespaces(needs: &mut Needs, namespace: &ResearchNamespace, input: &Input<'_>) {
    let own = input.name;
    let to = namespace.spec.egress.to_research_namespaces.iter().map(|peer| (true, peer));
    let from = namespace.spec.ingress.from_research_namespaces.iter().map(|peer| (false, peer));
    let distinct: BTreeSet<(bool, &String)> = to.chain(from).collect();
    for (egress, peer) in distinct {
        if peer == own {
            needs.states.push(itself(egress, own));
            continue;
        }
        let found = (input.peers)(peer);
        let names = |list: &[String]| list.iter().any(|name| name == own);
        let agreed = match &found {
            PeerFound::Enforced(known) if egress => names(&known.spec.ingress.from_research_namespaces),
            PeerFound::Enforced(known) => names(&known.spec.egress.to_research_namespaces),
            PeerFound::NotEnforced | PeerFound::Absent => false,
        };
        let (direction, own_field, field) = if egress {
            ("to", "egress.toResearchNamespaces", "ingress.fromResearchNamespaces")
        } else {
            ("from", "ingress.fromResearchNamespaces", "egress.toResearchNamespaces")
        };
        let mut state = need(format!("{direction}/{peer}"), EgressState::Active, "", String::new());
        if agreed {
            let policy =
                if egress { network_policies::to_peer(own, peer) } else { network_policies::from_peer(own, peer) };
            needs.policies.push(Child::NetworkPolicy(policy));
        } else {
            // No grant opens it; and two that name each other may come one after the other, so that a tool which waits for one
            // must not hang.
            let (kind, reason, message) = match found {
                // Owners list no ResearchNamespaces: no other name is told.
                PeerFound::Absent => (
                    EgressState::Refused,
                    PEER_NOT_FOUND,
                    format!(
                        "there is no ResearchNamespace {peer}; correct the name in {own_field}, or ask {CATALOGUE_WRITERS} to \
                         create it"
                    ),
                ),
                PeerFound::NotEnforced => (
                    EgressState::Unresolved,
                    PEER_HAS_NOT_AGREED,
                    format!(
                        "ResearchNamespace {peer} is not enforced, or is being deleted, and nothing is open to or from it; \
                         if it is to stay, ask its owners what its status says is missing, and to name {own} in {field}"
                    ),
                ),
                PeerFound::Enforced(_) => (
                    EgressState::Unresolved,
                    PEER_HAS_NOT_AGREED,
                    format!(
                        "ResearchNamespace {peer} does not name {own} in {field}; ask its owners to add it, or, where it has none, \
                         {CATALOGUE_WRITERS}"
                    ),
                ),
            };
            (state.state, state.reason, state.message) = (kind, reason.to_owned(), message);
        }
        needs.states.push(state);
    }
}

/// That a namespace names itself as a peer, which opens nothing.
fn itself(egress: bool, own: &str) -> EgressStatus {
    let (direction, field) =
        if egress { ("to", "egress.toResearchNamespaces") } else { ("from", "ingress.fromResearchNamespaces") };
    let message = format!(
        "ResearchNamespace {own} names itself in {field}, which opens nothing: peers are other research namespaces, and the \
         pods of one reach each other anyway; remove it, or name another"
    );
    need(format!("{direction}/{own}"), EgressState::Refused, PEER_IS_ITSELF, message)
}

/// Lets people in from the access networks.
pub fn access_networks(needs: &mut Needs, namespace: &ResearchNamespace, input: &Input<'_>) {
    let networks = &input.settings.spec.access_networks;
    for (position, rule) in namespace.spec.ingress.from_access_networks.iter().enumerate() {
        let entry = format!("access/{position}");
        match network_policies::access(input.name, position, rule, networks) {
            Ok(Some(policy)) => {
                needs.policies.push(Child::NetworkPolicy(policy));
                let pods = in_words(&rule.pod_selector);
                let message = format!(
                    "open from accessNetworks of CloisterConfig to pods here ({pods}), as soon as there are such pods"
                );
                needs.states.push(need(entry, EgressState::Active, "", message));
            }
            Ok(None) => needs.mistake(entry, NO_ACCESS_NETWORKS, NO_NETWORK_IS_LISTED.to_owned()),
            Err(refusal) => needs.mistake(entry, refusal.reason(), refusal.to_string()),
        }
    }
}
