use super::*;
use crate::{
    address::{NeverOpened, Source},
    dns::{Answer, Host, Where},
};
use cloister_api::EgressState;
use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use std::net::IpAddr;

fn need(number: usize, hosts: usize, addresses: usize, text: usize, ttl: i64) -> EgressStatus {
    let host = |at: usize| HostStatus {
        name: format!("{at}.{}", "x".repeat(text.min(250))),
        addresses: (0..addresses).map(|end| format!("2001:db8:1111:2222:3333:4444:5555:{end:04x}")).collect(),
        count: u32::MAX,
        ttl_seconds: Some(ttl),
        looked_up_at: Some(Time(jiff::Timestamp::UNIX_EPOCH)),
        reason: "OutsideExpectedNetworks".into(),
    };
    EgressStatus {
        name: format!("rule/{number}"),
        state: EgressState::Unresolved,
        reason: "OutsideExpectedNetworks".into(),
        message: "\u{e9}".repeat(text),
        enforcement: Some(Enforcement::AddressSet),
        hosts: (0..hosts).map(host).collect(),
        host_count: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is declared, what is said of it fits, says how much is missing, and is the same at the next look.
    #[test]
    fn a_status_always_fits(
        needs in 0_usize..=256, hosts in 0_usize..=32, addresses in 0_usize..=16, text in 0_usize..2000,
    ) {
        let all = |ttl| (0..needs).map(|number| need(number, hosts, addresses, text, ttl)).collect::<Vec<_>>();
        let mut said = all(9);
        bound(&mut said);
        let bytes = serde_json::to_vec(&said).unwrap().len();
        prop_assert!(bytes <= 512 * 1024, "{bytes} bytes");
        prop_assert_eq!(said.len(), needs);
        for need in &said {
            let listed = need.hosts.len();
            let expected = (listed < hosts).then(|| u32::try_from(hosts).unwrap());
            prop_assert_eq!(need.host_count, expected);
        }
        let mut later = all(86_400);
        bound(&mut later);
        let counts = |said: &[EgressStatus]| said.iter().map(|need| need.hosts.len()).collect::<Vec<_>>();
        prop_assert_eq!(counts(&said), counts(&later));
    }
}

#[test]
fn a_private_endpoint_is_advised_only_where_one_would_open_it() {
    let never = NeverOpened::of([
        ("10.96.0.1/32".parse().unwrap(), Source::ApiServer),
        ("10.96.0.0/16".parse().unwrap(), Source::ServiceCidr("kubernetes".into())),
        ("10.3.3.3/32".parse().unwrap(), Source::NodeAddress("a".into())),
    ]);
    let find_out = "find out from the DNS servers, or from whoever owns the name, why it leads there";
    let private = format!("if that is intended, declare it as privateEndpoint; if not, {find_out}");
    let node = "to reach something in the cluster, name its Service; if it is outside the cluster, ask a platform engineer \
                which Node has it";
    for (address, help) in [
        ("10.96.0.1", "no rule and no grant opens it to research pods; remove it"),
        ("10.96.7.7", "to reach something in the cluster, name its Service"),
        ("10.3.3.3", node),
        ("169.254.169.254", find_out),
        ("127.0.0.1", find_out),
        ("0.0.0.0", find_out),
        ("::ffff:10.3.3.3", find_out),
        ("10.40.1.1", &private),
        ("100.64.0.1", &private),
    ] {
        let address: IpAddr = address.parse().unwrap();
        let host = Host { name: "www.example.com".parse().unwrap(), expected: None };
        let answer = [(address, SignedDuration::from_secs(30))];
        let why = Answer::believed(answer, Where::Public, &never).unwrap_err();
        let held =
            Held { host, addresses: Vec::new(), state: NameState::Rebound(why), answered: None, changes_at: None };
        let said = what_to_do(&held);
        assert!(
            said.starts_with(&format!(
                "www.example.com resolves to an address that is not allowed, and is closed: \
                                       {address} is "
            )),
            "{said}"
        );
        assert!(said.ends_with(&format!("; {help}")), "{said}");
        // What is advised helps.
        let inside = [IpNet::from(address)];
        let opens = Answer::believed(answer, Where::Inside(&inside), &never).is_ok();
        assert_eq!(opens, said.contains("privateEndpoint"), "{said}");
    }
}

#[test]
fn a_name_that_nobody_answers_for_is_sent_to_who_can_change_the_servers() {
    let said = |why: &str| {
        what_to_do(&Held {
            host: Host { name: "www.example.com".parse().unwrap(), expected: None },
            addresses: Vec::new(),
            state: NameState::Unanswered(why.to_owned()),
            answered: None,
            changes_at: None,
        })
    };
    assert_eq!(
        said("127.0.0.1:53: Server Failure"),
        "no DNS server answers with addresses for www.example.com: 127.0.0.1:53: Server Failure; ask a policy administrator \
         (ClusterRole cloister:policy-admin) to check dns of CloisterConfig and the DNS servers behind it"
    );
    assert_eq!(
        said(NO_SERVER),
        "no DNS server is known, so www.example.com has no addresses here; ask a policy administrator (ClusterRole \
         cloister:policy-admin) to check dns of CloisterConfig"
    );
}

#[test]
fn a_family_that_is_led_astray_is_told_of_by_itself() {
    let why = Rebinding::NotPublic("fd00::7".parse().unwrap());
    let held = Held {
        host: Host { name: "www.example.com".parse().unwrap(), expected: None },
        addresses: vec!["198.51.100.7".parse().unwrap()],
        state: NameState::Rebound(why),
        answered: None,
        changes_at: None,
    };
    assert_eq!(
        what_to_do(&held),
        "www.example.com resolves to an address that is not allowed, and its IPv6 addresses are closed: fd00::7 is not a public \
         address: it is private or reserved; if that is intended, declare it as privateEndpoint; if not, find out from the DNS \
         servers, or from whoever owns the name, why it leads there"
    );
    let known = [host(&held, &[], &Limits::default())];
    assert_eq!(
        (known[0].reason.as_str(), known[0].addresses.as_slice()),
        ("Rebinding", &["198.51.100.7".to_owned()][..])
    );
}

#[test]
fn a_name_of_the_cluster_is_sent_to_its_service_and_any_other_that_leads_there_is_an_attack() {
    let never = NeverOpened::of([
        ("10.96.0.1/32".parse().unwrap(), Source::ApiServer),
        ("10.96.0.0/16".parse().unwrap(), Source::ServiceCidr("kubernetes".into())),
        ("10.244.1.0/24".parse().unwrap(), Source::PodCidr("a".into())),
    ]);
    let state = |name: &str, address: &str| {
        let host = Host { name: name.parse().unwrap(), expected: None };
        let answer = [(address.parse().unwrap(), SignedDuration::from_secs(30))];
        let state = host.led_astray(Answer::believed(answer, Where::Public, &never).unwrap_err());
        let held = Held { host, addresses: Vec::new(), state, answered: None, changes_at: None };
        (held.state.reason(), what_to_do(&held))
    };
    let (reason, told) = state("cache.infra.svc.k8s.example", "10.96.7.7");
    assert_eq!(reason, "NameInCluster");
    assert_eq!(
        told,
        "cache.infra.svc.k8s.example resolves to an address of the cluster, as names of Services do, and is closed: 10.96.7.7 is \
         in 10.96.0.0/16 (ServiceCIDR kubernetes); to reach something in the cluster, name its Service"
    );
    // A Service without an address of its own leads to its pods; that of the API server is not to be named.
    assert_eq!(state("db-0.db.infra.svc.k8s.example", "10.244.1.7").0, "NameInCluster");
    let (reason, told) = state("kubernetes.default.svc.k8s.example", "10.96.0.1");
    assert_eq!(reason, "NameInCluster");
    assert!(told.ends_with("no rule and no grant opens it to research pods; remove it"), "{told}");
    for (name, address) in [
        ("www.example.com", "10.96.7.7"),
        ("www.svc.example.com", "10.96.7.7"),
        ("cache.infra.svc.k8s.example", "169.254.169.254"),
        ("cache.infra.svc.k8s.example", "10.9.9.9"),
    ] {
        assert_eq!(state(name, address).0, "Rebinding", "{name} at {address}");
    }
}

#[test]
fn what_was_said_is_taken_up_while_it_counts_and_is_said_again_before_it_does_not() {
    let limits = Limits::default();
    let at = |minutes: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
    let held = |minutes: i64| Held {
        host: crate::dns::Host { name: "www.example.com".parse().unwrap(), expected: None },
        addresses: vec!["203.0.113.1".parse().unwrap()],
        state: NameState::Held,
        answered: Some((at(minutes), SignedDuration::from_secs(60))),
        changes_at: None,
    };
    let first = host_statuses(&[held(0)], &[], &limits);
    assert_eq!(host_statuses(&[held(30)], &first, &limits), first);
    let later = host_statuses(&[held(31)], &first, &limits);
    assert_eq!(later[0].looked_up_at.as_ref().map(|said| said.0), Some(at(31)));

    assert!(is_fresh(&first[0], at(0), &limits) && is_fresh(&first[0], at(60), &limits));
    assert!(!is_fresh(&first[0], at(61), &limits), "it no longer counts");
    assert!(!is_fresh(&later[0], at(30), &limits), "nobody was answered at a time to come");
    let never = HostStatus { looked_up_at: None, ..first[0].clone() };
    assert!(!is_fresh(&never, at(0), &limits));
}
