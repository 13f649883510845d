//! What a rule reaches once it is resolved: the sets that openings are made from and coverage is computed on.

use super::{
    AllowRule, EgressTarget, Peers, Surroundings,
    host_set::HostSet,
    items::{self, Networks},
    service_facts::ServicePorts,
    shared::is_of_storage,
};
use crate::{
    address::{
        DomainName, PolicyPort, Refusal, Selector,
        networks::NetworkSet,
        ports::{self, PortSet},
    },
    model::text::first_few,
};
use cloister_api::{Port, Protocol};
use ipnet::IpNet;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

/// What a rule reaches. Nothing in it is empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reach {
    Networks { networks: Networks, ports: PortSet },
    Hosts { hosts: HostSet, ports: PortSet },
    Service(ServicePorts),
}

/// What a rule reaches as far as its items can be opened, and why the others stay closed: one of the two is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct InPart {
    pub(crate) reach: Option<Reach>,
    pub(crate) closed: Vec<Refusal>,
}

impl From<Result<Reach, Refusal>> for InPart {
    fn from(whole: Result<Reach, Refusal>) -> Self {
        match whole {
            Ok(reach) => InPart { reach: Some(reach), closed: Vec::new() },
            Err(refusal) => InPart { reach: None, closed: vec![refusal] },
        }
    }
}

impl InPart {
    /// What of it can be held by what opens it, and why the rest cannot.
    pub(crate) fn held(&self, s: &Surroundings) -> (Option<Cow<'_, Reach>>, Vec<Refusal>) {
        match &self.reach {
            Some(Reach::Hosts { .. }) if !s.wildcards => {
                let held = self.clone().enforceable(s);
                (held.reach.map(Cow::Owned), held.closed)
            }
            reach => (reach.as_ref().map(Cow::Borrowed), self.closed.clone()),
        }
    }

    /// The same without what cannot be held by what opens it.
    pub(crate) fn enforceable(mut self, s: &Surroundings) -> Self {
        match self.reach.take() {
            Some(Reach::Hosts { hosts, ports }) if !s.wildcards => {
                let (hosts, wildcards) = hosts.split();
                if !wildcards.is_empty() {
                    let of_storage = wildcards.iter().any(is_of_storage);
                    self.closed.push(Refusal::WildcardNotEnforceable { names: wildcards, of_storage });
                }
                self.reach = hosts.map(|hosts| Reach::Hosts { hosts, ports });
            }
            reach => self.reach = reach,
        }
        self
    }
}

impl Reach {
    /// Resolves what a rule declares, item by item. Of a network, what is never opened is left out.
    pub(crate) fn resolve(target: &EgressTarget, ports: &[Port], s: &Surroundings) -> InPart {
        // In a fixed order: of several things that are wrong, the message names the first.
        let ports = &sorted(ports.iter().cloned());
        let parsed = match (target, PortSet::parse(ports)) {
            (EgressTarget::DomainNames([]) | EgressTarget::Networks([]), _) => {
                return Err(Refusal::TargetInvalid).into();
            }
            (_, Err(refusal)) => return Err(refusal).into(),
            (_, Ok(parsed)) => parsed,
        };
        match target {
            EgressTarget::DomainNames(names) => {
                let (hosts, closed) = HostSet::public(sorted(names.iter().map(String::as_str)));
                InPart { reach: hosts.map(|hosts| Self::Hosts { hosts, ports: parsed }), closed }
            }
            EgressTarget::PrivateEndpoint(endpoint) => {
                HostSet::private(endpoint, s.never).map(|hosts| Self::Hosts { hosts, ports: parsed }).into()
            }
            EgressTarget::Networks(declared) => {
                let (networks, closed) = items::networks(sorted(declared.iter().map(String::as_str)), s.never);
                InPart {
                    reach: (!networks.open.is_empty()).then_some(Self::Networks { networks, ports: parsed }),
                    closed,
                }
            }
            EgressTarget::Service(reference) => {
                ServicePorts::resolve(reference, ports, (s.services)(reference)).map(Self::Service).into()
            }
        }
    }

