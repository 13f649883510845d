//! Which flows NetworkPolicies allow, together, as Kubernetes defines it.

use super::parsed_policy::{Entry, Peer, Policy, PortMatch, Unreadable};
use crate::address::Selector;
use cloister_api::Protocol;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use std::{collections::BTreeMap, net::IpAddr};

/// Labels by their keys.
pub type Labels = BTreeMap<String, String>;

/// The properties of a pod that policies use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// The ports of its containers that have a name.
    pub ports: Vec<NamedPort>,
}

/// A port of a container, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// Its name.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// Its number.
    pub port: u16,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Its address.
    pub address: IpAddr,
    /// The pod that has the address; `None` for a node or an address outside of the cluster.
    pub pod: Option<&'a Pod>,
}

/// A connection that somebody may open, or a datagram that somebody may send.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// The source.
    pub from: End<'a>,
    /// The destination.
    pub to: End<'a>,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
}

/// Whether a flow is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reachability {
    /// Whether the egress side allows it.
    pub egress: bool,
    /// Whether the ingress side allows it.
    pub ingress: bool,
}

impl Reachability {
    /// Whether both sides allow it.
    pub fn is_allowed(self) -> bool {
        self.egress && self.ingress
    }
}

/// The NetworkPolicies of a cluster, and the labels of its namespaces.
#[derive(Clone, Debug, Default)]
pub struct Policies<'a> {
    namespaces: BTreeMap<&'a str, &'a Labels>,
    policies: BTreeMap<&'a str, Vec<Policy<'a>>>,
}

impl<'a> Policies<'a> {
    /// Parses policies. A namespace that is not in the map has no labels.
    ///
    /// # Errors
    ///
    /// The API server would not accept one of the policies; the error is about the first.
    pub fn read(
        namespaces: impl IntoIterator<Item = (&'a str, &'a Labels)>,
        policies: impl IntoIterator<Item = &'a NetworkPolicy>,
    ) -> Result<Self, Unreadable> {
        let mut all = Policies { namespaces: namespaces.into_iter().collect(), policies: BTreeMap::new() };
        for policy in policies {
            let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
            all.policies.entry(namespace).or_default().push(Policy::read(policy)?);
        }
        Ok(all)
    }

    /// Whether a flow is allowed, on each side.
    pub fn ask(&self, flow: &Flow<'_>) -> Reachability {
        Reachability { egress: self.of(flow.from.pod).let_out(flow), ingress: self.of(flow.to.pod).let_in(flow) }
    }

    /// The policies that select a pod; none if the end is not a pod. Keep the result if many flows of the pod are checked.
    pub fn of<'p>(&'p self, pod: Option<&'p Pod>) -> Selected<'p, 'a> {
        let namespace = pod.map(|pod| pod.namespace.as_str()).unwrap_or_default();
        let here = self.policies.get(namespace).into_iter().flatten();
        let of_pod = |policy: &&Policy<'a>| pod.is_some_and(|pod| policy.pods.matches(&pod.labels));
        Selected { all: self, namespace, policies: here.filter(of_pod).collect() }
    }

    fn allows(&self, entry: &Entry<'a>, namespace: &str, other: End<'_>, flow: &Flow<'_>) -> bool {
        let peers = entry.peers.as_ref();
        let ports = entry.ports.as_ref();
        peers.is_none_or(|peers| peers.iter().any(|peer| self.is_meant(peer, namespace, other)))
            && ports.is_none_or(|ports| ports.iter().any(|port| port.matches(flow)))
    }

    fn is_meant(&self, peer: &Peer, namespace: &str, end: End<'_>) -> bool {
        match peer {
            Peer::Block { network, except } => {
                network.contains(&end.address) && !except.iter().any(|except| except.contains(&end.address))
            }
            Peer::Pods { namespaces, pods } => end.pod.is_some_and(|pod| {
                let there = match namespaces {
                    None => pod.namespace == namespace,
                    Some(selector) => self.has_labels(&pod.namespace, selector),
                };
                there && pods.as_ref().is_none_or(|selector| selector.matches(&pod.labels))
            }),
        }
    }

    fn has_labels(&self, namespace: &str, selector: &Selector) -> bool {
        static NONE: Labels = Labels::new();
        selector.matches(self.namespaces.get(namespace).copied().unwrap_or(&NONE))
    }
}

/// The policies that select one pod.
#[derive(Clone, Debug)]
pub struct Selected<'p, 'a> {
    all: &'p Policies<'a>,
    namespace: &'p str,
    policies: Vec<&'p Policy<'a>>,
}

impl<'p, 'a> Selected<'p, 'a> {
    /// Whether the policies allow a flow from the pod.
    pub fn let_out(&self, flow: &Flow<'_>) -> bool {
        self.let_through(flow.to, flow, |policy| policy.egress.as_deref())
    }

    /// Whether the policies allow a flow to the pod.
    pub fn let_in(&self, flow: &Flow<'_>) -> bool {
        self.let_through(flow.from, flow, |policy| policy.ingress.as_deref())
    }

    fn let_through(
        &self,
        other: End<'_>,
        flow: &Flow<'_>,
        entries: impl Fn(&'p Policy<'a>) -> Option<&'p [Entry<'a>]>,
    ) -> bool {
        let mut isolating = self.policies.iter().filter_map(|policy| entries(policy)).peekable();
        isolating.peek().is_none()
            || isolating.flatten().any(|entry| self.all.allows(entry, self.namespace, other, flow))
    }
}

impl PortMatch<'_> {
    /// Whether a flow goes to this port. A named port is one of the destination pod.
    fn matches(&self, flow: &Flow<'_>) -> bool {
        match self {
            PortMatch::Any(protocol) => *protocol == flow.protocol,
            PortMatch::Range(protocol, range) => *protocol == flow.protocol && range.contains(&flow.port),
            PortMatch::Name(protocol, name) => {
                let named =
                    |port: &NamedPort| port.name == **name && port.protocol == *protocol && port.port == flow.port;
                *protocol == flow.protocol && flow.to.pod.is_some_and(|pod| pod.ports.iter().any(named))
            }
        }
    }
}

#[cfg(test)]
mod tests;
