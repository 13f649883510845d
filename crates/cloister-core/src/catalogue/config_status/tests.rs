use super::*;
use crate::cluster::references::Named;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

/// What the settings are judged in, and what stands there.
struct Cluster {
    record: Option<&'static str>,
    networks: ClusterNetworks,
    unlisted: Vec<&'static str>,
    dns: DnsFacts,
    there: There<'static>,
    research: Vec<&'static str>,
    silent_servers: Vec<(SocketAddr, String)>,
    unwatched: BTreeSet<String>,
}

/// One in which nothing is amiss.
fn cluster() -> Cluster {
    let dns = DnsFacts {
        addresses: Some(vec!["10.96.0.10".parse().unwrap()]),
        selector: [("k8s-app".to_owned(), "kube-dns".to_owned())].into(),
        ports: Vec::new(),
        endpoints: vec!["10.244.0.2".parse().unwrap()],
        is_cached_on_nodes: false,
    };
    let pods = [("10.244.0.0/24".parse().unwrap(), "a".into())].into();
    Cluster {
        record: None,
        networks: ClusterNetworks { pods, ..ClusterNetworks::default() },
        unlisted: Vec::new(),
        dns,
        there: There::default(),
        research: Vec::new(),
        silent_servers: Vec::new(),
        unwatched: BTreeSet::new(),
    }
}

impl Cluster {
    fn said(&self, spec: Value) -> Vec<Condition> {
        let config = CloisterConfig::new("cloister", serde_json::from_value(spec).unwrap());
        let stands = |name: &str| self.research.contains(&name);
        let settings = Settings::new(Some(&config.spec)).around(&self.networks).beside(stands);
        let around = Around {
            record: self.record,
            networks: &self.networks,
            unlisted: &self.unlisted,
            dns: &self.dns,
            there: &self.there,
            stands: &stands,
            silent_servers: &self.silent_servers,
            unwatched: &self.unwatched,
        };
        super::config(&config, &settings, &around, Timestamp::UNIX_EPOCH).unwrap().conditions
    }

    /// What is said in one condition: its status, its reason and its message.
    fn of(&self, spec: Value, type_: &str) -> (String, String, String) {
        let found = self.said(spec).into_iter().find(|condition| condition.type_ == type_).unwrap();
        (found.status, found.reason, found.message)
    }

    fn is(&self, spec: Value, type_: &str, status: &str, reason: &str) -> bool {
        let (found, why, _) = self.of(spec, type_);
        (found.as_str(), why.as_str()) == (status, reason)
    }
}

#[test]
fn a_server_that_is_no_address_is_told_and_closes_nothing() {
    for server in ["10.96.0.10:99999", "999.1.1.1:53", "1.2:53", "010.0.0.1:53"] {
        let spec = json!({"dns": {"servers": ["127.0.0.1:53", server]}});
        assert!(cluster().is(spec.clone(), "Stalled", "True", "ConfigUndecodable"), "{server}");
        assert!(Settings::new(serde_json::from_value(spec).ok().as_ref()).usable, "{server}");
    }
    let right = json!({"dns": {"servers": ["127.0.0.1:53", "[2001:db8::53]:5353"]}});
    assert!(cluster().is(right, "Ready", "True", "Reconciled"));
    let both = json!({"dns": {"servers": ["1.2:53", "1.3:53"], "nodeLocalAddresses": ["169.254.20.300"]}});
    let (_, reason, message) = cluster().of(both, "Ready");
    assert_eq!(reason, "ConfigUndecodable");
    for wrong in ["1.2:53", "1.3:53", "169.254.20.300"] {
        assert!(message.contains(wrong), "{message}");
    }
}

#[test]
fn access_networks_that_are_everything_are_told_and_none_of_them_is_open() {
    for everything in [json!(["0.0.0.0/0", "::/0"]), json!(["0.0.0.0/1", "128.0.0.0/1", "10.8.0.0/16"])] {
        let spec = json!({"accessNetworks": everything});
        assert!(cluster().is(spec.clone(), "Stalled", "True", "SettingRefused"), "{spec}");
        let settings = Settings::new(serde_json::from_value(spec).ok().as_ref());
        assert!(settings.usable && settings.spec.access_networks.is_empty());
    }
}

