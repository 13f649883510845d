//! What a resolver answered, and whether it may be so.

use crate::{
    address::{
        KnownNetwork, NeverOpened, is_public,
        special::{is_local_nat64, translated},
    },
    model::text::first_of,
};
use ipnet::IpNet;
use jiff::SignedDuration;
use std::net::IpAddr;

/// How many of the networks that were expected are named.
const NETWORKS: usize = 8;

/// Addresses, each with the time for which the answer is good. Those of a family that was led astray are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    records: Vec<(IpAddr, SignedDuration)>,
    /// Why one family is not believed, where the other is.
    refused: Option<Rebinding>,
}

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

    /// Whether it is about the family of this address.
    pub(crate) fn is_of_family_of(&self, address: IpAddr) -> bool {
        self.address().is_ipv4() == address.is_ipv4()
    }

    /// The family of the address that was answered.
    pub(crate) fn family(&self) -> &'static str {
        if self.address().is_ipv4() { "IPv4" } else { "IPv6" }
    }
}

impl Answer {
    /// An answer, as far as its addresses are where they must be. Each family is judged by itself: one address that is not where
    /// it must be makes all of its family unbelievable. The addresses of the other family stay: whoever leads one astray could
    /// have left it out, so nothing more is open than with an answer that has the other family alone.
    ///
    /// # Errors
    ///
    /// No family is left, because of this address.
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
        let astray = |is_ipv4: bool| {
            let mut family = records.iter().filter(|(address, _)| address.is_ipv4() == is_ipv4);
            family.find_map(|(address, _)| check(*address, expected, never).err())
        };
        let astray: Vec<Rebinding> = [true, false].into_iter().filter_map(astray).collect();
        records.retain(|(address, _)| !astray.iter().any(|why| why.is_of_family_of(*address)));
        match astray.into_iter().next() {
            Some(why) if records.is_empty() => Err(why),
            refused => Ok(Answer { records, refused }),
        }
    }

    /// Why one family is not believed, where the other is.
    pub fn refused(&self) -> Option<&Rebinding> {
        self.refused.as_ref()
    }

    /// The addresses, each with the time for which the answer is good.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, SignedDuration)> + '_ {
        self.records.iter().copied()
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
        Where::Inside(networks) if is_inside(networks, address) => Ok(()),
        Where::Inside(networks) => Err(Rebinding::OutsideExpected { address, expected: networks.into() }),
        Where::Public if is_public(address) => Ok(()),
        Where::Public => Err(Rebinding::NotPublic(address)),
    }
}

/// Whether an address is in one of these networks. What DNS64 makes of an IPv4 address is where that is: a translator makes the
/// same address of it again, so that it leads to the host that the IPv4 address leads to, and to no other.
fn is_inside(networks: &[IpNet], address: IpAddr) -> bool {
    let each = [Some(address), translated(address)];
    each.into_iter().flatten().any(|address| networks.iter().any(|network| network.contains(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(addresses: &[&str], expected: Where<'_>) -> Result<Answer, Rebinding> {
        let never = NeverOpened::new(&["203.0.113.0/28".parse().unwrap()]);
        let records = addresses.iter().map(|address| (address.parse().unwrap(), SignedDuration::from_secs(30)));
        Answer::believed(records, expected, &never)
    }

    /// How many addresses are left, where none is refused.
    fn believed(addresses: &[&str], expected: Where<'_>) -> Result<usize, Rebinding> {
        let answer = answered(addresses, expected)?;
        assert_eq!(answer.refused(), None);
        Ok(answer.addresses().count())
    }

    /// The addresses that are left, and the one for which the others are not.
    fn in_part(addresses: &[&str], expected: Where<'_>) -> (Vec<String>, String) {
        let answer = answered(addresses, expected).unwrap();
        let left = answer.addresses().map(|(address, _)| address.to_string()).collect();
        (left, answer.refused().unwrap().address().to_string())
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
            let good = if address.contains(':') { "2001:db8::7" } else { "198.51.100.7" };
            for answer in [&[address][..], &[good, address]] {
                let refused = believed(answer, Where::Public);
                assert_eq!(refused, Err(Rebinding::NotPublic(address.parse().unwrap())), "{answer:?}");
            }
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
    fn each_family_is_judged_by_itself() {
        let (v4, v6) = (["198.51.100.7", "198.51.100.8"], ["2001:db8::7", "2001:db8::8"]);
        for astray in ["fd00::7", "64:ff9b::a00:1", "::1", "fe80::1"] {
            let all = [&v4[..], &[v6[0], astray, v6[1]]].concat();
            let (left, why) = in_part(&all, Where::Public);
            assert_eq!((left, why.as_str()), (v4.map(str::to_owned).to_vec(), astray));
        }
        for astray in ["10.1.2.3", "127.0.0.1", "203.0.113.1"] {
            let all = [&[v4[0], astray, v4[1]][..], &v6[..]].concat();
            let (left, why) = in_part(&all, Where::Public);
            assert_eq!((left, why.as_str()), (v6.map(str::to_owned).to_vec(), astray));
        }
        // Where both lead astray, nothing is left.
        let refused = answered(&["198.51.100.7", "10.1.2.3", "2001:db8::7", "fd00::7"], Where::Public);
        assert_eq!(refused.unwrap_err(), Rebinding::NotPublic("10.1.2.3".parse().unwrap()));
        let networks = ["10.40.0.0/16".parse().unwrap()];
        let (left, why) = in_part(&["10.40.1.1", "2001:db8::7"], Where::Inside(&networks));
        assert_eq!((left, why.as_str()), (vec!["10.40.1.1".to_owned()], "2001:db8::7"));
    }

    #[test]
    fn what_dns64_adds_to_a_private_endpoint_is_where_the_address_is_that_it_stands_for() {
        let networks = ["10.40.0.0/16".parse().unwrap(), "203.0.113.0/24".parse().unwrap()];
        let inside = Where::Inside(&networks);
        assert_eq!(believed(&["10.40.1.1", "64:ff9b::a28:101"], inside), Ok(2));
        assert_eq!(believed(&["64:ff9b::a28:101"], inside), Ok(1), "a pod without IPv4 is answered nothing else");
        // It stands for an address elsewhere; the cluster's own; a router on the way; what nobody can tell.
        for astray in ["64:ff9b::a29:101", "64:ff9b::c633:6407", "64:ff9b::cb00:7101", "2002:a28:101::1"] {
            let (left, why) = in_part(&["10.40.1.1", astray], inside);
            assert_eq!((left, why.as_str()), (vec!["10.40.1.1".to_owned()], astray));
        }
        let never = answered(&["64:ff9b::cb00:7101"], inside).unwrap_err();
        assert!(matches!(never, Rebinding::NeverOpened { .. }), "{never}");
        // What is declared as IPv6 is meant as that, and opens no IPv4.
        let translated = ["64:ff9b::a28:0/112".parse().unwrap()];
        assert_eq!(believed(&["64:ff9b::a28:101"], Where::Inside(&translated)), Ok(1));
        assert!(answered(&["10.40.1.1"], Where::Inside(&translated)).is_err());
    }

    #[test]
    fn what_a_translator_adds_is_judged_by_the_address_that_it_stands_for() {
        assert_eq!(believed(&["198.51.100.7", "64:ff9b::c633:6407"], Where::Public), Ok(2));
        let metadata = "64:ff9b::a9fe:a9fe";
        let refused = answered(&["2001:db8::7", metadata], Where::Public);
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
