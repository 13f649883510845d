//! Addresses that pods have: of each part of a network one, with the pod that has it, and how many others have. By them it
//! is seen whether the networks of pods are known; nothing is opened or closed by them.

use super::listed::{Listed, number};
use crate::key::ObjectName;
use cloister_core::cluster::known_networks::seen_in;
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// Of how many parts of networks an address is kept.
const MOST: usize = 4096;

/// The addresses that are kept.
#[derive(Debug, Default)]
pub struct PodAddresses {
    by_part: BTreeMap<IpNet, Seen>,
    /// The parts of networks that each pod has an address in, by its namespace and the number of its name.
    of: HashMap<Arc<str>, HashMap<u64, Parts>>,
}

/// A part of IPv4 and one of IPv6, as a pod has at most: so little that tens of thousands cost next to nothing.
type Parts = (Option<u32>, Option<u64>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    address: IpAddr,
    /// The pod that has it, and its Node. Where it is gone, others are there, which are not known by name.
    pod: Option<(ObjectName, Arc<str>)>,
    /// How many pods have an address in the part.
    pods: usize,
}

/// The parts that addresses are in.
fn parts_of(addresses: &[IpAddr]) -> Parts {
    let ipv4 = addresses.iter().find_map(|address| match seen_in(*address) {
        IpNet::V4(part) => Some(u32::from(part.network())),
        IpNet::V6(_) => None,
    });
    let ipv6 = addresses.iter().find_map(|address| match seen_in(*address) {
        IpNet::V6(part) => u64::try_from(u128::from(part.network()) >> 64).ok(),
        IpNet::V4(_) => None,
    });
    (ipv4, ipv6)
}

/// The parts by themselves.
fn each((ipv4, ipv6): Parts) -> impl Iterator<Item = IpNet> {
    let ipv4 = ipv4.map(|part| seen_in(IpAddr::V4(part.into())));
    ipv4.into_iter().chain(ipv6.map(|part| seen_in(IpAddr::V6((u128::from(part) << 64).into()))))
}

impl PodAddresses {
    /// Takes note of the addresses of a pod. Those are returned that are the first of their part of a network, and those that
    /// were the last.
    pub(super) fn note(&mut self, at: &ObjectName, node: &str, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let has_room = |part: &IpNet| self.by_part.contains_key(part) || self.by_part.len() < MOST;
        let (ipv4, ipv6) = parts_of(addresses);
        let is_kept = |part: IpNet| has_room(&part);
        let now: Parts = (
            ipv4.filter(|part| each((Some(*part), None)).all(is_kept)),
            ipv6.filter(|part| each((None, Some(*part))).all(is_kept)),
        );
        let before = self.replace(at, now);
        let mut changed = Vec::new();
        for part in each(now) {
            let address = addresses.iter().copied().find(|address| part.contains(address));
            let Some(address) = address else { continue };
            let is_new = !each(before).any(|before| before == part);
            let seen = self.by_part.entry(part).or_insert_with(|| {
                changed.push(address);
                Seen { address, pod: None, pods: 0 }
            });
            seen.pods += usize::from(is_new);
            if seen.pod.is_none() || seen.stands_for(at) {
                (seen.address, seen.pod) = (address, Some((at.clone(), node.into())));
            }
        }
        for part in each(before).filter(|part| !each(now).any(|now| now == *part)) {
            changed.extend(self.leave(part, |seen| seen.stands_for(at)));
        }
        changed
    }

    /// One pod less has an address in a part; its address, where it was the last.
    fn leave(&mut self, part: IpNet, is_named: impl Fn(&Seen) -> bool) -> Option<IpAddr> {
        let seen = self.by_part.get_mut(&part)?;
        seen.pods = seen.pods.saturating_sub(1);
        if is_named(seen) {
            seen.pod = None;
        }
        let is_last = seen.pods == 0;
        is_last.then(|| self.by_part.remove(&part).map(|seen| seen.address)).flatten()
    }

    /// Takes note of the parts that a pod has an address in; those of before are returned.
    fn replace(&mut self, at: &ObjectName, now: Parts) -> Parts {
        if now == (None, None) {
            let Some(here) = self.of.get_mut(&at.namespace) else { return now };
            let before = here.remove(&number(&at.name)).unwrap_or_default();
            if here.is_empty() {
                self.of.remove(&at.namespace);
            }
            return before;
        }
        let here = self.of.entry(at.namespace.clone()).or_default();
        here.insert(number(&at.name), now).unwrap_or_default()
    }

    /// Forgets the pods that are not in a list of all; whether there are any.
    pub fn retain(&mut self, listed: &Listed) -> bool {
        let mut gone = Vec::new();
        self.of.retain(|namespace, pods| {
            pods.retain(|number, parts| {
                let is_listed = listed.has(namespace, *number);
                gone.extend((!is_listed).then_some(*parts));
                is_listed
            });
            !pods.is_empty()
        });
        let is_gone = |seen: &Seen| seen.pod.as_ref().is_some_and(|(pod, _)| !listed.contains(pod));
        for part in gone.iter().copied().flat_map(each) {
            self.leave(part, is_gone);
        }
        !gone.is_empty()
    }

