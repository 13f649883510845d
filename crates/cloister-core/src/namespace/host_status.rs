//! What is said of the names of a need.

use crate::{
    dns::{Held, NameState, Rebinding, known_name::Limits},
    model::{
        condition::{ConditionUpdate, seconds},
        text::others,
    },
};
use cloister_api::{EgressStatus, Enforcement, HostStatus, condition::RESOLUTION_STABLE};
use jiff::{SignedDuration, Timestamp};

/// How many names are listed.
const NAMES: usize = 32;

/// How many bytes all needs may have in a status, about: an object has 1.5 MiB at the most, and its spec needs some of it.
const MOST_BYTES: usize = 256 * 1024;

/// How many bytes a need or a name has beside its texts, at the most.
const LINE: usize = 192;

/// How many bytes the messages of all needs may have in full; where they have more, each is shortened.
const MOST_IN_FULL: usize = 128 * 1024;

/// The longest message of a need where it is shortened.
const MESSAGE: usize = 1024;

/// How many addresses of each.
const ADDRESSES: usize = 16;

/// Lists the names of a need in what is said of it.
pub fn tell(need: &mut EgressStatus, held: &[Held], before: &[EgressStatus], limits: &Limits) {
    if held.is_empty() {
        return;
    }
    need.enforcement = Some(Enforcement::AddressSet);
    let said = before.iter().find(|said| said.name == need.name).map(|said| said.hosts.as_slice()).unwrap_or_default();
    need.hosts = told(held, said, limits);
    need.host_count = (held.len() > NAMES).then(|| u32::try_from(held.len()).unwrap_or(u32::MAX));
}

/// Lists no more names, and says no more, than a status has room for: an object that is too large for the API server could
/// never be written again. What comes first stays. What a line costs is counted without the times in it, so that the same
/// names are listed at each look.
pub fn bound(needs: &mut [EgressStatus]) {
    if needs.iter().map(|need| need.message.len()).sum::<usize>() > MOST_IN_FULL {
        needs.iter_mut().for_each(|need| shorten(&mut need.message, "correct these; then the rest is named"));
    }
    let lines: usize = needs.iter().map(|need| LINE + need.name.len() + need.reason.len() + need.message.len()).sum();
    let mut room = MOST_BYTES.saturating_sub(lines);
    for need in needs {
        let fit = need.hosts.iter().take_while(|host| match room.checked_sub(cost(host)) {
            Some(left) => {
                room = left;
                true
            }
            None => {
                room = 0;
                false
            }
        });
        let fit = fit.count();
        if fit < need.hosts.len() {
            let all = u32::try_from(need.hosts.len()).unwrap_or(u32::MAX);
            need.host_count = need.host_count.or(Some(all));
            need.hosts.truncate(fit);
        }
    }
}

fn cost(host: &HostStatus) -> usize {
    LINE + host.name.len() + host.reason.len() + host.addresses.iter().map(|address| address.len() + 4).sum::<usize>()
}

/// Shortens a message that is long, and says how the rest of it is found.
pub fn shorten(message: &mut String, where_the_rest_is: &str) {
    if message.len() > MESSAGE {
        let end = (0..=MESSAGE).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
        message.push_str(&format!(" ... ({where_the_rest_is})"));
    }
}

/// What is known of names, those that are not open first.
pub fn told(held: &[Held], before: &[HostStatus], limits: &Limits) -> Vec<HostStatus> {
    let mut in_order: Vec<&Held> = held.iter().collect();
    in_order.sort_by_key(|held| (held.state == NameState::Held, held.host.clone()));
    in_order.iter().take(NAMES).map(|held| host(held, before, limits)).collect()
}

/// The condition ResolutionStable of a namespace, over all of its names; `None` if it has none.
pub fn resolution_stable(held: &[Held]) -> Option<ConditionUpdate> {
    let worst = held.iter().max_by_key(|held| match held.state {
        NameState::Held => 0,
        NameState::Unknown => 1,
        _ => 2,
    })?;
    Some(match worst.state {
        NameState::Held => ConditionUpdate::new(
            RESOLUTION_STABLE,
            true,
            "Resolved",
            format!("the addresses of all {} names are known", held.len()),
        ),
        NameState::Unknown => ConditionUpdate::unknown(RESOLUTION_STABLE, what_to_do_about_all(worst, held)),
        _ => ConditionUpdate::new(RESOLUTION_STABLE, false, worst.state.reason(), what_to_do_about_all(worst, held)),
    })
}

/// The same of one of several names, and how many others are closed.
fn what_to_do_about_all(worst: &Held, held: &[Held]) -> String {
    let closed = held.iter().filter(|held| held.state != NameState::Held).count();
    format!("{}{}", what_to_do(worst), others(closed - 1, "name", "status.egress"))
}

