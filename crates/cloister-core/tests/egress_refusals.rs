//! Each way in which a rule stays closed, and what it says of itself.

use cloister_api::{EgressRule, EgressState, ServiceReference, StorageEndpoint};
use cloister_core::{
    address::{NeverOpened, PolicyPortNumber, Refusal, Selector, Source},
    egress::{
        COVERED, Covered, NOT_COVERED, Opened, PARTLY_COVERED, Peers, PodOnNode, ServiceFacts, ServicePortFacts,
        Surroundings, open_covered, open_endpoint, open_rule, open_rule_in_part,
    },
};
use serde_json::{Value, json};

fn rule(target: Value) -> EgressRule {
    let mut rule = json!({"name": "rule", "ports": [{"port": 443}]});
    rule.as_object_mut().unwrap().extend(target.as_object().unwrap().clone());
    serde_json::from_value(rule).unwrap()
}

/// `infra/cache` is an ordinary Service, `infra/elsewhere` an ExternalName, `infra/manual` has no selector.
fn services(reference: &ServiceReference) -> Option<ServiceFacts> {
    let port = |port, target| ServicePortFacts { protocol: Default::default(), port, target };
    let mut facts = ServiceFacts {
        uid: String::new(),
        selector: [("app".to_owned(), "cache".to_owned())].into(),
        external_name: false,
        on_node: None,
        ports: vec![
            port(443, PolicyPortNumber::Number(8443)),
            port(444, PolicyPortNumber::Name("metrics".to_owned())),
            port(445, PolicyPortNumber::Number(0)),
        ],
    };
    match (reference.namespace.as_str(), reference.name.as_str()) {
        ("infra", "cache") => {}
        ("infra", "elsewhere") => facts.external_name = true,
        ("infra", "manual") => facts.selector.clear(),
        ("infra", "nodes") => facts.on_node = Some(PodOnNode { pod: "cache-1".into(), node: "worker-1".into() }),
        _ => return None,
    }
    Some(facts)
}

fn never() -> NeverOpened {
    let sources = [
        ("10.96.0.1/32", Source::ApiServer),
        ("192.0.2.6/32", Source::ApiServer),
        ("10.96.0.0/12", Source::ServiceCidr("kubernetes".into())),
        ("10.244.1.0/24", Source::PodCidr("worker-1".into())),
        ("192.0.2.8/32", Source::NodeAddress("worker-1".into())),
        ("10.20.0.0/14", Source::ClusterNetworks),
    ];
    NeverOpened::of(sources.map(|(network, source)| (network.parse().unwrap(), source)))
}

fn refusal(rule: &EgressRule) -> Refusal {
    let (never, covered) = (never(), covered(rule, &[("itself", rule)]));
    let refusal = open_rule(rule, &Surroundings { never: &never, services: &services, wildcards: false }).unwrap_err();
    assert_eq!(covered.openings, [], "what is refused does not cover itself");
    assert_eq!((covered.state, covered.reason.as_str()), (EgressState::Refused, refusal.reason()));
    assert_eq!(covered.message, refusal.to_string());
    refusal
}

fn covered(rule: &EgressRule, allowed: &[(&str, &EgressRule)]) -> Covered {
    open_covered(rule, allowed, &Surroundings { never: &never(), services: &services, wildcards: false })
}

fn service(name: &str, ports: Value) -> EgressRule {
    rule(json!({"service": {"namespace": "infra", "name": name}, "ports": ports}))
}

