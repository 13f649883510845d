use super::*;
use cloister_index::lane::Group;
use futures::FutureExt;

const WORKERS: usize = 64;

fn queue() -> Queue {
    Queue::new(WORKERS)
}

fn inner() -> Inner {
    Inner::new(WORKERS)
}

fn key(name: &str) -> Key {
    Key::Namespace(name.into())
}

fn review() -> Key {
    Key::Review("a".into(), "b".into())
}

fn normal(name: &str) -> (Key, Ticket) {
    (key(name), Ticket::default())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_key_is_queued_once() {
    let mut inner = inner();
    inner.add(key("a"), Ticket::default());
    inner.add(key("a"), Ticket::default());
    assert_eq!(inner.pop().unwrap().key, key("a"));
    assert!(inner.pop().is_none());
}

#[test]
fn what_can_wait_goes_last_though_it_waits_for_no_other_lane() {
    let mut inner = inner();
    inner.add(review(), Ticket::of(Lane::Status));
    for at in 0..WORKERS + 4 {
        inner.add(key(&format!("n{at}")), Ticket::default());
    }
    let order: Vec<Key> = std::iter::from_fn(|| inner.pop()).map(|job| job.key).collect();
    assert_eq!(order.iter().position(|key| *key == review()), Some(WORKERS));
    assert_eq!(order.len(), WORKERS + 1);
}

#[tokio::test]
async fn an_urgent_key_is_handed_out_at_once_while_all_others_are_busy() {
    for urgent in Lane::ALL {
        let queue = Queue::new(1);
        let others = Lane::ALL.into_iter().filter(|lane| *lane != urgent);
        queue
            .add_all(others.flat_map(|lane| (0..200).map(move |at| (key(&format!("{lane:?}{at}")), Ticket::of(lane)))));
        let next = || queue.next(|| at(0), |_| Vec::new()).now_or_never();
        while let Some(job) = next() {
            assert_ne!(job.ticket.lane, urgent);
        }
        assert!(queue.depth().0 > 0, "something waits in each other lane");
        queue.add_all([(Key::Config, Ticket::of(urgent))]);
        assert_eq!(next().map(|job| job.key), Some(Key::Config), "{urgent:?}");
    }
}

#[test]
fn a_key_that_becomes_urgent_moves_up() {
    let mut inner = Inner::new(1);
    for at in 0..9 {
        inner.add(key(&format!("n{at}")), Ticket::default());
    }
    assert_eq!(inner.pop().unwrap().key, key("n0"));
    // All concurrency of what opens is used, and that does not matter.
    assert!(inner.pop().is_none());
    inner.add(key("n8"), Ticket::of(Lane::Ending));
    assert_eq!(inner.pop().unwrap().key, key("n8"));
    assert!(inner.pop().is_none());
    assert_eq!(inner.depth().0, 7);
}

#[test]
fn who_waits_for_a_turn_takes_no_place() {
    let mut inner = Inner::new(2);
    let mount = |mode| Ticket { lane: Lane::Normal, turns: vec![(Group::Mount("a".into(), "m".into()), mode)] };
    inner.add(key("ends"), mount(Mode::End));
    assert_eq!(inner.pop().unwrap().key, key("ends"));
    for name in ["b", "c", "d"] {
        inner.add(key(name), mount(Mode::Open));
    }
    inner.add(key("other"), Ticket::default());
    assert_eq!(inner.pop().unwrap().key, key("other"));
    assert!(inner.pop().is_none());
    inner.end(&key("ends"));
    // Those that open go together, as far as there are places.
    assert_eq!(inner.pop().unwrap().key, key("b"));
    assert!(inner.pop().is_none());
    inner.end(&key("other"));
    assert_eq!(inner.pop().unwrap().key, key("c"));
}

#[test]
fn what_ends_goes_before_what_opens() {
    let mut inner = inner();
    let mount = |lane, mode| Ticket { lane, turns: vec![(Group::Mount("a".into(), "m".into()), mode)] };
    inner.add(key("opens"), mount(Lane::Normal, Mode::Open));
    assert_eq!(inner.pop().unwrap().key, key("opens"));
    inner.add(key("ends"), mount(Lane::Ending, Mode::End));
    assert!(inner.pop().is_none());
    // One that came later does not go past it.
    inner.add(key("opens too"), mount(Lane::Normal, Mode::Open));
    assert!(inner.pop().is_none());
    inner.end(&key("opens"));
    assert_eq!(inner.pop().unwrap().key, key("ends"));
    assert!(inner.pop().is_none());
    inner.end(&key("ends"));
    assert_eq!(inner.pop().unwrap().key, key("opens too"));
    inner.end(&key("opens too"));
    assert!(inner.is_idle());
}

#[test]
fn a_crowd_that_has_opened_says_so_a_few_at_a_time() {
    let mut inner = Inner::new(1000);
    let mount = vec![(Group::Mount("a".into(), "m".into()), Mode::Open)];
    let keys: Vec<Key> = (0..40).map(|at| key(&format!("n{at}"))).collect();
    for key in &keys {
        inner.add(key.clone(), Ticket { lane: Lane::Normal, turns: mount.clone() });
    }
    assert_eq!(std::iter::from_fn(|| inner.pop()).count(), keys.len());
    for key in &keys {
        assert!(inner.defer_status(key));
        assert!(inner.pop().is_none(), "it is still worked on");
    }
    keys.iter().for_each(|key| inner.end(key));
    // What opens does not wait for them.
    inner.add(key("other"), Ticket::default());
    assert_eq!(inner.pop().unwrap().key, key("other"));
    let few: Vec<Job> = std::iter::from_fn(|| inner.pop()).collect();
    assert_eq!(few.len(), Lane::Opened.concurrency(1000));
    assert!(few.iter().all(|job| job.ticket == Ticket { lane: Lane::Opened, turns: mount.clone() }));
    // One that must end by now does not wait for its turn to say that it has opened.
    inner.add(keys[39].clone(), Ticket::of(Lane::Ending));
    assert_eq!(inner.depth().0, keys.len() - few.len());
    few.iter().for_each(|job| inner.end(&job.key));
    assert_eq!(inner.pop().unwrap().key, keys[39]);
}

#[test]
fn only_what_opens_leaves_its_status_to_another_lane() {
    for lane in Lane::ALL {
        let mut inner = inner();
        inner.add(key("a"), Ticket::of(lane));
        assert!(inner.pop().is_some());
        assert_eq!(inner.defer_status(&key("a")), lane == Lane::Normal);
        inner.end(&key("a"));
        assert_eq!(inner.pop().map(|job| job.ticket.lane), (lane == Lane::Normal).then_some(Lane::Opened));
    }
    assert!(!inner().defer_status(&key("a")), "it is not worked on");
}

#[test]
fn what_has_something_else_to_do_by_then_does_it_first() {
    let mut inner = inner();
    inner.add(key("a"), Ticket::default());
    assert!(inner.pop().is_some());
    assert!(inner.defer_status(&key("a")));
    inner.add(key("a"), Ticket::of(Lane::Ending));
    inner.end(&key("a"));
    assert_eq!(inner.pop().unwrap().ticket.lane, Lane::Ending);
    inner.end(&key("a"));
    assert!(inner.is_idle());
}

#[test]
fn a_key_added_while_it_runs_comes_again_afterwards() {
    let queue = queue();
    queue.add_all([normal("a")]);
    assert!(queue.lock().pop().is_some());
    queue.add_all([normal("a")]);
    assert!(queue.lock().pop().is_none());
    queue.done(&key("a"), true, at(0));
    assert_eq!(queue.lock().pop().unwrap().key, key("a"));
}

#[test]
fn the_earlier_time_counts() {
    let mut inner = inner();
    inner.add_at(key("a"), at(9));
    inner.add_at(key("a"), at(5));
    inner.add_at(key("a"), at(7));
    assert!(inner.fallen_due(at(4)).is_empty());
    assert_eq!(inner.fallen_due(at(5)), [key("a")]);
    assert!(inner.fallen_due(at(100)).is_empty());
}

#[test]
fn failures_wait_longer_and_success_forgets_them() {
    let queue = queue();
    let waits: Vec<Duration> = (0..12).filter_map(|_| queue.done(&key("a"), false, at(0))).collect();
    assert!(waits[0] <= FIRST_BACKOFF && waits[0] >= FIRST_BACKOFF / 2);
    assert!(waits[11] <= LAST_BACKOFF && waits[11] >= LAST_BACKOFF / 2);
    queue.done(&key("a"), true, at(0));
    assert!(queue.done(&key("a"), false, at(0)).unwrap() <= FIRST_BACKOFF);
}

#[test]
fn what_failed_is_forgotten_when_everything_is_tried_again() {
    let queue = queue();
    for _ in 0..12 {
        queue.done(&key("a"), false, at(0));
    }
    assert_eq!(queue.forget_failures(), [key("a")].into());
    assert!(queue.forget_failures().is_empty());
    assert!(queue.done(&key("a"), false, at(0)).unwrap() <= FIRST_BACKOFF);
}

#[tokio::test]
async fn a_key_that_is_due_is_handed_out_with_a_ticket_of_then() {
    let queue = queue();
    queue.add_at(key("a"), at(5));
    let late = |keys: Vec<Key>| keys.into_iter().map(|key| (key, Ticket::of(Lane::Ending))).collect();
    let job = queue.next(|| at(6), late).await;
    assert_eq!((job.key, job.ticket.lane), (key("a"), Lane::Ending));
    assert_eq!(queue.depth(), (0, 0));
}
