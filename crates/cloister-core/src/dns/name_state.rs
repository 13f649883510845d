//! How a name stands.

use super::answer::Rebinding;
use crate::address::KnownNetwork;
use std::net::IpAddr;

/// Why there is no answer where there is nobody to ask.
pub const NO_SERVER: &str = "no DNS server is known";

/// How a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameState {
    /// Nobody has answered yet.
    Unknown,
    /// Its addresses are known.
    Held,
    /// There is no such name, or it has no address.
    NoAddress,
    /// It has more addresses at a time than may be held: more than so many.
    TooMany(usize),
    /// Nobody has answered for longer than an answer may count.
    Unanswered(String),
    /// It was led to where it must not lead, in one family at least.
    Rebound(Rebinding),
    /// It is like a name that the cluster's own DNS gives a Service, and leads into the cluster.
    InCluster {
        /// The address.
        address: IpAddr,
        /// Where it is.
        known: KnownNetwork,
    },
}

impl NameState {
    /// The reason in one word; none where the name is held. It is part of the contract: tools match on it.
    pub fn reason(&self) -> &'static str {
        match self {
            NameState::Unknown => "Resolving",
            NameState::Held => "",
            NameState::NoAddress => "NoAddress",
            NameState::TooMany(_) => "TooManyAddresses",
            NameState::Unanswered(_) => "DNSUnanswered",
            NameState::Rebound(Rebinding::OutsideExpected { .. }) => "OutsideExpectedNetworks",
            NameState::Rebound(_) => "Rebinding",
            NameState::InCluster { .. } => "NameInCluster",
        }
    }
}
