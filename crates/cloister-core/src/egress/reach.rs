//! What a rule reaches once it is resolved: the sets that openings are made from and coverage is computed on.

use super::breadth;
use super::domain::DomainName;
use super::hosts::HostSet;
use super::networks::NetworkSet;
use super::ports::{self, PortSet};
use super::service::ServicePorts;
use super::{Opening, Peers, PolicyPort, Refusal, Surroundings, Target};
use cloister_api::{Port, Protocol};
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// What a rule reaches. Nothing in it is empty.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reach {
    Networks { networks: NetworkSet, ports: PortSet },
    Hosts { hosts: HostSet, ports: PortSet },
    Service(ServicePorts),
}

impl Reach {
    /// Resolves what a rule declares.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] where any part of it cannot be opened; networks that are never opened are left out, and refused
    /// only where nothing else remains.
    pub(super) fn resolve(target: &Target, ports: &[Port], s: &Surroundings) -> Result<Self, Refusal> {
        // In a fixed order: of several things that are wrong, the message names the first.
        let ports = &sorted(ports);
        match target {
            Target::DomainNames([]) | Target::Networks([]) => Err(Refusal::TargetInvalid),
            Target::DomainNames(names) => {
                let hosts = HostSet::public(&sorted(names))?;
                Ok(Self::Hosts { hosts, ports: PortSet::parse(ports)? })
            }
            Target::PrivateEndpoint(endpoint) => {
                let hosts = HostSet::private(endpoint, s.never)?;
                Ok(Self::Hosts { hosts, ports: PortSet::parse(ports)? })
            }
            Target::Networks(declared) => {
                let declared = sorted(declared);
                let ports = PortSet::parse(ports)?;
                let networks = s.never.taken_from(NetworkSet::parse(&declared)?);
                if networks.is_empty() {
                    return Err(Refusal::NetworksNeverOpened { networks: first_few(declared.iter()) });
                }
                breadth::is_writable(&networks.to_networks())?;
                Ok(Self::Networks { networks, ports })
            }
            Target::Service(reference) => {
                ServicePorts::resolve(reference, ports, (s.services)(reference)).map(Self::Service)
            }
        }
    }

    /// The opening of all of it, for these pods.
    pub(super) fn opening(&self, pods: LabelSelector) -> Opening {
        match self {
            Self::Networks { networks, ports } => {
                Opening { pods, peers: Peers::Networks(networks.to_networks()), ports: ports.to_policy_ports() }
            }
            Self::Hosts { hosts, ports } => {
                Opening { pods, peers: Peers::Hosts(hosts.to_hosts()), ports: ports.to_policy_ports() }
            }
            Self::Service(service) => {
                // Two ports of a Service may lead to one port of its pods.
                let ports: BTreeSet<PolicyPort> = service
                    .targets
                    .iter()
                    .map(|((protocol, _), target)| PolicyPort {
                        protocol: *protocol,
                        port: target.clone(),
                        end_port: None,
                    })
                    .collect();
                let peers =
                    Peers::Pods { namespace: service.reference.namespace.clone(), selector: service.selector.clone() };
                Opening { pods, peers, ports: ports.into_iter().collect() }
            }
        }
    }

    /// That all of it can be held by what opens it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names what cannot.
    pub(super) fn is_enforceable(&self, s: &Surroundings) -> Result<(), Refusal> {
        let Self::Hosts { hosts, .. } = self else { return Ok(()) };
        if s.wildcards {
            return Ok(());
        }
        let wildcards = hosts.wildcards();
        if wildcards.is_empty() {
            return Ok(());
        }
        Err(Refusal::WildcardNotEnforceable { names: first_few(wildcards.iter()) })
    }

    /// What both reach; nothing where they have no port or no destination in common.
    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Networks { networks, ports }, Self::Networks { networks: other_networks, ports: other_ports }) => {
                if networks.is_apart(other_networks) {
                    return None;
                }
                let ports = ports.intersection(other_ports);
                if ports.is_empty() {
                    return None;
                }
                let networks = networks.intersection(other_networks);
                (!networks.is_empty()).then_some(Self::Networks { networks, ports })
            }
            (Self::Hosts { hosts, ports }, Self::Hosts { hosts: other_hosts, ports: other_ports }) => {
                let ports = ports.intersection(other_ports);
                let hosts = hosts.intersection(other_hosts)?;
                (!ports.is_empty()).then_some(Self::Hosts { hosts, ports })
            }
            (Self::Service(own), Self::Service(other)) if own.reference == other.reference => {
                let mut common = own.clone();
                common.targets.retain(|port, _| other.targets.contains_key(port));
                (!common.targets.is_empty()).then_some(Self::Service(common))
            }
            _ => None,
        }
    }

    /// What none of `others` reaches, in words: `203.0.113.0/24 on TCP/22`. Empty where all of it is reached.
    pub(super) fn uncovered(&self, others: &[Self]) -> Vec<String> {
        match self {
            Self::Networks { networks, ports } => uncovered_networks(networks, ports, others),
            Self::Hosts { hosts, ports } => uncovered_hosts(hosts, ports, others),
            Self::Service(service) => uncovered_ports(service, others),
        }
    }
}

