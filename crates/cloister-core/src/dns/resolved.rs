//! What is looked up, and what is known of it at a time.

use super::{
    answer::Where,
    known_name::{KnownName, Limits},
    name_state::NameState,
};
use crate::address::{DomainName, NeverOpened};
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use std::{fmt, net::IpAddr};

/// What is looked up: a name, and where its addresses must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// The name.
    pub name: DomainName,
    /// The networks that its addresses must be in. The Internet, where there are none.
    pub expected: Option<Box<[IpNet]>>,
}

impl Host {
    /// Where its addresses must be.
    pub fn expected(&self) -> Where<'_> {
        match &self.expected {
            Some(networks) => Where::Inside(networks),
            None => Where::Public,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// What is known of names at a time.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// Finds what is known of a name. What is not known yet is looked up because it was asked for.
    pub known: &'a dyn Fn(&Host) -> Option<KnownName>,
    /// How names are held.
    pub limits: &'a Limits,
    /// What is opened under no name.
    pub never: &'a NeverOpened,
    /// The time.
    pub now: Timestamp,
}

/// What is open of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The name.
    pub host: Host,
    /// Its addresses, in their order.
    pub addresses: Vec<IpAddr>,
    /// Whether its addresses are open, and if not, why.
    pub state: NameState,
    /// When it was last answered, and for how long that answer is good.
    pub answered: Option<(Timestamp, SignedDuration)>,
    /// When that changes if nothing new is learned.
    pub changes_at: Option<Timestamp>,
}

impl Names<'_> {
    /// What is open of a name now.
    pub fn held(&self, host: &Host) -> Held {
        let known = (self.known)(host).unwrap_or_default();
        // The settings may be newer than the answer.
        let (state, mut addresses) = known.judged(host.expected(), self.never, self.now, self.limits);
        addresses.retain(|address| !self.never.contains(*address));
        Held {
            host: host.clone(),
            addresses,
            state,
            answered: known.last_answer(),
            changes_at: known.changes_at(self.now, self.limits),
        }
    }
}
