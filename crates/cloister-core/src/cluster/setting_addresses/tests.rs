use crate::{
    address::{Source, never::NeverOpened},
    cluster::{known_networks::ClusterNetworks, settings::Settings},
};
use cloister_api::CloisterConfigSpec;
use serde_json::{Value, json};

/// Settings in a cluster whose Service addresses and one of whose Nodes are known.
fn settings(spec: Value) -> Settings {
    let spec: CloisterConfigSpec = serde_json::from_value(spec).unwrap();
    let cluster = ClusterNetworks {
        services: [
            ("10.96.0.0/16".parse().unwrap(), Source::ServiceCidr("kubernetes".into())),
            ("203.0.113.0/28".parse().unwrap(), Source::ServiceCidr("public".into())),
        ]
        .into(),
        nodes: [("10.0.3.7".parse().unwrap(), "a".into())].into(),
        ..ClusterNetworks::default()
    };
    Settings::new(Some(&spec)).around(&cluster)
}

fn caches(addresses: &[&str]) -> (Vec<String>, Vec<String>) {
    let settings = settings(json!({"dns": {"nodeLocalAddresses": addresses}}));
    (settings.spec.dns.node_local_addresses, settings.not_in_force)
}

#[test]
fn a_dns_cache_is_in_the_cluster_and_no_metadata_service() {
    let right = [
        "169.254.20.10",
        "169.254.25.10",
        "10.96.0.10",
        "10.0.3.7",
        "203.0.113.10",
        "100.64.0.10",
        "fd00::10",
        "fe80::10",
    ];
    assert_eq!(caches(&right), (right.map(str::to_owned).to_vec(), Vec::new()));
    let closed = |address: &str, why: &str| {
        let said = format!(
            "spec.dns.nodeLocalAddresses contains {address}, which is {why}, so that entry is not in force; name the address \
             that the DNS cache of the nodes listens on, such as 169.254.20.10"
        );
        assert_eq!(caches(&[address, "169.254.20.10"]), (vec!["169.254.20.10".to_owned()], vec![said]), "{address}");
    };
    for metadata in [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fe80::a9fe:a9fe",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
    ] {
        closed(metadata, "the address of a metadata service");
    }
    for elsewhere in ["8.8.8.8", "203.0.113.53", "2001:4860:4860::8888", "2002:808:808::", "64:ff9b::808:808"] {
        closed(elsewhere, "neither an address of the cluster nor link-local nor private");
    }
    closed("127.0.0.1", "one of the addresses that lead back to the pod or its node");
    closed("::ffff:8.8.8.8", "one of the IPv6 that could stand for any IPv4 address");
}

#[test]
fn nobody_comes_from_the_clusters_own_networks() {
    let access = |networks: &[&str]| {
        let spec = json!({"accessNetworks": networks, "clusterNetworks": ["10.128.0.0/14", "10.200.0.0/16"]});
        let settings = settings(spec);
        (settings.spec.access_networks, settings.not_in_force, settings.narrowed)
    };
    for (network, known) in [
        ("10.128.0.0/14", "10.128.0.0/14 (clusterNetworks of CloisterConfig)"),
        ("10.130.7.0/24", "10.128.0.0/14 (clusterNetworks of CloisterConfig)"),
        ("10.96.0.0/16", "10.96.0.0/16 (ServiceCIDR kubernetes)"),
        ("10.0.3.7/32", "10.0.3.7/32 (the addresses of Node a)"),
        ("169.254.0.0/16", "169.254.0.0/16 (the addresses of metadata services and agents of the node)"),
        ("127.0.0.0/8", "127.0.0.0/8 (addresses that lead back to the pod or its node)"),
        ("64:ff9b::a80:0/110", "10.128.0.0/14 (clusterNetworks of CloisterConfig)"),
    ] {
        let said = format!(
            "spec.accessNetworks contains {network}, but people connect from outside the cluster: it overlaps {known}, so that \
             entry is not in force; name the networks that people connect from, such as the VPN"
        );
        assert_eq!(
            access(&[network, "10.8.0.0/16"]),
            (vec!["10.8.0.0/16".to_owned()], vec![said], vec![]),
            "{network}"
        );
    }
    let (networks, refused, narrowed) = access(&["10.0.3.4/30", "10.8.0.0/16"]);
    assert_eq!(networks, ["10.0.3.4/31", "10.0.3.6/32", "10.8.0.0/16"]);
    assert!(refused.is_empty());
    assert_eq!(
        narrowed,
        ["accessNetworks 10.0.3.4/30 is in force without the networks in it that people cannot connect from, such as \
             10.0.3.7/32 (the addresses of Node a)"]
    );
    // Whatever is cut out of it, what is left is what a policy may open.
    let (networks, refused, _) = access(&["10.0.0.0/8"]);
    assert!(networks.is_empty() && refused.len() == 1, "{networks:?} {refused:?}");
    assert!(refused[0].contains("it has more networks than a policy may open"), "{refused:?}");
}

/// What is in force is looked at anew with what is known of the cluster: nothing that it leaves out stays away for ever.
#[test]
fn what_is_in_force_follows_the_cluster() {
    let again = settings(json!({"accessNetworks": ["10.0.3.0/24"]})).around(&ClusterNetworks::default());
    assert_eq!((again.spec.access_networks.as_slice(), again.narrowed.len()), (&["10.0.3.0/24".to_owned()][..], 0));
    assert_eq!(again.never, NeverOpened::new(&[]));
}
