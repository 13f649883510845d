use super::*;
use cloister_core::{
    address::{NeverOpened, Source},
    dns::{NameState, Where},
};
use jiff::SignedDuration;
use proptest::{collection::vec, prelude::*};

fn key(name: &str) -> Key {
    Key::Namespace(name.into())
}

fn host(name: &str) -> Host {
    Host { name: name.parse().unwrap(), expected: None }
}

fn answer(address: &str) -> Outcome {
    let records = [(address.parse().unwrap(), SignedDuration::from_secs(30))];
    Outcome::Answered(Answer::believed(records, Where::Public, &NeverOpened::new(&[])).unwrap())
}

/// Depends on these names and no others, as after a decision that asked for them.
fn want<const N: usize>(names: &Names, name: &str, hosts: [&Host; N]) -> [KnownName; N] {
    let known = hosts.map(|host| names.want(&key(name), host, || None));
    names.want_only(&key(name), &hosts.into_iter().cloned().collect());
    known
}

proptest! {
    /// In whatever order objects decide and answers come: who has seen what is known of a name is told of what is learnt
    /// after it, as long as it depends on the name.
    #[test]
    fn nobody_misses_what_was_learnt(steps in vec((0..3_u8, 0..4_usize, 0..3_usize), 1..60)) {
        let (names, limits) = (Names::default(), Limits::default());
        let hosts = ["a.example.com", "b.example.com", "c.example.com"].map(host);
        let mut sees: [HashMap<Host, KnownName>; 4] = Default::default();
        let mut told: [bool; 4] = [false; 4];
        let mut now = Timestamp::UNIX_EPOCH;
        for (address, (what, who, which)) in steps.into_iter().enumerate() {
            now += SignedDuration::from_secs(600);
            let this = key(&who.to_string());
            match what {
                // It asks for one name more, in the midst of a decision.
                0 => {
                    let known = names.want(&this, &hosts[which], || None);
                    sees[who].insert(hosts[which].clone(), known);
                }
                // It has decided by some of the names.
                1 => {
                    told[who] = false;
                    let seen = hosts[..=which].iter().map(|host| (host.clone(), names.want(&this, host, || None)));
                    sees[who] = seen.collect();
                    names.want_only(&this, &hosts[..=which].iter().cloned().collect());
                }
                // Another answer comes.
                _ => {
                    let asked = names.lock().take(8, now);
                    for host in asked {
                        let heard = names.lock().learn(&host, answer(&format!("198.51.100.{address}")), now, &limits);
                        for (at, told) in told.iter_mut().enumerate() {
                            *told |= heard.contains(&key(&at.to_string()));
                        }
                    }
                }
            }
            let inner = names.lock();
            for (who, seen) in sees.iter().enumerate().filter(|(who, _)| !told[*who]) {
                for (host, known) in seen {
                    let by_now = &inner.hosts[host].known;
                    prop_assert_eq!(known.addresses(now, &limits), by_now.addresses(now, &limits), "{} {}", who, host);
                }
            }
            let wanted: usize = inner.wants.values().map(BTreeSet::len).sum();
            prop_assert_eq!(wanted, inner.hosts.values().map(|entry| entry.wanted_by.len()).sum::<usize>());
            prop_assert!(inner.hosts.values().all(|entry| !entry.wanted_by.is_empty()));
        }
    }
}

#[test]
fn a_name_is_looked_up_once_for_all_who_want_it() {
    let (names, limits, now) = (Names::default(), Limits::default(), Timestamp::UNIX_EPOCH);
    let www = host("www.example.com");
    for name in ["a", "b"] {
        want(&names, name, [&www]);
    }
    assert_eq!(names.lock().take(8, now), std::slice::from_ref(&www));
    assert!(names.lock().take(8, now).is_empty(), "it is being asked for");
    let told = names.lock().learn(&www, answer("198.51.100.1"), now, &limits);
    assert_eq!(told, [key("a"), key("b")].into());
    assert!(names.lock().take(8, now).is_empty(), "its answer is good for a while");

    let later = now + SignedDuration::from_secs(60);
    assert_eq!(names.lock().take(8, later).len(), 1);
    let told = names.lock().learn(&www, answer("198.51.100.1"), later, &limits);
    assert!(told.is_empty(), "nothing is new");
}

#[test]
fn what_nobody_wants_is_forgotten() {
    let (names, limits, now) = (Names::default(), Limits::default(), Timestamp::UNIX_EPOCH);
    let (www, other) = (host("www.example.com"), host("other.example.com"));
    want(&names, "a", [&www, &other]);
    want(&names, "b", [&www]);
    want(&names, "a", []);
    assert_eq!(names.count(), (1, 0));
    assert!(names.known(&www).is_some() && names.known(&other).is_none());
    assert_eq!(names.lock().take(8, now).len(), 1);
    want(&names, "b", []);
    let told = names.lock().learn(&www, answer("198.51.100.1"), now, &limits);
    assert!(told.is_empty() && names.count() == (0, 0) && names.lock().due.is_empty(), "an answer brings nothing back");
}

#[test]
fn a_name_is_an_alarm_once_and_not_where_it_is_one_of_the_cluster() {
    let never = NeverOpened::of([("10.96.0.0/16".parse().unwrap(), Source::ServiceCidr("kubernetes".into()))]);
    let (names, limits) = (Names::default(), Limits::default());
    let now = std::cell::Cell::new(Timestamp::UNIX_EPOCH);
    let hosts = ["www.example.com", "cache.infra.svc.k8s.example"].map(host);
    want(&names, "a", [&hosts[0], &hosts[1]]);
    let hear = |of: &Host, addresses: &[&str]| {
        now.set(now.get() + SignedDuration::from_secs(600));
        let records = addresses.iter().map(|one| (one.parse().unwrap(), SignedDuration::from_secs(30)));
        let outcome = match Answer::believed(records, Where::Public, &never) {
            Ok(answer) => Outcome::Answered(answer),
            Err(why) => Outcome::Refused(why),
        };
        let mut inner = names.lock();
        inner.take(8, now.get());
        inner.take_in(of, outcome, now.get(), &limits).1
    };
    let [www, cache] = &hosts;
    // A family is enough, and the other stays open.
    let held = hear(www, &["198.51.100.7", "64:ff9b::a60:707"]).unwrap();
    assert!(matches!(held.state, NameState::Rebound(_)) && held.addresses.len() == 1);
    assert!(what_to_do(&held).contains("its IPv6 addresses are closed"), "{}", what_to_do(&held));
    assert_eq!(hear(www, &["10.96.7.7"]), None, "it is one already");
    assert_eq!(hear(cache, &["10.96.7.7"]), None, "it is a Service");
    assert_eq!(names.count(), (2, 1));
    assert!(names.known(cache).unwrap().addresses(now.get(), &limits).is_empty(), "it is closed all the same");
    assert!(hear(cache, &["10.9.9.9"]).is_some(), "nor is it led elsewhere in silence");
    assert_eq!(hear(www, &["198.51.100.7"]), None);
    assert!(hear(www, &["10.9.9.9"]).is_some(), "it was none in between");
    assert_eq!(names.count(), (2, 2));
}