#[test]
fn what_cannot_be_seen_of_the_cluster_is_told() {
    let mut cluster = Cluster { dns: DnsFacts::default(), ..cluster() };
    cluster.networks = ClusterNetworks { node_count: 2, ..ClusterNetworks::default() };
    cluster.unlisted = vec!["Node"];
    assert!(cluster.is(json!({}), "ClusterNetworksKnown", "False", "NotListed"));
    cluster.unlisted.clear();
    assert!(cluster.is(json!({}), "ClusterNetworksKnown", "False", "PodNetworksUnknown"));
    let written = json!({"clusterNetworks": ["10.244.0.0/16"]});
    assert!(cluster.is(written, "ClusterNetworksKnown", "True", "Known"));
    cluster.networks.pods.insert("10.244.1.0/24".parse().unwrap(), "a".into());
    assert!(cluster.is(json!({}), "ClusterNetworksKnown", "True", "Known"));
    assert!(cluster.is(json!({}), "DNSReachable", "False", "DNSServiceNotFound"));
    assert!(cluster.is(json!({}), "PolicyKindsWatched", "True", "Watched"));
    cluster.unwatched.insert("globalnetworkpolicies.crd.projectcalico.org".to_owned());
    assert!(cluster.is(json!({}), "PolicyKindsWatched", "False", "Unwatched"));
}

#[test]
fn what_is_found_is_said_by_kinds_and_the_dns_is_none_of_it() {
    let cluster = Cluster { dns: DnsFacts::default(), ..cluster() };
    assert!(cluster.is(json!({}), "DNSReachable", "False", "DNSServiceNotFound"));
    let (status, reason, message) = cluster.of(json!({}), "ReferencesFound");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Found"));
    assert_eq!(
        message,
        "the AccessPolicies, RuntimeClasses, Namespaces, StorageClasses, CSIDrivers and PriorityClasses that the settings name \
         and use exist; for the DNS that they name, see DNSReachable"
    );
    assert!(Named::ALL.iter().all(|kind| message.contains(kind.as_str().trim_end_matches('y'))), "{message}");
}

/// `kubectl get` shows the reason and the message of Ready alone.
#[test]
fn ready_says_the_worst_of_what_does_not_work_and_where_to_read_of_the_rest() {
    let mut cluster = cluster();
    assert_eq!(cluster.of(json!({}), "Ready"), ("True".into(), "Reconciled".into(), "in force".into()));
    cluster.unwatched.insert("globalnetworkpolicies.crd.projectcalico.org".to_owned());
    let (status, reason, message) = cluster.of(json!({}), "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Unwatched"));
    assert!(message.starts_with("in force, but: the operator does not watch globalnetworkpolicies"), "{message}");
    cluster.there.names.insert(Named::AccessPolicy, vec!["egress"]);
    let (_, reason, message) = cluster.of(json!({"egress": {"accessPolicy": "egres"}}), "Ready");
    assert_eq!(reason, "ReferenceNotFound");
    assert_eq!(
        message,
        "in force, but: egress.accessPolicy names AccessPolicy egres, which does not exist (did you mean egress?): no \
         EgressGrant can be decided; create what is missing, or name another there; see also PolicyKindsWatched"
    );
    cluster.dns = DnsFacts::default();
    assert!(cluster.is(json!({}), "Ready", "True", "DNSServiceNotFound"));
    cluster.record = Some("the disk is full");
    let (_, reason, message) = cluster.of(json!({"egress": {"accessPolicy": "egres"}}), "Ready");
    assert_eq!(reason, "AuditUnavailable");
    assert!(message.ends_with("; see also DNSReachable and ReferencesFound and PolicyKindsWatched"), "{message}");
}

/// What stops the settings does not hide what else does not work, nor what cannot be seen.
#[test]
fn ready_says_where_to_read_of_the_rest_also_where_a_setting_is_refused() {
    let mut cluster = Cluster { research: vec!["interp"], ..cluster() };
    let refused =
        json!({"credentialNamespaces": ["interp"], "dns": {"podSelector": {"matchLabels": {"app": "coredns"}}}});
    let (status, reason, message) = cluster.of(refused, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "SettingRefused"));
    assert!(message.ends_with("or delete ResearchNamespace interp first; see also DNSReachable"), "{message}");
    cluster.research.clear();
    let doubtful = json!({"dns": {"podSelector": {"matchLabels": {"app": "coredns"}}}});
    let (status, reason, message) = cluster.of(doubtful.clone(), "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "DNSPodsUnknown"));
    assert!(message.starts_with("in force, but: dns.podSelector is app=coredns, and the selector of"), "{message}");
    cluster.unwatched.insert("globalnetworkpolicies.crd.projectcalico.org".to_owned());
    let (_, reason, message) = cluster.of(doubtful, "Ready");
    assert!(reason == "Unwatched" && message.ends_with("; see also DNSReachable"), "what is certain first: {message}");
    cluster.unwatched.clear();
    let all = json!({"dns": {"podSelector": {}}});
    assert!(cluster.is(all.clone(), "DNSReachable", "True", "DNSSelectorWide"));
    assert!(cluster.is(all, "Ready", "True", "DNSSelectorWide"));
}

