//! Sets of names, and where their addresses must be.

use crate::{
    address::{
        DomainName, NameFault, Refusal,
        networks::{NetworkSet, shortened},
        never::NeverOpened,
        public::public_part,
        writable::is_writable,
    },
    dns::Host,
    model::{suggest::closest, text::first_few},
};
use cloister_api::PrivateEndpoint;
use std::collections::BTreeSet;

/// A set of names. One that another covers stays, because the other may be one that nothing opens here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostSet {
    names: BTreeSet<DomainName>,
    /// The networks that their addresses must be in. The Internet, where there are none.
    expected: Option<NetworkSet>,
}

impl HostSet {
    /// The set that a rule's `domainNames` names, as far as they are names, and why the others are none.
    pub(crate) fn public(names: Vec<&str>) -> (Option<Self>, Vec<Refusal>) {
        let (mut good, mut closed) = (Vec::new(), Vec::new());
        for name in names {
            match parse(name) {
                Ok(name) => good.push(name),
                Err(refusal) => closed.push(refusal),
            }
        }
        (Self { names: good.into_iter().collect(), expected: None }.unless_empty(), closed)
    }

    fn unless_empty(self) -> Option<Self> {
        (!self.names.is_empty()).then_some(self)
    }

    /// Those of its names that stand for themselves alone, and those that stand for others.
    pub(crate) fn split(self) -> (Option<Self>, Vec<DomainName>) {
        let (wildcards, names): (BTreeSet<DomainName>, _) = self.names.into_iter().partition(|name| name.is_wildcard());
        (Self { names, expected: self.expected }.unless_empty(), wildcards.into_iter().collect())
    }

    /// The set that a private endpoint names.
    pub(crate) fn private(endpoint: &PrivateEndpoint, never: &NeverOpened) -> Result<Self, Refusal> {
        let name = parse(&endpoint.domain_name)?;
        // What is never opened of them stays: an answer there is refused, and the breadth is that of what was declared.
        let expected = NetworkSet::parse(&endpoint.expected_networks)?;
        let networks = || endpoint.expected_networks.join(", ");
        if never.taken_from(expected.clone()).is_empty() {
            let first = expected.to_networks().into_iter().next().ok_or(Refusal::TargetInvalid)?;
            return Err(Refusal::NetworksNeverOpened { networks: networks(), why: never.why(first) });
        }
        // Nearly anywhere is nowhere: a name would lead wherever whoever answers for it likes.
        if !is_writable(&public_part(&expected.to_networks()).to_networks()) {
            return Err(Refusal::NetworksTooWide { networks: networks() });
        }
        Ok(Self { names: [name].into(), expected: Some(expected) })
    }

    /// What both stand for; nothing where they have no name in common, or no place for its addresses.
    pub(crate) fn intersection(&self, other: &Self) -> Option<Self> {
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
        let names = self.names.iter().flat_map(common).collect();
        Self { names, expected }.unless_empty()
    }

    /// How another has some of its names, where it does not lead them wherever these lead.
    pub(crate) fn in_another_form(&self, other: &Self) -> Option<String> {
        let networks = |expected: &NetworkSet| first_few(expected.to_networks().iter());
        let form = match (&self.expected, &other.expected) {
            (None, None) => return None,
            (Some(own), Some(other)) if own.difference(other).is_empty() => return None,
            (Some(_), Some(other)) => format!("with expectedNetworks {} only", networks(other)),
            (None, Some(other)) => format!("as a privateEndpoint with expectedNetworks {}", networks(other)),
            (Some(_), None) => "under domainNames".to_owned(),
        };
        let has = |name: &&DomainName| other.names.iter().any(|other| name.intersection(other).is_some());
        let common: Vec<&DomainName> = self.names.iter().filter(has).collect();
        (!common.is_empty()).then(|| format!("{} {form}", first_few(common.into_iter())))
    }

    /// The names that none of `others` covers, with all the places that their addresses may be in.
    pub(crate) fn not_in<'a>(&self, others: impl Iterator<Item = &'a HostSet>) -> Vec<DomainName> {
        let wide_enough = |other: &&HostSet| match (&self.expected, &other.expected) {
            (None, None) => true,
            (Some(own), Some(other)) => own.difference(other).is_empty(),
            _ => false,
        };
        let others: Vec<&HostSet> = others.filter(wide_enough).collect();
        let covered = |name: &DomainName| others.iter().any(|other| other.names.iter().any(|other| other.covers(name)));
        without_covered(self.names.iter().filter(|name| !covered(name)).cloned().collect()).into_iter().collect()
    }

    /// Which name of others may be meant by the one name that none of them covers. Names of hosts are alike without being meant
    /// (`api`, `www`), so that they may differ in less than other names. A name that this set has too is not meant by another.
    pub(crate) fn meant(&self, others: &[&HostSet]) -> Option<String> {
        const LETTERS: usize = 2;
        let uncovered = self.not_in(others.iter().copied());
        let [name] = uncovered.as_slice() else { return None };
        let name = name.to_string();
        let known: BTreeSet<String> =
            others.iter().flat_map(|other| other.names.iter().map(ToString::to_string)).collect();
        if known.contains(&name) {
            return None;
        }
        let own: BTreeSet<String> = self.names.iter().map(ToString::to_string).collect();
        let near =
            known.difference(&own).map(String::as_str).filter(|known| strsim::osa_distance(&name, known) <= LETTERS);
        closest(&name, near).map(str::to_owned)
    }

    /// The names, in their order, without those that others cover.
    pub(crate) fn to_hosts(&self) -> Vec<Host> {
        let expected = self.expected.as_ref().map(|expected| expected.to_networks().into_boxed_slice());
        let names = without_covered(self.names.iter().cloned().collect());
        names.into_iter().map(|name| Host { name, expected: expected.clone() }).collect()
    }
}

fn parse(name: &str) -> Result<DomainName, Refusal> {
    name.parse().map_err(|fault| match fault {
        NameFault::ApiServer => Refusal::ApiServer { what: shortened(name) },
        fault => Refusal::NameInvalid { name: shortened(name), fault },
    })
}

fn without_covered(names: Vec<DomainName>) -> BTreeSet<DomainName> {
    let wildcards: Vec<DomainName> = names.iter().filter(|name| name.is_wildcard()).cloned().collect();
    let covered = |name: &DomainName| wildcards.iter().any(|other| other != name && other.covers(name));
    names.into_iter().filter(|name| !covered(name)).collect()
}
