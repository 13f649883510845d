//! The NetworkPolicies of a namespace. Everything is denied by one of them, and each of the others opens one thing.
//!
//! Every default of the API server is written out, so that what is read back is what was written.

use crate::{
    address::{PolicyPort, Refusal, Selector},
    egress::AllowRule,
    model::child::{build::object_meta, names::DENY_ALL},
};
use cloister_api::{AccessNetworkRule, CloisterConfigSpec, GatewayConfig, GatewayRule, Port, Protocol, labels};
use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The port of DNS.
const DNS: u16 = 53;

const EGRESS: &str = "Egress";

const INGRESS: &str = "Ingress";

/// Denies all traffic of all pods, in both directions. Its finalizer keeps it until no pod is left.
pub fn deny_all(namespace: &str) -> NetworkPolicy {
    let mut metadata = object_meta(namespace, DENY_ALL);
    metadata.finalizers = Some(vec![labels::ENFORCED_FINALIZER.to_owned()]);
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec![INGRESS.into(), EGRESS.into()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// Opens the cluster's own DNS, and no other: its pods, its Service's addresses and the caches on the nodes. Of the pods, the
/// ports are opened too that the Service leads to: a policy sees what is sent after the Service's address was translated.
pub fn dns(
    namespace: &str,
    config: &CloisterConfigSpec,
    service_addresses: &[IpAddr],
    pod_ports: &[PolicyPort],
) -> NetworkPolicy {
    let pods = NetworkPolicyPeer {
        namespace_selector: Some(namespace_named(&config.dns.namespace)),
        // Settings with one that cannot be written open nothing.
        pod_selector: Selector::parse(Some(&config.dns.pod_selector)).ok().map(LabelSelector::from),
        ip_block: None,
    };
    let caches = config.dns.node_local_addresses.iter().filter_map(|address| address.parse().ok());
    let mut addresses: Vec<IpAddr> = service_addresses.iter().copied().chain(caches).collect();
    addresses.sort();
    addresses.dedup();
    let addresses = addresses.into_iter().map(|address| ip_block(&IpNet::from(address)));
    let ports = ["TCP", "UDP"].map(|protocol| NetworkPolicyPort {
        port: Some(IntOrString::Int(DNS.into())),
        end_port: None,
        protocol: Some(protocol.into()),
    });
    let own = [Protocol::Tcp, Protocol::Udp].map(|protocol| PolicyPort::number(protocol, DNS));
    let further: BTreeSet<&PolicyPort> = pod_ports.iter().filter(|port| !own.contains(port)).collect();
    let mut policy = egress(
        namespace,
        "cloister-dns",
        Selector::everything(),
        std::iter::once(pods.clone()).chain(addresses).collect(),
        ports.into(),
    );
    if let Some(rules) = policy.spec.as_mut().and_then(|spec| spec.egress.as_mut()).filter(|_| !further.is_empty()) {
        let ports = further.into_iter().map(PolicyPort::to_network_policy_port).collect();
        rules.push(NetworkPolicyEgressRule { to: Some(vec![pods]), ports: Some(ports) });
    }
    policy
}

/// Opens the traffic among the namespace's own pods.
pub fn own_pods(namespace: &str) -> NetworkPolicy {
    let peers = || {
        Some(vec![NetworkPolicyPeer { pod_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }])
    };
    NetworkPolicy {
        metadata: object_meta(namespace, "cloister-own-pods"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec![INGRESS.into(), EGRESS.into()]),
            ingress: Some(vec![NetworkPolicyIngressRule { from: peers(), ports: None }]),
            egress: Some(vec![NetworkPolicyEgressRule { to: peers(), ports: None }]),
        }),
    }
}

/// Opens egress to all pods of another research namespace.
pub fn to_peer(namespace: &str, peer: &str) -> NetworkPolicy {
    egress(namespace, &format!("cloister-to.{peer}"), Selector::everything(), vec![pods_of(peer)], Vec::new())
}

/// Opens ingress from all pods of another research namespace.
pub fn from_peer(namespace: &str, peer: &str) -> NetworkPolicy {
    let mut pods = pods_of(peer);
    // Only the operator marks a Namespace so: by this the peer is one that is closed itself.
    let namespace_labels = pods.namespace_selector.get_or_insert_default().match_labels.get_or_insert_default();
    namespace_labels.insert(labels::RESEARCH_NAMESPACE.to_owned(), peer.to_owned());
    ingress(namespace, &format!("cloister-from.{peer}"), Selector::everything(), vec![pods], Vec::new())
}

