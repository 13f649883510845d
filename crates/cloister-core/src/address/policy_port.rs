//! A port as a NetworkPolicy has it.

use cloister_api::Protocol;
use k8s_openapi::{api::networking::v1::NetworkPolicyPort, apimachinery::pkg::util::intstr::IntOrString};

/// Ports of one protocol, at the peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyPort {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The port, or the first of a range.
    pub port: PolicyPortNumber,
    /// The last port of a range; the port alone where it is absent. A named port has none.
    pub end_port: Option<u16>,
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyPortNumber {
    /// A port from 1 to 65535.
    Number(u16),
    /// The name of a container port of the pods that are reached.
    Name(String),
}

impl PolicyPort {
    /// One port by its number.
    pub fn number(protocol: Protocol, port: u16) -> Self {
        PolicyPort { protocol, port: PolicyPortNumber::Number(port), end_port: None }
    }

    /// The same as a NetworkPolicy has it.
    pub(crate) fn to_network_policy_port(&self) -> NetworkPolicyPort {
        NetworkPolicyPort {
            protocol: Some(self.protocol.as_str().to_owned()),
            port: Some(match &self.port {
                PolicyPortNumber::Number(number) => IntOrString::Int(i32::from(*number)),
                PolicyPortNumber::Name(name) => IntOrString::String(name.clone()),
            }),
            end_port: self.end_port.map(i32::from),
        }
    }
}
