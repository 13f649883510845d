//! What a resolver answered, and whether it may be so.

use crate::{
    address::{KnownNetwork, NeverOpened, is_public, special::is_local_nat64},
    model::text::first_of,
};
use ipnet::IpNet;
use jiff::SignedDuration;
use std::net::IpAddr;

/// How many of the networks that were expected are named.
const NETWORKS: usize = 8;

/// Addresses, each with the time for which the answer is good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer(Vec<(IpAddr, SignedDuration)>);

/// Where the addresses of a name must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where<'a> {
    /// On the Internet: in no range that is somebody's own, or has a meaning of its own.
    Public,
    /// Inside these networks.
    Inside(&'a [IpNet]),
}

/// An answer that no such name gives: somebody leads the name to where it must not lead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rebinding {
    /// It leads into a range that no public name leads to.
    #[error("{0} is not a public address: it is private or reserved")]
    NotPublic(IpAddr),
    /// It leads into the cluster, or to a metadata service.
    #[error("{address} is never opened: it is in {known}")]
    NeverOpened {
        /// The address.
        address: IpAddr,
        /// Where it is.
        known: KnownNetwork,
    },
    /// It leads out of the networks that were expected.
    #[error(
        "{address} is outside expectedNetworks ({}), so the name does not resolve to the private endpoint",
        first_of(expected.iter(), NETWORKS, ", ")
    )]
    OutsideExpected {
        /// The address.
        address: IpAddr,
        /// The networks that were expected.
        expected: Box<[IpNet]>,
    },
}

impl Rebinding {
    /// The address that was answered.
    pub fn address(&self) -> IpAddr {
        match self {
            Rebinding::NotPublic(address)
            | Rebinding::NeverOpened { address, .. }
            | Rebinding::OutsideExpected { address, .. } => *address,
        }
    }
}

impl Answer {
    /// An answer, if all of its addresses are where they must be. One that is not makes all of it unbelievable.
    ///
    /// # Errors
    ///
    /// The first address that is not.
    pub fn believed(
        records: impl IntoIterator<Item = (IpAddr, SignedDuration)>,
        expected: Where<'_>,
        never: &NeverOpened,
    ) -> Result<Self, Rebinding> {
        let mut records: Vec<(IpAddr, SignedDuration)> = records.into_iter().collect();
        // A translator of one's own adds these beside the addresses that a name has; they stay closed, and accuse nobody.
        if records.iter().any(|(address, _)| !is_local_nat64(*address)) {
            records.retain(|(address, _)| !is_local_nat64(*address));
        }
        records.iter().try_for_each(|(address, _)| check(*address, expected, never))?;
        Ok(Answer(records))
    }

    /// The addresses, each with the time for which the answer is good.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, SignedDuration)> + '_ {
        self.0.iter().copied()
    }
}

/// Whether an address may be opened at all: what a change of the settings or of the cluster can make another.
pub(crate) fn check_never(address: IpAddr, never: &NeverOpened) -> Result<(), Rebinding> {
    match never.contains(address) {
        true => Err(Rebinding::NeverOpened { address, known: never.why(address.into()).known }),
        false => Ok(()),
    }
}

/// Whether an address is where it must be.
pub(crate) fn check(address: IpAddr, expected: Where<'_>, never: &NeverOpened) -> Result<(), Rebinding> {
    check_never(address, never)?;
    match expected {
        Where::Inside(networks) if networks.iter().any(|network| network.contains(&address)) => Ok(()),
        Where::Inside(networks) => Err(Rebinding::OutsideExpected { address, expected: networks.into() }),
        Where::Public if is_public(address) => Ok(()),
        Where::Public => Err(Rebinding::NotPublic(address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn believed(addresses: &[&str], expected: Where<'_>) -> Result<usize, Rebinding> {
        let never = NeverOpened::new(&["203.0.113.0/28".parse().unwrap()]);
        let records = addresses.iter().map(|address| (address.parse().unwrap(), SignedDuration::from_secs(30)));
        Answer::believed(records, expected, &never).map(|answer| answer.addresses().count())
    }

    #[test]
    fn a_public_name_leads_to_the_internet() {
        assert_eq!(believed(&["198.51.100.7", "2001:db8::7"], Where::Public), Ok(2));
        assert_eq!(believed(&[], Where::Public), Ok(0));
        for address in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "fd00::1",
            "64:ff9b::a00:1",
            "2002:c633:6407::1",
            "198.19.0.1",
        ] {
            let refused = believed(&["198.51.100.7", address], Where::Public);
            assert_eq!(refused, Err(Rebinding::NotPublic(address.parse().unwrap())));
        }
        for address in [
            "127.0.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "::1",
            "fe80::1",
            "::ffff:1.1.1.1",
            "2001::1",
            "203.0.113.1",
        ] {
            let refused = believed(&[address], Where::Public);
            assert!(matches!(refused, Err(Rebinding::NeverOpened { .. })), "{address}");
        }
    }

    #[test]
    fn what_a_translator_adds_is_judged_by_the_address_that_it_stands_for() {
        assert_eq!(believed(&["198.51.100.7", "64:ff9b::c633:6407"], Where::Public), Ok(2));
        let metadata = "64:ff9b::a9fe:a9fe";
        let refused = believed(&["198.51.100.7", metadata], Where::Public);
        let said = "64:ff9b::a9fe:a9fe is never opened: it is in 169.254.0.0/16 (the addresses of metadata services and agents of the \
                    node)";
        assert_eq!(refused.unwrap_err().to_string(), said);
        // Nobody can tell what a local prefix stands for.
        assert_eq!(believed(&["198.51.100.7", "64:ff9b:1::c633:6407"], Where::Public), Ok(1));
        assert!(believed(&["64:ff9b:1::c633:6407"], Where::Public).is_err());
    }

    #[test]
    fn a_private_endpoint_leads_to_its_networks_and_nowhere_else() {
        let networks = ["10.40.0.0/16".parse().unwrap(), "203.0.113.0/24".parse().unwrap()];
        let inside = Where::Inside(&networks);
        assert_eq!(believed(&["10.40.1.1"], inside), Ok(1));
        let fallen_back = believed(&["10.40.1.1", "198.51.100.7"], inside);
        assert_eq!(
            fallen_back.unwrap_err().to_string(),
            "198.51.100.7 is outside expectedNetworks (10.40.0.0/16, 203.0.113.0/24), so the name does not resolve to the \
             private endpoint"
        );
        let in_the_cluster = believed(&["203.0.113.1"], inside).unwrap_err().to_string();
        assert_eq!(
            in_the_cluster,
            "203.0.113.1 is never opened: it is in 203.0.113.0/28 (clusterNetworks of CloisterConfig)"
        );
    }
}