fn uncovered_networks(networks: &NetworkSet, ports: &PortSet, others: &[Reach]) -> Vec<String> {
    let others: Vec<(&NetworkSet, &PortSet)> = others
        .iter()
        .filter_map(|other| match other {
            Reach::Networks { networks, ports } => Some((networks, ports)),
            Reach::Hosts { .. } | Reach::Service(_) => None,
        })
        .collect();
    // Many pieces are covered by the same rules: the sets are subtracted once for each group of rules.
    let mut left_by: BTreeMap<Vec<usize>, Vec<IpNet>> = BTreeMap::new();
    let mut uncovered: BTreeMap<Vec<IpNet>, PortSet> = BTreeMap::new();
    for (protocol, range) in ports.cut(others.iter().map(|(_, ports)| *ports)) {
        let covering: Vec<usize> =
            (0..others.len()).filter(|&other| others[other].1.contains(protocol, *range.start())).collect();
        let left = left_by.entry(covering).or_insert_with_key(|covering| {
            let union = covering.iter().fold(NetworkSet::default(), |union, &other| union.union(others[other].0));
            networks.difference(&union).to_networks()
        });
        if !left.is_empty() {
            // Pieces are joined again: where they were cut tells nobody anything.
            uncovered.entry(left.clone()).or_default().insert(protocol, range);
        }
    }
    in_words(&uncovered)
}

fn uncovered_hosts(hosts: &HostSet, ports: &PortSet, others: &[Reach]) -> Vec<String> {
    let others: Vec<(&HostSet, &PortSet)> = others
        .iter()
        .filter_map(|other| match other {
            Reach::Hosts { hosts, ports } => Some((hosts, ports)),
            Reach::Networks { .. } | Reach::Service(_) => None,
        })
        .collect();
    let mut uncovered: BTreeMap<Vec<DomainName>, PortSet> = BTreeMap::new();
    for (protocol, range) in ports.cut(others.iter().map(|(_, ports)| *ports)) {
        let covering = others.iter().filter(|(_, ports)| ports.contains(protocol, *range.start()));
        let left = hosts.not_in(covering.map(|(hosts, _)| *hosts));
        if !left.is_empty() {
            uncovered.entry(left).or_default().insert(protocol, range);
        }
    }
    in_words(&uncovered)
}

fn uncovered_ports(service: &ServicePorts, others: &[Reach]) -> Vec<String> {
    let covered = |port: &(Protocol, u16)| {
        others.iter().any(|other| match other {
            Reach::Service(other) => other.reference == service.reference && other.targets.contains_key(port),
            Reach::Networks { .. } | Reach::Hosts { .. } => false,
        })
    };
    let left: Vec<String> = service
        .targets
        .keys()
        .filter(|port| !covered(port))
        .map(|(protocol, port)| ports::written(*protocol, &(*port..=*port)))
        .collect();
    if left.is_empty() {
        return Vec::new();
    }
    let name = format!("Service {}/{}", service.reference.namespace, service.reference.name);
    vec![on([name].iter(), left)]
}

fn in_words<T: Display>(uncovered: &BTreeMap<Vec<T>, PortSet>) -> Vec<String> {
    let each = uncovered.iter().map(|(destinations, ports)| {
        let ports = ports.ranges().map(|(protocol, range)| ports::written(protocol, &range)).collect();
        on(destinations.iter(), ports)
    });
    each.collect()
}

fn on<T: Display>(destinations: impl ExactSizeIterator<Item = T>, ports: Vec<String>) -> String {
    format!("{} on {}", first_few(destinations), first_few(ports.iter()))
}

fn sorted<T: Clone + Ord>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort_unstable();
    items
}

/// The first three, and how many more there are.
pub(super) fn first_few<T: Display>(items: impl ExactSizeIterator<Item = T>) -> String {
    const FEW: usize = 3;
    let more = items.len().saturating_sub(FEW);
    let first: Vec<String> = items.take(FEW).map(|item| item.to_string()).collect();
    let first = first.join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}
