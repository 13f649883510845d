//! What is looked up, and what is known of it at a time.

use super::{
    answer::{Rebinding, Where},
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

    /// How it stands where an answer leads it to where it must not lead. The DNS of a cluster gives the names of Services the
    /// cluster's own addresses: that is no attack, and the name is closed all the same. Any other name that leads there is
    /// rebound, and so is one like it that leads anywhere else.
    pub fn led_astray(&self, why: Rebinding) -> NameState {
        match why {
            Rebinding::NeverOpened { address, known }
                if known.source.is_of_the_cluster() && self.name.is_like_that_of_a_service() =>
            {
                NameState::InCluster { address, known }
            }
            why => NameState::Rebound(why),
        }
    }

    /// Whether somebody leads it to where it must not lead.
    pub fn is_rebound(&self, known: &KnownName) -> bool {
        let why = known.refused().cloned();
        why.is_some_and(|why| matches!(self.led_astray(why), NameState::Rebound(_)))
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
    /// Its addresses, in their order. Where one family is led astray, those of the other.
    pub addresses: Vec<IpAddr>,
    /// Whether its addresses are open, and if not, or not of each family, why.
    pub state: NameState,
    /// When it was last answered, and for how long that answer is good.
    pub answered: Option<(Timestamp, SignedDuration)>,
    /// When that changes if nothing new is learned.
    pub changes_at: Option<Timestamp>,
}

impl Held {
    /// Whether nothing of it is open.
    pub fn is_closed(&self) -> bool {
        self.state != NameState::Held && self.addresses.is_empty()
    }
}

impl Names<'_> {
    /// What is open of a name now.
    pub fn held(&self, host: &Host) -> Held {
        let known = (self.known)(host).unwrap_or_default();
        // The settings may be newer than the answer.
        let (state, mut addresses) = known.judged(host.expected(), self.never, self.now, self.limits);
        addresses.retain(|address| !self.never.contains(*address));
        let state = match state {
            NameState::Rebound(why) => host.led_astray(why),
            other => other,
        };
        Held {
            host: host.clone(),
            addresses,
            state,
            answered: known.last_answer(),
            changes_at: known.changes_at(self.now, self.limits),
        }
    }
}
