//! Addresses that pods have: of each part of a network one, with the pod that has it. By them it is seen whether the networks
//! of pods are known; nothing is opened or closed by them.

use super::{Dirty, Index, Listed};
use crate::key::{Key, ObjectName};
use cloister_core::cluster_networks::seen_in;
use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

/// Of how many parts of networks an address is kept.
const MOST: usize = 4096;

/// The addresses that are kept.
#[derive(Debug, Default)]
pub struct PodAddresses {
    by_part: BTreeMap<IpNet, Seen>,
    /// The parts that each pod stands for.
    of: BTreeMap<ObjectName, Vec<IpNet>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    address: IpAddr,
    pod: ObjectName,
    /// Whether the pod has the address no more. Others beside it are not known by name, so it stands for them until one of
    /// them is heard of.
    is_gone: bool,
}

impl PodAddresses {
    /// Takes note of the addresses of a pod, where no other pod stands for that part of a network already. Those that are new
    /// are returned.
    fn note(&mut self, at: &ObjectName, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let stood_for = self.of.get(at).cloned().unwrap_or_default();
        for part in stood_for {
            self.by_part.entry(part).and_modify(|seen| seen.is_gone = true);
        }
        let mut new = Vec::new();
        for &address in addresses {
            let part = seen_in(address);
            let seen = Seen { address, pod: at.clone(), is_gone: false };
            match self.by_part.get(&part) {
                Some(known) if known.is_gone => {
                    let before = known.pod.clone();
                    self.forget(&before, part);
                }
                None if self.by_part.len() < MOST => new.push(address),
                _ => continue,
            }
            self.by_part.insert(part, seen);
            self.of.entry(at.clone()).or_default().push(part);
        }
        new
    }

    fn forget(&mut self, pod: &ObjectName, part: IpNet) {
        if let Some(parts) = self.of.get_mut(pod) {
            parts.retain(|other| *other != part);
            if parts.is_empty() {
                self.of.remove(pod);
            }
        }
    }

    /// Forgets the pods that are not in a list of all; whether there are any.
    pub fn retain(&mut self, listed: &Listed) -> bool {
        let before = self.by_part.len();
        self.by_part.retain(|_, seen| listed.contains(&seen.pod));
        self.of.retain(|pod, _| listed.contains(pod));
        self.by_part.len() < before
    }

    /// Each address with the pod that has it.
    pub fn seen(&self) -> BTreeMap<IpAddr, String> {
        let whose = |seen: &Seen| match seen.is_gone {
            false => format!("pod {}/{}", seen.pod.namespace, seen.pod.name),
            true => "a pod that is gone".to_owned(),
        };
        self.by_part.values().map(|seen| (seen.address, whose(seen))).collect()
    }
}

/// A pod has these addresses, or none any more.
pub(super) fn of_pod(index: &mut Index, at: &ObjectName, addresses: &[IpAddr], dirty: &mut Dirty) {
    let new = index.pod_addresses.note(at, addresses);
    if new.iter().any(|address| !index.settings.never.contains(*address)) {
        dirty.insert(Key::Config);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str) -> ObjectName {
        ObjectName { namespace: "infra".into(), name: name.into() }
    }

    fn addresses(all: &[&str]) -> Vec<IpAddr> {
        all.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn one_pod_stands_for_those_beside_it() {
        let mut known = PodAddresses::default();
        let both = addresses(&["10.128.0.5", "fd00::5"]);
        assert_eq!(known.note(&at("a"), &both), both);
        assert!(known.note(&at("b"), &addresses(&["10.128.0.6"])).is_empty());
        assert!(known.note(&at("a"), &both).is_empty(), "nothing new");
        assert_eq!(known.note(&at("c"), &addresses(&["10.129.0.6"])), addresses(&["10.129.0.6"]));
        let seen = |known: &PodAddresses| known.seen().into_values().collect::<Vec<_>>();
        assert_eq!(seen(&known), ["pod infra/a", "pod infra/c", "pod infra/a"]);
        // Those beside it are there all the same.
        known.note(&at("a"), &[]);
        assert_eq!(seen(&known), ["a pod that is gone", "pod infra/c", "a pod that is gone"]);
        known.note(&at("b"), &addresses(&["10.128.0.6"]));
        let mut listed = Listed::default();
        listed.insert(&at("b"));
        assert!(known.retain(&listed) && !known.retain(&listed));
        assert_eq!(seen(&known), ["pod infra/b"]);
    }

    #[test]
    fn no_more_is_kept_than_is_needed() {
        let mut known = PodAddresses::default();
        for pod in 0..5000_u32 {
            known.note(&at(&pod.to_string()), &[IpAddr::from((0x0a00_0000 + (pod << 8)).to_be_bytes())]);
        }
        assert_eq!(known.seen().len(), MOST);
    }
}
