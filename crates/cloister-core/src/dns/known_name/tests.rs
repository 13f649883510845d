use super::*;
use crate::{
    address::NeverOpened,
    dns::resolved::{Host, Names},
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn answer(addresses: &[&str], ttl: i64) -> Outcome {
    let records = addresses.iter().map(|address| (address.parse().unwrap(), SignedDuration::from_secs(ttl)));
    Outcome::Answered(Answer::believed(records, Where::Public, &NeverOpened::new(&[])).unwrap())
}

fn failed() -> Outcome {
    Outcome::Failed("SERVFAIL".into())
}

fn open(known: &KnownName, seconds: i64) -> Vec<String> {
    known.addresses(at(seconds), &Limits::default()).iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_stays_until_its_answer_has_run_out_and_the_grace_is_over() {
    let (mut known, limits) = (KnownName::default(), Limits::default());
    assert_eq!(known.state(at(0), &limits), NameState::Unknown);
    known.learn(answer(&["198.51.100.1"], 30), at(0), &limits);
    known.learn(answer(&["198.51.100.2"], 30), at(30), &limits);
    assert_eq!(open(&known, 30), ["198.51.100.1", "198.51.100.2"]);
    assert_eq!(known.changes_at(at(30), &limits), Some(at(330)));
    assert_eq!(open(&known, 329).len(), 2);
    assert_eq!(open(&known, 330), ["198.51.100.2"]);
}

#[test]
fn no_ttl_is_too_short_or_too_long_to_be_asked_for() {
    let limits = Limits { quiet: 1, ..Limits::default() };
    for (ttl, wait) in [(0, 5), (5, 5), (30, 30), (86_400, 300)] {
        let mut known = KnownName::default();
        assert_eq!(known.due(), Timestamp::MIN, "it is asked at once");
        known.learn(answer(&["198.51.100.1"], ttl), at(0), &limits);
        known.learn(answer(&["198.51.100.1"], ttl), at(1), &limits);
        assert_eq!(known.due(), at(1 + wait), "TTL {ttl}");
    }
}

#[test]
fn a_name_that_shows_something_new_is_asked_until_it_has_nothing_new_to_show() {
    let (mut known, limits) = (KnownName::default(), Limits::default());
    let mut now = at(0);
    let mut asked = 0;
    // One of eight addresses at a time, in an order of its own.
    let mut random = fastrand::Rng::with_seed(7);
    while known.due() <= at(60) {
        now = now.max(known.due());
        let one = format!("198.51.100.{}", random.u8(1..9));
        known.learn(answer(&[&one], 30), now, &limits);
        asked += 1;
    }
    assert_eq!(known.addresses(now, &limits).len(), 8);
    assert!((40..=121).contains(&asked), "asked {asked} times");
    // A name that does not rotate is asked once per TTL, after a second look.
    let mut steady = KnownName::default();
    steady.learn(answer(&["198.51.100.1"], 30), at(0), &limits);
    assert_eq!(steady.due(), at(0) + limits.probe);
    steady.learn(answer(&["198.51.100.1"], 30), at(1), &limits);
    assert_eq!(steady.due(), at(31));
}

#[test]
fn the_last_answer_counts_while_nobody_answers_though_not_for_ever() {
    let (mut known, limits) = (KnownName::default(), Limits::default());
    known.learn(failed(), at(0), &limits);
    assert_eq!(known.state(at(0), &limits), NameState::Unanswered("SERVFAIL".into()));
    known.learn(answer(&["198.51.100.1"], 30), at(10), &limits);
    known.learn(failed(), at(40), &limits);
    assert_eq!(known.due(), at(45));
    assert_eq!(open(&known, 1000), ["198.51.100.1"], "longer than the grace");
    known.learn(failed(), at(3639), &limits);
    assert_eq!(open(&known, 3639), ["198.51.100.1"]);
    known.learn(failed(), at(3641), &limits);
    assert!(open(&known, 3641).is_empty());
    known.learn(answer(&["198.51.100.2"], 30), at(3700), &limits);
    assert_eq!(open(&known, 3700), ["198.51.100.2"]);
}

#[test]
fn a_name_that_is_gone_is_closed_after_the_grace() {
    let (mut known, limits) = (KnownName::default(), Limits::default());
    known.learn(answer(&["198.51.100.1"], 30), at(0), &limits);
    known.learn(Outcome::NoSuchName, at(30), &limits);
    assert_eq!(open(&known, 329), ["198.51.100.1"]);
    assert!(open(&known, 330).is_empty());
    known.learn(Outcome::NoSuchName, at(331), &limits);
    assert_eq!(known.changes_at(at(331), &limits), None, "nothing is remembered of it");
}

#[test]
fn a_name_with_too_many_addresses_is_not_held() {
    let (mut known, limits) = (KnownName::default(), Limits { addresses: 8, ..Limits::default() });
    let many: Vec<String> = (0..4000).map(|n| format!("198.51.{}.{}", n / 250, n % 250)).collect();
    known.learn(answer(&many.iter().map(String::as_str).collect::<Vec<_>>(), 30), at(0), &limits);
    assert_eq!(known.state(at(0), &limits), NameState::TooMany(8));
    assert!(known.addresses.len() <= 16, "it is bounded");
    assert!(open(&known, 0).is_empty());
    // It is believed again once it has behaved for a while.
    known.learn(answer(&["198.51.100.1"], 30), at(3599), &limits);
    assert_eq!(known.state(at(3599), &limits), NameState::TooMany(8));
    known.learn(answer(&["198.51.100.1"], 30), at(3600), &limits);
    assert_eq!(known.state(at(3600), &limits), NameState::Held);
}

#[test]
fn a_name_that_is_led_astray_is_closed_at_once() {
    let (mut known, limits) = (KnownName::default(), Limits::default());
    known.learn(answer(&["198.51.100.1"], 30), at(0), &limits);
    let why = Rebinding::NotPublic("10.0.0.1".parse().unwrap());
    known.learn(Outcome::Refused(why.clone()), at(30), &limits);
    assert_eq!(known.state(at(30), &limits), NameState::Rebound(why));
    assert!(open(&known, 30).is_empty());
    known.learn(failed(), at(35), &limits);
    assert!(open(&known, 35).is_empty(), "what came before it is not believed again");
    known.learn(answer(&["198.51.100.2"], 30), at(40), &limits);
    assert_eq!(open(&known, 40), ["198.51.100.2"]);
}

#[test]
fn a_family_that_is_led_astray_closes_at_once_and_leaves_the_other() {
    let (mut known, limits) = (KnownName::default(), Limits::default());
    known.learn(answer(&["198.51.100.1", "2001:db8::1"], 30), at(0), &limits);
    known.learn(answer(&["198.51.100.2", "fd00::1"], 30), at(30), &limits);
    let why = Rebinding::NotPublic("fd00::1".parse().unwrap());
    assert_eq!((known.state(at(30), &limits), known.refused()), (NameState::Rebound(why.clone()), Some(&why)));
    assert_eq!(open(&known, 30), ["198.51.100.1", "198.51.100.2"], "the other family goes on as it was");
    assert!(known.due() <= at(30) + limits.minimum_ttl, "it is asked again soon");
    known.learn(failed(), at(35), &limits);
    assert_eq!(
        open(&known, 35),
        ["198.51.100.1", "198.51.100.2"],
        "what came before it in its family is not believed again"
    );
    known.learn(answer(&["10.0.0.1", "2001:db8::1"], 30), at(40), &limits);
    assert_eq!(open(&known, 40), ["2001:db8::1"]);
    known.learn(answer(&["198.51.100.1", "2001:db8::1"], 30), at(45), &limits);
    assert_eq!((known.state(at(45), &limits), open(&known, 45).len()), (NameState::Held, 2));
    // Nor is a name held of which the other family has too many.
    let few = Limits { addresses: 1, ..limits };
    known.learn(answer(&["198.51.100.1", "198.51.100.2", "fd00::1"], 30), at(50), &few);
    assert_eq!((known.state(at(50), &few), known.addresses(at(50), &few).len()), (NameState::Rebound(why), 0));
}

#[test]
fn when_the_networks_change_each_family_is_judged_by_itself() {
    let limits = Limits::default();
    let asked = |never: &NeverOpened| {
        let records = ["203.0.113.9", "2001:db8::9"].map(|one| (one.parse().unwrap(), SignedDuration::from_secs(60)));
        match Answer::believed(records, Where::Public, never) {
            Ok(answer) => Outcome::Answered(answer),
            Err(why) => Outcome::Refused(why),
        }
    };
    let all: [&[&str]; 4] = [&[], &["203.0.113.0/24"], &["2001:db8::/64"], &["203.0.113.0/24", "2001:db8::/64"]];
    for (before, after) in all.iter().flat_map(|before| all.iter().map(move |after| (*before, *after))) {
        let mut kept = KnownName::default();
        kept.learn(asked(&never(before)), at(0), &limits);
        let (state, open) = kept.judged(Where::Public, &never(after), at(1), &limits);
        let mut anew = KnownName::default();
        anew.learn(asked(&never(after)), at(0), &limits);
        // What was refused before was not kept; the rest is as a look-up would find it.
        let expected = anew.addresses(at(1), &limits).into_iter();
        let expected: Vec<IpAddr> = expected.filter(|one| !never(before).contains(*one)).collect();
        assert_eq!(open, expected, "{before:?} to {after:?}");
        // Of what was refused as a whole, one address alone is known.
        let is_as_anew = matches!(state, NameState::Rebound(_)) == anew.refused().is_some();
        assert!(is_as_anew || state == NameState::Unknown, "{before:?} to {after:?}: {state:?}");
    }
}

/// The networks of the cluster that no answer leads to.
fn never(cluster: &[&str]) -> NeverOpened {
    NeverOpened::new(&cluster.iter().map(|network| network.parse().unwrap()).collect::<Vec<_>>())
}

#[test]
fn when_the_networks_change_an_answer_is_judged_as_a_look_up_would_judge_it() {
    let limits = Limits::default();
    let inside = ["10.20.0.0/16".parse().unwrap()];
    let private = ["10.20.31.14", "10.20.47.9", "10.20.60.201"];
    let public = ["198.51.100.7", "203.0.113.9"];
    let all: [&[&str]; 5] =
        [&[], &["10.20.32.0/19"], &["10.20.32.0/19", "10.20.0.0/19"], &["203.0.113.0/24"], &["192.0.2.0/24"]];
    for (addresses, expected) in [(&private[..], Where::Inside(&inside)), (&public[..], Where::Public)] {
        let asked = |never: &NeverOpened| {
            let records = addresses.iter().map(|one| (one.parse().unwrap(), SignedDuration::from_secs(60)));
            match Answer::believed(records, expected, never) {
                Ok(answer) => Outcome::Answered(answer),
                Err(why) => Outcome::Refused(why),
            }
        };
        for (before, after) in all.iter().flat_map(|before| all.iter().map(move |after| (*before, *after))) {
            let (before, after) = (never(before), never(after));
            let (mut kept, mut anew) = (KnownName::default(), KnownName::default());
            kept.learn(asked(&before), at(0), &limits);
            anew.learn(asked(&after), at(0), &limits);
            let judged = kept.judged(expected, &after, at(1), &limits);
            // Of what was refused nothing was kept but the address that it was refused for.
            if kept.refused().is_some() {
                let is_closed =
                    matches!(judged, (NameState::Rebound(_) | NameState::Unknown, ref open) if open.is_empty());
                assert!(is_closed && (judged.0 == NameState::Unknown || anew.refused().is_some()), "{judged:?}");
            } else {
                assert_eq!(judged, anew.judged(expected, &after, at(1), &limits));
                assert_eq!(judged, (anew.state(at(1), &limits), anew.addresses(at(1), &limits)));
            }
        }
    }
}

#[test]
fn an_address_that_the_last_answer_has_no_more_closes_itself_alone() {
    let (mut known, limits) = (KnownName::default(), Limits::default());
    known.learn(answer(&["203.0.113.9"], 30), at(0), &limits);
    known.learn(answer(&["198.51.100.7"], 30), at(30), &limits);
    let host = Host { name: "www.example.com".parse().unwrap(), expected: None };
    let never = never(&["203.0.113.0/24"]);
    let names = Names { known: &|_| Some(known.clone()), limits: &limits, never: &never, now: at(31) };
    let held = names.held(&host);
    assert_eq!(held.state, NameState::Held);
    assert_eq!(held.addresses, ["198.51.100.7".parse::<IpAddr>().unwrap()]);
}
