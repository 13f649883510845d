//! The condition by which CloisterConfig says whether the cluster's own networks are known.

use super::{dns_service::DnsFacts, known_networks::ClusterNetworks, node_networks::Refused, settings::Settings};
use crate::{
    address::NeverOpened,
    model::{condition::ConditionUpdate, text::first_of},
};
use cloister_api::condition::CLUSTER_NETWORKS_KNOWN;
use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

/// Reason of networks that are not known, because a Node says what no Node has.
pub const NODE_NOT_BELIEVED: &str = "NodeNotBelieved";

/// Reason of networks that are known to be more than any cluster has.
const CLUSTER_NETWORKS_WIDE: &str = "ClusterNetworksWide";

/// The widest networks that `clusterNetworks` takes: the prefixes for IPv4 and IPv6. The schema refuses what is wider, and not
/// what was stored before.
const WIDEST: (u8, u8) = (8, 16);

/// How many of something are named.
const NAMED: usize = 4;

/// How many networks of Services are named.
const SERVICES: usize = 16;

/// Whether the cluster's own networks are known: not where a pod or an endpoint of the DNS is outside of all that is known.
/// `unlisted` are the kinds by which networks are known and that are not listed yet.
pub fn known(
    networks: &ClusterNetworks,
    settings: &Settings,
    unlisted: &[&'static str],
    dns: &DnsFacts,
) -> ConditionUpdate {
    let write = "write the networks of pods, Services and nodes into clusterNetworks";
    let mut faults: Vec<(&str, String)> = Vec::new();
    if !unlisted.is_empty() {
        let message = format!(
            "the operator has not listed {} yet, so not all networks of the cluster are known; if this does not pass, give it the \
             permission (deploy/rbac), or {write}",
            unlisted.join(" and ")
        );
        faults.push(("NotListed", message));
    }
    faults.extend(not_believed(networks, &settings.never).map(|message| (NODE_NOT_BELIEVED, message)));
    faults.extend(too_wide(settings).map(|message| (CLUSTER_NETWORKS_WIDE, message)));
    let outside = outside(networks, settings, dns);
    if !outside.is_empty() {
        let message = format!(
            "no known network of the cluster contains {}, so a rule by address may open pods. The kubelet of a Node reports \
             the addresses of its pods: if they are right, {write}; if they are not, ask a platform engineer to check the Node",
            first_of(outside, NAMED, ", ")
        );
        faults.push(("PodNetworksUnknown", message));
    } else if networks.node_count > 0 && networks.pods.is_empty() && settings.spec.cluster_networks.is_empty() {
        let message =
            format!("no Node reports the networks of its pods (podCIDRs), so a rule by address may open pods; {write}");
        faults.push(("PodNetworksUnknown", message));
    }
    if let Some((reason, _)) = faults.first() {
        let message = faults.iter().map(|(_, message)| message.as_str()).collect::<Vec<_>>().join(". ");
        return ConditionUpdate::new(CLUSTER_NETWORKS_KNOWN, false, *reason, message);
    }
    let message = format!(
        "no rule opens the networks of Services ({}), the podCIDRs and addresses of the Nodes, the API server, or clusterNetworks",
        networks.services.keys().take(SERVICES).map(ToString::to_string).collect::<Vec<_>>().join(", "),
    );
    ConditionUpdate::new(CLUSTER_NETWORKS_KNOWN, true, "Known", message)
}

/// That the settings name more than the cluster's own networks.
fn too_wide(settings: &Settings) -> Option<String> {
    let is_wide = |network: &&String| match network.parse() {
        Ok(IpNet::V4(network)) => network.prefix_len() < WIDEST.0,
        Ok(IpNet::V6(network)) => network.prefix_len() < WIDEST.1,
        Err(_) => false,
    };
    let wide: Vec<&String> = settings.spec.cluster_networks.iter().filter(is_wide).collect();
    (!wide.is_empty()).then(|| {
        format!(
            "clusterNetworks names {}, which is wider than /{} (IPv6: /{}): no rule opens anything in it by address, and a \
             name that resolves there is closed; name only the networks of pods, Services and nodes",
            first_of(wide, NAMED, ", "),
            WIDEST.0,
            WIDEST.1
        )
    })
}

/// The addresses of pods, and of the endpoints of the DNS, that are in no network that is known.
fn outside(networks: &ClusterNetworks, settings: &Settings, dns: &DnsFacts) -> Vec<String> {
    let config = &settings.spec.dns;
    let service = format!("an endpoint of Service {}/{}", config.namespace, config.service);
    let mut seen: BTreeMap<IpAddr, String> = dns.endpoints.iter().map(|address| (*address, service.clone())).collect();
    seen.extend(networks.seen.iter().map(|(address, whose)| (*address, whose.clone())));
    seen.retain(|address, _| !settings.never.contains(*address));
    seen.into_iter().map(|(address, whose)| format!("{address} ({whose})")).collect()
}

/// What Nodes say that is not believed, and that nothing else says either, by the names of the Nodes.
pub fn not_believed_of<'a>(networks: &'a ClusterNetworks, never: &NeverOpened) -> BTreeMap<&'a str, Vec<&'a Refused>> {
    let mut of: BTreeMap<&str, Vec<&Refused>> = BTreeMap::new();
    for (name, refused) in networks.refused.iter().filter(|(_, refused)| !never.covers(refused.network)) {
        of.entry(name).or_default().push(refused);
    }
    of
}