/// Opens ingress from the access networks to selected pods. `None` where there is no access network: a policy with an
/// empty `from` would let everybody in.
///
/// # Errors
///
/// The API server would refuse the selector.
pub fn access(
    namespace: &str,
    position: usize,
    rule: &AccessNetworkRule,
    networks: &[String],
) -> Result<Option<NetworkPolicy>, Refusal> {
    let pods = Selector::parse(Some(&rule.pod_selector))?;
    let mut networks: Vec<IpNet> = networks.iter().filter_map(|network| network.parse().ok()).collect();
    networks.sort();
    networks.dedup();
    let peers: Vec<_> = networks.iter().map(ip_block).collect();
    let name = format!("cloister-access.{position}");
    Ok((!peers.is_empty()).then(|| listed(ingress(namespace, &name, pods, peers, policy_ports(&rule.ports)))))
}

/// Opens ingress from the pods of a gateway to selected pods.
///
/// # Errors
///
/// The API server would refuse a selector.
pub fn from_gateway(
    namespace: &str,
    position: usize,
    rule: &GatewayRule,
    gateway: &GatewayConfig,
) -> Result<NetworkPolicy, Refusal> {
    let pods = Selector::parse(Some(&rule.pod_selector))?;
    let peer = NetworkPolicyPeer {
        namespace_selector: Some(namespace_named(&gateway.namespace)),
        pod_selector: Some(Selector::parse(Some(&gateway.pod_selector))?.into()),
        ip_block: None,
    };
    let name = format!("cloister-gateway.{position}");
    Ok(listed(ingress(namespace, &name, pods, vec![peer], policy_ports(&rule.ports))))
}

/// Marks a policy that opens what CloisterConfig lists, so that admission compares it with the list.
fn listed(mut policy: NetworkPolicy) -> NetworkPolicy {
    let labels = policy.metadata.labels.get_or_insert_default();
    labels.insert(labels::LISTED.to_owned(), "true".to_owned());
    policy
}

/// Opens what a rule was found to open.
pub fn opening(namespace: &str, name: &str, opening: &AllowRule) -> NetworkPolicy {
    NetworkPolicy { metadata: object_meta(namespace, name), spec: Some(opening.to_network_policy_spec()) }
}

fn policy_ports(ports: &[Port]) -> Vec<NetworkPolicyPort> {
    let distinct: BTreeSet<&Port> = ports.iter().collect();
    let policy_port = |port: &Port| NetworkPolicyPort {
        port: Some(IntOrString::Int(port.port.into())),
        end_port: port.end_port.map(i32::from),
        protocol: Some(port.protocol.as_str().to_owned()),
    };
    distinct.into_iter().map(policy_port).collect()
}

fn egress(
    namespace: &str,
    name: &str,
    pods: Selector,
    to: Vec<NetworkPolicyPeer>,
    ports: Vec<NetworkPolicyPort>,
) -> NetworkPolicy {
    let rule = NetworkPolicyEgressRule { to: Some(to), ports: (!ports.is_empty()).then_some(ports) };
    NetworkPolicy {
        metadata: object_meta(namespace, name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods.into()),
            policy_types: Some(vec![EGRESS.into()]),
            egress: Some(vec![rule]),
            ingress: None,
        }),
    }
}

fn ingress(
    namespace: &str,
    name: &str,
    pods: Selector,
    from: Vec<NetworkPolicyPeer>,
    ports: Vec<NetworkPolicyPort>,
) -> NetworkPolicy {
    let rule = NetworkPolicyIngressRule { from: Some(from), ports: (!ports.is_empty()).then_some(ports) };
    NetworkPolicy {
        metadata: object_meta(namespace, name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(pods.into()),
            policy_types: Some(vec![INGRESS.into()]),
            ingress: Some(vec![rule]),
            egress: None,
        }),
    }
}

fn pods_of(namespace: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(namespace_named(namespace)),
        pod_selector: Some(LabelSelector::default()),
        ip_block: None,
    }
}

/// Selects the namespace of this name.
pub(crate) fn namespace_named(name: &str) -> LabelSelector {
    let label = ("kubernetes.io/metadata.name".to_owned(), name.to_owned());
    LabelSelector { match_labels: Some(BTreeMap::from([label])), match_expressions: None }
}

fn ip_block(network: &IpNet) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: network.to_string(), except: None }),
        ..NetworkPolicyPeer::default()
    }
}
