//! The proof that policies open no more than was approved, before they are applied.
//!
//! It parses a policy as the API server would, and compares it with what people declared, piece by piece: it cuts a network
//! or a range of ports where a declaration begins or ends, and each piece is either wholly inside of what was approved or an
//! excess. It does not use the code that writes the policies.

use super::parsed_policy::{Entry, Peer, Policy, PortMatch, Unreadable};
use crate::{
    address::{DomainName, NeverOpened, PolicyPortNumber, Selector},
    dns::Held,
    egress::{EgressTarget, ServiceFacts, Surroundings},
};
use cloister_api::{EgressRule, Port, Protocol, ServiceReference, StorageEndpoint};
use ipnet::IpNet;
use k8s_openapi::{api::networking::v1::NetworkPolicy, apimachinery::pkg::apis::meta::v1::LabelSelector};
use std::net::IpAddr;

/// The label with its name that the API server sets on every Namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Mostly a network, or a range of ports, is cut into fewer pieces.
const MOSTLY: usize = 16;

/// A declaration: these pods may reach this, on these ports.
#[derive(Clone, Debug)]
pub struct Declaration<'a> {
    /// The pods; `None` if the selector cannot be parsed: such a declaration agrees to nothing.
    pods: Option<Selector>,
    pub(crate) target: EgressTarget<'a>,
    /// The networks of the target, or those that its name is expected in.
    networks: Vec<IpNet>,
    pub(crate) ports: &'a [Port],
}

impl<'a> Declaration<'a> {
    /// The declaration of a rule; `None` if the rule does not name exactly one kind of target.
    pub fn rule(rule: &'a EgressRule) -> Option<Self> {
        Some(Self::new(rule.pod_selector.as_ref(), EgressTarget::of_rule(rule)?, &rule.ports))
    }

    /// The declaration of the endpoint of a StorageResource, for these pods.
    pub fn endpoint(endpoint: &'a StorageEndpoint, pods: Option<&'a LabelSelector>) -> Option<Self> {
        Some(Self::new(pods, EgressTarget::of_endpoint(endpoint)?, &endpoint.ports))
    }

    fn new(pods: Option<&'a LabelSelector>, target: EgressTarget<'a>, ports: &'a [Port]) -> Self {
        let networks = match target {
            EgressTarget::Networks(networks) => networks,
            EgressTarget::PrivateEndpoint(endpoint) => &endpoint.expected_networks,
            EgressTarget::DomainNames(_) | EgressTarget::Service(_) => &[][..],
        };
        let networks = networks.iter().filter_map(|text| network_of(text)).collect();
        Declaration { pods: Selector::parse(pods).ok(), target, networks, ports }
    }
}

/// What was approved: the union of these agreements. An agreement covers what all of its declarations have in common.
pub type Agreements<'a> = Vec<Vec<Declaration<'a>>>;

/// The facts that declarations refer to.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The names, with the addresses that they have.
    pub names: &'a [Held],
    /// Finds a Service.
    pub services: &'a dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    /// The addresses that no domain name may open.
    pub never: &'a NeverOpened,
}

/// Something that a policy would open, and that nobody approved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{kind} {policy} would open {what}, which nobody approved; the operator does not apply it. This is a defect of Cloister: \
     please report it"
)]
pub struct Excess {
    /// The kind of the policy.
    pub kind: &'static str,
    /// The name of the policy.
    pub policy: String,
    /// What it would open: an address or pods, and a port.
    pub what: String,
}

/// What a policy would open that nobody approved.
///
/// # Errors
///
/// The API server would not accept the policy.
pub fn excess(
    policy: &NetworkPolicy,
    agreed: &Agreements<'_>,
    facts: &Facts<'_>,
) -> Result<Option<Excess>, Unreadable> {
    let name = || policy.metadata.name.clone().unwrap_or_default();
    let read = Policy::read(policy)?;
    let about = about(agreed, &read.pods);
    let found = read.egress.iter().flatten().find_map(|entry| of_entry(entry, &about, facts));
    Ok(found.map(|what| Excess { kind: "NetworkPolicy", policy: name(), what }))
}