#[test]
fn every_refusal_says_what_it_is_about() {
    let selector = json!({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]});
    let cases = [
        (rule(json!({"domainNames": ["*.arxiv.org"]})), "WildcardNotEnforceable", "*.arxiv.org"),
        (rule(json!({"domainNames": ["*.co.uk"]})), "NameInvalid", "*.co.uk"),
        (rule(json!({"domainNames": ["203.0.113.9"]})), "NameInvalid", "networks"),
        (
            rule(
                json!({"privateEndpoint": {"domainName": "acct.blob.example", "expectedNetworks": ["169.254.0.0/16"]}}),
            ),
            "NetworksNeverOpened",
            "169.254.0.0/16",
        ),
        (rule(json!({})), "TargetInvalid", "exactly one"),
        (rule(json!({"networks": []})), "TargetInvalid", "at least one"),
        (rule(json!({"domainNames": []})), "TargetInvalid", "at least one"),
        (rule(json!({"networks": ["10.0.0.0/8"], "domainNames": ["a.example"]})), "TargetInvalid", "exactly one"),
        (service("gone", json!([{"port": 443}])), "ServiceNotFound", "infra/gone"),
        (service("nodes", json!([{"port": 443}])), "ServiceOnNodes", "selects pod infra/cache-1 on Node worker-1"),
        (
            rule(json!({"service": {"namespace": "default", "name": "kubernetes"}})),
            "ApiServer",
            "Service default/kubernetes is the API server",
        ),
        (rule(json!({"networks": ["10.96.0.1/32"]})), "ApiServer", "10.96.0.1/32 is the API server"),
        (rule(json!({"networks": ["192.0.2.6/32"]})), "ApiServer", "192.0.2.6/32"),
        (rule(json!({"domainNames": ["kubernetes.default.svc"]})), "ApiServer", "kubernetes.default.svc"),
        (rule(json!({"domainNames": ["cache.infra.svc.cluster.local"]})), "NameInvalid", "name the Service"),
        (service("manual", json!([{"port": 443}])), "ServiceWithoutSelector", "infra/manual"),
        (service("elsewhere", json!([{"port": 443}])), "ServiceExternalName", "infra/elsewhere"),
        (service("cache", json!([{"port": 443}, {"port": 80}])), "ServicePortNotFound", "TCP/80"),
        (service("cache", json!([{"port": 443, "protocol": "UDP"}])), "ServicePortNotFound", "UDP/443"),
        (service("cache", json!([{"port": 500, "endPort": 600}])), "ServicePortNotFound", "TCP/500-600"),
        (service("cache", json!([{"port": 445}])), "ServicePortNotFound", "TCP/445"),
        (
            rule(json!({"networks": ["169.254.0.0/16", "169.254.7.0/24"]})),
            "NetworksNeverOpened",
            "169.254.0.0/16, 169.254.7.0/24",
        ),
        (rule(json!({"networks": ["20.0.0.0/7"]})), "NetworksTooWide", "20.0.0.0/7"),
        (rule(json!({"networks": ["203.0.113.1"]})), "NetworkInvalid", "\"203.0.113.1\""),
        (rule(json!({"networks": ["203.0.113.1/24"]})), "NetworkInvalid", "bits set after the prefix"),
        (rule(json!({"networks": ["::ffff:203.0.113.0/120"]})), "NetworkInvalid", "IPv4-mapped"),
        (rule(json!({"networks": ["203.0.113.0/24"], "ports": []})), "PortsInvalid", "names none"),
        (service("cache", json!([])), "PortsInvalid", "names none"),
        (rule(json!({"networks": ["203.0.113.0/24"], "ports": [{"port": 0}]})), "PortsInvalid", "0 is not a port"),
        (
            rule(json!({"networks": ["203.0.113.0/24"], "ports": [{"port": 9, "endPort": 8}]})),
            "PortsInvalid",
            "less than",
        ),
        (rule(json!({"networks": ["203.0.113.0/24"], "podSelector": selector})), "PodSelectorInvalid", "Gt on app"),
    ];
    for (rule, reason, about) in cases {
        let refusal = refusal(&rule);
        assert_eq!(refusal.reason(), reason, "{refusal}");
        assert!(refusal.to_string().contains(about), "{refusal}");
        assert!(refusal.to_string().is_ascii() && !refusal.to_string().contains('\n'), "{refusal}");
    }
}

