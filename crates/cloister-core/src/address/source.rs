//! From where it is known that a network is never opened: who reads that a rule stays closed must know whom to ask.

use ipnet::IpNet;
use std::{fmt, sync::Arc};

/// From where it is known that a network is never opened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// It is an address of the API server.
    ApiServer,
    /// It means the same in every cluster: what.
    Meaning(&'static str),
    /// `clusterNetworks` of CloisterConfig names it.
    ClusterNetworks,
    /// A ServiceCIDR has it.
    ServiceCidr(Arc<str>),
    /// A Service has an address in it, and no ServiceCIDR has that.
    ClusterIp,
    /// It is among the `podCIDRs` of a Node.
    PodCidr(Arc<str>),
    /// It is an address of a Node.
    NodeAddress(Arc<str>),
}

/// What Source::Meaning says of the networks by which pods come by credentials that are not theirs.
pub(crate) const METADATA: &str = "the addresses of metadata services and agents of the node";

impl Source {
    /// Whether it is known of this cluster, and not of every cluster.
    pub(crate) fn is_of_the_cluster(&self) -> bool {
        !matches!(self, Source::Meaning(_))
    }

    /// The same with the name of the Node, for those who list Nodes or settle with those who do: for the settings' status alone.
    pub fn in_full(&self) -> String {
        match self {
            Source::PodCidr(node) => format!("the podCIDRs of Node {node}"),
            Source::NodeAddress(node) => format!("the addresses of Node {node}"),
            other => other.to_string(),
        }
    }
}

/// For everybody: whoever reads why their rule stays closed may not list Nodes.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::ApiServer => f.write_str("the API server"),
            Source::Meaning(meaning) => f.write_str(meaning),
            Source::ClusterNetworks => f.write_str("clusterNetworks of CloisterConfig"),
            Source::ServiceCidr(name) => write!(f, "ServiceCIDR {name}"),
            Source::ClusterIp => f.write_str("the addresses of Services"),
            Source::PodCidr(_) => f.write_str("the podCIDRs of a Node"),
            Source::NodeAddress(_) => f.write_str("the addresses of a Node"),
        }
    }
}

/// A network that is never opened, and from where that is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownNetwork {
    /// From where.
    pub source: Source,
    /// The network.
    pub network: IpNet,
}

impl KnownNetwork {
    /// The same as [`Source::in_full`] says it.
    pub fn in_full(&self) -> String {
        format!("{} ({})", self.network, self.source.in_full())
    }
}

impl fmt::Display for KnownNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KnownNetwork { network, source } = self;
        write!(f, "{network} ({source})")
    }
}

/// Why nothing of a network is opened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeverWhy {
    /// What is never opened.
    pub known: KnownNetwork,
    /// Whether all of the network is in it, and not only a part.
    pub is_inside: bool,
}

impl fmt::Display for NeverWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NeverWhy { known, is_inside } = self;
        let what = if *is_inside { "it is in" } else { "all of it is in such networks, the first of which is" };
        write!(f, "{what} {known}; {}", known.what_to_do())
    }
}

impl KnownNetwork {
    /// What to do about a rule that names it, and who can.
    pub fn what_to_do(&self) -> String {
        let by_name = "to reach something in the cluster, name its Service";
        match &self.source {
            Source::ApiServer => {
                "no rule and no grant opens it to research pods; remove it".to_owned()
            }
            Source::Meaning(METADATA) => {
                "get cloud credentials through a StorageAccessGrant, not from a metadata service or an agent on the node; a DNS \
                 cache on the node belongs in dns.nodeLocalAddresses of CloisterConfig"
                    .to_owned()
            }
            Source::Meaning(_) => "remove it".to_owned(),
            Source::ClusterNetworks => format!(
                "{by_name}; if it is outside the cluster, ask a policy administrator (ClusterRole cloister:policy-admin) to \
                 name only the networks of pods, Services and nodes in clusterNetworks"
            ),
            Source::ServiceCidr(_) | Source::ClusterIp => by_name.to_owned(),
            Source::PodCidr(_) | Source::NodeAddress(_) => {
                format!("{by_name}; if it is outside the cluster, ask a platform engineer which Node has it")
            }
        }
    }
}