/// The agreements that cover all of these pods. An agreement for some of them allows nothing to the others.
pub(crate) fn about<'a, 'd>(agreed: &'a Agreements<'d>, pods: &Selector) -> Vec<&'a Vec<Declaration<'d>>> {
    let covers = |one: &Declaration<'_>| one.pods.as_ref().is_some_and(|declared| pods.implies(declared));
    agreed.iter().filter(|all| all.iter().all(covers)).collect()
}

/// The excess as a message, or the message that the API server would not accept the policy. In both cases the policy must
/// not be applied.
pub fn objection(policy: &NetworkPolicy, agreed: &Agreements<'_>, facts: &Facts<'_>) -> Option<String> {
    match excess(policy, agreed, facts) {
        Ok(excess) => excess.map(|excess| excess.to_string()),
        Err(unreadable) => Some(unreadable.to_string()),
    }
}

fn of_entry(entry: &Entry<'_>, agreed: &[&Vec<Declaration<'_>>], facts: &Facts<'_>) -> Option<String> {
    let (Some(peers), Some(ports)) = (&entry.peers, &entry.ports) else {
        return Some("all destinations or all ports".to_owned());
    };
    peers.iter().find_map(|peer| match peer {
        Peer::Block { network, .. } => {
            let pieces = starts(network, agreed.iter().flat_map(|all| all.iter()), facts);
            of_block(network, &pieces, ports, agreed, facts)
        }
        Peer::Pods { namespaces, pods } => ports.iter().find_map(|port| {
            let (namespaces, pods) = (namespaces.as_ref(), pods.as_ref());
            let is_agreed =
                agreed.iter().any(|all| all.iter().all(|one| one.admits_pods(namespaces, pods, port, facts)));
            (!is_agreed).then(|| format!("the pods {pods:?} in {namespaces:?} on {port:?}"))
        }),
    })
}