#[test]
fn a_network_that_is_never_opened_is_told_with_where_it_is_and_who_can_help() {
    let by_name = "to reach something in the cluster, name its Service";
    for (network, said) in [
        ("10.97.0.0/16", format!("it is in 10.96.0.0/12 (ServiceCIDR kubernetes); {by_name}")),
        (
            "10.244.1.8/29",
            format!(
                "it is in 10.244.1.0/24 (the podCIDRs of a Node); {by_name}; if it is outside the cluster, ask a platform \
                 engineer which Node has it"
            ),
        ),
        (
            "192.0.2.8/32",
            format!(
                "it is in 192.0.2.8/32 (the addresses of a Node); {by_name}; if it is outside the cluster, ask a platform \
                 engineer which Node has it"
            ),
        ),
        (
            "10.20.5.0/24",
            format!(
                "it is in 10.20.0.0/14 (clusterNetworks of CloisterConfig); {by_name}; if it is outside the cluster, ask a \
                 policy administrator (ClusterRole cloister:policy-admin) to name only the networks of pods, Services and \
                 nodes in clusterNetworks"
            ),
        ),
        (
            "169.254.169.254/32",
            "it is in 169.254.0.0/16 (the addresses of metadata services and agents of the node); get cloud credentials \
             through a StorageAccessGrant, not from a metadata service or an agent on the node; a DNS cache on the node \
             belongs in dns.nodeLocalAddresses of CloisterConfig"
                .to_owned(),
        ),
        ("127.0.0.0/8", "it is in 127.0.0.0/8 (addresses that lead back to the pod or its node); remove it".to_owned()),
    ] {
        let expected = format!("{network} is never opened by address: {said}");
        assert_eq!(refusal(&rule(json!({"networks": [network]}))).to_string(), expected);
        let endpoint = json!({"domainName": "weights.example.com", "expectedNetworks": [network]});
        assert_eq!(refusal(&rule(json!({"privateEndpoint": endpoint}))).to_string(), expected);
    }
    let both = covered(&rule(json!({"networks": ["192.0.2.8/32", "127.0.0.1/32"]})), &[]);
    assert_eq!(both.refused.len(), 2, "each by itself: {}", both.message);
}

/// Of a Service that no allowlist here names, nobody learns whether it is there.
#[test]
fn a_service_that_nobody_here_may_use_is_no_other_than_one_that_does_not_exist() {
    let named = service("cache", json!([{"port": 443}]));
    let said = |name: &str, port: u16| {
        let covered = covered(&service(name, json!([{"port": port}])), &[("tools", &named)]);
        assert_eq!((covered.state, covered.reason.as_str()), (EgressState::NeedsGrant, NOT_COVERED));
        assert_eq!((covered.openings.len(), covered.refused.len()), (0, 0));
        format!("{}. {}", covered.message, covered.advice).replace(name, "NAME")
    };
    let absent = said("gone", 443);
    for name in ["elsewhere", "manual", "nodes"] {
        assert_eq!(said(name, 443), absent, "{name}");
        assert_eq!(said(name, 80), absent, "{name}");
    }
    assert_eq!(
        absent,
        "no EgressAllowlist that this namespace may use, and no EgressGrant of it, names Service infra/NAME. Ask for an \
         EgressGrant of this rule, unless one waits already (`kubectl explain egressgrant.spec`), ask a catalogue administrator for an \
         EgressAllowlist that covers it (`kubectl get egressallowlists` lists what there is), or ask the owner of namespace infra for the \
         name of the Service"
    );
    assert!(said("cahce", 443).contains("names Service infra/NAME (did you mean infra/cache?). "));
    // An allowlist may be the one that is misspelt: what does not exist is not meant.
    let misspelt = service("cahce", json!([{"port": 443}]));
    let exists = covered(&service("cache", json!([{"port": 443}])), &[("tools", &misspelt)]);
    assert_eq!(format!("{}. {}", exists.message, exists.advice), absent.replace("NAME", "cache"));
    // What is named may be told.
    let there = covered(&service("cache", json!([{"port": 80}])), &[("tools", &named)]);
    assert_eq!(there.reason, "ServicePortNotFound");
    let api_server = rule(json!({"service": {"namespace": "default", "name": "kubernetes"}}));
    assert_eq!(covered(&api_server, &[]).reason, "ApiServer");
}

#[test]
fn a_name_that_the_rule_has_too_is_not_meant_by_another() {
    let github = rule(json!({"domainNames": ["github.com"]}));
    let said = |names: &[&str]| covered(&rule(json!({"domainNames": names})), &[("code", &github)]).message;
    assert!(said(&["gitlab.com"]).contains("covers gitlab.com on TCP/443 (did you mean github.com?)"));
    let both = said(&["github.com", "gitlab.com"]);
    assert!(both.ends_with("covers gitlab.com on TCP/443; the rest is covered by EgressAllowlist code"), "{both}");
}