fn not_believed(networks: &ClusterNetworks, never: &NeverOpened) -> Option<String> {
    let nodes: Vec<String> = not_believed_of(networks, never)
        .iter()
        .map(|(name, refused)| match refused.len() - 1 {
            0 => format!("Node {name} ({})", refused[0]),
            more => format!("Node {name} ({}, and {more} more)", refused[0]),
        })
        .collect();
    (!nodes.is_empty()).then(|| {
        format!(
            "the operator does not trust the networks that a kubelet reports: {}; a rule by address may open them. Check the \
             Node and its kubelet; write the correct networks into clusterNetworks",
            first_of(nodes, NAMED, ", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::Source,
        cluster::{
            known_networks::shown_by,
            node_networks::{MOST, NodeNetworks, NodeSays},
        },
    };
    use cloister_api::CloisterConfigSpec;
    use serde_json::{Value, json};
    use std::{sync::Arc, time::Instant};

    fn networks(nodes: &[(&str, &[&str], &[&str])]) -> ClusterNetworks {
        let nodes: BTreeMap<Arc<str>, NodeNetworks> = nodes
            .iter()
            .map(|(name, pods, addresses)| {
                let says = NodeSays {
                    pod_cidrs: pods.iter().map(ToString::to_string).collect(),
                    addresses: addresses.iter().map(|one| ("InternalIP".to_owned(), one.to_string())).collect(),
                };
                ((*name).into(), NodeNetworks::believed(&says, None, Instant::now()))
            })
            .collect();
        let services = [("10.96.0.0/16".parse().unwrap(), Source::ServiceCidr("kubernetes".into()))].into();
        ClusterNetworks { services, ..ClusterNetworks::default() }.with_nodes(nodes.iter())
    }

    fn said(
        networks: &ClusterNetworks,
        written: Value,
        unlisted: &[&'static str],
        endpoints: &[&str],
    ) -> (bool, String, String) {
        let spec: CloisterConfigSpec = serde_json::from_value(json!({"clusterNetworks": written})).unwrap();
        let settings = Settings::new(Some(&spec)).around(networks);
        let endpoints = endpoints.iter().map(|address| address.parse().unwrap()).collect();
        let dns = DnsFacts { endpoints, ..DnsFacts::default() };
        let said = known(networks, &settings, unlisted, &dns);
        (said.status == Some(true), said.reason, said.message)
    }

    const WRITE: &str = "write the networks of pods, Services and nodes into clusterNetworks";

    #[test]
    fn what_the_api_says_is_enough_where_nothing_is_outside_of_it() {
        let usual = networks(&[("a", &["10.244.1.0/24"], &["192.0.2.5"])]);
        let (known, reason, message) = said(&usual, json!([]), &[], &["10.244.1.7"]);
        assert!(known && reason == "Known" && message.contains("10.96.0.0/16"), "{message}");
        assert!(said(&ClusterNetworks::default(), json!([]), &[], &[]).0, "there is no Node");
        let sources: Vec<String> = usual.all().map(|(_, source)| source.in_full()).collect();
        assert_eq!(sources, ["ServiceCIDR kubernetes", "the podCIDRs of Node a", "the addresses of Node a"]);
    }

    #[test]
    fn a_pod_outside_of_all_that_is_known_is_told_whatever_is_written_down() {
        let mut without = networks(&[("a", &[], &["192.0.2.5"])]);
        let no_cidrs =
            format!("no Node reports the networks of its pods (podCIDRs), so a rule by address may open pods; {WRITE}");
        assert_eq!(said(&without, json!([]), &[], &[]), (false, "PodNetworksUnknown".to_owned(), no_cidrs));
        without.seen = [("10.128.0.5".parse().unwrap(), "pod kube-system/coredns-1 on Node a".to_owned())].into();
        let outside = |what: &str| {
            let message = format!(
                "no known network of the cluster contains {what}, so a rule by address may open pods. The kubelet of a Node \
                 reports the addresses of its pods: if they are right, {WRITE}; if they are not, ask a platform engineer to \
                 check the Node"
            );
            (false, "PodNetworksUnknown".to_owned(), message)
        };
        let stale = json!(["10.244.0.0/16"]);
        let both = "10.128.0.5 (pod kube-system/coredns-1 on Node a), 10.128.9.5 (an endpoint of Service kube-system/kube-dns)";
        assert_eq!(said(&without, stale.clone(), &[], &["10.128.0.5", "10.128.9.5"]), outside(both));
        assert!(said(&without, json!(["10.128.0.0/16"]), &[], &["10.128.9.5"]).0);
        let (_, reason, message) = said(&without, stale, &["Node"], &[]);
        assert!(reason == "NotListed" && message.contains("10.128.0.5"), "all of it is told: {message}");
    }

    #[test]
    fn what_was_stored_and_is_wider_than_any_cluster_is_told() {
        let usual = networks(&[("a", &["10.244.1.0/24"], &["192.0.2.5"])]);
        let message = "clusterNetworks names 0.0.0.0/0, 2000::/15, which is wider than /8 (IPv6: /16): no rule opens anything \
                       in it by address, and a name that resolves there is closed; name only the networks of pods, Services \
                       and nodes";
        let written = json!(["0.0.0.0/0", "10.0.0.0/8", "fd00::/16", "2000::/15"]);
        assert_eq!(said(&usual, written, &[], &[]), (false, "ClusterNetworksWide".to_owned(), message.to_owned()));
        assert!(said(&usual, json!(["10.0.0.0/8", "fd00::/16"]), &[], &[]).0);
    }

    #[test]
    fn a_node_that_is_not_believed_is_named_unless_somebody_else_says_the_same() {
        let evil =
            networks(&[("a", &["10.244.1.0/24"], &[]), ("evil", &["0.0.0.0/0"], &[]), ("mad", &["10.0.0.0/12"], &[])]);
        let message = "the operator does not trust the networks that a kubelet reports: Node evil (podCIDR 0.0.0.0/0 is wider \
                       than /16 (IPv6: /48)), Node mad (podCIDR 10.0.0.0/12 is wider than /16 (IPv6: /48)); a rule by address \
                       may open them. Check the Node and its kubelet; write the correct networks into clusterNetworks";
        assert_eq!(said(&evil, json!([]), &[], &[]), (false, "NodeNotBelieved".to_owned(), message.to_owned()));
        assert!(!said(&evil, json!(["10.0.0.0/12"]), &[], &[]).2.contains("Node mad"));
        let right = networks(&[("mad", &["10.0.0.0/12"], &[])]);
        assert!(said(&right, json!(["10.0.0.0/12"]), &[], &[]).0);
    }

    #[test]
    fn more_than_the_largest_cluster_has_is_left_out_and_told_addresses_before_pods() {
        let node = |at: u32| {
            let [_, b, c, _] = (at << 8).to_be_bytes();
            let says = NodeSays {
                pod_cidrs: vec![format!("10.{b}.{c}.{}/32", at % 256)],
                addresses: (0..8)
                    .map(|of| ("InternalIP".to_owned(), format!("{}.{b}.{c}.{}", 20 + of, at % 256)))
                    .collect(),
            };
            (Arc::<str>::from(at.to_string()), NodeNetworks::believed(&says, None, Instant::now()))
        };
        let nodes: BTreeMap<Arc<str>, NodeNetworks> = (0..8_000).map(node).collect();
        let all = ClusterNetworks::default().with_nodes(nodes.iter());
        assert_eq!((all.pods.len(), all.pods.len() + all.nodes.len()), (8_000, MOST));
        let (known, reason, message) = said(&all, json!([]), &[], &[]);
        assert!(
            !known && reason == "NodeNotBelieved" && message.contains("65536 networks that are kept of all Nodes"),
            "{message}"
        );
    }

    #[test]
    fn a_cluster_ip_shows_a_part_of_the_network_of_services() {
        assert_eq!(shown_by("10.96.3.7".parse().unwrap()).to_string(), "10.96.3.0/24");
        assert_eq!(shown_by("fd12::7".parse().unwrap()).to_string(), "fd12::/112");
    }
}