/// The excess of a network that is cut into pieces, which begin at these addresses.
fn of_block(
    network: &IpNet,
    pieces: &[IpAddr],
    ports: &[PortMatch<'_>],
    agreed: &[&Vec<Declaration<'_>>],
    facts: &Facts<'_>,
) -> Option<String> {
    let ports: Vec<(Protocol, Vec<u16>)> = match ports.iter().map(|port| port_starts(port, agreed)).collect() {
        Ok(ports) => ports,
        Err(named) => return Some(format!("{network} on {named}")),
    };
    for &address in pieces {
        let admits = |all: &&&Vec<Declaration<'_>>| all.iter().all(|one| one.admits_address(address, facts));
        let here: Vec<&&Vec<Declaration<'_>>> = agreed.iter().filter(admits).collect();
        for (protocol, port) in ports.iter().flat_map(|(protocol, ports)| ports.iter().map(|port| (*protocol, *port))) {
            if !here.iter().any(|all| all.iter().all(|one| one.admits_port(protocol, port))) {
                return Some(format!("{address} of {network} on {}/{port}", protocol.as_str()));
            }
        }
    }
    None
}

/// Cuts a range of ports where a declaration begins or ends, and returns the first port of each piece.
///
/// # Errors
///
/// The port has a name, which is returned in words.
fn port_starts(port: &PortMatch<'_>, agreed: &[&Vec<Declaration<'_>>]) -> Result<(Protocol, Vec<u16>), String> {
    let (protocol, first, last) = match port {
        PortMatch::Any(protocol) => (*protocol, 1, u16::MAX),
        PortMatch::Range(protocol, range) => (*protocol, *range.start(), *range.end()),
        PortMatch::Name(protocol, name) => return Err(format!("the named port {name} ({})", protocol.as_str())),
    };
    let declared = agreed.iter().flat_map(|all| all.iter()).flat_map(|one| one.ports);
    let edges = declared.flat_map(|port| [Some(port.port), port.end_port.unwrap_or(port.port).checked_add(1)]);
    let mut starts = Vec::with_capacity(MOSTLY);
    starts.push(first);
    starts.extend(edges.flatten().filter(|start| (first..=last).contains(start)));
    starts.sort_unstable();
    starts.dedup();
    Ok((protocol, starts))
}

/// Cuts a network where a declaration begins or ends, and returns the first address of each piece.
fn starts<'a>(network: &IpNet, declared: impl Iterator<Item = &'a Declaration<'a>>, facts: &Facts<'_>) -> Vec<IpAddr> {
    let mut starts = Vec::with_capacity(MOSTLY);
    starts.push(network.network());
    let mut cut = |first: IpAddr, last: IpAddr| {
        let after = match last {
            IpAddr::V4(last) => u32::from(last).checked_add(1).map(|after| IpAddr::V4(after.into())),
            IpAddr::V6(last) => u128::from(last).checked_add(1).map(|after| IpAddr::V6(after.into())),
        };
        starts.extend([Some(first), after].into_iter().flatten().filter(|start| network.contains(start)));
    };
    declared.flat_map(|one| &one.networks).for_each(|network| cut(network.network(), network.broadcast()));
    facts.names.iter().flat_map(|held| &held.addresses).for_each(|address| cut(*address, *address));
    facts.never.ranges_in(network).for_each(|(first, last)| cut(first, last));
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// A network as it is declared. A network with bits set after its prefix is ambiguous, so it counts as not approved.
fn network_of(text: &str) -> Option<IpNet> {
    text.parse().ok().filter(|network: &IpNet| *network == network.trunc())
}

/// The IPv4 address in an address of NAT64's well-known prefix (RFC 6052). Not taken from what judges answers of DNS: a mistake
/// there must not pass here.
fn translated(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(address) = address else { return None };
    match address.octets() {
        [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => None,
    }
}

impl Declaration<'_> {
    fn admits_address(&self, address: IpAddr, facts: &Facts<'_>) -> bool {
        let within = |address: &IpAddr| self.networks.iter().any(|network| network.contains(address));
        let inside = || within(&address);
        // What DNS64 adds to a name leads to the IPv4 address in it.
        let translated = translated(address);
        let leads_there = |held: &&Held| held.addresses.contains(&address);
        let mut names = facts.names.iter().filter(leads_there);
        !facts.never.contains(address)
            && !translated.is_some_and(|address| facts.never.contains(address))
            && match self.target {
                EgressTarget::Networks(_) => inside(),
                EgressTarget::Service(_) => false,
                EgressTarget::DomainNames(declared) => names.any(|held| {
                    let covers =
                        |name: &String| name.parse::<DomainName>().is_ok_and(|name| name.covers(&held.host.name));
                    held.host.expected.is_none() && declared.iter().any(covers)
                }),
                EgressTarget::PrivateEndpoint(endpoint) => {
                    let mut names = names.filter(|held| held.host.expected.is_some());
                    names.any(|held| held.host.name.to_string() == endpoint.domain_name)
                        && (inside() || translated.as_ref().is_some_and(within))
                }
            }
    }

    fn admits_port(&self, protocol: Protocol, port: u16) -> bool {
        let has = |declared: &Port| {
            declared.protocol == protocol
                && (declared.port..=declared.end_port.unwrap_or(declared.port)).contains(&port)
        };
        self.ports.iter().any(has)
    }

    /// Whether these are the pods of the declared Service, on one of its ports.
    fn admits_pods(
        &self,
        namespaces: Option<&Selector>,
        pods: Option<&Selector>,
        port: &PortMatch<'_>,
        facts: &Facts<'_>,
    ) -> bool {
        let EgressTarget::Service(reference) = self.target else { return false };
        let Some(service) = (facts.services)(reference) else { return false };
        let leads_to = |target: &PolicyPortNumber, protocol: Protocol| match (port, target) {
            (PortMatch::Range(own, range), PolicyPortNumber::Number(number)) => {
                *own == protocol && range.start() == number && range.end() == number
            }
            (PortMatch::Name(own, name), PolicyPortNumber::Name(target)) => *own == protocol && *name == target,
            _ => false,
        };
        let is_port = service
            .ports
            .iter()
            .any(|fact| self.admits_port(fact.protocol, fact.port) && leads_to(&fact.target, fact.protocol));
        !service.selector.is_empty()
            && is_port
            && namespaces.is_some_and(|namespaces| namespaces.requires(NAMESPACE_NAME, &reference.namespace))
            && pods.is_some_and(|pods| pods.requires_all(&service.selector))
    }
}

impl<'a> Surroundings<'a> {
    /// The facts for declarations that name these domain names.
    pub(crate) fn facts(&self, names: &'a [Held]) -> Facts<'a> {
        Facts { names, services: self.services, never: self.never }
    }
}

#[cfg(test)]
mod tests;