#[test]
fn a_service_leads_to_its_pods() {
    let ports = json!([{"port": 440, "endPort": 450}, {"port": 443}]);
    let rule = service("cache", ports);
    let opening = open_rule(&rule, &Surroundings { never: &never(), services: &services, wildcards: false }).unwrap();
    assert_eq!(
        serde_json::to_value(opening.to_network_policy_spec()).unwrap(),
        json!({
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [{
                "to": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "infra"}},
                    "podSelector": {"matchLabels": {"app": "cache"}},
                }],
                "ports": [{"protocol": "TCP", "port": 8443}, {"protocol": "TCP", "port": "metrics"}],
            }],
        })
    );
}

#[test]
fn a_storage_endpoint_opens_for_the_pods_of_the_mount() {
    let endpoint: StorageEndpoint =
        serde_json::from_value(json!({"networks": ["203.0.113.0/24"], "ports": [{"port": 443}]})).unwrap();
    let pods = serde_json::from_value(json!({"matchLabels": {"app": "trainer"}})).unwrap();
    let surroundings = Surroundings { never: &never(), services: &services, wildcards: false };
    let opening = open_endpoint(&endpoint, Some(&pods), &surroundings).unwrap();
    assert_eq!(Ok(opening.pods), Selector::parse(Some(&pods)));
    let nothing = StorageEndpoint { networks: None, ..endpoint };
    assert_eq!(open_endpoint(&nothing, None, &surroundings), Err(Refusal::TargetInvalid));
}

/// Of a wildcard that stands for storage that anybody can have, it is not said that an allowlist with it is of use.
#[test]
fn a_wildcard_is_said_to_cover_what_it_covers() {
    for (name, covers) in [
        (
            "*.arxiv.org",
            " (in an allowlist, the name covers egress.rules of the ResearchNamespace that name hosts below it)",
        ),
        ("*.core.windows.net", ""),
        ("*.amazonaws.com", ""),
    ] {
        let s = Surroundings { never: &never(), services: &services, wildcards: false };
        let closed = open_rule_in_part(&rule(json!({"domainNames": [name]})), &s).closed;
        assert_eq!(
            closed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [format!(
                "{name} cannot be opened by addresses, because nobody can list the names that it stands for; name the hosts \
                 that are needed{covers}, or use a network plugin that sees names (egress.backend of CloisterConfig)"
            )]
        );
    }
}

#[test]
fn an_item_that_cannot_be_opened_closes_itself_and_is_named() {
    let names = ["huggingface.co", "pypi.org", "*.githubusercontent.com", "*.blob.core.windows.net", "a..b"];
    let networks = ["192.30.252.0/22", "2000::/3", "203.0.113.1", "169.254.170.23/32"];
    for (target, open, closed) in [
        (json!({"domainNames": names}), 2, vec!["*.githubusercontent.com", "*.blob.core.windows.net", "a..b"]),
        (json!({"domainNames": ["a.example.com", "*.arxiv.org", "*.acm.org"]}), 1, vec!["*.acm.org, *.arxiv.org"]),
        (json!({"networks": networks}), 1, vec!["2000::/3", "203.0.113.1", "169.254.170.23/32"]),
    ] {
        let rule = rule(target);
        let s = Surroundings { never: &never(), services: &services, wildcards: false };
        let Opened { opening, closed: refusals } = open_rule_in_part(&rule, &s);
        match opening.unwrap().peers {
            Peers::Networks(networks) => assert_eq!(networks.len(), open),
            Peers::Hosts(hosts) => assert_eq!(hosts.len(), open),
            Peers::Pods { .. } => unreachable!(),
        }
        let said: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        for closed in closed {
            assert!(said.iter().any(|said| said.contains(closed)), "{closed}: {said:?}");
        }
        // It covers itself as far as it opens.
        let covered = covered(&rule, &[("itself", &rule)]);
        assert_eq!((covered.state, &covered.refused), (EgressState::Active, &refusals));
    }
}