#[test]
fn addresses_and_times_that_are_not_in_force_are_told() {
    let cluster = cluster();
    let spec = json!({"accessNetworks": ["10.244.0.0/24"], "dns": {"nodeLocalAddresses": ["8.8.8.8"]}});
    let (status, reason, message) = cluster.of(spec, "Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "SettingRefused"));
    for entry in ["spec.accessNetworks contains 10.244.0.0/24", "spec.dns.nodeLocalAddresses contains 8.8.8.8"] {
        assert!(message.contains(entry), "{message}");
    }
    let (status, reason, message) = cluster.of(json!({"accessNetworks": ["10.244.0.0/23"]}), "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Reconciled"));
    assert_eq!(
        message,
        "in force; accessNetworks 10.244.0.0/23 is in force without the networks in it that people cannot connect from, such \
         as 10.244.0.0/24 (the podCIDRs of Node a)"
    );
    let (status, reason, message) = cluster.of(json!({"invalidateGrantsBefore": "1970-01-01T01:00:01Z"}), "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "SettingRefused"));
    assert_eq!(
        message,
        "spec.invalidateGrantsBefore is 1970-01-01T01:00:01Z, which is more than an hour in the future, so it is not in force: \
         it ends and rejects nothing; to end all approved grants immediately, write the current time"
    );
    assert!(cluster.is(json!({"invalidateGrantsBefore": "1970-01-01T01:00:00Z"}), "Ready", "True", "Reconciled"));
}

#[test]
fn servers_that_do_not_answer_are_told() {
    let silent_servers = vec![("127.0.0.1:25399".parse().unwrap(), "request timed out".to_owned())];
    let cluster = Cluster { silent_servers, ..cluster() };
    let (status, reason, message) = cluster.of(json!({"dns": {"servers": ["127.0.0.1:25399"]}}), "DNSReachable");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "DNSServersSilent"));
    assert_eq!(
        message,
        "the operator has no answer from 127.0.0.1:25399 (request timed out): a name for which no other server has an answer \
         is not opened, and closes if it is open (dns.resolution.stale); correct dns.servers, or let the operator's pod reach \
         them"
    );
    let (_, _, message) = cluster.of(json!({}), "DNSReachable");
    assert!(
        message.ends_with("they are the endpoints of the DNS Service: let the operator's pod reach them"),
        "{message}"
    );
}

#[test]
fn an_entry_that_names_a_live_research_namespace_is_passed_over_and_told() {
    let cluster = Cluster { research: vec!["interp"], ..cluster() };
    let lists = [
        ("workloads.controllerNamespaces", json!({"workloads": {"controllerNamespaces": ["kubeflow", "interp"]}})),
        ("credentialNamespaces", json!({"credentialNamespaces": ["vault", "interp"]})),
        ("gateways", json!({"gateways": [{"name": "hub", "namespace": "interp", "podSelector": {}}]})),
    ];
    for (field, spec) in lists {
        let (status, reason, message) = cluster.of(spec.clone(), "Stalled");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "SettingRefused"), "{field}");
        assert_eq!(
            message,
            format!(
                "{field} names interp, which is an existing research namespace, so that entry is not in force; remove it, or \
                 delete ResearchNamespace interp first"
            )
        );
        let spec = serde_json::from_value(spec).unwrap();
        let settings = Settings::new(Some(&spec)).beside(|name| name == "interp");
        assert_eq!(settings.reserved("interp"), None, "{field}: it stays open");
        assert!(
            Settings::new(Some(&spec)).reserved("interp").is_some(),
            "{field}: one that does not stand yet is refused"
        );
        for other in ["kubeflow", "vault"] {
            assert_eq!(settings.reserved(other), Settings::new(Some(&spec)).reserved(other), "{field}");
        }
    }
    let (_, reason, message) = cluster.of(json!({"dns": {"namespace": "interp"}}), "Ready");
    assert_eq!(reason, "SettingRefused");
    assert!(message.contains("dns.namespace names interp, which is a research namespace: it is closed"), "{message}");
    assert!(Settings::new(None).beside(|_| true).passed_over.len() == 1, "the default credential namespace");
}
