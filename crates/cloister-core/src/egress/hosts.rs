//! Sets of names, and where their addresses must be.

use super::domain::DomainName;
use super::networks::{NetworkSet, shortened};
use super::reach::first_few;
use super::{NeverOpened, Refusal};
use crate::names::Host;
use cloister_api::PrivateEndpoint;
use std::collections::BTreeSet;

/// A set of names. None is covered by another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HostSet {
    names: BTreeSet<DomainName>,
    /// The networks that their addresses must be in. The Internet, where there are none.
    expected: Option<NetworkSet>,
}

impl HostSet {
    /// The set that a rule's `domainNames` names.
    pub(super) fn public(names: &[String]) -> Result<Self, Refusal> {
        let names = names.iter().map(|name| parse(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { names: without_covered(names), expected: None })
    }

    /// The set that a private endpoint names.
    pub(super) fn private(endpoint: &PrivateEndpoint, never: &NeverOpened) -> Result<Self, Refusal> {
        let name = parse(&endpoint.domain_name)?;
        let expected = never.taken_from(NetworkSet::parse(&endpoint.expected_networks)?);
        if expected.is_empty() {
            let networks = first_few(endpoint.expected_networks.iter());
            return Err(Refusal::NetworksNeverOpened { networks });
        }
        Ok(Self { names: [name].into(), expected: Some(expected) })
    }

    /// What both stand for; nothing where they have no name in common, or no place for its addresses.
    pub(super) fn intersection(&self, other: &Self) -> Option<Self> {
        let expected = match (&self.expected, &other.expected) {
            (None, None) => None,
            (Some(own), Some(other)) => Some(own.intersection(other)).filter(|common| !common.is_empty()).map(Some)?,
            // One agreed to a name on the Internet, and the other to a private one.
            _ => return None,
        };
        let common = |own: &DomainName| {
            let own = own.clone();
            other.names.iter().filter_map(move |other| own.intersection(other).cloned())
        };
        let names = without_covered(self.names.iter().flat_map(common).collect());
        (!names.is_empty()).then_some(Self { names, expected })
    }

    /// The names that none of `others` covers, with all the places that their addresses may be in.
    pub(super) fn not_in<'a>(&self, others: impl Iterator<Item = &'a HostSet>) -> Vec<DomainName> {
        let wide_enough = |other: &&HostSet| match (&self.expected, &other.expected) {
            (None, None) => true,
            (Some(own), Some(other)) => own.difference(other).is_empty(),
            _ => false,
        };
        let others: Vec<&HostSet> = others.filter(wide_enough).collect();
        let covered = |name: &DomainName| others.iter().any(|other| other.names.iter().any(|other| other.covers(name)));
        self.names.iter().filter(|name| !covered(name)).cloned().collect()
    }

    /// Those of its names that stand for others.
    pub(super) fn wildcards(&self) -> Vec<&DomainName> {
        self.names.iter().filter(|name| name.is_wildcard()).collect()
    }

    /// The names, in their order.
    pub(super) fn to_hosts(&self) -> Vec<Host> {
        let expected = self.expected.as_ref().map(|expected| expected.to_networks().into_boxed_slice());
        self.names.iter().map(|name| Host { name: name.clone(), expected: expected.clone() }).collect()
    }
}

fn parse(name: &str) -> Result<DomainName, Refusal> {
    name.parse().map_err(|fault| Refusal::NameInvalid { name: shortened(name), fault })
}

fn without_covered(names: Vec<DomainName>) -> BTreeSet<DomainName> {
    let wildcards: Vec<DomainName> = names.iter().filter(|name| name.is_wildcard()).cloned().collect();
    let covered = |name: &DomainName| wildcards.iter().any(|other| other != name && other.covers(name));
    names.into_iter().filter(|name| !covered(name)).collect()
}