    /// Each address with the pod that has it.
    pub fn seen(&self) -> BTreeMap<IpAddr, String> {
        self.by_part.values().map(|seen| (seen.address, seen.whose())).collect()
    }
}

impl Seen {
    fn stands_for(&self, at: &ObjectName) -> bool {
        self.pod.as_ref().is_some_and(|(pod, _)| pod == at)
    }

    fn whose(&self) -> String {
        match &self.pod {
            None => "a pod that is gone, and others beside it".to_owned(),
            Some((pod, node)) if node.is_empty() => format!("pod {}/{}", pod.namespace, pod.name),
            Some((pod, node)) => format!("pod {}/{} on Node {node}", pod.namespace, pod.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::{Dirty, Index};

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
        assert_eq!(known.note(&at("a"), "w1", &both), both);
        assert!(known.note(&at("b"), "w1", &addresses(&["10.128.0.6"])).is_empty());
        assert!(known.note(&at("a"), "w1", &both).is_empty(), "nothing new");
        assert_eq!(known.note(&at("c"), "", &addresses(&["10.129.0.6"])), addresses(&["10.129.0.6"]));
        let seen = |known: &PodAddresses| known.seen().into_values().collect::<Vec<_>>();
        assert_eq!(seen(&known), ["pod infra/a on Node w1", "pod infra/c", "pod infra/a on Node w1"]);
        // Those beside it are there all the same; where there are none, nothing is.
        assert_eq!(known.note(&at("a"), "", &[]), addresses(&["fd00::5"]));
        assert_eq!(seen(&known), ["a pod that is gone, and others beside it", "pod infra/c"]);
        known.note(&at("b"), "w2", &addresses(&["10.128.0.6"]));
        let mut listed = Listed::default();
        listed.insert(&at("b"));
        assert!(known.retain(&listed) && !known.retain(&listed));
        assert_eq!(seen(&known), ["pod infra/b on Node w2"]);
        assert_eq!(known.note(&at("b"), "", &[]), addresses(&["10.128.0.6"]), "the last one is gone");
        assert!(known.seen().is_empty() && known.of.is_empty());
    }

    #[test]
    fn what_is_kept_is_what_the_pods_that_are_there_have() {
        let mut known = PodAddresses::default();
        let mut there: BTreeMap<String, IpAddr> = BTreeMap::new();
        let mut turn = 7_u32;
        for _ in 0..4000 {
            turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let name = ((turn >> 8) % 40).to_string();
            if (turn >> 16).is_multiple_of(3) {
                there.remove(&name);
                known.note(&at(&name), "", &[]);
            } else {
                let address = IpAddr::from([10, 0, ((turn >> 20) % 12) as u8, (turn >> 24) as u8]);
                there.insert(name.clone(), address);
                known.note(&at(&name), "", &[address]);
            }
            let parts: std::collections::BTreeSet<IpNet> = there.values().map(|address| seen_in(*address)).collect();
            assert!(known.by_part.keys().eq(&parts));
            for (part, seen) in &known.by_part {
                assert_eq!(seen.pods, there.values().filter(|address| part.contains(*address)).count());
                assert!(seen.pod.as_ref().is_none_or(|(pod, _)| there[&*pod.name] == seen.address));
            }
        }
    }

    #[test]
    fn no_more_is_kept_than_is_needed() {
        let mut known = PodAddresses::default();
        for pod in 0..5000_u32 {
            known.note(&at(&pod.to_string()), "", &[IpAddr::from((0x0a00_0000 + (pod << 8)).to_be_bytes())]);
        }
        assert_eq!(known.seen().len(), MOST);
    }

    #[test]
    fn the_mirror_of_a_static_pod_shows_nothing() {
        let (mut index, mut dirty) = (Index::default(), Dirty::new());
        let pod = |annotations: serde_json::Value| -> crate::index::GatedPod {
            let metadata = serde_json::json!({"name": "a", "namespace": "infra", "annotations": annotations});
            serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": {"nodeName": "evil"},
                "status": {"podIP": "203.0.113.7"}}))
            .unwrap()
        };
        use crate::index::Indexed;
        pod(serde_json::json!({"kubernetes.io/config.mirror": "0"})).upsert(&mut index, &mut dirty);
        assert!(index.pod_addresses.seen().is_empty());
        pod(serde_json::json!({})).upsert(&mut index, &mut dirty);
        assert_eq!(index.pod_addresses.seen().into_values().collect::<Vec<_>>(), ["pod infra/a on Node evil"]);
    }
}
