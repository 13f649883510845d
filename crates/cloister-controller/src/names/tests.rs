use super::*;
use cloister_core::{egress::NeverOpened, names::Where};
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

/// Wants names that were looked at just now.
fn want<const N: usize>(names: &Names, name: &str, hosts: [&Host; N]) -> bool {
    let seen = hosts.map(|host| (host.clone(), names.known(host).map(|(_, version)| version)));
    names.want(&key(name), seen.into(), |_| None)
}

#[test]
fn what_is_learnt_between_the_look_and_the_wish_is_told() {
    let (names, limits, now) = (Names::default(), Limits::default(), Timestamp::UNIX_EPOCH);
    let www = host("www.example.com");
    assert!(!want(&names, "a", [&www]));
    // Another looks while the name is being asked for, and is not known to wait for it when the answer comes.
    let (_, seen) = names.known(&www).unwrap();
    assert_eq!(names.lock().take(8, now).len(), 1);
    assert_eq!(names.lock().learn(&www, answer("198.51.100.1"), now, &limits), [key("a")].into());
    let again = |version| names.want(&key("b"), [(www.clone(), Some(version))].into(), |_| None);
    assert!(again(seen), "it saw nothing of the answer, and nobody told it");
    let (_, seen) = names.known(&www).unwrap();
    assert!(!again(seen), "it has seen it now");
}

#[test]
fn a_name_that_was_forgotten_meanwhile_is_another() {
    let (names, limits, now) = (Names::default(), Limits::default(), Timestamp::UNIX_EPOCH);
    let www = host("www.example.com");
    assert!(!want(&names, "a", [&www]));
    let (_, seen) = names.known(&www).unwrap();
    assert!(!want(&names, "a", []) && !want(&names, "c", [&www]));
    assert_eq!(names.lock().take(8, now).len(), 1);
    assert_eq!(names.lock().learn(&www, answer("198.51.100.1"), now, &limits), [key("c")].into());
    assert!(names.want(&key("b"), [(www.clone(), Some(seen))].into(), |_| None));
}

proptest! {
    /// In whatever order objects look, wish and answers come: who has seen the newest state of a name, or is told of
    /// it, and nobody else, depends on it.
    #[test]
    fn nobody_waits_for_what_was_learnt(steps in vec((0..3_u8, 0..4_usize, 0..3_usize), 1..60)) {
        let (names, limits) = (Names::default(), Limits::default());
        let hosts = ["a.example.com", "b.example.com", "c.example.com"].map(host);
        let mut looked: [Option<BTreeMap<Host, Option<Version>>>; 4] = Default::default();
        let mut knows: [HashMap<Host, Version>; 4] = Default::default();
        let mut told: [bool; 4] = [false; 4];
        let mut now = Timestamp::UNIX_EPOCH;
        for (address, (what, who, which)) in steps.into_iter().enumerate() {
            now += SignedDuration::from_secs(600);
            match what {
                // It looks at some of the names, as a decision would.
                0 => {
                    told[who] = false;
                    let seen = hosts[..=which].iter().map(|host| (host.clone(), names.known(host).map(|seen| seen.1)));
                    looked[who] = Some(seen.collect());
                }
                // It wishes for what it looked at.
                1 => if let Some(seen) = looked[who].take() {
                    knows[who] = seen.iter().filter_map(|(host, seen)| Some((host.clone(), (*seen)?))).collect();
                    told[who] |= names.want(&Key::Namespace(who.to_string().into()), seen, |_| None);
                },
                // Another answer comes.
                _ => {
                    let asked = names.lock().take(8, now);
                    for host in asked {
                        let heard = names.lock().learn(&host, answer(&format!("198.51.100.{address}")), now, &limits);
                        for (at, told) in told.iter_mut().enumerate() {
                            *told |= heard.contains(&Key::Namespace(at.to_string().into()));
                        }
                    }
                }
            }
            let inner = names.lock();
            for who in 0..4 {
                let wanted = inner.wants.get(&Key::Namespace(who.to_string().into())).into_iter().flatten();
                for host in wanted.filter(|_| looked[who].is_none() && !told[who]) {
                    let entry = &inner.hosts[host];
                    let seen = knows[who].get(host).copied();
                    // Who saw that nothing was known has missed nothing, while nothing was learnt.
                    prop_assert!(seen == Some(entry.version) || !entry.known.was_asked());
                }
            }
        }
    }
}

#[test]
fn a_name_is_looked_up_once_for_all_who_want_it() {
    let (names, limits, now) = (Names::default(), Limits::default(), Timestamp::UNIX_EPOCH);
    let www = host("www.example.com");
    for name in ["a", "b"] {
        assert!(!want(&names, name, [&www]));
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
    assert!(!want(&names, "a", [&www, &other]));
    assert!(!want(&names, "b", [&www]));
    assert!(!want(&names, "a", []));
    assert_eq!(names.count(), (1, 0));
    assert!(names.known(&www).is_some() && names.known(&other).is_none());
    assert_eq!(names.lock().take(8, now).len(), 1);
    assert!(!want(&names, "b", []));
    let told = names.lock().learn(&www, answer("198.51.100.1"), now, &limits);
    assert!(told.is_empty() && names.count() == (0, 0) && names.lock().due.is_empty(), "an answer brings nothing back");
}