    /// The opening of all of it, for these pods.
    pub(crate) fn opening(&self, pods: Selector) -> AllowRule {
        match self {
            Self::Networks { networks, ports } => AllowRule {
                pods,
                peers: Peers::Networks(networks.to_write()),
                ports: ports.to_policy_ports(),
                declared: networks.declared.to_networks(),
            },
            Self::Hosts { hosts, ports } => AllowRule {
                pods,
                peers: Peers::Hosts(hosts.to_hosts()),
                ports: ports.to_policy_ports(),
                declared: Vec::new(),
            },
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
                AllowRule { pods, peers, ports: ports.into_iter().collect(), declared: Vec::new() }
            }
        }
    }

    /// Whether they obviously have no destination in common, on whatever ports.
    pub(crate) fn is_apart(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Networks { networks, .. }, Self::Networks { networks: others, .. }) => {
                networks.open.is_apart(&others.open)
            }
            (Self::Hosts { .. }, Self::Hosts { .. }) => false,
            (Self::Service(own), Self::Service(other)) => own.reference != other.reference,
            _ => true,
        }
    }

    /// What both reach; nothing where they have no port or no destination in common.
    pub(crate) fn intersection(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Networks { networks, ports }, Self::Networks { networks: other_networks, ports: other_ports }) => {
                let ports = ports.intersection(other_ports);
                if ports.is_empty() {
                    return None;
                }
                let networks = Networks {
                    declared: networks.declared.intersection(&other_networks.declared),
                    open: networks.open.intersection(&other_networks.open),
                };
                (!networks.open.is_empty()).then_some(Self::Networks { networks, ports })
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

    /// The ports on which another leads to some of the same, where those are others than its own.
    pub(crate) fn on_other_ports(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Networks { networks, .. }, Self::Networks { networks: others, ports }) => {
                let (own, other) = (&networks.open, &others.open);
                (!own.intersection(other).is_empty()).then(|| ports.in_words())
            }
            (Self::Hosts { hosts, .. }, Self::Hosts { hosts: others, ports }) => {
                hosts.intersection(others).map(|_| ports.in_words())
            }
            (Self::Service(own), Self::Service(other)) => (own.reference == other.reference).then(|| {
                let each = other.targets.keys().map(|(protocol, port)| ports::written(*protocol, &(*port..=*port)));
                first_few(each.collect::<Vec<_>>().iter())
            }),
            _ => None,
        }
    }

    /// How another has names of it, where they lead elsewhere there, or are declared as something else.
    pub(crate) fn in_another_form(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Hosts { hosts, ports }, Self::Hosts { hosts: others, ports: other_ports })
                if !ports.intersection(other_ports).is_empty() =>
            {
                hosts.in_another_form(others)
            }
            _ => None,
        }
    }

    /// Which name of others may be meant by the one name of it that none of them covers.
    pub(crate) fn meant<'a>(&self, others: impl Iterator<Item = &'a Self>) -> Option<String> {
        let Self::Hosts { hosts, .. } = self else { return None };
        let others = others.filter_map(|other| match other {
            Self::Hosts { hosts, .. } => Some(hosts),
            Self::Networks { .. } | Self::Service(_) => None,
        });
        hosts.meant(&others.collect::<Vec<_>>())
    }

    /// What none of `others` reaches, in words: `203.0.113.0/24 on TCP/22`. Empty where all of it is reached.
    pub(crate) fn uncovered(&self, others: &[Self]) -> Vec<String> {
        if others.contains(self) {
            return Vec::new();
        }
        match self {
            Self::Networks { networks, ports } => uncovered_networks(&networks.open, ports, others),
            Self::Hosts { hosts, ports } => uncovered_hosts(hosts, ports, others),
            Self::Service(service) => uncovered_ports(service, others),
        }
    }
}

fn uncovered_networks(networks: &NetworkSet, ports: &PortSet, others: &[Reach]) -> Vec<String> {
    let others: Vec<(&NetworkSet, &PortSet)> = others
        .iter()
        .filter_map(|other| match other {
            Reach::Networks { networks, ports } => Some((&networks.open, ports)),
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
    vec![on([name].iter(), first_few(left.iter()))]
}

fn in_words<T: Display>(uncovered: &BTreeMap<Vec<T>, PortSet>) -> Vec<String> {
    let each = uncovered.iter().map(|(destinations, ports)| on(destinations.iter(), ports.in_words()));
    each.collect()
}

fn on<T: Display>(destinations: impl ExactSizeIterator<Item = T>, ports: String) -> String {
    format!("{} on {ports}", first_few(destinations))
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}