/// Why a name is closed, in a sentence that says what to do.
pub fn what_to_do(held: &Held) -> String {
    let name = &held.host;
    match &held.state {
        NameState::Held => format!("{name} is open"),
        NameState::Unknown => format!("the operator is resolving {name}, which stays closed until there is an answer"),
        NameState::NoAddress => format!(
            "{name} has no address in DNS, so there is nothing to open; correct the rule, or ask the owner of the name"
        ),
        NameState::TooMany(most) => format!(
            "{name} has had more than {most} addresses at a time (dns.resolution.maximumAddresses of CloisterConfig), and stays \
             closed until it has had no more than that for a while (dns.resolution.stale); name hosts behind it, or have an allowlist open it by a \
             network plugin that sees names (egress.backend of CloisterConfig)"
        ),
        NameState::Unanswered(why) => {
            format!("no DNS server answers for {name}, which stays closed: {why}; see dns of CloisterConfig")
        }
        NameState::InCluster { address, known } => format!(
            "{name} resolves to an address of the cluster, as names of Services do, and is closed: {address} is in {known}; {}",
            known.what_to_do()
        ),
        NameState::Rebound(why) => format!(
            "{name} resolves to an address that is not allowed, and {}: {why}; {}",
            what_is_closed(held, why),
            against(why)
        ),
    }
}

/// What is closed of a name that leads astray.
fn what_is_closed(held: &Held, why: &Rebinding) -> String {
    match held.is_closed() {
        true => "is closed".to_owned(),
        false => format!("its {} addresses are closed", why.family()),
    }
}

/// What to do about an address that is not allowed.
fn against(why: &Rebinding) -> String {
    match why {
        Rebinding::OutsideExpected { .. } => {
            "look at the private DNS zone of the name, or correct expectedNetworks".to_owned()
        }
        // No privateEndpoint opens these either.
        Rebinding::NeverOpened { known, .. } => known.what_to_do(),
        Rebinding::NotPublic(_) => "if that is intended, declare it as privateEndpoint".to_owned(),
    }
}

/// Whether what a status says of a name may be taken up again: an answer counts for so long, and no longer.
pub fn is_fresh(said: &HostStatus, now: Timestamp, limits: &Limits) -> bool {
    let at = said.looked_up_at.as_ref().map(|at| at.0);
    at.is_some_and(|at| now.duration_since(at) <= counts_for(limits) && at.duration_since(now) <= AHEAD)
}

/// How long the last answer counts at the most.
fn counts_for(limits: &Limits) -> SignedDuration {
    limits.grace.max(limits.stale)
}

/// How far the clock of whoever wrote a status may have been ahead.
const AHEAD: SignedDuration = SignedDuration::from_secs(30);

/// What is said of one name: what was said before, where only the time and the TTL of the answer would differ, unless that
/// would soon be too old to be taken up after a restart.
fn host(held: &Held, before: &[HostStatus], limits: &Limits) -> HostStatus {
    let said = HostStatus {
        name: held.host.to_string(),
        addresses: held.addresses.iter().take(ADDRESSES).map(ToString::to_string).collect(),
        count: u32::try_from(held.addresses.len()).unwrap_or(u32::MAX),
        ttl_seconds: held.answered.map(|(_, ttl)| ttl.as_secs()),
        looked_up_at: held.answered.map(|(at, _)| seconds(at)),
        reason: held.state.reason().to_owned(),
    };
    let same = |before: &&HostStatus| {
        before.name == said.name
            && before.addresses == said.addresses
            && before.count == said.count
            && before.reason == said.reason
            && lasts(before, &said, limits)
    };
    before.iter().find(same).cloned().unwrap_or(said)
}

/// Whether it can be left at the time that was said before.
fn lasts(before: &HostStatus, said: &HostStatus, limits: &Limits) -> bool {
    match (&before.looked_up_at, &said.looked_up_at) {
        (Some(before), Some(now)) => {
            now.0.duration_since(before.0) <= (counts_for(limits) / 2).max(SignedDuration::from_mins(1))
        }
        (None, Some(_)) => false,
        (_, None) => true,
    }
}

#[cfg(test)]
mod tests {
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
        let metadata = "get cloud credentials through a StorageAccessGrant, not from a metadata service or an agent on the \
                        node";
        let node = "to reach something in the cluster, name its Service; if it is outside the cluster, ask a platform engineer \
                    which Node has it";
        for (address, help) in [
            ("10.96.0.1", "no rule and no grant opens it to research pods; remove it from the rule"),
            ("10.96.7.7", "to reach something in the cluster, name its Service"),
            ("10.3.3.3", node),
            ("169.254.169.254", metadata),
            ("127.0.0.1", "remove it from the rule"),
            ("0.0.0.0", "remove it from the rule"),
            ("::ffff:10.3.3.3", "remove it from the rule"),
            ("10.40.1.1", "if that is intended, declare it as privateEndpoint"),
            ("100.64.0.1", "if that is intended, declare it as privateEndpoint"),
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
             address: it is private or reserved; if that is intended, declare it as privateEndpoint"
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
        assert!(told.ends_with("no rule and no grant opens it to research pods; remove it from the rule"), "{told}");
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
        let first = told(&[held(0)], &[], &limits);
        assert_eq!(told(&[held(30)], &first, &limits), first);
        let later = told(&[held(31)], &first, &limits);
        assert_eq!(later[0].looked_up_at.as_ref().map(|said| said.0), Some(at(31)));

        assert!(is_fresh(&first[0], at(0), &limits) && is_fresh(&first[0], at(60), &limits));
        assert!(!is_fresh(&first[0], at(61), &limits), "it no longer counts");
        assert!(!is_fresh(&later[0], at(30), &limits), "nobody was answered at a time to come");
        let never = HostStatus { looked_up_at: None, ..first[0].clone() };
        assert!(!is_fresh(&never, at(0), &limits));
    }
}
