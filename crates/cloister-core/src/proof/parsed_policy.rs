//! A NetworkPolicy, parsed once so that many flows can be checked.

use crate::address::Selector;
use cloister_api::Protocol;
use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use std::ops::RangeInclusive;

/// Why a policy cannot be parsed. The API server does not accept such a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("NetworkPolicy {policy} is invalid: {problem}; correct or delete it")]
pub struct Unreadable {
    /// The policy, as `namespace/name`.
    pub policy: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A parsed policy. A direction that it does not isolate is absent.
#[derive(Clone, Debug)]
pub struct Policy<'a> {
    pub pods: Selector,
    pub ingress: Option<Vec<Entry<'a>>>,
    pub egress: Option<Vec<Entry<'a>>>,
}

/// What one entry of a policy allows: these peers on these ports; without a list, all peers or all ports.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub peers: Option<Vec<Peer>>,
    pub ports: Option<Vec<PortMatch<'a>>>,
}

/// The other end of a connection that is allowed.
#[derive(Clone, Debug)]
pub enum Peer {
    /// All addresses of a network, except some.
    Block { network: IpNet, except: Vec<IpNet> },
    /// Pods: in the policy's own namespace, or in namespaces that the selector matches; all of them, or those that the
    /// selector matches.
    Pods { namespaces: Option<Selector>, pods: Option<Selector> },
}

/// Destination ports.
#[derive(Clone, Debug)]
pub enum PortMatch<'a> {
    Any(Protocol),
    Range(Protocol, RangeInclusive<u16>),
    Name(Protocol, &'a str),
}

impl<'a> Policy<'a> {
    pub fn read(policy: &'a NetworkPolicy) -> Result<Self, Unreadable> {
        let at = |problem: String| {
            let metadata = &policy.metadata;
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            Unreadable { policy: format!("{}/{}", part(&metadata.namespace), part(&metadata.name)), problem }
        };
        let Some(spec) = &policy.spec else {
            return Ok(Policy { pods: Selector::everything(), ingress: Some(Vec::new()), egress: None });
        };
        let (ingress, egress) = isolates(spec).map_err(at)?;
        let incoming = spec.ingress.iter().flatten().map(|entry| Entry::read(&entry.from, &entry.ports));
        let outgoing = spec.egress.iter().flatten().map(|entry| Entry::read(&entry.to, &entry.ports));
        Ok(Policy {
            pods: selector(spec.pod_selector.as_ref()).map_err(at)?,
            ingress: ingress.then(|| incoming.collect()).transpose().map_err(at)?,
            egress: egress.then(|| outgoing.collect()).transpose().map_err(at)?,
        })
    }
}

fn selector(selector: Option<&LabelSelector>) -> Result<Selector, String> {
    Selector::parse(selector).map_err(|fault| format!("a selector is invalid: {fault}"))
}

/// Which directions a policy isolates. If it does not say: ingress always, and egress if it has egress entries.
fn isolates(spec: &NetworkPolicySpec) -> Result<(bool, bool), String> {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return Ok((true, spec.egress.as_ref().is_some_and(|entries| !entries.is_empty())));
    }
    if let Some(other) = types.iter().find(|one| *one != "Ingress" && *one != "Egress") {
        return Err(format!("{other:?} is not a policy type"));
    }
    let has = |wanted: &str| types.iter().any(|one| one == wanted);
    Ok((has("Ingress"), has("Egress")))
}

impl<'a> Entry<'a> {
    fn read(peers: &Option<Vec<NetworkPolicyPeer>>, ports: &'a Option<Vec<NetworkPolicyPort>>) -> Result<Self, String> {
        // An empty list counts as absent.
        let peers = peers.as_ref().filter(|peers| !peers.is_empty());
        let ports = ports.as_ref().filter(|ports| !ports.is_empty());
        Ok(Entry {
            peers: peers.map(|peers| peers.iter().map(Peer::read).collect()).transpose()?,
            ports: ports.map(|ports| ports.iter().map(PortMatch::read).collect()).transpose()?,
        })
    }
}

impl Peer {
    fn read(peer: &NetworkPolicyPeer) -> Result<Self, String> {
        let (namespaces, pods) = (peer.namespace_selector.as_ref(), peer.pod_selector.as_ref());
        let parsed = |one: Option<&LabelSelector>| one.map(|one| selector(Some(one))).transpose();
        match &peer.ip_block {
            None if namespaces.is_none() && pods.is_none() => Err("a peer has no selector and no ipBlock".to_owned()),
            None => Ok(Peer::Pods { namespaces: parsed(namespaces)?, pods: parsed(pods)? }),
            Some(_) if namespaces.is_some() || pods.is_some() => {
                Err("a peer has both a selector and an ipBlock".to_owned())
            }
            Some(block) => {
                let network = |text: &String| text.parse::<IpNet>().map_err(|_| format!("{text:?} is not a CIDR"));
                let except = block.except.iter().flatten().map(network).collect::<Result<_, _>>()?;
                Ok(Peer::Block { network: network(&block.cidr)?, except })
            }
        }
    }
}

impl<'a> PortMatch<'a> {
    fn read(port: &'a NetworkPolicyPort) -> Result<Self, String> {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(other) => return Err(format!("{other:?} is not a protocol")),
        };
        let number = |number: i32| {
            let port = u16::try_from(number).ok().filter(|port| *port > 0);
            port.ok_or_else(|| format!("{number} is not a port"))
        };
        match (&port.port, port.end_port) {
            (None, None) => Ok(PortMatch::Any(protocol)),
            (Some(IntOrString::Int(first)), end) => {
                let first = number(*first)?;
                let last = end.map_or(Ok(first), number)?;
                if last < first {
                    return Err(format!("endPort {last} is less than port {first}"));
                }
                Ok(PortMatch::Range(protocol, first..=last))
            }
            (Some(IntOrString::String(name)), None) => Ok(PortMatch::Name(protocol, name)),
            (_, Some(_)) => Err("endPort needs a numeric port".to_owned()),
        }
    }
}
