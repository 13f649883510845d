//! What of the addresses in the settings may be opened: people come from outside of the cluster, and DNS is asked inside of it.

use crate::address::{NeverOpened, Source, never::is_metadata, special::is_link_local, writable::fits};
use cloister_api::CloisterConfigSpec;
use ipnet::IpNet;
use std::net::IpAddr;

/// What of the addresses in the settings is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InForce {
    /// The networks that people come from.
    pub(crate) access: Vec<String>,
    /// The addresses of DNS caches.
    pub(crate) caches: Vec<String>,
    /// Why an entry is not in force, and what to do.
    pub(crate) refused: Vec<String>,
    /// That an entry is in force in part.
    pub(crate) narrowed: Vec<String>,
}

/// What is in force of the addresses, in a cluster where this is never opened. What is no address is not told here.
pub(crate) fn in_force(written: &CloisterConfigSpec, never: &NeverOpened) -> InForce {
    let mut all = InForce::default();
    let mut opened: Vec<IpNet> = Vec::new();
    for entry in written.access_networks.iter().filter_map(|network| network.parse::<IpNet>().ok()) {
        let pieces = never.open_part(entry);
        let known = || never.known(entry).map(|known| known.in_full()).unwrap_or_default();
        if pieces.is_empty() {
            all.refused.push(format!(
                "spec.accessNetworks contains {entry}, but people connect from outside the cluster: it overlaps {}, so that \
                 entry is not in force; name the networks that people connect from, such as the VPN",
                known()
            ));
            continue;
        }
        let is_whole = pieces == [entry];
        let with: Vec<IpNet> = opened.iter().copied().chain(pieces).collect();
        if !is_whole && !fits(&with) {
            all.refused.push(format!(
                "spec.accessNetworks contains {entry}, and without the networks of the cluster in it, such as {}, it has more \
                 networks than a policy may open, so that entry is not in force; name the networks that people connect from, \
                 such as the VPN",
                known()
            ));
            continue;
        }
        if !is_whole {
            all.narrowed.push(format!(
                "accessNetworks {entry} is in force without the networks in it that people cannot connect from, such as {}",
                known()
            ));
        }
        opened = with;
    }
    all.access = opened.iter().map(ToString::to_string).collect();
    for cache in &written.dns.node_local_addresses {
        let Ok(address) = cache.parse::<IpAddr>() else { continue };
        match no_cache(address, never) {
            None => all.caches.push(cache.clone()),
            Some(why) => all.refused.push(format!(
                "spec.dns.nodeLocalAddresses contains {cache}, which is {why}, so that entry is not in force; name the address \
                 that the DNS cache of the nodes listens on, such as 169.254.20.10"
            )),
        }
    }
    all
}

/// Why no DNS cache of the cluster is at an address: whatever is opened there is open to all research namespaces.
fn no_cache(address: IpAddr, never: &NeverOpened) -> Option<String> {
    const ELSEWHERE: &str = "neither an address of the cluster nor link-local nor private";
    if is_metadata(address) {
        return Some("the address of a metadata service".to_owned());
    }
    if is_link_local(address) {
        return None;
    }
    match never.known(address.into()).map(|known| known.source) {
        Some(Source::Meaning(meaning)) => Some(format!("one of the {meaning}")),
        Some(_) => None,
        None => (!is_private(address)).then(|| ELSEWHERE.to_owned()),
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        // The second are shared by providers (RFC 6598), and used as private ones.
        IpAddr::V4(address) => address.is_private() || address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64,
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

#[cfg(test)]
mod tests;