#[test]
fn two_rules_together_cover_one() {
    let own = rule(json!({"networks": ["203.0.112.0/23"], "ports": [{"port": 20, "endPort": 30}]}));
    let lower = rule(json!({"networks": ["203.0.112.0/24"], "ports": [{"port": 1, "endPort": 25}]}));
    let upper = rule(json!({"networks": ["203.0.113.0/24"], "ports": [{"port": 1, "endPort": 65535}]}));
    let rest = rule(json!({"networks": ["203.0.0.0/16"], "ports": [{"port": 26, "endPort": 40}]}));
    let all = covered(&own, &[("a", &lower), ("b", &upper), ("b", &rest), ("a", &lower)]);
    assert_eq!((all.state, all.reason.as_str(), all.openings.len()), (EgressState::Active, COVERED, 3));
    assert_eq!(all.message, "covered by EgressAllowlist a, b");

    let some = covered(&own, &[("a", &lower), ("b", &upper)]);
    assert_eq!((some.state, some.reason.as_str(), some.openings.len()), (EgressState::NeedsGrant, PARTLY_COVERED, 2));
    let said = "covers 203.0.112.0/24 on TCP/26-30; the rest is covered by EgressAllowlist a, b";
    assert!(some.message.contains(said), "{}", some.message);

    let none = covered(&own, &[]);
    assert_eq!((none.state, none.reason.as_str(), none.openings.len()), (EgressState::NeedsGrant, NOT_COVERED, 0));
    assert!(none.message.ends_with("covers 203.0.112.0/23 on TCP/20-30"), "{}", none.message);
    assert!(none.advice.starts_with("Ask for an EgressGrant of this rule"), "{}", none.advice);
}

#[test]
fn the_ports_of_one_rule_do_not_reach_the_networks_of_another() {
    let own = rule(json!({"networks": ["203.0.112.0/23"], "ports": [{"port": 22}, {"port": 443}]}));
    let a = rule(json!({"networks": ["203.0.112.0/24"], "ports": [{"port": 443}]}));
    let b = rule(json!({"networks": ["203.0.113.0/24"], "ports": [{"port": 22}]}));
    let covered = covered(&own, &[("a", &a), ("b", &b)]);
    assert_eq!(covered.openings.len(), 2);
    assert!(covered.message.contains("203.0.112.0/24 on TCP/22; 203.0.113.0/24 on TCP/443"), "{}", covered.message);
}

#[test]
fn a_rule_for_some_pods_covers_those_alone() {
    let own = rule(json!({"networks": ["203.0.113.0/24"]}));
    let labelled =
        |app: &str| rule(json!({"networks": ["203.0.113.0/24"], "podSelector": {"matchLabels": {"app": app}}}));
    let sync = labelled("sync");
    let part = covered(&own, &[("lab", &sync)]);
    assert_eq!((part.state, part.reason.as_str()), (EgressState::NeedsGrant, PARTLY_COVERED));
    assert!(part.message.contains("EgressAllowlist lab covers some of it, but only for pods"), "{}", part.message);
    assert_eq!(Ok(&part.openings[0].pods), Selector::parse(sync.pod_selector.as_ref()).as_ref());
    assert_eq!(covered(&sync, &[("lab", &sync)]).state, EgressState::Active);

    let both = covered(&labelled("other"), &[("lab", &sync)]);
    assert_eq!((both.state, both.reason.as_str()), (EgressState::NeedsGrant, NOT_COVERED));
    assert_eq!(both.openings, [], "no pod has two values of one label");
}

#[test]
fn only_the_same_service_covers_a_service() {
    let own = service("cache", json!([{"port": 443}, {"port": 444}]));
    let web = service("cache", json!([{"port": 443}]));
    // With nothing that names it, not even that is said.
    assert!(!covered(&web, &[]).message.contains("TCP"));
    let part = covered(&own, &[("infra", &web)]);
    assert_eq!(part.state, EgressState::NeedsGrant);
    assert!(part.message.contains("covers Service infra/cache on TCP/444"), "{}", part.message);
    let networks = rule(json!({"networks": ["0.0.0.0/0"]}));
    assert_eq!(covered(&web, &[("all", &networks)]).openings, []);
    assert_eq!(covered(&web, &[("infra", &own)]).state, EgressState::Active);
}
